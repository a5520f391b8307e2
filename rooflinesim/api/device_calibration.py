"""What does the device at hand reach? Its hardware profile, from micro-benchmarks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rooflinesim import __version__
from rooflinesim.api.measured_hardware import constants_of, measured_hardware
from rooflinesim.config.writing import plain_data, profile_text
from rooflinesim.errors import UnsupportedError
from rooflinesim.report import calibration as report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware

if TYPE_CHECKING:
    from rooflinesim.validation.device.measure import Measured

Told = Callable[[float, float, str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibratedDevice:
    """An answer about a device's constants, its hardware profile, and that as YAML."""

    answer: Answer
    hardware: Hardware
    text: str


def calibrate_device(
    *,
    seconds: float = 60.0,
    threads: int = 1,
    device: str | None = None,
    forms: Sequence[str] | None = None,
    told: Told | None = None,
) -> CalibratedDevice:
    """The hardware profile of the device at hand: a GPU where there is one, else this processor.

    Parameters
    ----------
    seconds : budget of wall time. [s] > 0
    threads : of the processor. One by default: its CPU time leaves out what other processes took of a shared
        machine, while several wait for each other's turn
    device : such as "cpu" or "cuda:1"
    forms : number formats; by default fp32 and bf16 where torch multiplies them
    told : how many seconds of how many are spent, and with what

    Raises
    ------
    UnsupportedError : if torch is missing or cannot use the device, or the budget is too short.
    """
    require_torch()
    from rooflinesim.validation.device.machinery import machinery
    from rooflinesim.validation.device.measure import measure

    found = measure(machinery(device, threads, forms), seconds=seconds, told=told)
    hardware = measured_hardware(found)
    rows = constant_rows(hardware)
    content = report.device_content(rows)
    answer = Answer(
        command="calibrate",
        version=__version__,
        result=hardware,
        columns=content["columns"],
        describe_inputs=lambda: run_inputs(found, seconds),
        provenance=(),
        summary={**run_summary(found), "name": hardware.name},
        notes=run_notes(found),
        views=[dataclasses.replace(view, lines=[verdict_line(found), *view.lines]) for view in content["views"]],
        extra={"skipped": [{"id": one.id, "reason": one.reason} for one in found.skipped]},
    )
    return CalibratedDevice(answer=answer, hardware=hardware, text=profile_text(plain_data(hardware)))


def require_torch() -> None:
    """Say how to install torch where it is missing.

    Raises
    ------
    UnsupportedError : if torch or scipy cannot be imported.
    """
    import importlib.util

    missing = [name for name in ("torch", "scipy") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsupportedError(
            f"measuring this device needs {' and '.join(missing)}; install: pip install 'rooflinesim[torch]'"
        )


def constant_rows(hardware: Hardware) -> list[report.ConstantRow]:
    """Constants of a calibrated device with their intervals."""
    calibration = hardware.calibration
    assert calibration is not None
    rows = [
        report.ConstantRow(constant="memory_bandwidth", value=hardware.memory_bandwidth, low=None, high=None),
        *(
            report.ConstantRow(constant=f"dense_flop_rate.{math}", value=rate, low=None, high=None)
            for math, rate in hardware.dense_flop_rate.items()
        ),
    ]
    for form, kernels in calibration.kernels.items():
        for name, value in constants_of(form, kernels).items():
            interval = calibration.intervals.get(name)
            low, high = (interval.low, interval.high) if interval else (None, None)
            rows.append(report.ConstantRow(constant=name, value=value, low=low, high=high))
    return rows


def verdict_line(found: "Measured") -> str:
    """First line of what is shown: how quiet the machine was, and why."""
    return f"Machine: {found.noise.verdict}."


def run_notes(found: "Measured") -> list[str]:
    """What to know about a measurement."""
    own = found.machinery
    notes = [*own.notes]
    if found.noise.reasons:
        notes.append(f"the machine was {found.noise.verdict}")
    if not own.is_gpu and own.threads == 1:
        notes.append(
            "timed by the CPU time of one thread, which leaves out what other processes took; --threads asks for more"
        )
    if found.pace_spread > 0.0:
        notes.append(
            "times of kernels and steps are divided by the pace of the machine around each, as others near it tell; it"
            f" varied by {found.pace_spread:.1%}"
        )
    if found.is_interrupted:
        notes.append("interrupted: what was measured until then is used")
    if found.skipped:
        notes.append(f"{len(found.skipped)} left out: {found.skipped[0].id}: {found.skipped[0].reason}, ...")
    return notes


def run_inputs(found: "Measured", seconds: float) -> dict[str, Any]:
    """What a measurement was asked for, and with what it was made."""
    own = found.machinery
    return {
        "device": own.name,
        "architecture": own.architecture,
        "software": own.software,
        "clock": own.clock.name,
        "threads": own.threads,
        "formats": list(own.forms),
        "budget_s": seconds,
        "date": found.date,
    }


def run_summary(found: "Measured") -> dict[str, Any]:
    """How a measurement went."""
    noise = found.noise
    return {
        "verdict": noise.verdict,
        "is_quiet": not noise.reasons,
        "wall_over_cpu_time": noise.wall_ratio,
        "other_cores": noise.other_cores,
        "stolen_cores": noise.stolen_cores,
        "even_odd_difference": noise.drift,
        "rounds": found.rounds,
        "spread": found.spread,
        "pace_spread": found.pace_spread,
        "seconds_s": found.seconds,
        "is_interrupted": found.is_interrupted,
    }
