"""Points per second of one vectorised decode call and of a whole sweep, and how far that is from what numpy can do.

Run: OMP_NUM_THREADS=1 python benchmarks/million_points.py [--sweep]. Times are those of the processor, the least of
several runs, so that other work on the machine disturbs them little. The limit is the time in which numpy streams as
many multiplications and additions, two operands and a result in the processor's cache, as a call does elementary
operations on arrays; these are counted in a run with arrays that count, choices and gathers left out.

What lies between: roots, divisions and choices take several times as long as a multiplication, values that depend on
the tokens alone are gathered for each point, and the columns of the result are written to memory that is new each time.
A sweep spends two thirds of its time on encoding and joining Parquet.
"""

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.steps import BLOCK_POINTS
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.step import Step

POINTS = 1_000_000
REPEATS = 5
TEN_MILLION = """\
model: llama3-70b
hardware: [h100, h200]
stack: vllm
parallelism: {tensor: [4, 8]}
batch: 1:1000:+1
context: 1:80001:+32
"""


def deployment(model: str, hardware: str, stack: str, **ways: int) -> Deployment:
    shape = rs.load_model(model)
    precision = precision_of(shape)
    return Deployment(
        model=shape, hardware=rs.load_hardware(hardware), stack=rs.load_stack(stack), precision=precision, **ways
    )


def cases() -> dict[str, Deployment]:
    return {
        "Llama-3-70B, H100 x 4, vllm": deployment("llama3-70b", "h100", "vllm", tensor_parallel=4),
        "DeepSeek-V3 (61 layers), H200 x 8, sglang DP EP": deployment(
            "deepseek-v3", "h200", "sglang", data_parallel=8, expert_parallel=8
        ),
        "Qwen3-235B-A22B (94 layers), H200 x 4, vllm": deployment("qwen3-235b-a22b", "h200", "vllm", tensor_parallel=4),
    }


def points(kind: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    if kind == "grid":
        side = int(POINTS**0.5)
        return np.tile(np.arange(1.0, side + 1), side), np.repeat(32.0 * np.arange(1.0, side + 1), side)
    batch, context = random.integers(1, 1025, POINTS), random.integers(1, 65536, POINTS)
    # No two points share a number of tokens: everything is computed point by point.
    shift = np.linspace(0.0, 0.5, POINTS) if kind == "nothing shared" else 0.0
    return batch + shift, context.astype(float)


def least_time(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


class Counting(np.ndarray):
    """An array that counts the elements of every result."""

    elements = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [one.view(np.ndarray) if isinstance(one, Counting) else one for one in inputs]
        found = getattr(ufunc, method)(*plain, **options)
        Counting.elements += max(np.size(found), *(np.size(one) for one in plain))
        return found.view(Counting) if isinstance(found, np.ndarray) and found.dtype.kind == "f" else found


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Let steps keep arrays that count."""
    checked = Step.__post_init__

    def count(step: Step) -> None:
        checked(step)
        for name in ("batch", "new_tokens", "context"):
            value = getattr(step, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(step, name, value.view(Counting))

    Step.__post_init__ = count  # type: ignore[method-assign]
    Counting.elements = 0
    try:
        yield
    finally:
        Step.__post_init__ = checked  # type: ignore[method-assign]


def streaming_time(elements: float) -> float:
    """Time in which numpy multiplies and adds so many elements, block by block in the cache [s]."""
    first, second, out = (np.random.default_rng(0).random(BLOCK_POINTS) for _ in range(3))
    rounds = 2000

    def stream() -> None:
        for _ in range(rounds):
            np.multiply(first, second, out=out)
            np.add(out, second, out=out)

    return least_time(stream) * elements / (2 * rounds * BLOCK_POINTS)


def show_calls() -> None:
    print(f"{'deployment':48s} {'points':15s} {'points/s':>10s} {'ns/point':>9s} {'operations':>10s} {'limit ns':>9s}")
    for name, asked in cases().items():
        for kind in ("grid", "random", "nothing shared"):
            batch, context = points(kind)
            taken = least_time(lambda: decode(asked, batch=batch, context=context))  # noqa: B023
            with counted():
                decode(asked, batch=batch, context=context)
            elements = Counting.elements / batch.size
            limit = streaming_time(Counting.elements) / batch.size
            rate, each = batch.size / taken, 1e9 * taken / batch.size
            print(f"{name:48s} {kind:15s} {rate:10,.0f} {each:9.0f} {elements:10.0f} {1e9 * limit:9.0f}")


def show_sweep() -> None:
    """Ten million points, all fields, to Parquet on two cores."""
    from rooflinesim.api.sweep import sweep
    from rooflinesim.config.scenarios import load_one_scenario

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scenario.yaml")
        path.write_text(TEN_MILLION)
        start = time.perf_counter()
        made = sweep(scenario=load_one_scenario(path), output=Path(folder, "out.parquet"), workers=2)
        wall = time.perf_counter() - start
        own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        busy = sum(one.ru_utime + one.ru_stime for one in (own, workers))
        peak = (own.ru_maxrss + 2 * workers.ru_maxrss) / 1024
        size = made.path.stat().st_size / 1e6
        print(
            f"sweep of {made.rows:,} rows: {wall:.1f} s, {busy:.1f} s of processor time ({busy / 2:.1f} s on each of"
            f" two cores), {peak:,.0f} MB of memory at most in three processes, {size:,.0f} MB written"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweep", action="store_true", help="also write ten million points to Parquet")
    asked = parser.parse_args()
    if asked.sweep:
        show_sweep()
    show_calls()


if __name__ == "__main__":
    main()
