"""Time of a matrix multiplication of few or many rows by one weight matrix."""

import dataclasses

import numpy as np

from rooflinesim.cost.roofline import compute_time, memory_time, smooth_maximum
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw
from rooflinesim.workload.step import Array

CORE_EXPONENT = 3.0
"""Order of the smooth maximum of streaming weights at the device's bandwidth and at the pace of one core."""


def gemm_time(
    *,
    rows: Array,
    inputs: Array,
    outputs: Array,
    weight_bytes: Array,
    activation_bytes: Array,
    bandwidth: Array,
    flop_rate: Array,
    cores: float | None,
    law: GemmLaw,
) -> Array:
    r"""Time to multiply m rows of k inputs by a k x n weight matrix, once [s].

    .. math:: t = t_0 + t_s \sigma + \max(t_c, t_m) + \epsilon \min(t_c, t_m)

    with :math:`t_m = Q_w (1 + \lambda \iota) / BW + Q_a / BW` the time of the bytes, :math:`t_c = 2 m_c k n / P` that
    of the FLOPs of the rows that are computed, :math:`\sigma` how far the inputs are split and :math:`\iota` the
    ratio of idle to busy cores. Where kernels never split, the first
    term of :math:`t_m` is smoothly at least k times the law's input time. Non-decreasing in rows; never
    below the time of its bytes or of its FLOPs.

    Parameters
    ----------
    rows : m, tokens multiplied at once. [tokens] >= 0, scalar or shape (points,)
    inputs, outputs : k and n of the weight matrix. [1] >= 1
    weight_bytes : :math:`Q_w`, bytes of the matrix. [B] >= 0
    activation_bytes : :math:`Q_a`, bytes of the inputs read and the outputs written. [B] >= 0
    bandwidth : BW, achievable. [B/s] > 0
    flop_rate : P, achievable rate of the math in use. [FLOP/s] > 0
    cores : that share the tiles; None leaves splitting and idle cores out. [1]
    law : its times are those of the device's clock, see `law_at_clock`

    Neglected: which tile the library picks, partly filled columns of tiles, weights that stay on chip.

    References
    ----------
    .. [1] ai-dynamo/aiconfigurator, commit 095f58a, GEMM tables of A100, H100, L40S and B200: for 1 to 64 rows of
       bf16 the form errs by 3.1 to 6.3 % with constants of the device, 4.7 to 8.8 % with those of the other three.
    """
    flops_per_row = 2.0 * inputs * outputs
    idle = idle_core_ratio(inputs, outputs, cores, law)
    streamed = memory_time(weight_bytes * (1.0 + law.idle_core_loss * idle), bandwidth)
    weights = smooth_maximum(streamed, law.input_time * inputs, CORE_EXPONENT)
    memory = weights + memory_time(activation_bytes, bandwidth)
    compute = compute_time(flops_per_row * computed_rows(rows, law), flop_rate)
    fixed = law.fixed_time + law.split_time * split_share(inputs, outputs, cores, law)
    time: Array = fixed + np.maximum(compute, memory) + law.exposed_share * np.minimum(compute, memory)
    return time


def whole_steps(rows: Array, step: float) -> Array:
    """Rows rounded up to whole steps [tokens]; steps of one row leave means of rows as they are."""
    return np.ceil(rows / step) * step if step > 1 else rows


def computed_rows(rows: Array, law: GemmLaw) -> Array:
    """Rows that are computed, the empty ones of steps and tiles included [tokens].

    Up to `vector_rows` kernels work row by row. Within one tile only the steps that hold rows are computed; from
    the second on, whole tiles.
    """
    first = np.minimum(whole_steps(rows, law.row_step), law.tile_rows)
    padded = np.where(rows <= law.tile_rows, first, whole_steps(rows, law.tile_rows))
    computed: Array = np.where(rows <= law.vector_rows, rows, padded)
    return computed


def column_tiles(outputs: Array, law: GemmLaw) -> Array:
    """Tiles side by side in one row of tiles [1]."""
    return np.ceil(outputs / law.tile_outputs)


def split_share(inputs: Array, outputs: Array, cores: float | None, law: GemmLaw) -> Array:
    r"""How far inputs must be split to occupy the cores, :math:`1 - \max(T / S, k_0 / k)` and not below 0 [1].

    T is the tiles of one row of tiles, S the cores, :math:`k_0` the fewest inputs of a part. A matrix split into many
    parts costs the full time of summing them, one that occupies the cores by itself, or has too few inputs to
    split, none. Zero where kernels never split.
    """
    if cores is None or np.any(np.asarray(law.input_time) > 0):
        return 0.0
    whole = np.maximum(column_tiles(outputs, law) / cores, law.split_inputs / inputs)
    return 1.0 - np.minimum(whole, 1.0)


def idle_core_ratio(inputs: Array, outputs: Array, cores: float | None, law: GemmLaw) -> Array:
    r"""Idle over busy cores while one row of tiles streams the weights, :math:`\lceil T s/S \rceil S/(T s) - 1` [1].

    T is the tiles, S the cores and s the whole number of parts that the inputs are split into to occupy them.
    Where kernels never split, only a last partial round of tiles counts: `input_time` covers fewer tiles.
    """
    if cores is None:
        return 0.0
    tiles = column_tiles(outputs, law)
    most_parts = np.maximum(1.0, inputs / law.split_inputs)
    parts = np.floor(np.clip(cores / tiles, 1.0, most_parts))
    never_splits = np.any(np.asarray(law.input_time) > 0)
    busy = np.maximum(tiles, cores) if never_splits else tiles * parts
    ratio: Array = np.ceil(busy / cores) * cores / busy - 1.0
    return ratio


def law_at_clock(law: GemmLaw, clock_rate: float | None) -> GemmLaw:
    """The law of a device of another clock, its fixed times a number of cycles; unchanged where none is known."""
    if clock_rate is None:
        return law
    scale = law.reference_clock_rate / clock_rate
    return dataclasses.replace(
        law,
        fixed_time=law.fixed_time * scale,
        split_time=law.split_time * scale,
        input_time=law.input_time * scale,
        reference_clock_rate=clock_rate,
    )


def quantization_time(rows: Array, inputs: Array, bandwidth: Array, law: QuantizationLaw) -> Array:
    r"""Time of the kernels that narrow the activations of one matrix multiplication [s].

    .. math:: t = t_q + b\, m\, k / BW

    Parameters
    ----------
    rows : m, tokens. [tokens] >= 0, scalar or shape (points,)
    inputs : k, values per token. [1] >= 1
    bandwidth : BW, achievable. [B/s] > 0
    law : :math:`t_q`, the fixed time of the engine's kernels, and b, the bytes they move per value

    References
    ----------
    .. [1] ai-dynamo/aiconfigurator, commit 095f58a, fp8 GEMM tables of vLLM, TensorRT-LLM and SGLang.
    """
    return law.fixed_time + memory_time(law.value_bytes * rows * inputs, bandwidth)
