"""Constants of collectives from times measured on the device itself."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExchangeTime(Noun):
    """Time of one collective: all_reduce of a message, all_gather of a share, all_to_all of what a device deals."""

    op: str
    ranks: int
    message_bytes: float = quantity("B")
    time: float = quantity("s")


def link_bytes(one: ExchangeTime) -> float:
    """What each device sends over its link [B], as in `cost.all_reduce`."""
    match one.op:
        case "all_reduce":
            return 2.0 * (one.ranks - 1.0) / one.ranks * one.message_bytes
        case "all_gather":
            return (one.ranks - 1.0) * one.message_bytes
        case _:
            return (one.ranks - 1.0) / one.ranks * one.message_bytes


def latency_and_bandwidth(rows: Sequence[ExchangeTime]) -> tuple[float, float]:
    """Latency [s] and bandwidth [B/s] of the line of least relative errors through times over bytes sent."""
    sent, time = np.array([link_bytes(one) for one in rows]), np.array([one.time for one in rows])
    scaled = np.stack([np.ones(sent.size), sent], axis=1) / time[:, None]
    (latency, slope), *_ = np.linalg.lstsq(scaled, np.ones(sent.size), rcond=None)
    return max(float(latency), 0.1 * float(time.min())), 1.0 / max(float(slope), float((time / sent).min()) * 0.1)


def collective_law(rows: Sequence[ExchangeTime], bandwidth: float | None = None) -> tuple[CollectiveLaw, float]:
    """Law of the collectives, and the link's bandwidth to which its shares refer: the given one, or that of sums [B/s].

    Gathers stand in for exchanges that the library lacks.
    """
    found = {
        op: latency_and_bandwidth(own)
        for op in ("all_reduce", "all_gather", "all_to_all")
        if len(own := [one for one in rows if one.op == op]) >= 2
    }
    link = bandwidth or found["all_reduce"][1]

    def exchange(op: str) -> Exchange:
        latency, own = found.get(op) or found["all_reduce"]
        return Exchange(latency=latency, bandwidth_efficiency=min(own / link, 2.5))

    gather = exchange("all_gather")
    to_all = exchange("all_to_all") if "all_to_all" in found else gather
    return CollectiveLaw(bulk=exchange("all_reduce"), gather=gather, all_to_all=to_all), link
