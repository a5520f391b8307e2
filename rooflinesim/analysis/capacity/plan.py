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
from rooflinesim.analysis.capacity.limits import Miss, nearest_miss
from rooflinesim.analysis.capacity.search import search
from rooflinesim.analysis.capacity.sensitivity import Change, changes, head_room
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


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
        nearest=None if shown else nearest_miss(found.bounds, (*refused, *found.rejected), _relaxed(possible, demand)),
        rejected=(*refused, *found.rejected),
        frontier=frontier(found.bounds, load) if found.bounds else (),
        scaling=scaling(found.bounds, best.candidate, float(best.state.running[0])) if best else (),
        changes=changes(found.fleets, demand, drafts_of=drafts_of) if shown else (),
        candidates=len(possible) + len(refused),
        variants=found.variants,
        looked_at=found.looked_at,
    )


def _relaxed(possible: Sequence[Candidate], demand: Demand) -> Choice | None:
    """The cheapest fleet of as many replicas as it takes, where the demand limits their number."""
    if demand.maximum_devices is None and not demand.replicas:
        return None
    found = search(possible, dataclasses.replace(demand, maximum_devices=None, replicas=()), top=1)
    return found.fleets[0] if found.fleets else None


def _one_each(fleets: Sequence[Choice]) -> list[Choice]:
    """The cheapest fleet of every engine and way to serve prompts."""
    kept: dict[tuple[int, bool], Choice] = {}
    for one in fleets:
        kept.setdefault((id(one.candidate), one.prefill is None), one)
    return list(kept.values())
