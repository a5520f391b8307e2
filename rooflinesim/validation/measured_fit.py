"""Laws of the kernels of one device from their measured times, sample by sample, and how well they foretell others."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.cost.measured import attention_factor, gemm_factor, law_time, small_factor
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.hardware import Hardware, math_format
from rooflinesim.specs.measured_kernels import (
    AttentionSample,
    GemmSamples,
    MeasuredAttention,
    MeasuredGemm,
    MeasuredKernels,
    MeasuredSmall,
    RoofLaw,
)
from rooflinesim.validation.fitting import Parameter, fit
from rooflinesim.workload.op import AttentionShape, GemmShape, Op


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TimedOp(Noun):
    """An operation and its measured times [s], each with the round in which it was measured."""

    form: str
    op: Op
    times: tuple[tuple[int, float], ...]

    @property
    def time(self) -> float:
        """Median of its times [s]."""
        return float(np.median([time for _, time in self.times]))

    def of_rounds(self, chosen: Sequence[int]) -> "TimedOp":
        """The operation with the times of some rounds, each as often as it was chosen; all where it has none there."""
        by_round = defaultdict(list)
        for number, time in self.times:
            by_round[number].append((number, time))
        kept = tuple(one for number in chosen for one in by_round[number])
        return dataclasses.replace(self, times=kept or self.times)

    def at_pace(self, pace: float) -> "TimedOp":
        """The operation where everything takes `pace` times as long."""
        return dataclasses.replace(self, times=tuple((number, pace * time) for number, time in self.times))


def law_of(values: Mapping[str, float], prefix: str = "") -> RoofLaw:
    """The law of fitted constants."""
    names = ("fixed_time", "memory_efficiency", "flop_efficiency", "overlap_exponent")
    return RoofLaw(**{name: values[prefix + name] for name in names if prefix + name in values})


def _columns(ops: Sequence[TimedOp], hardware: Hardware) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of an operation's bytes and FLOPs at the device's rates, and measured times [s]."""
    memory = np.array([float(one.op.memory_bytes) for one in ops]) / hardware.memory_bandwidth
    rates = [hardware.dense_flop_rate[math_format(one.op.form, hardware)] for one in ops]
    compute = np.array([float(one.op.flops) for one in ops]) / np.array(rates)
    return memory, compute, np.array([one.time for one in ops])


def measured_gemm(ops: Sequence[TimedOp], hardware: Hardware, start: MeasuredGemm | None = None) -> MeasuredGemm:
    """Law and samples of products with weights of one format; a near law to start from makes the fit quick.

    Raises
    ------
    UnsupportedError : if there are fewer products than constants.
    """
    memory, compute, time = _columns(ops, hardware)
    values = _values(
        memory,
        compute,
        time,
        (
            Parameter(name="fixed_time", start=5e-6, low=1e-7, high=1e-2, prior=2.0),
            Parameter(name="memory_efficiency", start=0.5, low=0.02, high=8.0),
            Parameter(name="flop_efficiency", start=0.9, low=0.05, high=1.5),
            Parameter(name="overlap_exponent", start=1.5, low=1.0, high=12.0, prior=1.0),
        ),
        start=None if start is None else vars(start.law),
    )
    law = law_of(values)
    factors = time / law_time(memory / law.memory_efficiency, compute / law.flop_efficiency, law)
    rows = tuple(sorted({float(shape.rows) for one in ops if isinstance(shape := one.op.shape, GemmShape)}))
    by_shape: dict[tuple[float, float], dict[float, float]] = defaultdict(dict)
    for one, factor in zip(ops, factors, strict=True):
        shape = one.op.shape
        assert isinstance(shape, GemmShape)
        by_shape[shape.inputs, shape.outputs][float(shape.rows)] = float(factor)
    return MeasuredGemm(
        law=law,
        rows=rows,
        shapes=tuple(
            GemmSamples(inputs=int(inputs), outputs=int(outputs), factors=_at_rows(known, rows))
            for (inputs, outputs), known in sorted(by_shape.items())
        ),
    )


def _at_rows(known: Mapping[float, float], rows: Sequence[float]) -> tuple[float, ...]:
    """Factors at all rows, those between measured ones interpolated as in predictions."""
    places = sorted(known)
    logarithms = np.interp(np.log(rows), np.log(places), np.log([known[place] for place in places]))
    return tuple(float(factor) for factor in np.exp(logarithms))


def _values(
    memory: np.ndarray,
    compute: np.ndarray,
    time: np.ndarray,
    parameters: Sequence[Parameter],
    extra: Callable[[Mapping[str, float]], Any] | None = None,
    start: Mapping[str, float] | None = None,
) -> Mapping[str, float]:
    """Fitted constants; they are drawn to the parameters' own starts even where the search begins elsewhere."""

    def predict(values: Mapping[str, float]) -> np.ndarray:
        law = law_of(values)
        own = law_time(memory / law.memory_efficiency, compute / law.flop_efficiency, law)
        return np.asarray(own + (extra(values) if extra else 0.0))

    return fit(parameters, predict, time, begin=start).values


def measured_attention(
    ops: Sequence[TimedOp], hardware: Hardware, start: MeasuredAttention | None = None
) -> MeasuredAttention:
    """Law and samples of attention to caches of one format."""
    memory, compute, time = _columns(ops, hardware)
    shapes = [one.op.shape for one in ops]
    heads = np.array([float(s.batch) * s.kv_heads for s in shapes if isinstance(s, AttentionShape)])
    values = _values(
        memory,
        compute,
        time,
        (
            Parameter(name="fixed_time", start=2e-5, low=1e-7, high=1e-2, prior=2.0),
            Parameter(name="head_time", start=1e-6, low=1e-10, high=1e-4, prior=2.0),
            Parameter(name="memory_efficiency", start=0.3, low=0.01, high=8.0),
            Parameter(name="flop_efficiency", start=0.3, low=0.005, high=4.0),
            Parameter(name="overlap_exponent", start=1.5, low=1.0, high=12.0, prior=1.0),
        ),
        lambda values: values["head_time"] * heads,
        start=None if start is None else {**vars(start.law), "head_time": start.head_time},
    )
    law = law_of(values)
    predicted = law_time(memory / law.memory_efficiency, compute / law.flop_efficiency, law)
    factors = time / (predicted + values["head_time"] * heads)
    return MeasuredAttention(
        law=law,
        head_time=values["head_time"],
        samples=tuple(
            AttentionSample(
                sequences=float(shape.batch),
                kv_heads=shape.kv_heads,
                group=shape.group,
                head_size=shape.pair_flops / (4.0 * shape.kv_heads * shape.group),
                new_tokens=float(shape.new_tokens),
                read_tokens=float(shape.read_tokens),
                factor=float(factor),
            )
            for shape, factor in zip(shapes, factors, strict=True)
            if isinstance(shape, AttentionShape)
        ),
    )


POINTS = 10
"""Points at most of a small operation's curve; samples of nearly the same size are one point."""


def measured_small(ops: Sequence[TimedOp], hardware: Hardware) -> MeasuredSmall:
    """Law and curve of a small operation over the bytes that it moves."""
    memory, compute, time = _columns(ops, hardware)
    # A line of least relative errors; a slope that noise turns down is nearly none.
    rows = np.stack([np.ones(time.size), memory], axis=1) / time[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(rows, np.ones(time.size), rcond=None)
    law = RoofLaw(
        fixed_time=max(float(fixed), 0.1 * float(time.min())),
        memory_efficiency=1.0 / max(float(slope), 0.02),
        flop_efficiency=1.0,
        overlap_exponent=1.0,
    )
    factors = time / law_time(memory / law.memory_efficiency, compute, law)
    moved = memory * hardware.memory_bandwidth
    edges = np.quantile(np.log(moved), np.linspace(0.0, 1.0, POINTS + 1)[1:-1])
    places = np.searchsorted(edges, np.log(moved), side="right")
    points = [(float(np.exp(np.log(moved[places == p]).mean())), places == p) for p in np.unique(places)]
    return MeasuredSmall(
        law=law,
        moved_bytes=tuple(place for place, _ in points),
        factors=tuple(float(np.exp(np.median(np.log(factors[chosen])))) for _, chosen in points),
    )


def kernels_of(ops: Sequence[TimedOp], hardware: Hardware, start: MeasuredKernels | None = None) -> MeasuredKernels:
    """Laws of all kernels of one number format.

    Raises
    ------
    UnsupportedError : if no products are among them.
    """
    gemms = [one for one in ops if isinstance(one.op.shape, GemmShape)]
    attention = [one for one in ops if isinstance(one.op.shape, AttentionShape)]
    small: dict[str, list[TimedOp]] = defaultdict(list)
    for one in ops:
        if one.op.shape is None:
            small[one.op.name.rpartition(".")[2]].append(one)
    if not gemms:
        raise UnsupportedError("no product was measured; a larger budget measures more")
    return MeasuredKernels(
        gemm=measured_gemm(gemms, hardware, start.gemm if start else None),
        attention=(
            measured_attention(attention, hardware, start.attention if start else None) if len(attention) >= 5 else None
        ),
        small={name: measured_small(own, hardware) for name, own in sorted(small.items()) if len(own) >= 4},
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LawErrors(Noun):
    """How far kernels lie from what the others' samples foretell, as spreads of the logarithm of times [1]."""

    gemm: float = 0.0
    attention: float = 0.0
    small: float = 0.0


def law_errors(ops: Sequence[TimedOp], hardware: Hardware, kernels: MeasuredKernels) -> LawErrors:
    """Errors for shapes of products, and for samples of attention and points of curves, that are left out in turn."""
    gemm = kernels.gemm
    apart: list[float] = []
    if len(gemm.shapes) > 2:
        for shape in gemm.shapes:
            others = dataclasses.replace(gemm, shapes=tuple(one for one in gemm.shapes if one is not shape))
            foretold = gemm_factor(np.array(gemm.rows), float(shape.inputs), float(shape.outputs), others)
            apart.extend(np.log(np.array(shape.factors) / foretold))
    far = []
    attention = kernels.attention
    if attention is not None and len(attention.samples) > 5:
        for sample in attention.samples:
            others_ = dataclasses.replace(
                attention, samples=tuple(one for one in attention.samples if one is not sample)
            )
            names = ("sequences", "kv_heads", "group", "head_size", "new_tokens", "read_tokens")
            foretold = attention_factor(**{name: getattr(sample, name) for name in names}, measured=others_)
            far.append(float(np.log(sample.factor / foretold)))
    off = []
    for one in ops:
        own = kernels.small.get(one.op.name.rpartition(".")[2]) if one.op.shape is None else None
        if own is not None:
            memory, compute, time = _columns([one], hardware)
            predicted = law_time(memory / own.law.memory_efficiency, compute, own.law)
            off.append(float(np.log(time / (predicted * small_factor(float(one.op.memory_bytes), own)))[0]))
    return LawErrors(gemm=_spread(apart), attention=_spread(far), small=_spread(off))


def _spread(errors: Sequence[float]) -> float:
    """Standard deviation as the middle 80 % have it [1]."""
    if not errors:
        return 0.0
    low, high = np.quantile(errors, (0.1, 0.9))
    return float(max(abs(low), abs(high)) / 1.2816)
