"""Speed for each user against work per device and cost: what engines reach at every batch, prompts included."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.capacity.bounds import BATCHES, Bounds
from rooflinesim.analysis.capacity.candidates import Candidate
from rooflinesim.analysis.pareto import unbeaten
from rooflinesim.analysis.serving.load import Drafts, Load
from rooflinesim.analysis.serving.queueing import request_rate, usd_per_million_tokens
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FrontierPoint(Noun):
    """An engine that runs a batch all the time, each request with its prompt.

    `is_most_per_device` marks points that none beats in both rates, `is_cheapest` those that none beats in speed and
    cost. The cost is that of a million output tokens, prompts included.
    """

    candidate: Candidate
    drafts: Drafts | None
    batch: int = quantity("1")
    tokens_per_s_per_user: float = quantity("tokens/s", column="tokens_per_s_per_user")
    tokens_per_s_per_device: float = quantity("tokens/s", column="tokens_per_s_per_device")
    cost_per_million: float | None = quantity("USD", column="usd_per_million_output_tokens")
    is_most_per_device: bool
    is_cheapest: bool


def frontier(bounds: Sequence[Bounds], load: Load) -> tuple[FrontierPoint, ...]:
    """Points that are worth running, the fastest for each user first.

    Whole prompts stop decoding for as long as they take: a request gets a token every
    :math:`\\tau(b) + b T_p / n` seconds.
    """
    decoded = max(load.decoded_tokens, 1.0)
    own, place, batch = (
        np.concatenate(parts) for parts in zip(*(_places(index, one) for index, one in enumerate(bounds)), strict=True)
    )
    time = np.array([bounds[i].step_time[j, k] for i, j, k in zip(own, place, batch, strict=True)])
    prompt = np.array([one.prompt_time for one in bounds])[own]
    devices = np.array([float(one.candidate.layout.devices) for one in bounds])[own]
    prices = np.array([np.nan if one.candidate.site.price is None else one.candidate.site.price for one in bounds])[own]
    requests = BATCHES[batch]
    rate = np.asarray(request_rate(requests, decoded, time, prompt)) * decoded
    per_user, per_device = rate / requests, rate / devices
    cost = np.asarray(usd_per_million_tokens(prices, per_device))
    most, cheapest = unbeaten(per_user, per_device), unbeaten(per_user, -cost)
    cheapest &= ~np.isnan(cost)
    kept = np.flatnonzero(most | cheapest)
    return tuple(
        FrontierPoint(
            candidate=bounds[own[i]].candidate,
            drafts=bounds[own[i]].candidate.drafts[place[i]],
            batch=int(requests[i]),
            tokens_per_s_per_user=float(per_user[i]),
            tokens_per_s_per_device=float(per_device[i]),
            cost_per_million=None if np.isnan(cost[i]) else float(cost[i]),
            is_most_per_device=bool(most[i]),
            is_cheapest=bool(cheapest[i]),
        )
        for i in kept[np.argsort(-per_user[kept])]
    )


def _places(index: int, one: Bounds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the points that fit into memory: of the engine, its draft, and the batch."""
    place, batch = np.nonzero(BATCHES[np.newaxis, :] <= one.fitting[:, np.newaxis])
    return np.full(place.shape, index), place, batch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScalingPoint(Noun):
    """The fastest way to spread a replica over so many devices, at one batch: where more devices stop helping.

    `speedup` compares with the fewest devices, `per_device` is the rate of one device over that of those.
    """

    candidate: Candidate
    devices: int = quantity("1")
    batch: int = quantity("1")
    step_time: float = quantity("s")
    speedup: float = quantity("1")
    per_device: float = quantity("1")


def scaling(bounds: Sequence[Bounds], chosen: Candidate, batch: float) -> tuple[ScalingPoint, ...]:
    """Plain decode steps of the fastest layout of every number of devices of a site."""
    place = int(np.argmin(np.abs(np.log(BATCHES) - np.log(max(batch, 1.0)))))
    fastest: dict[int, Bounds] = {}
    for one in bounds:
        if one.candidate.site is not chosen.site or one.fitting[0] < BATCHES[place]:
            continue
        devices = one.candidate.layout.devices
        if devices not in fastest or one.step_time[0, place] < fastest[devices].step_time[0, place]:
            fastest[devices] = one
    found: list[ScalingPoint] = []
    for devices, one in sorted(fastest.items()):
        time = float(one.step_time[0, place])
        first_devices, first = (found[0].devices, found[0].step_time) if found else (devices, time)
        found.append(
            ScalingPoint(
                candidate=one.candidate,
                devices=devices,
                batch=int(BATCHES[place]),
                step_time=time,
                speedup=first / time,
                per_device=first / time * first_devices / devices,
            )
        )
    return tuple(found)
