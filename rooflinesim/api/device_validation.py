"""How far are predictions from steps that the device at hand really runs?"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.comparison import Comparison, score, scores
from rooflinesim.analysis.timing import step_op_costs, step_ops, step_time, step_traffic
from rooflinesim.api.answers import deployment
from rooflinesim.api.catalogue_device import catalogue_device
from rooflinesim.api.device_calibration import (
    Told,
    require_torch,
    run_inputs,
    run_notes,
    run_summary,
    verdict_line,
)
from rooflinesim.api.measured_hardware import STACK, measured_hardware, provisional_hardware
from rooflinesim.config.catalogue import load_stack
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import op_cost
from rooflinesim.errors import UnsupportedError
from rooflinesim.report import device_validation as report
from rooflinesim.report import validation as validation_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware, math_format
from rooflinesim.specs.measured_kernels import MeasuredKernels, RoofLaw
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.agreement import half_throughputs, mape_interval, median_interval, share_rows
from rooflinesim.validation.device.sizes import known_decoder
from rooflinesim.validation.measured_fit import TimedOp
from rooflinesim.workload.step import Step

if TYPE_CHECKING:
    from rooflinesim.validation.device.cells import Cell
    from rooflinesim.validation.device.measure import Measured

SIZES = ("100M", "350M", "moe")
"""Decoders that are run unless others are asked for."""

NOISY_WIDTH = 0.10
"""Half width of the interval of a cell's median, over the median, from which the cell is called noisy [1]."""


def validate_device(
    *,
    seconds: float = 180.0,
    threads: int = 1,
    device: str | None = None,
    forms: Sequence[str] | None = None,
    sizes: Sequence[str] = SIZES,
    profile: Hardware | None = None,
    is_other_device: bool = False,
    told: Told | None = None,
    keep: Callable[[Mapping[str, float]], None] | None = None,
) -> Answer:
    """Steps of decoders on the device at hand beside predictions from a calibration that saw none of them.

    Parameters
    ----------
    seconds : budget of wall time. [s] > 0
    threads, device, forms : as in `calibrate_device`
    sizes : names of decoders
    profile : predicts from a stored hardware profile; None calibrates in the same rounds. Kernels run all the same, and
        tell at what pace the device is today
    is_other_device : allows a profile that was not measured on this device
    told : how many seconds of how many are spent, and with what
    keep : given all predictions [s] by cell before they are compared

    Raises
    ------
    UnsupportedError : if torch is missing or cannot use the device, the budget is too short, or the profile is that of
        another device.
    """
    require_torch()
    from rooflinesim.validation.device.cells import GPU_PROMPTS, PROMPTS, cells
    from rooflinesim.validation.device.machinery import machinery
    from rooflinesim.validation.device.measure import measure
    from rooflinesim.validation.device.runners import runners_on

    own = machinery(device, threads, forms)
    if profile is not None and not is_other_device:
        check_device(profile, own.name)
    models = [known_decoder(name) for name in sizes]
    prompts = GPU_PROMPTS if own.is_gpu else PROMPTS
    asked = list(cells(models, own.forms, runners=runners_on(own.device), prompts=prompts))
    found = measure(
        own,
        seconds=seconds,
        models=models,
        asked=asked,
        foretell=lambda kernels, wanted: predicted(profile or provisional_hardware(own, kernels), wanted).time.tolist(),
        told=told,
    )
    if not found.cells and found.is_interrupted:
        raise KeyboardInterrupt
    if not found.cells:
        raise UnsupportedError(
            f"--budget {seconds:.0f}s is too short for any step of {', '.join(sizes)}; give more, or --sizes tiny"
        )
    hardware = profile or measured_hardware(found, has_intervals=False)
    ordered = [cell for cell, _ in found.cells]
    predictions = predicted(hardware, ordered)
    if keep:
        keep(dict(zip([cell.id for cell in ordered], predictions.time.tolist(), strict=True)))
    paces = kernel_paces(profile, found.kernels) if profile else {}
    return _answer(found, hardware, predictions, seconds, paces)


def kernel_paces(profile: Hardware, kernels: Sequence[TimedOp]) -> dict[str, float]:
    """How many times what a profile predicts products take now, the median by number format [1]."""
    products = [one for one in kernels if one.op.kind == "gemm"]
    model, stack = known_decoder("tiny"), known_stack(STACK)
    paces = {}
    for form in dict.fromkeys(one.form for one in products):
        machine = machine_of(deployment(model=model, hardware=profile, stack=stack, weights=form))
        apart = [one.time / float(op_cost(one.op, machine).time) for one in products if one.form == form]
        paces[form] = float(np.median(apart))
    return paces


def check_device(profile: Hardware, name: str) -> None:
    """Refuse the profile of another device.

    Raises
    ------
    UnsupportedError : if it was measured on another device, or not at all.
    """
    measurement = profile.calibration.measurement if profile.calibration else None
    if measurement is None or measurement.device != name:
        where = f"measured on {measurement.device}" if measurement else "not measured by rooflinesim calibrate"
        raise UnsupportedError(
            f"the profile {profile.name} was {where}, and this device is {name}; --other-device compares all the same"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """Times of cells with the ends of their bands [s], each of shape (cells,)."""

    time: np.ndarray
    low: np.ndarray
    high: np.ndarray


known_stack = functools.cache(load_stack)


def asked_of(hardware: Hardware, cell: "Cell", stack: Stack | None = None) -> Deployment:
    """The deployment whose step a cell is."""
    own = stack or known_stack(STACK if cell.runner == "eager" else "torch-graphs")
    return deployment(model=cell.model, hardware=hardware, stack=own, weights=cell.form)


def step_of(cells: Sequence["Cell"]) -> Step:
    """The steps of cells side by side, all of which score either every new token or the last."""
    scored = [cell.scored for cell in cells]
    return Step(
        batch=np.array([float(cell.batch) for cell in cells]),
        new_tokens=np.array([float(cell.new_tokens) for cell in cells]),
        context=np.array([float(cell.context) for cell in cells]),
        logit_tokens=None if scored[0] is None else np.array([float(one or 1) for one in scored]),
    )


def by_deployment(cells: Sequence["Cell"]) -> list[list[int]]:
    """Places of cells that differ in their step alone."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, cell in enumerate(cells):
        groups[cell.model.name, cell.form, cell.runner, cell.kind == "prefill"].append(place)
    return list(groups.values())


def predicted(hardware: Hardware, cells: Sequence["Cell"], stack: Stack | None = None) -> Predictions:
    """Times of cells as every other command predicts them."""
    times, lows, highs = (np.empty(len(cells)) for _ in range(3))
    for places in by_deployment(cells):
        own = [cells[place] for place in places]
        asked, step = asked_of(hardware, own[0], stack), step_of(own)
        time = step_time(asked, step).time
        low, high = band_of(asked, step, is_prompt=own[0].kind == "prefill")
        times[places], lows[places], highs[places] = time, time * low, time * high
    return Predictions(time=times, low=lows, high=highs)


def textbook_time(hardware: Hardware, cells: Sequence["Cell"]) -> np.ndarray:
    """All weights and cache over the device's bandwidth, or all FLOPs over its dense rate, the larger [s]."""
    times = np.empty(len(cells))
    for places in by_deployment(cells):
        own = [cells[place] for place in places]
        asked = asked_of(hardware, own[0], known_stack("ideal"))
        traffic = step_traffic(step_ops(asked, step_of(own)))
        rate = hardware.dense_flop_rate[math_format(asked.precision.mlp, hardware)]
        moved = traffic.weight_bytes + traffic.kv_bytes
        times[places] = np.maximum(moved / hardware.memory_bandwidth, traffic.flop / rate)
    return times


def ladder(hardware: Hardware, cells: Sequence["Cell"], measured: np.ndarray) -> list[dict[str, Any]]:
    """Mean error as terms of the model are added one after another, the last being the whole model."""
    textbook = textbook_time(hardware, cells)
    ideal = predicted(hardware, cells, known_stack("ideal")).time
    rungs = [("textbook: all bytes or all FLOPs, the larger", textbook), ("each operation at its own roof", ideal)]
    calibration = hardware.calibration
    if calibration is not None and calibration.kernels:
        for name, change in LADDER:
            kernels = {form: change(one) for form, one in calibration.kernels.items()}
            changed = dataclasses.replace(hardware, calibration=dataclasses.replace(calibration, kernels=kernels))
            rungs.append((name, predicted(changed, cells).time))
    return [
        {
            "model": name,
            "mape": float(np.abs(times / measured - 1.0).mean()),
            "bias": float(np.median(times / measured - 1.0)),
        }
        for name, times in rungs
    ]


def _plain_gemm(one: MeasuredKernels, *, has_law: bool) -> MeasuredKernels:
    """Kernels whose products follow their law, or its rates alone, without samples."""
    law = one.gemm.law
    if not has_law:
        law = dataclasses.replace(law, fixed_time=0.0, overlap_exponent=64.0)
    shapes = tuple(dataclasses.replace(shape, factors=(1.0,) * len(shape.factors)) for shape in one.gemm.shapes)
    return dataclasses.replace(one, gemm=dataclasses.replace(one.gemm, law=law, shapes=shapes))


def _plain_attention(one: MeasuredKernels, law: RoofLaw) -> MeasuredKernels:
    """Kernels whose attention follows the law of products."""
    if one.attention is None:
        return one
    samples = tuple(dataclasses.replace(sample, factor=1.0) for sample in one.attention.samples)
    return dataclasses.replace(
        one, attention=dataclasses.replace(one.attention, law=law, head_time=0.0, samples=samples)
    )


def _plain_small(one: MeasuredKernels, law: RoofLaw) -> MeasuredKernels:
    """Kernels whose small operations stream at the rate of products, free of fixed times."""
    free = dataclasses.replace(law, fixed_time=0.0)
    small = {
        name: dataclasses.replace(own, law=free, factors=(1.0,) * len(own.factors)) for name, own in one.small.items()
    }
    return dataclasses.replace(one, small=small, expert_time=0.0, routing_time=0.0)


def _rates(one: MeasuredKernels) -> MeasuredKernels:
    bare = _plain_gemm(one, has_law=False)
    return _plain_small(_plain_attention(bare, bare.gemm.law), bare.gemm.law)


def _laws(one: MeasuredKernels) -> MeasuredKernels:
    return _plain_small(_plain_attention(_plain_gemm(one, has_law=True), one.gemm.law), one.gemm.law)


def _attention(one: MeasuredKernels) -> MeasuredKernels:
    return _plain_small(_plain_gemm(one, has_law=True), one.gemm.law)


def _small(one: MeasuredKernels) -> MeasuredKernels:
    return _plain_gemm(one, has_law=True)


LADDER: tuple[tuple[str, Callable[[MeasuredKernels], MeasuredKernels]], ...] = (
    ("+ bandwidth and rate of products by number format", _rates),
    ("+ how memory and compute time combine", _laws),
    ("+ attention's own curve", _attention),
    ("+ small operations measured in place", _small),
    ("+ samples by rows and shape: the whole model", lambda one: one),
)
"""Models of increasing detail between the roofs and the whole."""


def uncalibrated(found: "Measured", measured: np.ndarray) -> dict[str, Any] | None:
    """Errors of predictions from the catalogue alone, and how many measurements their bands hold; None without any."""
    own = found.machinery
    device = catalogue_device(own.name, own.threads, is_gpu=own.is_gpu)
    if device is None:
        return None
    cells = [cell for cell, _ in found.cells]
    likely, fastest, slowest = (predicted(one, cells) for one in (device.likely, device.fastest, device.slowest))
    apart = likely.time / measured - 1.0
    inside = (measured >= fastest.low) & (measured <= slowest.high)
    return {
        "hardware": device.note,
        "stack": STACK,
        "mape": float(np.abs(apart).mean()),
        "bias": float(np.median(apart)),
        "inside_band": float(inside.mean()),
        "low": float(np.median(fastest.low / likely.time)),
        "high": float(np.median(slowest.high / likely.time)),
    }


def _answer(
    found: "Measured", hardware: Hardware, predictions: Predictions, seconds: float, paces: Mapping[str, float]
) -> Answer:
    ordered = [cell for cell, _ in found.cells]
    times = [own for _, own in found.cells]
    measured = np.array([float(np.median([time for _, time in own])) for own in times])
    ends = np.array([median_interval([time for _, time in own]) for own in times])
    comparison = Comparison(
        ids=np.array([cell.id for cell in ordered], dtype=object),
        measured=measured,
        predicted=predictions.time,
        low=predictions.low,
        high=predictions.high,
        roofline=textbook_time(hardware, ordered),
        labels={
            "unit": np.full(len(ordered), "s", dtype=object),
            **{name: np.array([str(value(cell)) for cell in ordered], dtype=object) for name, value in _LABELS.items()},
        },
        skipped=found.skipped,
    )
    by = ("model", "format")
    found_scores = scores(comparison, by)
    content = validation_report.validation_content(comparison, found_scores, by)
    clusters = [f"{cell.model.name} {cell.form}" for cell in ordered]
    low, high = mape_interval(times, predictions.time, clusters)
    is_noisy = (ends[:, 1] - ends[:, 0]) > 2.0 * NOISY_WIDTH * measured
    from rooflinesim.validation.device.noise import even_odd_difference

    floor = even_odd_difference([own for own in times if len(own) > 1])
    is_flip = np.array([cell.kind == "decode" and cell.context == 128 and cell.runner == "eager" for cell in ordered])
    flips = half_throughputs(
        [name for name, one in zip(clusters, is_flip, strict=True) if one],
        np.array([float(cell.batch) for cell in ordered])[is_flip],
        measured[is_flip],
        predictions.time[is_flip],
    )
    shares = {cell.id: share_rows(own, _predicted_shares(hardware, cell, own)) for cell, own in found.marked}
    rungs = ladder(hardware, ordered, measured)
    apart = {
        name: one.__dict__ if one else None
        for name, one in (
            ("noisy", score(comparison, is_noisy, "noisy")),
            ("steady", score(comparison, ~is_noisy, "steady")),
        )
    }
    at_pace = predictions.time * np.array([paces.get(cell.form, 1.0) for cell in ordered])
    summary = {
        **content["summary"],
        "mape_low": low,
        "mape_high": high,
        "mape_as_clocked": _mape(predictions.time, np.array(found.as_clocked)),
        "kernel_paces": dict(paces) or None,
        "mape_at_kernel_paces": _mape(at_pace, measured) if paces else None,
        "noise_floor": floor,
        "noisy_cells": int(is_noisy.sum()),
        "half_throughput_batch": [dataclasses.asdict(one) for one in flips],
        "ladder": rungs,
        "uncalibrated": uncalibrated(found, measured),
        "shares": {
            id_: [{"op": name, "measured": first, "predicted": second} for name, first, second in rows]
            for id_, rows in shares.items()
        },
        "steady_cells": apart["steady"],
        "run": run_summary(found),
        "hardware": hardware.name,
    }
    columns = {
        **content["columns"],
        **{name: comparison.labels[name] for name in _LABELS if name != "group"},
        "measured_low": ends[:, 0],
        "measured_high": ends[:, 1],
        "runs": [len(own) for own in times],
        "is_noisy": is_noisy,
    }
    views = report.device_views(comparison, found_scores, summary, verdict_line(found))
    return Answer(
        command="validate",
        version=__version__,
        result=comparison,
        columns=columns,
        describe_inputs=lambda: {
            **run_inputs(found, seconds),
            "profile": hardware.name,
            "profile_source": hardware.calibration.source if hardware.calibration else hardware.source,
        },
        provenance=(),
        summary=summary,
        notes=run_notes(found),
        views=views,
        extra={
            "skipped": content["skipped"],
            "predictions": dict(zip([cell.id for cell in ordered], predictions.time.tolist(), strict=True)),
        },
    )


def _mape(predicted_times: np.ndarray, measured: np.ndarray) -> float:
    return float(np.abs(predicted_times / measured - 1.0).mean())


_LABELS: Mapping[str, Callable[["Cell"], Any]] = {
    "model": lambda cell: cell.model.name,
    "format": lambda cell: cell.form,
    "kind": lambda cell: cell.kind,
    "runner": lambda cell: cell.runner,
    "batch": lambda cell: cell.batch,
    "context_tokens": lambda cell: cell.context,
    "new_tokens": lambda cell: cell.new_tokens,
    "regime": lambda cell: f"{cell.model.name} {cell.form} {cell.kind}",
}


def _predicted_shares(hardware: Hardware, cell: "Cell", names: Mapping[str, float]) -> dict[str, float]:
    """Predicted time of each operation that was marked in a measured step [s]."""
    costs = step_op_costs(asked_of(hardware, cell), step_of([cell]))
    times = {op.name: op.count * float(np.sum(cost.time)) for op, cost in costs}
    return {name: times.get(name, 0.0) for name in names}
