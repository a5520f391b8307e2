"""What would change the answer: more traffic, other prices, faster memory, better drafts; and how much traffic more."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rooflinesim.analysis.capacity.candidates import Candidate, DraftsOf
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.fleets import Choice, Tables
from rooflinesim.analysis.capacity.objectives import excess, worst
from rooflinesim.analysis.capacity.search import search
from rooflinesim.analysis.serving.load import Drafts
from rooflinesim.analysis.serving.steady import steady_state
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

CHANGE = 0.1
"""Share by which each thing is changed [1]."""

CONTENDERS = 4
"""Cheapest fleets, each of another layout or device, that are asked again under every change."""

MOST_HEAD_ROOM = 64.0
"""Multiple of the traffic up to which head-room is looked for [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Change(Noun):
    """The cheapest of the contenders when one thing is `factor` times what it is; None where none meets the targets.

    `is_same` says whether it runs on the same devices in the same layout as before.
    """

    what: str
    factor: float = quantity("1")
    choice: Choice | None
    is_same: bool


def head_room(choice: Choice, demand: Demand) -> float:
    """Largest multiple of the traffic with which a fleet still meets the targets by the prediction [1]; 0 if none."""
    tables = Tables(demand.load)
    largest = int(choice.policy.batch_limit or choice.state.batch_cap[0])
    decode = tables.decode(choice.candidate, choice.drafts, largest)
    times = tables.engine(choice.candidate, choice.drafts, decode, choice.policy.chunk_tokens)
    if choice.prefill is not None:
        times = dataclasses.replace(times, elsewhere=tables.prompts(choice.prefill, choice.drafts))

    def meets(multiples: np.ndarray) -> np.ndarray:
        state = steady_state(choice.fleet, demand.scaled(multiples), choice.policy, choice.drafts, times)
        return worst(excess(state, demand.targets))[0] <= 1.0

    low, high = 1.0 / MOST_HEAD_ROOM, MOST_HEAD_ROOM
    for _ in range(3):
        multiples = np.geomspace(low, high, 40)
        met = meets(multiples)
        if met.all():
            return float(high)
        if not met[0]:
            return 0.0
        last = int(np.argmin(met)) - 1
        low, high = float(multiples[last]), float(multiples[last + 1])
    return low


def changes(fleets: Sequence[Choice], demand: Demand, *, drafts_of: DraftsOf | None = None) -> tuple[Change, ...]:
    """The cheapest fleet under each change of traffic, memory bandwidth, price and acceptance, 10 % up and down.

    Parameters
    ----------
    fleets : that meet the demand, the cheapest first, at least one
    drafts_of : what a deployment may draft with
    """
    contenders: list[Candidate] = []
    for choice in fleets:
        own = dataclasses.replace(choice.candidate, drafts=tuple(dict.fromkeys((None, choice.drafts))))
        if all(one.deployment != own.deployment for one in contenders) and len(contenders) < CONTENDERS:
            contenders.append(own)
        if choice.prefill is not None and all(one.deployment != choice.prefill.deployment for one in contenders):
            contenders.append(choice.prefill)
    best = fleets[0]
    found = []
    for what, vary in _variations(best, demand, drafts_of):
        for factor in (1.0 + CHANGE, 1.0 - CHANGE):
            varied, asked = vary(contenders, factor)
            answer = search(varied, asked, top=1).fleets
            first = answer[0] if answer else None
            is_same = first is not None and _is_same(first, best)
            found.append(Change(what=what, factor=factor, choice=first, is_same=is_same))
    return tuple(found)


Variation = Callable[[Sequence[Candidate], float], tuple[list[Candidate], Demand]]


def _variations(best: Choice, demand: Demand, drafts_of: DraftsOf | None) -> Iterator[tuple[str, Variation]]:
    yield "traffic", lambda those, factor: (list(those), dataclasses.replace(demand, load=demand.scaled(factor)))
    yield "memory bandwidth", lambda those, factor: ([_faster(one, factor, drafts_of) for one in those], demand)
    hardware = best.candidate.site.hardware
    if best.candidate.site.price is not None:
        yield (
            f"price of {best.candidate.site.names['hardware']}",
            lambda those, factor: (
                [_dearer(one, factor) if one.site.hardware is hardware else one for one in those],
                demand,
            ),
        )
    if any(one is not None and one.acceptance.value is not None for one in best.candidate.drafts):
        yield "acceptance", lambda those, factor: ([_accepted(one, factor) for one in those], demand)


def _faster(one: Candidate, factor: float, drafts_of: DraftsOf | None) -> Candidate:
    hardware = dataclasses.replace(one.site.hardware, memory_bandwidth=factor * one.site.hardware.memory_bandwidth)
    deployment = dataclasses.replace(one.deployment, hardware=hardware)
    lengths = {drafts.draft_length for drafts in one.drafts if drafts is not None}
    drafts = [new for new in drafts_of(deployment) if new.draft_length in lengths] if drafts_of and lengths else []
    return dataclasses.replace(one, deployment=deployment, drafts=(None, *drafts))


def _dearer(one: Candidate, factor: float) -> Candidate:
    return dataclasses.replace(one, site=dataclasses.replace(one.site, price=factor * (one.site.price or 0.0)))


def _accepted(one: Candidate, factor: float) -> Candidate:
    def changed(drafts: Drafts | None) -> Drafts | None:
        if drafts is None or drafts.acceptance.value is None:
            return drafts
        value = factor * np.asarray(drafts.acceptance.value)
        is_rate = drafts.acceptance.kind in ("conditional", "drafted")
        acceptance = dataclasses.replace(drafts.acceptance, value=float(np.minimum(value, 1.0) if is_rate else value))
        return dataclasses.replace(drafts, acceptance=acceptance)

    return dataclasses.replace(one, drafts=tuple(changed(drafts) for drafts in one.drafts))


def _is_same(one: Choice, other: Choice) -> bool:
    def place(choice: Choice) -> tuple[object, ...]:
        own, prefill = choice.candidate, choice.prefill
        return (dict(own.site.names), own.layout, choice.drafts is None, prefill.layout if prefill else None)

    return place(one) == place(other)
