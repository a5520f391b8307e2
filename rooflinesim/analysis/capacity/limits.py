"""Why a candidate is not among the fleets of a plan: what binds it, and by how much."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.capacity.bounds import Bounds
from rooflinesim.analysis.capacity.candidates import Candidate, Limit, Rejection
from rooflinesim.analysis.capacity.demand import LIGHTEST, Demand
from rooflinesim.analysis.capacity.fleets import Choice, judged
from rooflinesim.analysis.capacity.objectives import Targets
from rooflinesim.analysis.serving.times import decode_times, engine_times
from rooflinesim.analysis.speculation.speculate import emitted_tokens
from rooflinesim.analysis.timing import step_ops, step_traffic
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step


def limit_of(
    own: Bounds, miss: Choice | None, least_cost: float | None, demand: Demand, *, is_beaten: bool
) -> Rejection:
    """What binds a candidate.

    Parameters
    ----------
    miss : its fleet that comes nearest to the targets, where some was solved and none meets them
    least_cost : what its fleets cost at least; None where the demand allows of none
    is_beaten : whether other fleets meet the targets
    """
    site, layout = own.candidate.site, own.candidate.layout
    floors = {
        metric: float(own.step_time.min()) if metric.startswith("tpot") else own.prompt_time
        for metric in demand.targets
    }
    slowest = max(floors, key=lambda metric: floors[metric] / demand.targets[metric], default=None)
    if slowest is not None and floors[slowest] > demand.targets[slowest]:
        return _slow(own, slowest, floors[slowest], demand)
    if miss is None:
        limit: Limit = "cost" if is_beaten and least_cost is not None else "devices"
        return Rejection(site=site, layout=layout, limit=limit, least_cost=least_cost)
    if miss.state.batch_cap[0] < 1.0:
        return Rejection(site=site, layout=layout, limit="memory")
    if demand.maximum_devices is not None or demand.replicas:
        light = at_lightest(miss, demand)
        if light.excess <= 1.0:
            return Rejection(site=site, layout=layout, limit="devices", least_cost=least_cost)
        miss = light
    return _slow(own, miss.metric, float(getattr(miss.state, miss.metric)[0]), demand)


def _slow(own: Bounds, metric: str, least: float, demand: Demand) -> Rejection:
    return Rejection(
        site=own.candidate.site,
        layout=own.candidate.layout,
        limit="tpot" if metric.startswith("tpot") else "ttft",
        metric=metric,
        least_time=least,
        excess=least / demand.targets[metric],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Miss(Noun):
    """What comes nearest to a demand that nothing meets, and what would make it feasible.

    `rejection` is the engine whose times, or memory, lack least. `relaxed` is a fleet that meets `targets`: those of
    the demand, where only the number of devices or replicas is the matter, else longer ones; None where nothing helps
    but other engines. `floor` is the least time in which any of the engines reads its weights for a token, at the full
    bandwidth of its devices, shared by the tokens of a round: no software beats it.
    """

    rejection: Rejection | None
    relaxed: Choice | None
    targets: Targets
    floor: float | None = quantity("s")
    floor_candidate: Candidate | None


def least_floor(bounds: Sequence[Bounds]) -> tuple[float | None, Candidate | None]:
    """The least weight floor of engines, and the engine."""
    floors = [(weight_floor(one.candidate), one.candidate) for one in bounds]
    return min(floors, key=lambda one: one[0], default=(None, None))


def nearest_rejection(rejected: Sequence[Rejection]) -> Rejection | None:
    """The engine whose times lack least, else the one whose memory does."""
    slow = [one for one in rejected if one.excess is not None and one.excess < np.inf]
    small = [one for one in rejected if one.missing is not None]
    if slow:
        return min(slow, key=lambda one: one.excess or 0.0)
    return min(small, key=lambda one: one.missing or 0.0, default=None)


def longer_targets(own: Bounds, demand: Demand, room: float) -> Targets:
    """Targets that an engine could meet: at least its least times, and so much more."""
    return {
        metric: max(target, room * (float(own.step_time.min()) if metric.startswith("tpot") else own.prompt_time))
        for metric, target in demand.targets.items()
    }


def weight_floor(candidate: Candidate) -> float:
    """Time to read the weights of one token at full bandwidth, over the most that one of the drafts emits [s]."""
    deployment = candidate.deployment
    weights = float(np.max(step_traffic(step_ops(deployment, Step())).weight_bytes))
    emitted = [
        float(emitted_tokens(one.speculation, one.acceptance, np.array([float(one.draft_length)]))[0][0])
        for one in candidate.drafts
        if one is not None
    ]
    return weights / deployment.hardware.memory_bandwidth / max(emitted, default=1.0)


def at_lightest(choice: Choice, demand: Demand) -> Choice:
    """The same engines, so many of them that hardly any request meets another."""
    deployment, drafts = choice.candidate.deployment, choice.drafts
    decode = decode_times(
        deployment, demand.load.mean_context, drafts, largest=max(1, int(choice.policy.batch_limit or 1))
    )
    fleet = dataclasses.replace(
        choice.fleet,
        replicas=LIGHTEST * choice.fleet.replicas,
        prefill_replicas=LIGHTEST * choice.fleet.prefill_replicas,
    )
    times = engine_times(decode, demand.load, choice.policy.chunk_tokens)
    return judged(demand, choice.candidate, fleet, choice.policy, times, choice.prefill)
