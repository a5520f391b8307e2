"""What a target is about: latency, rates, gain and cost of a deployment, while one of its numbers varies."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.explain import Resource, scaled
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
from rooflinesim.analysis.timing import step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

Goal = Literal["tpot", "tokens-per-s-per-user", "tokens-per-s", "speedup", "ttft", "usd-per-mtok"]
GOALS: tuple[Goal, ...] = get_args(Goal)
"""Time per output token, tokens per second of one user and of all, gain of speculation, time to first token, cost."""

LEAST: frozenset[Goal] = frozenset({"tpot", "ttft", "usd-per-mtok"})
"""Goals that are reached from above: at most so much. The others ask for at least so much."""

Varied = Literal["batch", "context", "prompt", "acceptance", "bandwidth", "flop-rate", "link"]
"""Numbers that vary along an axis."""

RESOURCES: Mapping[str, Resource] = {
    "bandwidth": "memory_bandwidth",
    "flop-rate": "flop_rate",
    "link": "link_bandwidth",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Situation(Noun):
    """A deployment under load: what a target is asked about.

    `prompt` are new tokens of each sequence, for the time to first token; `context` tokens that are cached before.
    With a `speculation` tokens come in rounds, at each point with the best of the `draft_lengths`, 0 (none) only if it
    is among them.
    """

    deployment: Deployment
    batch: float = quantity("1", default=1.0, minimum=1)
    context: float = quantity("tokens", default=0.0)
    prompt: float | None = quantity("tokens", default=None, minimum=1)
    price: float | None = quantity("USD/h", default=None)
    speculation: Speculation | None = None
    acceptance: Acceptance | None = None
    draft_lengths: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Aim(Noun):
    """A target: what shall be reached, and how much of it: at most so much time or cost, at least such a rate."""

    goal: Goal
    value: float = quantity("1", positive=True)

    def is_met(self, values: np.ndarray) -> np.ndarray:
        """Whether values reach the target."""
        return values <= self.value if self.goal in LEAST else values >= self.value


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reached(Noun):
    """A goal's values at aligned points: predicted, and where the times lie at the fast or the slow end of their band.

    Of plain steps the terms of the time stand beside it; of speculation, the draft length that was best.
    """

    value: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    memory_time: np.ndarray | None = quantity("s", default=None)
    compute_time: np.ndarray | None = quantity("s", default=None)
    network_time: np.ndarray | None = quantity("s", default=None)
    overhead_time: np.ndarray | None = quantity("s", default=None)
    draft_length: np.ndarray | None = quantity("tokens", default=None)


def reached(situation: Situation, goal: Goal, varied: Varied | None, values: np.ndarray) -> Reached:
    """A goal's values while one number of a situation takes aligned values, shape (points,).

    Bandwidth, FLOP rate and link vary as multiples of the device's own; what software reaches of them stays.

    Raises
    ------
    DomainError : if the goal needs what the situation does not say, or cannot follow what varies.
    """
    if situation.speculation is not None:
        return _of_rounds(situation, goal, varied, values)
    if goal == "speedup" or varied == "acceptance":
        raise DomainError(f"{'speedup' if goal == 'speedup' else 'acceptance'} is about speculation: give a method")
    return _of_steps(situation, goal, varied, values)


def _of_steps(situation: Situation, goal: Goal, varied: Varied | None, values: np.ndarray) -> Reached:
    deployment, is_prompt = situation.deployment, goal == "ttft"
    if is_prompt and situation.prompt is None and varied != "prompt":
        raise DomainError("ttft is about prompts: give --prompt")

    def at(name: Varied, fixed: float | None) -> np.ndarray:
        return values if varied == name else np.full(values.shape, 1.0 if fixed is None else fixed)

    batch = at("batch", situation.batch)
    new = at("prompt", situation.prompt) if is_prompt else np.ones(values.shape)
    scored = np.ones(values.shape) if is_prompt else None
    step = Step(batch=batch, new_tokens=new, context=at("context", situation.context), logit_tokens=scored)
    machine = machine_of(deployment)
    if varied is not None and varied in RESOURCES:
        machine = scaled(machine, RESOURCES[varied], values)
    cost = step_time(deployment, step, machine=machine)
    pace = deployment.stack.prompt_efficiency if is_prompt else 1.0
    time = np.broadcast_to(cost.time / pace, values.shape)
    low, high = band_of(deployment, step, is_prompt=is_prompt)
    value, fast, slow = (_from_time(situation, goal, one, batch) for one in (time, time * low, time * high))
    terms = {
        name: np.broadcast_to(getattr(cost, name), values.shape)
        for name in ("memory_time", "compute_time", "network_time", "overhead_time")
    }
    return Reached(value=value, fast=fast, slow=slow, **terms)


def _of_rounds(situation: Situation, goal: Goal, varied: Varied | None, values: np.ndarray) -> Reached:
    speculation, acceptance = situation.speculation, situation.acceptance
    if goal == "ttft" or varied in ("prompt", *RESOURCES):
        what = "ttft" if goal == "ttft" else varied
        raise DomainError(f"{what} does not go with speculation here: leave the method out")
    if speculation is None or (acceptance is None and varied != "acceptance"):
        raise DomainError("speculation needs an acceptance: give --acceptance")
    lengths = np.asarray(situation.draft_lengths, dtype=np.float64)
    points, drafted = (one.ravel() for one in np.meshgrid(values, lengths, indexing="ij"))

    def at(name: Varied, fixed: float) -> np.ndarray:
        return points if varied == name else np.full(points.shape, fixed)

    keeps = Acceptance(value=points) if varied == "acceptance" else acceptance
    if varied == "acceptance" and acceptance is not None:
        keeps = dataclasses.replace(acceptance, kind="conditional", curve=(), value=points)
    batch, context = at("batch", situation.batch), at("context", situation.context)
    found = speculate(speculation, batch=batch, context=context, draft_length=drafted, acceptance=keeps)  # type: ignore[arg-type]
    best = found.tpot.reshape(values.size, lengths.size).argmin(axis=1) + np.arange(values.size) * lengths.size
    taken = {name: getattr(found, name)[best] for name in ("batch", "tpot", "speedup", "speedup_low", "speedup_high")}
    if goal == "speedup":
        value, fast, slow = taken["speedup"], taken["speedup_high"], taken["speedup_low"]
    else:
        low, high = _band_of_rounds(situation, found, best)
        times = (taken["tpot"], taken["tpot"] * low, taken["tpot"] * high)
        value, fast, slow = (_from_time(situation, goal, one, taken["batch"]) for one in times)
    return Reached(value=value, fast=fast, slow=slow, draft_length=found.draft_length[best])


def _band_of_rounds(situation: Situation, found: SpeculateResult, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors on the time per token of rounds: the errors of a plain step and of the speed-up, taken as independent."""
    step = Step(batch=found.batch[best], context=found.context[best])
    gain = found.speedup[best]
    plain = band_of(situation.deployment, step)
    slower, faster = gain / found.speedup_low[best], gain / found.speedup_high[best]
    low, high = (
        np.exp(sign * np.hypot(np.log(one), np.log(other)))
        for sign, one, other in ((-1.0, plain[0], faster), (1.0, plain[1], slower))
    )
    return low, high


def _from_time(situation: Situation, goal: Goal, time: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """A goal's value where a step, or a token of all sequences, takes a time."""
    match goal:
        case "tokens-per-s-per-user":
            return np.asarray(1.0 / time)
        case "tokens-per-s":
            return np.asarray(batch / time)
        case "usd-per-mtok":
            if situation.price is None:
                raise DomainError("usd-per-mtok needs the price of a device: give --price, like --price '2.5 USD/h'")
            return np.asarray(situation.price * situation.deployment.devices / 3600.0 * 1e6 * time / batch)
        case _:
            return time
