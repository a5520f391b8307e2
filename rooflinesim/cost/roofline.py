"""The equations of a kernel's time on one device."""

import numpy as np

from rooflinesim.errors import DomainError
from rooflinesim.workload.step import Array


def memory_time(moved_bytes: Array, bandwidth: Array) -> Array:
    """Time to move bytes through a memory [s]."""
    return moved_bytes / bandwidth


def compute_time(flops: Array, flop_rate: Array) -> Array:
    """Time to do FLOPs at a rate [s]."""
    return flops / flop_rate


def ridge_intensity(flop_rate: Array, bandwidth: Array) -> Array:
    """Intensity at which compute and memory time are equal [FLOP/B].

    References
    ----------
    .. [1] Austin et al. How to Scale Your Model. 2025, chapter "All About Rooflines".
    """
    return flop_rate / bandwidth


def smooth_maximum(first: Array, second: Array, exponent: float | None) -> Array:
    r"""Time of two overlapping activities, :math:`(t_1^p + t_2^p)^{1/p}` [s].

    The sharp maximum for exponent None. Between the larger of the two and their sum for p >= 1.

    Parameters
    ----------
    first, second : times. [s] >= 0, scalar or shape (points,)
    exponent : p, order of the norm. [1] >= 1, or None for infinity

    Raises
    ------
    DomainError : if the exponent is below 1.
    """
    larger = np.maximum(first, second)
    if exponent is None:
        return larger
    if exponent < 1:
        raise DomainError(f"overlap exponent {exponent:g} is below 1: two activities cannot take more than their sum")
    smaller = np.minimum(first, second)
    ratio = smaller / np.where(larger > 0, larger, 1.0)
    # A general power takes twenty times as long as a product.
    if exponent == 2.0:
        return larger * np.sqrt(1.0 + ratio * ratio)
    if exponent == 3.0:
        return larger * np.cbrt(1.0 + ratio * ratio * ratio)
    return larger * (1.0 + ratio**exponent) ** (1.0 / exponent)


def effective_bandwidth(bandwidth: Array, moved_bytes: Array, ramp_time: Array) -> Array:
    r"""Bandwidth that a kernel of M bytes reaches when filling the pipeline takes a ramp [B/s].

    .. math:: BW \frac{M}{M + BW\, t_0}
    """
    return bandwidth * moved_bytes / (moved_bytes + bandwidth * ramp_time)


def bytes_in_flight(bandwidth: Array, latency: Array) -> Array:
    """Bytes that must be on their way to keep a memory busy, by Little's law [B]."""
    return bandwidth * latency


def wave_efficiency(rows: Array, columns: Array, tile_rows: int, tile_columns: int, cores: int) -> Array:
    """Share of the cores that works when a matrix is cut into tiles and dealt in waves [1]."""
    tiles = np.ceil(rows / tile_rows) * np.ceil(columns / tile_columns)
    share: Array = tiles / (np.ceil(tiles / cores) * cores)
    return share


def clock_factor(power_limit: Array, idle_power: Array, memory_power: Array, core_power: Array) -> Array:
    r"""Share of its clock that a core keeps under a power limit, power growing with its cube [1].

    .. math:: \min\left(1, ((P_{limit} - P_{idle} - P_{mem}) / P_{core})^{1/3}\right)
    """
    left = np.maximum(0.0, power_limit - idle_power - memory_power)
    factor: Array = np.minimum(1.0, np.cbrt(left / core_power))
    return factor


def host_bound_time(device_time: Array, kernels: Array, launch_time: Array) -> Array:
    """Time of a step whose kernels the host launches one by one [s]."""
    return np.maximum(device_time, kernels * launch_time)
