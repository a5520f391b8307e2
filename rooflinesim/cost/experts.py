"""Time of the products of tokens with the matrices of their experts."""

import numpy as np

from rooflinesim.cost.roofline import smooth_maximum
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.workload.step import Array

GROUPED_BYTES = 2.0
"""Bytes of an element that is sorted, scattered or activated; kernels do so in 16 bits [B]."""


def padded_flops(flops: Array, rows: Array, awake: Array, tile: float) -> Array:
    r"""FLOPs of experts whose rows are padded to whole tiles, :math:`F (1 + a\, T / 2 r)` [FLOP].

    Every awake expert fills half a tile in vain on average; the jumps of single experts are smoothed away.

    Parameters
    ----------
    flops : F, without padding. [FLOP]
    rows : r, pairs of a token and an expert. [tokens] >= 0
    awake : a, experts among them. [1]
    tile : T, rows of a tile. [tokens]
    """
    return flops * (1.0 + 0.5 * tile * awake / np.maximum(rows, 1e-9))


def grouping_time(remote_rows: Array, rows: Array, features: Array, bandwidth: Array, law: ExpertLaw) -> Array:
    r"""Time to sort, scatter and activate the rows around a product [s].

    .. math:: c \cdot (r + s\, r_{remote}) \cdot (in + out) \cdot 2 / BW
    """
    touched = rows + law.remote_share * remote_rows
    return law.grouping_passes * GROUPED_BYTES * touched * features / bandwidth


def expert_time(
    *,
    rows: Array,
    remote_rows: Array,
    awake: Array,
    inputs: Array,
    outputs: Array,
    weight_bytes: Array,
    activation_bytes: Array,
    flops: Array,
    bandwidth: Array,
    flop_rate: Array,
    law: ExpertLaw,
    clock_rate: Array | None = None,
) -> Array:
    r"""Time of one product of tokens with the matrices of one device's awake experts [s].

    .. math::
        t = t_0 + t_k\, in + \left(\left(\frac{Q_w \max(1, 1/a) + Q_a}{\eta\, BW}\right)^p
        + \left(\frac{F_{padded}}{\phi\, P}\right)^p\right)^{1/p} + t_{grouping}

    A layer waits for a rank with a token: where fewer than one expert of a device is awake on average, one is
    taken. Rises with rows and with awake experts, and is at least each roof. A layer is the sum of its products;
    gate and up are one. Neglected: how unevenly the rows fall on experts and on ranks, jumps at whole tiles and
    at switches between kernels, and that experts which stay in the last cache are not read again (give a
    higher bandwidth).

    Parameters
    ----------
    rows : r, pairs of a token and an expert of this device. [tokens] > 0, scalar or shape (points,)
    remote_rows : pairs whose expert another rank holds. [tokens] >= 0, same shape
    awake : a, expected experts of this device that some token chose. [1] > 0, same shape
    inputs, outputs : features of one expert's matrix on this device. [1]
    weight_bytes, activation_bytes : Q_w of all awake experts, Q_a read and written. [B]
    flops : F, without padding. [FLOP]
    bandwidth, flop_rate : BW and P of the datasheet. [B/s], [FLOP/s]
    law : constants of the kernel
    clock_rate : of the device, in whose cycles the law's times pass; None takes them as they are. [Hz]

    References
    ----------
    .. [1] Form chosen on the measured fused layers of ai-dynamo/aiconfigurator, commit 095f58a.
    """
    read_bytes = weight_bytes * np.maximum(1.0, 1.0 / np.maximum(awake, 1e-9))
    memory = (read_bytes + activation_bytes) / (law.memory_efficiency * bandwidth)
    compute = padded_flops(flops, rows, awake, law.tile) / (law.flop_efficiency * flop_rate)
    streamed = smooth_maximum(memory, compute, law.overlap_exponent)
    grouping = grouping_time(remote_rows, rows, inputs + outputs, bandwidth, law)
    cycles = 1.0 if clock_rate is None else law.reference_clock_rate / clock_rate
    return (law.fixed_time + law.depth_time * inputs) * cycles + streamed + grouping
