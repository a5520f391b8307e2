"""Which fleet meets a demand at the least cost? Best first: what cannot beat what is found is never looked at."""

import dataclasses
import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from rooflinesim.analysis.bands import evidence_of
from rooflinesim.analysis.capacity.bounds import Bounds, bounds_of
from rooflinesim.analysis.capacity.candidates import Candidate, Rejection
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.fleets import Choice, Pool, Tables, smallest_fleets
from rooflinesim.analysis.capacity.limits import limit_of
from rooflinesim.analysis.capacity.objectives import strictest
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Found(Noun):
    """Fleets that meet a demand, the cheapest first: of each candidate the cheapest that probably and that surely does.

    `looked_at` counts engines with their drafts whose fleets were
    solved, of `variants` that there are.
    """

    fleets: tuple[Choice, ...]
    rejected: tuple[Rejection, ...]
    bounds: tuple[Bounds, ...]
    looked_at: int = quantity("1")
    variants: int = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trial(Noun):
    """A candidate with one of its drafts, and the smallest numbers of replicas that could do.

    With `prompts` they run on engines of their own, the `rank`-th cheapest ones of the same site.
    """

    own: Bounds
    place: int
    least: int
    prompts: Bounds | None = None
    least_prompts: int = 0
    rank: int = 0

    @property
    def devices(self) -> int:
        """Devices of its smallest fleet."""
        own = self.least * self.own.candidate.layout.devices
        return own + (self.least_prompts * self.prompts.candidate.layout.devices if self.prompts else 0)

    @property
    def cost(self) -> float:
        """What its cheapest fleet costs at least, as `Choice.cost`."""
        own = self.least * self.own.candidate.replica_cost
        return own + (self.least_prompts * self.prompts.candidate.replica_cost if self.prompts else 0.0)


def search(candidates: Sequence[Candidate], demand: Demand, *, top: int = 5) -> Found:
    """The cheapest fleets for a demand.

    Every candidate, draft and way to serve prompts has a bound of what it costs, from times that no scheduling beats.
    They are looked at in the order of their bounds, until these exceed the `top` cheapest fleets and the cheapest that
    surely meets the targets: those are found for certain.

    Parameters
    ----------
    top : candidates of which the cheapest fleet is found for certain. [1] >= 1
    """
    bounds = [bounds_of(one, demand.load) for one in candidates]
    pools = [pools_of(bounds, demand, is_sure=is_sure) for is_sure in (False, True)]
    waiting, tables = _Waiting(demand), Tables(demand.load)
    for own in bounds:
        for place in range(len(own.candidate.drafts)):
            for is_sure in (False, True) if evidence_of(own.candidate.deployment) != "bound" else (False,):
                for trial in first_trials(own, place, pools[is_sure], demand, is_sure=is_sure):
                    waiting.add(trial, is_sure=is_sure)
    probable: dict[tuple[int, bool], Choice] = {}
    sure: dict[tuple[int, bool], Choice] = {}
    misses: dict[int, Choice] = {}
    done: set[tuple[int, int, int]] = set()
    while waiting.heap:
        cost, _, is_sure, trial = heapq.heappop(waiting.heap)
        bars = (_bar(probable, top), _bar(sure, 1))
        if cost > bars[is_sure]:
            continue
        if trial.prompts is not None:
            waiting.add(next_pool(trial, pools[is_sure]), is_sure=is_sure)
        number = id(trial.own)
        if (number, trial.place, id(trial.prompts)) in done:
            continue
        done.add((number, trial.place, id(trial.prompts)))
        for choice in solved(trial, demand, tables, bars):
            if choice.verdict == "no":
                misses[number] = min(misses.get(number, choice), choice, key=lambda one: one.excess)
                continue
            kind = (number, choice.prefill is not None)
            for kept in (probable, sure) if choice.verdict == "surely" else (probable,):
                kept[kind] = min(kept.get(kind, choice), choice, key=order)
    served = {number for number, _ in probable}
    unique = {id(one): one for one in (*probable.values(), *sure.values())}
    return Found(
        fleets=tuple(sorted(unique.values(), key=order)),
        rejected=tuple(
            limit_of(own, misses.get(id(own)), waiting.least.get(id(own)), demand, is_beaten=bool(served))
            for own in bounds
            if id(own) not in served
        ),
        bounds=tuple(bounds),
        looked_at=len(done),
        variants=sum(len(one.drafts) for one in candidates),
    )


class _Waiting:
    """Trials by their bounds, and the least bound of each engine."""

    def __init__(self, demand: Demand) -> None:
        self.heap: list[tuple[float, int, bool, Trial]] = []
        self.least: dict[int, float] = {}
        self._demand, self._number = demand, itertools.count()

    def add(self, trial: Trial | None, *, is_sure: bool) -> None:
        """Take up a trial, unless its fleets would have more devices than the demand allows."""
        most = self._demand.maximum_devices
        if trial is None or (most is not None and trial.devices > most):
            return
        heapq.heappush(self.heap, (trial.cost, next(self._number), is_sure, trial))
        self.least[id(trial.own)] = min(self.least.get(id(trial.own), math.inf), trial.cost)


def order(choice: Choice) -> tuple[float, float]:
    """By what choices are ranked: the least cost, of equals what lies furthest inside the targets."""
    return (choice.cost, choice.sure_excess)


def _bar(kept: dict[tuple[int, bool], Choice], top: int) -> float:
    costs = sorted(choice.cost for choice in kept.values())
    return costs[top - 1] if len(costs) >= top else math.inf


def solved(trial: Trial, demand: Demand, tables: Tables, dearest: tuple[float, float]) -> list[Choice]:
    """The smallest fleets of a trial."""
    return smallest_fleets(
        demand,
        trial.own.candidate,
        trial.own.candidate.drafts[trial.place],
        tables,
        largest=2 * trial.own.largest_batch(strictest(demand.targets, "tpot"), trial.place),
        least=trial.least,
        prefill=Pool(candidate=trial.prompts.candidate, least=trial.least_prompts) if trial.prompts else None,
        dearest=dearest,
    )


def least_replicas(own: Bounds, place: int, demand: Demand, *, is_alone: bool, is_sure: bool) -> int | None:
    """Smallest number of replicas that could do [1]; None where none can."""
    target = strictest(demand.targets, "tpot") / (own.high if is_sure else 1.0)
    rate = float(own.rate(demand.slack * target, demand.load, is_alone=is_alone)[place])
    return max(1, math.ceil(demand.least_rate / rate * (1.0 - 1e-9))) if rate > 0.0 else None


def pools_of(bounds: Sequence[Bounds], demand: Demand, *, is_sure: bool) -> dict[int, list[tuple[float, int, Bounds]]]:
    """Engines for prompts of each site, the cheapest first: cost, smallest number that could do, and the engine."""
    pools: dict[int, list[tuple[float, int, Bounds]]] = {}
    if demand.is_disaggregated is False:
        return pools
    for own in bounds:
        time = own.prompt_time * (own.prompt_high if is_sure else 1.0)
        rate = demand.prompt_rate(time)
        if rate > 0.0:
            least = max(1, math.ceil(demand.least_rate / rate * (1.0 - 1e-9)))
            pools.setdefault(id(own.candidate.site), []).append((least * own.candidate.replica_cost, least, own))
    return {site: sorted(pool, key=lambda one: one[0]) for site, pool in pools.items()}


def first_trials(
    own: Bounds, place: int, pools: Mapping[int, list[tuple[float, int, Bounds]]], demand: Demand, *, is_sure: bool
) -> Iterator[Trial]:
    """What is looked at first of a candidate and one of its drafts: prompts inside, and beside the cheapest pool."""
    ttft = strictest(demand.targets, "ttft")
    prompt_time = own.prompt_time * (own.prompt_high if is_sure else 1.0)
    if demand.is_disaggregated is not True and prompt_time <= demand.slack * ttft:
        least = least_replicas(own, place, demand, is_alone=False, is_sure=is_sure)
        if least is not None:
            yield Trial(own=own, place=place, least=least)
    pool = pools.get(id(own.candidate.site))
    least = least_replicas(own, place, demand, is_alone=True, is_sure=is_sure)
    if pool and least is not None:
        yield Trial(own=own, place=place, least=least, prompts=pool[0][2], least_prompts=pool[0][1])


def next_pool(trial: Trial, pools: Mapping[int, list[tuple[float, int, Bounds]]]) -> Trial | None:
    """The same with the next cheapest engines for prompts."""
    pool = pools[id(trial.own.candidate.site)]
    if trial.rank + 1 >= len(pool):
        return None
    _, least, prompts = pool[trial.rank + 1]
    return dataclasses.replace(trial, prompts=prompts, least_prompts=least, rank=trial.rank + 1)
