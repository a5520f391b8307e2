"""Times of kernels that were measured on the device: the fitted law, times what near samples depart from it."""

import dataclasses

import numpy as np

from rooflinesim.cost.machine import Machine, bandwidth_at
from rooflinesim.cost.roofline import smooth_maximum
from rooflinesim.nouns import Noun
from rooflinesim.specs.measured_kernels import (
    MeasuredAttention,
    MeasuredGemm,
    MeasuredKernels,
    MeasuredSmall,
    RoofLaw,
)
from rooflinesim.workload.op import AttentionShape, ExpertShape, GemmShape, Op
from rooflinesim.workload.step import Array

NEARNESS = 4.0
"""Power of the distance by which a sample of attention counts less the further away it is [1]."""

SLOPE_RIDGE = 0.5
"""How much the slopes of factors over shapes are held back; of several, the one that foretold left-out shapes best."""

ATTENTION_SCALES = (0.5, 0.5, 3.0, 2.0, 3.0, 1.0)
"""Distance of a factor of e in sequences, KV heads, group, head size, queries and context of attention [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredTime(Noun):
    """Time of one operation, and those of its bytes and FLOPs alone by the same law and factor [s]."""

    time: Array
    memory_time: Array
    compute_time: Array


def measured_time(op: Op, machine: Machine, on_chip: Array = 0.0) -> MeasuredTime | None:
    """Time of one operation by what was measured of its kind and number format; None where that was not."""
    kernels = machine.measured.get(op.form.name)
    if kernels is None:
        return None
    match op.shape:
        case GemmShape():
            return _gemm_time(op, op.shape, kernels.gemm, machine, on_chip)
        case AttentionShape():
            attention = kernels.attention
            return None if attention is None else _attention_time(op, op.shape, attention, machine, on_chip)
        case ExpertShape():
            return _expert_time(op, op.shape, kernels, machine, on_chip)
        case _:
            small = kernels.small.get(op.name.rpartition(".")[2])
            if small is None:
                return None
            return _timed(op, small.law, small_factor(op.memory_bytes, small), machine, on_chip)


def _timed(
    op: Op, law: RoofLaw, factor: Array, machine: Machine, on_chip: Array, *, moved_bytes: Array | None = None
) -> MeasuredTime:
    bandwidth = bandwidth_at(law.memory_efficiency * machine.peak_bandwidth, machine, on_chip)
    memory = (op.memory_bytes if moved_bytes is None else moved_bytes) / bandwidth
    compute = op.flops / (law.flop_efficiency * machine.dense_rate(op.form))
    return MeasuredTime(
        time=factor * law_time(memory, compute, law), memory_time=factor * memory, compute_time=factor * compute
    )


def _gemm_time(op: Op, shape: GemmShape, gemm: MeasuredGemm, machine: Machine, on_chip: Array) -> MeasuredTime:
    factor = gemm_factor(shape.rows, shape.inputs, shape.outputs, gemm)
    return _timed(op, gemm.law, factor, machine, on_chip)


def _attention_time(
    op: Op, shape: AttentionShape, attention: MeasuredAttention, machine: Machine, on_chip: Array
) -> MeasuredTime:
    factor = attention_factor(
        sequences=shape.batch,
        kv_heads=shape.kv_heads,
        group=shape.group,
        head_size=shape.pair_flops / (4.0 * shape.kv_heads * shape.group),
        new_tokens=shape.new_tokens,
        read_tokens=shape.read_tokens,
        measured=attention,
    )
    one = _timed(op, attention.law, factor, machine, on_chip)
    heads = factor * attention.head_time * shape.batch * shape.kv_heads
    return dataclasses.replace(one, time=one.time + heads)


def _expert_time(
    op: Op, shape: ExpertShape, kernels: MeasuredKernels, machine: Machine, on_chip: Array
) -> MeasuredTime | None:
    r"""Experts one after another, each a product with its own rows, :math:`a\, t(r / a) + (a\, t_e + t_r) / 2` [s].

    A gated layer has two such products, each of which is given half of what the layer pays for its experts.
    """
    if kernels.expert_time is None:
        return None
    awake = np.maximum(shape.awake, 1e-9)
    own = dataclasses.replace(
        op,
        flops=op.flops / awake,
        weight_bytes=op.weight_bytes / awake,
        activation_bytes=op.activation_bytes / awake,
        shape=GemmShape(rows=np.maximum(shape.rows / awake, 1.0), inputs=shape.inputs, outputs=shape.outputs),
    )
    assert isinstance(own.shape, GemmShape)
    one = _gemm_time(own, own.shape, kernels.gemm, machine, on_chip)
    added = 0.5 * (awake * kernels.expert_time + (kernels.routing_time or 0.0))
    return MeasuredTime(
        time=awake * one.time + added, memory_time=awake * one.memory_time, compute_time=awake * one.compute_time
    )


def law_time(memory: Array, compute: Array, law: RoofLaw) -> Array:
    r"""Time of a kernel without its samples, :math:`t_0 + (t_m^p + t_c^p)^{1/p}` [s]."""
    return law.fixed_time + smooth_maximum(memory, compute, law.overlap_exponent)


def gemm_factor(rows: Array, inputs: float, outputs: float, measured: MeasuredGemm) -> Array:
    r"""Measured over law at m rows of a k x n matrix [1].

    Each measured shape gives its factor at m, interpolated in the logarithm of rows and held beyond the ends; the
    shapes together give that of k x n by `shape_weights`. At a measured point it is the measurement's own.

    Parameters
    ----------
    rows : m. [tokens] > 0, scalar or shape (points,)
    inputs, outputs : k and n. [1] >= 1
    """
    places = np.log(measured.rows)
    at = np.log(np.maximum(rows, 1e-9))
    logarithms = np.stack([np.interp(at, places, np.log(shape.factors)) for shape in measured.shapes])
    factor: Array = np.exp(np.tensordot(shape_weights(inputs, outputs, measured), logarithms, axes=1))
    return factor


def shape_weights(inputs: float, outputs: float, measured: MeasuredGemm) -> np.ndarray:
    r"""Weights by which measured shapes give the logarithm of the factor of another, shape (shapes,) [1].

    A plane in the logarithms of k and n, of least squares with its slopes held back, and on it what the nearest shapes
    depart from it, by weights :math:`d^{-2}` of the distance. Beyond the measured sizes the plane goes on level.
    """
    known = np.log([[shape.inputs, shape.outputs] for shape in measured.shapes])
    asked = np.clip(np.log([inputs, outputs]), known.min(axis=0), known.max(axis=0))
    middle = known.mean(axis=0)
    plane = np.column_stack([np.ones(len(known)), known - middle])
    held_back = np.diag([0.0, SLOPE_RIDGE, SLOPE_RIDGE])
    solved = np.linalg.solve(plane.T @ plane + held_back, plane.T)
    near = nearness((np.log([inputs, outputs]) - known).T, 2.0)
    on_plane = np.concatenate([[1.0], asked - middle]) @ solved
    weights: np.ndarray = on_plane + near @ (np.eye(len(known)) - plane @ solved)
    return weights


def nearness(offsets: np.ndarray, power: float) -> np.ndarray:
    """Weights of samples that sum to one, falling with a power of the distance [1].

    Parameters
    ----------
    offsets : of samples from what is asked, shape (features, samples) or with points last
    """
    apart = (offsets**2).sum(axis=0)
    weights = 1.0 / (apart + 1e-6) ** (0.5 * power)
    shares: np.ndarray = weights / weights.sum(axis=0)
    return shares


def attention_factor(
    *,
    sequences: Array,
    kv_heads: Array,
    group: Array,
    head_size: Array,
    new_tokens: Array,
    read_tokens: Array,
    measured: MeasuredAttention,
) -> Array:
    """Measured over law of attention, the mean of the samples by their nearness [1].

    Parameters
    ----------
    sequences : in the batch. [1] > 0, scalar or shape (points,), as all others
    kv_heads, group : on this device, and query heads of each. [1]
    head_size : elements of a key. [1]
    new_tokens, read_tokens : queries per sequence, and cached tokens that they read. [tokens] > 0
    """
    names = ("sequences", "kv_heads", "group", "head_size", "new_tokens", "read_tokens")
    asked = np.broadcast_arrays(sequences, kv_heads, group, head_size, new_tokens, read_tokens)
    known = np.array([[getattr(sample, name) for sample in measured.samples] for name in names])
    scales = np.array(ATTENTION_SCALES).reshape(-1, *[1] * (asked[0].ndim + 1))
    places = np.log(np.maximum(np.stack(asked), 1e-9))[:, None]
    offsets = scales * (places - np.log(known).reshape(*known.shape, *[1] * asked[0].ndim))
    factors = np.log([sample.factor for sample in measured.samples])
    factor: Array = np.exp(np.tensordot(factors, nearness(offsets, NEARNESS), axes=1))
    return factor


def small_factor(moved_bytes: Array, measured: MeasuredSmall) -> Array:
    """Measured over law of a small operation, interpolated in the logarithm of its bytes [1]."""
    at = np.log(np.maximum(moved_bytes, 1e-9))
    factor: Array = np.exp(np.interp(at, np.log(measured.moved_bytes), np.log(measured.factors)))
    return factor
