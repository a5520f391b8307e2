"""Time of collectives from a library's measured constants."""

import numpy as np

from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.workload.step import Array


def exchange_time(
    ranks: Array, link_bytes: Array, message_bytes: Array, bandwidth: Array, exchange: Exchange, sharing: float
) -> Array:
    r"""Time of one algorithm [s].

    .. math:: \ell_2 + (t - 2)\, \ell_r + \frac{(m_{link} + c\, m) (t - 1)^s}{e\, W}

    Parameters
    ----------
    ranks : t, devices. [1] >= 2
    link_bytes : m_link, what each device sends over its link. [B]
    message_bytes : m, the message that copies inside the device pass over. [B]
    bandwidth : W, of one device in one direction. [B/s]
    exchange : latencies, e and c
    sharing : s, the power by which ranks share one host. [1]
    """
    moved = (link_bytes + exchange.copies * message_bytes) * (ranks - 1.0) ** sharing
    latency = exchange.latency + (ranks - 2.0) * exchange.rank_latency
    return latency + moved / (exchange.bandwidth_efficiency * bandwidth)


def allowed_time(time: Array, ranks: Array, message_bytes: Array, exchange: Exchange) -> Array:
    """Time where the library uses the algorithm for the message, else infinity [s]."""
    limit = np.inf if exchange.limit is None else exchange.limit
    gathered = np.inf if exchange.gathered_limit is None else exchange.gathered_limit
    fits = (message_bytes < limit) & ((message_bytes * ranks < gathered) | (np.asarray(ranks) == 2))
    return np.where(fits, time, np.inf)


def all_reduce_law_time(ranks: Array, message_bytes: Array, bandwidth: Array, law: CollectiveLaw) -> Array:
    r"""Time to sum a message over ranks by the fastest algorithm that takes its size; zero for one rank [s].

    One-shot sends :math:`(t - 1) m` from each device, two-shot and bulk :math:`2 (t - 1)/t \cdot m`. Rises with
    the message. Neglected: that a library keeps to an algorithm after another has become faster, other than by
    its stated limits.

    Parameters
    ----------
    ranks : t, devices. [1] >= 1, scalar or shape (points,)
    message_bytes : m, bytes that each device holds. [B] scalar or shape (points,)
    bandwidth : of one device in one direction, from the datasheet. [B/s]
    law : constants of the library on this kind of link

    References
    ----------
    .. [1] Measured on the tables of ai-dynamo/aiconfigurator, commit 095f58a, and microsoft/vidur.
    """
    several = np.maximum(ranks, 2.0)
    halves = 2.0 * (several - 1.0) / several * message_bytes
    time = exchange_time(several, halves, message_bytes, bandwidth, law.bulk, law.sharing)
    for exchange, link_bytes in ((law.one_shot, (several - 1.0) * message_bytes), (law.two_shot, halves)):
        if exchange is not None:
            own = exchange_time(several, link_bytes, message_bytes, bandwidth, exchange, law.sharing)
            time = np.minimum(time, allowed_time(own, several, message_bytes, exchange))
    return np.where(np.asarray(ranks) > 1, time, 0.0)


def gather_law_time(ranks: Array, share_bytes: Array, bandwidth: Array, law: CollectiveLaw) -> Array:
    r"""Time to give every rank the shares of all, or to sum and scatter them; zero for one rank [s].

    Each device sends :math:`(t - 1)` shares; the whole message is t of them.
    """
    several = np.maximum(ranks, 2.0)
    sent = (several - 1.0) * share_bytes
    time = exchange_time(several, sent, several * share_bytes, bandwidth, law.gather, law.sharing)
    return np.where(np.asarray(ranks) > 1, time, 0.0)


def all_to_all_law_time(ranks: Array, sent_bytes: Array, bandwidth: Array, law: CollectiveLaw) -> Array:
    """Time in which every rank sends bytes of its own to the others, spread evenly; zero for one rank [s]."""
    several = np.maximum(ranks, 2.0)
    message = sent_bytes * several / (several - 1.0)
    time = exchange_time(several, sent_bytes, message, bandwidth, law.all_to_all, law.sharing)
    return np.where(np.asarray(ranks) > 1, time, 0.0)
