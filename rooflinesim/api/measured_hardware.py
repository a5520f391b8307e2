"""From a measurement of a device to its hardware profile: laws of its kernels, their intervals and bands."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim.analysis.timing import step_op_costs
from rooflinesim.api.answers import deployment
from rooflinesim.config.catalogue import load_hardware, load_stack
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import op_cost
from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Calibration, Hardware, Interval, Link, Measurement, OnChipMemory
from rooflinesim.specs.measured_kernels import MeasuredKernels
from rooflinesim.specs.stack import Band
from rooflinesim.validation.exchange_fit import collective_law
from rooflinesim.validation.measured_fit import LawErrors, TimedOp, kernels_of, law_errors
from rooflinesim.workload.op import ExpertShape
from rooflinesim.workload.step import Step

if TYPE_CHECKING:
    from rooflinesim.validation.device.machinery import Machinery
    from rooflinesim.validation.device.measure import Measured

STACK = "torch-eager"
"""Stack that runs the kernels that are measured."""

RESAMPLES = 24
"""Bootstrap repetitions behind the interval of each parameter."""

INSIDE = 1.2816
"""Standard deviations on either side of the middle 80 % of a normal distribution."""

SMALLEST_SPREAD = 0.02
"""Spread of a step's time on a quiet machine [1]."""


def measured_hardware(found: "Measured", *, has_intervals: bool = True) -> Hardware:
    """The hardware profile that a measurement gives.

    A device of the catalogue keeps its datasheet; of another, what was measured stands in for one.

    Raises
    ------
    UnsupportedError : if too little was measured for the laws.
    """
    base = base_hardware(found.machinery, found.kernels, found.reads, found.date)
    kernels = fitted_kernels(found.kernels, base)
    kernels = with_experts(found, base, kernels)
    errors = {
        form: law_errors([one for one in found.kernels if one.form == form], base, kernels[form]) for form in kernels
    }
    own = found.machinery
    first = next(iter(kernels.values()))
    calibration = Calibration(
        source=f"micro-benchmarks of rooflinesim calibrate on {found.date}, {own.software}",
        memory_efficiency=min(1.0, max(one.gemm.law.memory_efficiency for one in kernels.values())),
        flop_efficiency={
            form: min(1.0, one.gemm.law.flop_efficiency)
            for form, one in kernels.items()
            if form in base.dense_flop_rate
        },
        kernel_time=first.gemm.law.fixed_time,
        # What two equal times take beyond one of them.
        exposed_share=2.0 ** (1.0 / first.gemm.law.overlap_exponent) - 1.0,
        on_chip_bandwidth=_on_chip_bandwidth(found, base),
        kernels=kernels,
        launch_time=_launch_time(found),
        graph_time=found.graph_time,
        measurement=Measurement(
            device=own.name,
            software=own.software,
            clock=own.clock.name,
            date=found.date,
            threads=own.threads,
            rounds=max(1, found.rounds),
            spread=found.spread,
            verdict=found.noise.verdict,
        ),
        intervals=intervals(found.kernels, base, kernels, found.pace_spread) if has_intervals else {},
    )
    hardware = dataclasses.replace(base, calibration=calibration)
    if found.exchanges:
        law, bandwidth = collective_law(found.exchanges, base.link.bandwidth if base.link else None)
        calibration = dataclasses.replace(calibration, collectives=law)
        link = base.link or Link(name="measured", bandwidth=bandwidth, devices=max(2, found.exchanges[0].ranks))
        hardware = dataclasses.replace(hardware, link=link, calibration=calibration)
    bands = step_bands(hardware, errors, _floor(found, is_stored=has_intervals))
    return dataclasses.replace(hardware, calibration=dataclasses.replace(calibration, bands=bands))


def _launch_time(found: "Measured") -> float:
    """Host time of one operation, where a device works while the host goes on; zero where the host does the work."""
    if not found.machinery.is_gpu or not found.launch_times:
        return 0.0
    return float(np.median(found.launch_times))


def base_hardware(
    own: "Machinery", kernels: Sequence[TimedOp], reads: Mapping[float, Sequence[float]], date: str
) -> Hardware:
    """The device without calibration: its datasheet from the catalogue, or the highest rates that were measured."""
    try:
        known = load_hardware(own.name) if own.is_gpu else None
    except RooflinesimError:
        known = None
    if known is not None:
        return dataclasses.replace(known, calibration=None)
    gemms = [one for one in kernels if one.op.kind == "gemm"]
    rates = {form: max(float(one.op.flops) / one.time for one in gemms if one.form == form) for form in own.forms}
    streamed = max(reads) / float(np.median(reads[max(reads)])) if reads else 0.0
    streamed = streamed or max(float(one.op.memory_bytes) / one.time for one in gemms)
    return Hardware(
        name=own.name if own.is_gpu else f"{own.name} ({own.threads} thread{'s' if own.threads > 1 else ''})",
        vendor=own.name.split()[0],
        architecture=own.architecture,
        memory_type="HBM" if own.is_gpu else "DDR",
        memory_bandwidth=streamed,
        dense_flop_rate=rates,
        memory_capacity=own.capacity,
        on_chip=OnChipMemory(last_level_cache_capacity=own.cache),
        source=f"measured by rooflinesim calibrate on {date}",
    )


def provisional_hardware(own: "Machinery", kernels: Sequence[TimedOp]) -> Hardware:
    """The device as a first round of kernels shows it, good enough to foretell what steps will take."""
    base = base_hardware(own, kernels, {}, "-")
    return dataclasses.replace(
        base, calibration=Calibration(source="first round", kernels=fitted_kernels(kernels, base))
    )


def _on_chip_bandwidth(found: "Measured", base: Hardware) -> float | None:
    cache = base.on_chip.cache_capacity
    inside = [size / float(np.median(times)) for size, times in found.reads.items() if size <= 0.5 * cache]
    return max(inside) if inside else None


def fitted_kernels(
    ops: Sequence[TimedOp], base: Hardware, start: Mapping[str, MeasuredKernels] | None = None
) -> dict[str, MeasuredKernels]:
    """Laws by number format; near ones to start from make the fits quick."""
    near = start or {}
    forms = dict.fromkeys(one.form for one in ops)
    return {form: kernels_of([one for one in ops if one.form == form], base, near.get(form)) for form in forms}


def with_experts(
    found: "Measured", base: Hardware, kernels: Mapping[str, MeasuredKernels]
) -> dict[str, MeasuredKernels]:
    """Laws with what a layer pays for its experts beside their products: once, and for each that is awake."""
    whole = dict(kernels)
    for form, own in kernels.items():
        machine = _machine(base, {**kernels, form: dataclasses.replace(own, expert_time=0.0)})
        rows, rest, weights = [], [], []
        for benchmark, times in found.experts:
            if benchmark.form != form or not times:
                continue
            time = float(np.median([seconds for _, seconds in times]))
            ops = benchmark.ops()
            inside = [op for name, op in ops.items() if name.startswith("moe.") and name != "moe.norm"]
            awake = next(float(op.shape.awake) for op in inside if isinstance(op.shape, ExpertShape))
            rows.append((1.0, awake))
            rest.append(time - sum(float(op_cost(op, machine).time) for op in inside))
            weights.append(1.0 / time)
        if len(rows) >= 2:
            routing, expert = _least_squares(np.array(rows), np.array(rest), np.array(weights))
            whole[form] = dataclasses.replace(own, expert_time=expert, routing_time=routing)
    return whole


def _least_squares(rows: np.ndarray, times: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Two constants of least weighted squares, neither below zero."""

    def solved(columns: list[int]) -> np.ndarray:
        found = np.zeros(2)
        found[columns], *_ = np.linalg.lstsq(rows[:, columns] * weights[:, None], times * weights, rcond=None)
        return np.maximum(found, 0.0)

    both, *_ = np.linalg.lstsq(rows * weights[:, None], times * weights, rcond=None)
    candidates = [both] if both.min() >= 0.0 else [solved([0]), solved([1])]
    best = min(candidates, key=lambda found: float((((rows @ found - times) * weights) ** 2).sum()))
    return float(best[0]), float(best[1])


def _machine(base: Hardware, kernels: Mapping[str, MeasuredKernels]) -> Any:
    from rooflinesim.specs.precision import precision_of
    from rooflinesim.validation.device.sizes import DECODERS

    calibrated = dataclasses.replace(base, calibration=Calibration(source="this run", kernels=dict(kernels)))
    model = DECODERS["tiny"]
    asked = Deployment(
        model=model,
        hardware=calibrated,
        stack=load_stack(STACK),
        precision=precision_of(model, weights=next(iter(kernels))),
    )
    return machine_of(asked)


def intervals(
    ops: Sequence[TimedOp], base: Hardware, near: Mapping[str, MeasuredKernels], pace_spread: float
) -> dict[str, Interval]:
    """Where each constant of the laws lies in 95 of 100 repetitions, with rounds drawn anew and another pace each.

    Parameters
    ----------
    pace_spread : standard deviation of the logarithm of the machine's pace, any of which a repetition may meet. [1]
    """
    rounds = sorted({number for one in ops for number, _ in one.times})
    drawn = np.random.default_rng(0)
    values: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        chosen = [int(number) for number in drawn.choice(rounds, len(rounds))]
        pace = float(np.exp(pace_spread * drawn.normal()))
        for form, own in fitted_kernels([one.of_rounds(chosen).at_pace(pace) for one in ops], base, near).items():
            for name, value in constants_of(form, own).items():
                values.setdefault(name, []).append(value)
    return {
        name: Interval(low=float(np.quantile(found, 0.025)), high=float(np.quantile(found, 0.975)))
        for name, found in values.items()
    }


def constants_of(form: str, kernels: MeasuredKernels) -> dict[str, float]:
    """Constants of the laws of one number format by dotted names."""
    laws = {"gemm": kernels.gemm.law}
    if kernels.attention is not None:
        laws["attention"] = kernels.attention.law
    found = {
        f"{form}.{kind}.{name}": float(getattr(law, name))
        for kind, law in laws.items()
        for name in ("fixed_time", "memory_efficiency", "flop_efficiency", "overlap_exponent")
    }
    if kernels.attention is not None:
        found[f"{form}.attention.head_time"] = kernels.attention.head_time
    for name, small in kernels.small.items():
        found[f"{form}.{name}.fixed_time"] = small.law.fixed_time
    return found


REPEATS = 4.0
"""Runs of which a measured step is the median, as bands are meant for [1]."""


def _floor(found: "Measured", *, is_stored: bool) -> float:
    """Spread of measured steps beside what laws err by: that of repeated runs, and where a profile is used later than
    it was measured that of the machine's pace, which may then be any that was seen [1]."""
    later = found.pace_spread if is_stored else 0.0
    return float(np.sqrt(SMALLEST_SPREAD**2 + found.scatter**2 / REPEATS + later**2))


def step_bands(hardware: Hardware, errors: Mapping[str, LawErrors], floor: float) -> dict[str, Band]:
    """Bands of steps: what the laws err by on samples that are left out, weighted by what each takes of a step.

    Products with different matrices, attention and small operations err independently of each other; the floor of
    repeated measurements comes on top.
    """
    from rooflinesim.validation.device.sizes import DECODERS

    spreads: dict[str, list[float]] = {"single": [], "batched": [], "prompt": [], "experts": []}
    for form, error in errors.items():
        for model in (DECODERS["100M"], DECODERS["350M"], DECODERS["moe"]):
            asked = deployment(model=model, hardware=hardware, stack=load_stack(STACK), weights=form)
            is_expert = any(group.moe for group in model.layers)
            for batch in (1, 4, 16, 64):
                kind = "experts" if is_expert else "single" if batch == 1 else "batched"
                step = Step(batch=float(batch), context=512.0)
                spreads[kind].append(_spread(asked, step, error, floor))
            prompt = Step(new_tokens=128.0, logit_tokens=1.0)
            if not is_expert:
                spreads["prompt"].append(_spread(asked, prompt, error, floor))
    source = "errors of laws on samples left out, weighted by their shares of steps, and the spread of repetitions"
    return {
        kind: Band(
            low=float(np.exp(-INSIDE * np.median(found_))),
            high=float(np.exp(INSIDE * np.median(found_))),
            source=source,
        )
        for kind, found_ in spreads.items()
        if found_
    }


def _spread(asked: Deployment, step: Step, error: LawErrors, floor: float) -> float:
    costs = step_op_costs(asked, step)
    whole = sum(op.count * float(cost.time) for op, cost in costs)
    own = {"gemm": error.gemm, "experts": error.gemm, "attention": error.attention}
    squares = [(own.get(op.kind, error.small) * op.count * float(cost.time) / whole) ** 2 for op, cost in costs]
    return float(np.sqrt(sum(squares) + floor**2))
