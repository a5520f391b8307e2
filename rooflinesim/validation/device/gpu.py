"""What a CUDA device needs around its timings: a warm start, the state of its clocks, and what a launch costs."""

import dataclasses
import subprocess
import time
from collections.abc import Callable

import torch

WARM_SECONDS = 2.5
"""Time for which a device multiplies before it is timed, so that its clock has settled [s]."""

FIELDS = ("clocks.sm", "power.draw", "temperature.gpu", "clocks_throttle_reasons.active")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuState:
    """A device's clock [Hz], power [W] and temperature [degrees Celsius] at one moment, and why its clock is low."""

    clock_rate: float
    power: float | None
    temperature: float | None
    throttled_by: str | None


def _query(index: int) -> str:
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def gpu_state(index: int = 0, query: Callable[[int], str] = _query) -> GpuState | None:
    """State of a device, only read and never set; None where the driver's tool does not tell."""
    try:
        clock, power, temperature, reasons = (one.strip() for one in query(index).strip().splitlines()[0].split(","))
        rate = 1e6 * float(clock)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    # The first bit says that the device is idle, which is no throttling.
    is_throttled = reasons.startswith("0x") and int(reasons, 16) & ~0x1
    return GpuState(
        clock_rate=rate,
        power=_number(power),
        temperature=_number(temperature),
        throttled_by=reasons if is_throttled else None,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def warm_up(device: str, seconds: float = WARM_SECONDS) -> None:
    """Keep a device busy for a while."""
    one = torch.randn(2048, 2048, device=device)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(10):
            one @ one
        torch.cuda.synchronize(device)


def graph_launch_time(device: str, replays: int = 50) -> float:
    """Cost of launching a captured step: a graph of one tiny operation, replayed and waited for [s]."""
    one = torch.zeros(1, device=device)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        one.add_(1.0)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        one.add_(1.0)
    times = []
    for _ in range(replays):
        start = time.perf_counter()
        graph.replay()
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[replays // 2]
