"""How many replicas of an engine does a load need? The smallest number that meets the targets."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from rooflinesim.analysis.bands import Evidence, evidence_of
from rooflinesim.analysis.capacity.candidates import Candidate
from rooflinesim.analysis.capacity.demand import LIGHTEST, Demand
from rooflinesim.analysis.capacity.objectives import Verdict, excess, strictest, worst
from rooflinesim.analysis.serving.engine import engine_of, saturating_rate
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.steady import SteadyState, steady_state
from rooflinesim.analysis.serving.times import (
    DecodeTimes,
    EngineTimes,
    PromptTimes,
    decode_times,
    engine_times,
    prefill_times,
)
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

T = TypeVar("T")

_REFINED = 34
"""Numbers of replicas that are solved at once between one that is too few and one that does."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pool(Noun):
    """Engines that prompts may run on, and the smallest number of them that could do."""

    candidate: Candidate
    least: int = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Choice(Noun):
    """A fleet under a demand's load: `excess` is its worst time over the target, `sure_excess` the same at the high end
    of the band, `metric` the target that is nearest. `prefill` is what prompts run on, None the same engines.
    """

    candidate: Candidate
    fleet: Fleet
    drafts: Drafts | None
    policy: Policy
    state: SteadyState
    prefill: Candidate | None
    excess: float = quantity("1")
    sure_excess: float = quantity("1")
    metric: str

    @property
    def verdict(self) -> Verdict:
        """Whether the fleet meets the targets; without an error band nothing is sure."""
        if self.sure_excess <= 1.0 and self.evidence != "bound":
            return "surely"
        return "probably" if self.excess <= 1.0 else "no"

    @property
    def evidence(self) -> Evidence:
        """What the band rests on."""
        return evidence_of(self.candidate.deployment)

    @property
    def price(self) -> float | None:
        """Price of all devices [USD/h]; None where one has none."""
        own, other = self.candidate.replica_price, self.prefill.replica_price if self.prefill else 0.0
        if own is None or other is None:
            return None
        return self.fleet.replicas * own + self.fleet.prefill_replicas * other

    @property
    def cost(self) -> float:
        """What fleets are ranked by: the price, or the number of devices where there are no prices."""
        return float(self.fleet.devices) if self.price is None else self.price


class Tables:
    """Times of engines under one load, each computed once, whatever is asked about them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._known: dict[tuple[Any, ...], Any] = {}

    def decode(self, candidate: Candidate, drafts: Drafts | None, largest: int) -> DecodeTimes:
        """Decode steps up to a batch."""
        return self._once(
            ("decode", id(candidate), id(drafts), largest),
            lambda: decode_times(candidate.deployment, self._load.mean_context, drafts, largest=largest),
        )

    def engine(
        self, candidate: Candidate, drafts: Drafts | None, decode: DecodeTimes, chunk: int | None
    ) -> EngineTimes:
        """An engine that takes prompts whole or in chunks."""
        return self._once(
            ("engine", id(candidate), id(drafts), decode.time.size, chunk),
            lambda: engine_times(decode, self._load, chunk),
        )

    def prompts(self, candidate: Candidate, drafts: Drafts | None) -> PromptTimes:
        """Prompts on engines that run nothing else."""
        return self._once(
            ("prompts", id(candidate), id(drafts)), lambda: prefill_times(candidate.deployment, self._load, drafts)
        )

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found


def judged(
    demand: Demand,
    candidate: Candidate,
    fleet: Fleet,
    policy: Policy,
    times: EngineTimes,
    prefill: Candidate | None = None,
) -> Choice:
    """A fleet under the demand's load."""
    state = steady_state(fleet, demand.load, policy, times.decode.drafts, times)
    found, metric = worst(excess(state, demand.targets))
    sure, _ = worst(excess(state, demand.targets, is_sure=True))
    return Choice(
        candidate=candidate,
        fleet=fleet,
        drafts=times.decode.drafts,
        policy=policy,
        state=state,
        prefill=prefill,
        excess=float(found[0]),
        sure_excess=float(sure[0]),
        metric=str(metric[0]),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Attempt(Noun):
    """A fleet of known size under a policy, with its excesses."""

    fleet: Fleet
    policy: Policy
    times: EngineTimes
    cost: float
    excesses: tuple[float, float]

    @property
    def order(self) -> tuple[float, float]:
        """By what attempts are ranked, as `search.order`."""
        return (self.cost, self.excesses[1])


def smallest_fleets(
    demand: Demand,
    candidate: Candidate,
    drafts: Drafts | None,
    tables: Tables,
    *,
    largest: int,
    least: int,
    prefill: Pool | None = None,
    dearest: tuple[float, float] = (np.inf, np.inf),
) -> list[Choice]:
    """The smallest fleet that probably meets the targets under any policy, and the one that surely does.

    Where none does, the one that comes nearest under the lightest load that may be; nothing where that is only a
    matter of cost.

    Parameters
    ----------
    largest : batch up to which steps are timed. [1]
    least : replicas that could do. [1]
    prefill : engines that prompts run on; None is the same ones
    dearest : costs beyond which a fleet that probably, or surely, meets the targets is of no interest
    """
    bars = list(dearest)
    best: list[_Attempt | None] = [None, None]
    nearest: _Attempt | None = None
    decode = tables.decode(candidate, drafts, max((*demand.batch_limits, largest)))
    for chunk in (None,) if prefill else demand.chunk_sizes:
        times = tables.engine(candidate, drafts, decode, chunk)
        if prefill:
            times = dataclasses.replace(times, elsewhere=tables.prompts(prefill.candidate, drafts))
        for limit in batch_limits(demand, decode):
            policy = Policy(batch_limit=limit, chunk_tokens=chunk)
            solver = _Solver(demand=demand, candidate=candidate, policy=policy, times=times, least=least)
            for one in solver.apart(prefill, bars) if prefill else solver.together(bars):
                for which in (0, 1):
                    known = best[which]
                    if one.excesses[which] <= 1.0 and (known is None or one.order < known.order):
                        best[which] = one
                        bars[which] = min(bars[which], one.cost)
                if nearest is None or one.excesses[0] < nearest.excesses[0]:
                    nearest = one
    met = {id(one): one for one in best if one is not None}
    kept = list(met.values()) or [one for one in (nearest,) if one is not None]
    other = prefill.candidate if prefill else None
    return [judged(demand, candidate, one.fleet, one.policy, one.times, other) for one in kept]


def batch_limits(demand: Demand, decode: DecodeTimes) -> tuple[int, ...]:
    """Limits of the running batch that are tried: given ones, else what just meets the time per token.

    A larger one helps only means and medians: where it is reached by more than 5 % of the tokens their times are above
    the target, and where it is not it changes little.
    """
    if demand.batch_limits:
        return demand.batch_limits
    meets = np.flatnonzero(decode.time <= strictest(demand.targets, "tpot"))
    own = int(meets[-1]) + 1 if meets.size else 1
    is_central = any(metric in ("tpot_mean", "tpot_p50") for metric in demand.targets)
    return tuple(dict.fromkeys((own, min(2 * own, decode.time.size)) if is_central else (own,)))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Solver(Noun):
    """One engine under one policy, whose numbers are asked for, at costs of at most two bars: probably, and surely."""

    demand: Demand
    candidate: Candidate
    policy: Policy
    times: EngineTimes
    least: int

    def together(self, bars: Sequence[float]) -> Iterator[_Attempt]:
        """Smallest fleets whose engines run prompts themselves."""
        own = Fleet(decode=self.candidate.deployment)
        for number, excesses in self._smallest(own, bars, 0, 0.0):
            fleet = dataclasses.replace(own, replicas=number)
            yield self._attempt(fleet, number * self.candidate.replica_cost, excesses)

    def apart(self, prefill: Pool, bars: Sequence[float]) -> Iterator[_Attempt]:
        """Smallest fleets with engines for prompts: the ones that decode while prompts never wait, then the others."""
        other, own = prefill.candidate, self.candidate
        many = Fleet(decode=own.deployment, prefill=other.deployment, prefill_replicas=LIGHTEST * prefill.least)
        devices, cost = prefill.least * other.layout.devices, prefill.least * other.replica_cost
        for number, excesses in self._smallest(many, bars, devices, cost):
            fleet = dataclasses.replace(many, replicas=number)
            if excesses[0] > 1.0:
                yield self._attempt(fleet, np.inf, excesses)
                continue
            for engines, found in self._smallest_prefill(fleet, prefill, bars):
                whole = dataclasses.replace(fleet, prefill_replicas=engines)
                yield self._attempt(whole, number * own.replica_cost + engines * other.replica_cost, found)

    def _attempt(self, fleet: Fleet, cost: float, excesses: np.ndarray) -> _Attempt:
        pair = (float(excesses[0]), float(excesses[1]))
        return _Attempt(fleet=fleet, policy=self.policy, times=self.times, cost=cost, excesses=pair)

    def _smallest(
        self, fleet: Fleet, bars: Sequence[float], devices: int, cost: float
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Smallest numbers of replicas beside other devices and their cost, with their excesses."""
        demand, own = self.demand, self.candidate
        each = dataclasses.replace(fleet, replicas=1)
        rate = saturating_rate(engine_of(each, demand.load, self.policy, self.times), each, demand.load)
        least = self.least if rate <= 0.0 else max(self.least, int(np.ceil(demand.least_rate / rate * (1.0 - 1e-9))))
        asked = demand.counts(least, own.layout.devices, beside=devices)
        most = [np.inf if np.isinf(bar) else np.floor((bar - cost) / own.replica_cost + 1e-9) for bar in bars]
        return smallest(
            lambda replicas: self._excesses(fleet, demand.shared(replicas)),
            asked,
            most,
            is_gapless=not demand.replicas,
        )

    def _smallest_prefill(self, fleet: Fleet, prefill: Pool, bars: Sequence[float]) -> Iterator[tuple[int, np.ndarray]]:
        """Smallest numbers of engines for prompts, probably and surely, found by doubling and halving."""
        other, own = prefill.candidate, self.candidate
        allowed = self.demand.counts(
            prefill.least, other.layout.devices, beside=fleet.replicas * own.layout.devices, is_named=False
        )

        @functools.cache
        def excesses(engines: int) -> np.ndarray:
            return self._excesses(dataclasses.replace(fleet, prefill_replicas=engines), self.demand.load)[:, 0]

        answers: dict[int, None] = {}
        for which in (0, 1):
            rest = np.floor((bars[which] - fleet.replicas * own.replica_cost) / other.replica_cost + 1e-9)
            most = int(min(allowed.max(initial=0), rest))
            if most < prefill.least:
                continue
            low, high = prefill.least - 1, prefill.least
            while high < most and excesses(high)[which] > 1.0:
                low, high = high, min(2 * high, most)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if excesses(middle)[which] <= 1.0 else (middle, high)
            answers[high] = None
        for number in answers:
            yield number, excesses(number)

    def _excesses(self, fleet: Fleet, load: Load) -> np.ndarray:
        """Worst excess at each point of a load, predicted and at the high end of the band [1], shape (2, points)."""
        state = steady_state(fleet, load, self.policy, self.times.decode.drafts, self.times)
        return np.array([worst(excess(state, self.demand.targets, is_sure=sure))[0] for sure in (False, True)])


def smallest(
    excesses: Callable[[np.ndarray], np.ndarray],
    asked: np.ndarray,
    most: Sequence[float] = (np.inf, np.inf),
    *,
    is_gapless: bool = True,
) -> Iterator[tuple[int, np.ndarray]]:
    """Smallest number of those asked for, or between them, that meets two criteria, each with its excesses.

    More replicas never make an excess larger, so that the first number to meet it lies behind the last that does not.
    Where none meets the first criterion, the largest number; nothing where larger ones than `most` would have to be
    asked for.

    Parameters
    ----------
    excesses : of numbers, shape (2, numbers): at most 1 meets
    asked : rising numbers. [1] shape (numbers,)
    most : numbers beyond which neither criterion is of interest. [1]
    is_gapless : whether the numbers between them may be taken too
    """
    # One beyond the largest of interest ends the search between the last of those and the first that does.
    tried = asked[: int((asked <= max(most)).sum()) + 1] if (asked <= max(most)).any() else asked[:0]
    if not tried.size:
        return
    first = excesses(tried)
    answers: dict[int, np.ndarray] = {}
    for which in (0, 1):
        numbers, values = tried, first
        while True:
            meets = values[which] <= 1.0
            if not meets.any():
                if which == 0 and tried.size == asked.size:
                    answers[int(numbers[-1])] = values[:, -1]
                break
            place = int(np.argmax(meets))
            before = int(numbers[place - 1]) if place else int(numbers[place]) - 1
            if not is_gapless or numbers[place] - before <= 1:
                if numbers[place] <= most[which]:
                    answers[int(numbers[place])] = values[:, place]
                break
            numbers = np.unique(np.linspace(before + 1, numbers[place], _REFINED).astype(np.int64))
            values = excesses(numbers)
    yield from answers.items()
