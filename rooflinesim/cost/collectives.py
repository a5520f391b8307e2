"""Time of collectives among the devices that share a layer, and of what devices send each other."""

import math

import numpy as np

from rooflinesim.workload.step import Array


def ring_time(ranks: Array, message_bytes: Array, latency: Array, bandwidth: Array) -> Array:
    r"""All-reduce around a ring, :math:`2 (t - 1) \ell + 2 \frac{t - 1}{t} m / bw` [s].

    Parameters
    ----------
    ranks : t, devices. [1] >= 1
    message_bytes : m, bytes that each device holds. [B]
    latency : fixed time of one stage. [s]
    bandwidth : of one device in one direction. [B/s]
    """
    return 2.0 * (ranks - 1.0) * latency + 2.0 * (ranks - 1.0) / ranks * message_bytes / bandwidth


def one_shot_time(ranks: Array, message_bytes: Array, latency: Array, bandwidth: Array) -> Array:
    r"""All-reduce in which every device reads all others, :math:`\ell + (t - 1) m / bw` [s].

    References
    ----------
    .. [1] flashinfer documentation of its all-reduce kernels.
    """
    return latency + (ranks - 1.0) * message_bytes / bandwidth


def two_shot_time(ranks: Array, message_bytes: Array, latency: Array, bandwidth: Array) -> Array:
    r"""All-reduce as reduce-scatter and all-gather, :math:`2 \ell + 2 \frac{t - 1}{t} m / bw` [s].

    References
    ----------
    .. [1] flashinfer documentation of its all-reduce kernels.
    """
    return 2.0 * latency + 2.0 * (ranks - 1.0) / ranks * message_bytes / bandwidth


def in_switch_time(ranks: Array, message_bytes: Array, latency: Array, bandwidth: Array) -> Array:
    r"""All-reduce summed inside the switch, :math:`\ell + (1 + 1/t) m / bw` [s]."""
    return latency + (1.0 + 1.0 / ranks) * message_bytes / bandwidth


def two_shot_from_bytes(ranks: int, latency: float, bandwidth: float) -> float:
    r"""Message from which two-shot beats one-shot, :math:`\ell\, bw\, t / ((t - 1)(t - 2))` [B]."""
    return math.inf if ranks < 3 else latency * bandwidth * ranks / ((ranks - 1) * (ranks - 2))


def best_ring_ranks(single_device_time: Array, layers: int, latency: float) -> Array:
    r"""Devices beyond which rings of two all-reduces per layer cost more than they save [1].

    .. math:: t^* = \sqrt{X / (4 L \ell)}

    the minimum of X/t + 4 L (t - 1) l, messages neglected.
    """
    return np.sqrt(single_device_time / (4.0 * layers * latency))


def busiest_rank_tokens(tokens: Array, active_experts: int, ranks: int) -> Array:
    r"""Estimate of the tokens on the busiest of the expert-parallel ranks, uniform routing [tokens].

    .. math:: \mu + \sqrt{2 \mu (1 - 1/R) \ln R}, \qquad \mu = n k / R
    """
    mean = tokens * active_experts / ranks
    return mean + np.sqrt(2.0 * mean * (1.0 - 1.0 / ranks) * math.log(ranks))


def pipeline_bubble(stages: Array, micro_batches: Array) -> Array:
    """Share of time in which pipeline stages wait, :math:`(p - 1) / (m + p - 1)` [1]."""
    return (stages - 1.0) / (micro_batches + stages - 1.0)
