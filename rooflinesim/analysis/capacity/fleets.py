"""How many replicas of an engine does a load need? The smallest number that meets the targets."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from rooflinesim.analysis.capacity.candidates import Candidate
from rooflinesim.analysis.capacity.demand import LIGHTEST, Demand
from rooflinesim.analysis.capacity.objectives import Verdict, excess, strictest, worst
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
        """Whether the fleet meets the targets."""
        return "surely" if self.sure_excess <= 1.0 else "probably" if self.excess <= 1.0 else "no"

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


def smallest_fleets(
    demand: Demand,
    candidate: Candidate,
    drafts: Drafts | None,
    tables: Tables,
    *,
    largest: int,
    least: int,
    prefill: Pool | None = None,
    dearest: float = np.inf,
) -> Iterator[Choice]:
    """Under each policy the smallest fleet that probably meets the targets, and the one that surely does.

    Where none does, the fleet under the lightest load that may be; nothing where that is only a matter of cost.

    Parameters
    ----------
    largest : batch up to which steps are timed. [1]
    least : replicas that could do. [1]
    prefill : engines that prompts run on; None is the same ones
    dearest : cost beyond which no fleet is of interest. [USD/h or devices]
    """
    decode = tables.decode(candidate, drafts, max((*demand.batch_limits, largest)))
    for chunk in (None,) if prefill else demand.chunk_sizes:
        times = tables.engine(candidate, drafts, decode, chunk)
        if prefill:
            times = dataclasses.replace(times, elsewhere=tables.prompts(prefill.candidate, drafts))
        for limit in batch_limits(demand, decode):
            policy = Policy(batch_limit=limit, chunk_tokens=chunk)
            solve = _Solver(
                demand=demand, candidate=candidate, policy=policy, times=times, least=least, dearest=dearest
            )
            yield from solve.apart(prefill) if prefill else solve.together()


def batch_limits(demand: Demand, decode: DecodeTimes) -> tuple[int, ...]:
    """Limits of the running batch that are tried: given ones, else what just meets the time per token, and twice it."""
    if demand.batch_limits:
        return demand.batch_limits
    meets = np.flatnonzero(decode.time <= strictest(demand.targets, "tpot"))
    own = int(meets[-1]) + 1 if meets.size else 1
    return tuple(dict.fromkeys((own, min(2 * own, decode.time.size))))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Solver(Noun):
    """One engine under one policy, whose numbers are asked for."""

    demand: Demand
    candidate: Candidate
    policy: Policy
    times: EngineTimes
    least: int
    dearest: float

    def together(self) -> Iterator[Choice]:
        """Smallest fleets whose engines run prompts themselves."""
        own = Fleet(decode=self.candidate.deployment)
        for number in self._smallest(own, 0, 0.0):
            yield self._judged(dataclasses.replace(own, replicas=number))

    def apart(self, prefill: Pool) -> Iterator[Choice]:
        """Smallest fleets with engines for prompts: the ones that decode while prompts never wait, then the others."""
        other = prefill.candidate
        many = Fleet(
            decode=self.candidate.deployment, prefill=other.deployment, prefill_replicas=LIGHTEST * prefill.least
        )
        for number in self._smallest(many, prefill.least * other.layout.devices, prefill.least * other.replica_cost):
            own = dataclasses.replace(many, replicas=number)
            for engines in self._smallest_prefill(own, prefill):
                yield self._judged(dataclasses.replace(own, prefill_replicas=engines), other)

    def _smallest(self, fleet: Fleet, devices: int, cost: float) -> Iterator[int]:
        """Smallest numbers of replicas beside other devices and their cost; the largest allowed where none does."""
        demand = self.demand
        asked = demand.counts(self.least, self.candidate.layout.devices, beside=devices)
        cheap = asked * self.candidate.replica_cost + cost <= self.dearest
        # One that is too dear is kept: it ends the search between the last cheap one and the first that does.
        tried = asked[: int(cheap.sum()) + 1]
        return smallest(
            lambda replicas: self._excesses(fleet, demand.shared(replicas)),
            tried,
            is_gapless=not demand.replicas,
            is_all=tried.size == asked.size,
        )

    def _smallest_prefill(self, fleet: Fleet, prefill: Pool) -> Iterator[int]:
        """Smallest numbers of engines for prompts, probably and surely, found by doubling and halving."""
        other, own = prefill.candidate, self.candidate
        allowed = self.demand.counts(
            prefill.least, other.layout.devices, beside=fleet.replicas * own.layout.devices, is_named=False
        )
        rest = (self.dearest - fleet.replicas * own.replica_cost) / other.replica_cost
        most = int(min(allowed.max(initial=0), rest if np.isfinite(rest) else np.inf))

        @functools.cache
        def excesses(engines: int) -> np.ndarray:
            return self._excesses(dataclasses.replace(fleet, prefill_replicas=engines), self.demand.load)

        if most < prefill.least:
            return
        answers = []
        for which in (0, 1):
            low, high = prefill.least - 1, prefill.least
            while high < most and excesses(high)[which, 0] > 1.0:
                low, high = high, min(2 * high, most)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if excesses(middle)[which, 0] <= 1.0 else (middle, high)
            answers.append(high)
        yield from dict.fromkeys(answers)

    def _judged(self, fleet: Fleet, prefill: Candidate | None = None) -> Choice:
        return judged(self.demand, self.candidate, fleet, self.policy, self.times, prefill)

    def _excesses(self, fleet: Fleet, load: Load) -> np.ndarray:
        """Worst excess at each point of a load, predicted and at the high end of the band [1], shape (2, points)."""
        state = steady_state(fleet, load, self.policy, self.times.decode.drafts, self.times)
        return np.array([worst(excess(state, self.demand.targets, is_sure=sure))[0] for sure in (False, True)])


def smallest(
    excesses: Callable[[np.ndarray], np.ndarray], asked: np.ndarray, *, is_gapless: bool = True, is_all: bool = True
) -> Iterator[int]:
    """Smallest number of those asked for, or between them, that meets two criteria, each once; else the largest.

    More replicas never make an excess larger, so that the first number to meet it lies behind the last that does not.

    Parameters
    ----------
    excesses : of numbers, shape (2, numbers): at most 1 meets
    asked : rising numbers. [1] shape (numbers,)
    is_gapless : whether the numbers between them may be taken too
    is_all : whether larger numbers would not do either; else nothing is found where none of these does
    """
    if not asked.size:
        return
    first = excesses(asked)
    answers = []
    for which in (0, 1):
        numbers, values = asked, first
        while True:
            meets = values[which] <= 1.0
            place = int(np.argmax(meets)) if meets.any() else numbers.size - 1
            before = int(numbers[place - 1]) if place else int(numbers[place]) - 1
            if not is_gapless or not meets.any() or numbers[place] - before <= 1:
                if meets.any() or is_all:
                    answers.append(int(numbers[place]))
                break
            numbers = np.unique(np.linspace(before + 1, numbers[place], _REFINED).astype(np.int64))
            values = excesses(numbers)
    yield from dict.fromkeys(answers)
