"""A capacity plan: the best fleets for a demand, what they cost and draw, and what else there is to know."""

import dataclasses
from collections.abc import Sequence

from rooflinesim.analysis.capacity.candidates import Candidate, DraftsOf, Rejection, Site, candidates
from rooflinesim.analysis.capacity.costs import TokenPrices, token_prices
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.energy import Energy, energy_of
from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.capacity.frontier import FrontierPoint, ScalingPoint, frontier, scaling
from rooflinesim.analysis.capacity.layouts import Layout
from rooflinesim.analysis.capacity.limits import Miss, least_floor, longer_targets, nearest_rejection
from rooflinesim.analysis.capacity.search import Found, search
from rooflinesim.analysis.capacity.sensitivity import Change, changes, head_room
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

LONGER = (1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
"""Multiples of an engine's least times that are tried as targets where those asked for are out of reach [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Planned(Noun):
    """One fleet of a plan; `head_room` is the largest multiple of the traffic with which it still meets the targets."""

    choice: Choice
    prices: TokenPrices
    energy: Energy
    head_room: float = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plan(Noun):
    """The cheapest fleets that meet a demand, the cheapest first, and `surest`, the cheapest that surely does.

    Without any, `nearest` is what comes nearest. `rejected` are the engines that are in none of the fleets, with what
    binds them. `looked_at` of `variants` engines with their drafts had their fleets solved; the others cannot beat
    those found.
    """

    demand: Demand
    fleets: tuple[Planned, ...]
    surest: Planned | None
    nearest: Miss | None
    rejected: tuple[Rejection, ...]
    frontier: tuple[FrontierPoint, ...]
    scaling: tuple[ScalingPoint, ...]
    changes: tuple[Change, ...]
    candidates: int = quantity("1")
    variants: int = quantity("1")
    looked_at: int = quantity("1")


def plan(
    sites: Sequence[Site],
    layouts: Sequence[Layout],
    demand: Demand,
    *,
    drafts_of: DraftsOf | None = None,
    top: int = 5,
) -> Plan:
    """The cheapest fleets of a model for a demand.

    Parameters
    ----------
    sites : kinds of devices, stacks and formats, all of one model
    layouts : of a replica
    drafts_of : what a deployment may draft with besides nothing
    top : engines whose cheapest fleet is shown. [1] >= 1
    """
    load = demand.load
    possible, refused = candidates(
        sites,
        layouts,
        context=load.prompt_tokens + load.output_tokens,
        maximum_devices=demand.maximum_devices,
        drafts_of=drafts_of,
    )
    found = search(possible, demand, top=top)

    def planned(choice: Choice) -> Planned:
        return Planned(
            choice=choice,
            prices=token_prices(choice, load),
            energy=energy_of(choice, load),
            head_room=head_room(choice, demand),
        )

    shown = _one_each(found.fleets)[:top]
    surest = next((one for one in found.fleets if one.verdict == "surely"), None)
    best = shown[0] if shown else None
    return Plan(
        demand=demand,
        fleets=tuple(planned(one) for one in shown),
        surest=planned(surest) if surest else None,
        nearest=None if shown else _nearest_miss(found, (*refused, *found.rejected), demand),
        rejected=(*refused, *found.rejected),
        frontier=frontier(found.bounds, load) if found.bounds else (),
        scaling=scaling(found.bounds, best.candidate, float(best.state.running[0])) if best else (),
        changes=changes(found.fleets, demand, drafts_of=drafts_of) if shown else (),
        candidates=len(possible) + len(refused),
        variants=found.variants,
        looked_at=found.looked_at,
    )


def _nearest_miss(found: Found, rejected: Sequence[Rejection], demand: Demand) -> Miss:
    """What comes nearest, and a fleet that would do with more devices or longer targets."""
    engines = [own.candidate for own in found.bounds]
    nearest = nearest_rejection(rejected)
    floor, candidate = least_floor(found.bounds)
    relaxed, targets = None, demand.targets
    if demand.maximum_devices is not None or demand.replicas:
        relaxed = _first(engines, dataclasses.replace(demand, maximum_devices=None, replicas=()))
    if relaxed is None and nearest is not None and nearest.metric is not None:
        own = next(one for one in found.bounds if _is_at(one.candidate, nearest))
        for room in LONGER:
            targets = longer_targets(own, demand, room)
            relaxed = _first([own.candidate], dataclasses.replace(demand, targets=targets))
            if relaxed is not None:
                break
    return Miss(rejection=nearest, relaxed=relaxed, targets=targets, floor=floor, floor_candidate=candidate)


def _first(engines: Sequence[Candidate], demand: Demand) -> Choice | None:
    fleets = search(engines, demand, top=1).fleets
    return fleets[0] if fleets else None


def _is_at(candidate: Candidate, rejection: Rejection) -> bool:
    return candidate.site is rejection.site and candidate.layout == rejection.layout


def _one_each(fleets: Sequence[Choice]) -> list[Choice]:
    """The cheapest fleet of every engine and way to serve prompts."""
    kept: dict[tuple[int, bool], Choice] = {}
    for one in fleets:
        kept.setdefault((id(one.candidate), one.prefill is None), one)
    return list(kept.values())
