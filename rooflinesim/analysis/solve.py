"""Inverse questions: the batch, context, acceptance, bandwidth or number of devices that just reaches a target."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from rooflinesim.analysis.aims import LEAST, Aim, Reached, Situation, Varied, reached
from rooflinesim.analysis.bracketing import edge
from rooflinesim.analysis.residency import max_batch, resident_bytes, usable_memory
from rooflinesim.analysis.timing import main_format, step_ops, step_traffic
from rooflinesim.cost.machine import machine_of
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import math_format
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

Unknown = Literal["batch", "context", "prompt", "acceptance", "bandwidth", "flop-rate", "link", "gpus", "price"]
UNKNOWNS: tuple[Unknown, ...] = get_args(Unknown)
Reason = Literal["reached", "never", "always"]

UNIT: Mapping[Unknown, str] = {
    "batch": "1",
    "context": "tokens",
    "prompt": "tokens",
    "acceptance": "1",
    "bandwidth": "B/s",
    "flop-rate": "FLOP/s",
    "link": "B/s",
    "gpus": "1",
    "price": "USD/h",
}

MOST_DEVICES = 256
"""Devices that share every layer which are tried at most."""

_COUNTS = np.unique(np.round(np.concatenate([np.arange(1.0, 1025.0), np.geomspace(1024.0, 2.0**30, 300)])))
_TOKENS = np.unique(np.round(np.concatenate([np.arange(0.0, 65.0), np.geomspace(64.0, 2.0**40, 500)])))
_GRIDS: Mapping[Varied, np.ndarray] = {
    "batch": _COUNTS,
    "context": _TOKENS,
    "prompt": _TOKENS[1:],
    "acceptance": np.linspace(0.0, 1.0, 201),
    **dict.fromkeys(("bandwidth", "flop-rate", "link"), np.geomspace(1e-6, 1e6, 401)),
}
"""Values at which a target is looked for; of rates, multiples of the device's own."""

_LARGER_HELPS: Mapping[Varied, bool] = {
    "batch": False,
    "context": False,
    "prompt": False,
    "acceptance": True,
    "bandwidth": True,
    "flop-rate": True,
    "link": True,
}
_MORE_SEQUENCES_HELP = ("tokens-per-s", "usd-per-mtok")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Held(Noun):
    """What a device's memory says of a solution: whether it `fits`, and the largest batch that does; None is unknown.

    `weight_time` is what reading the weights takes at the datasheet's bandwidth: no step is shorter.
    """

    weight_time: float = quantity("s")
    weight_bytes: float = quantity("B")
    fits: bool | None
    max_batch: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Found(Noun):
    """A value that just reaches a target; None is none, because no value does (never) or all do (always)."""

    reason: Reason
    value: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Solution(Noun):
    """The value of an unknown that just reaches a target.

    Where all values do, it is the first there is, or None where the last one would be meant. `if_fast` and `if_slow`
    are what would be found if times lay at the fast or the slow end of their band. `at` is what the target's quantity
    is there, or, where no value reaches it, at `best`, which comes as close as any.
    """

    unknown: Unknown
    aim: Aim
    situation: Situation
    found: Found
    if_fast: Found
    if_slow: Found
    best: float | None
    at: Reached
    held: Held


def solve(situation: Situation, aim: Aim, unknown: Unknown) -> Solution:
    """The value of an unknown that just reaches a target, the rest of the situation as it is.

    Where smaller values reach it, the largest up to which all do; where larger ones do, the smallest that does. Whole
    numbers are exact, rates found to 1e-13. GPUs are those of tensor parallelism, and must hold the model.

    Raises
    ------
    DomainError : if the target does not depend on the unknown, or needs what the situation does not say.
    """
    _check(aim, unknown)
    match unknown:
        case "gpus":
            return _solve_devices(situation, aim)
        case "price":
            return _solve_price(situation, aim)
        case _:
            return _solve_axis(situation, aim, unknown)


def _check(aim: Aim, unknown: Unknown) -> None:
    if (unknown == "price") and aim.goal != "usd-per-mtok":
        raise DomainError(f"--for price: {aim.goal} does not depend on a price; give --target usd-per-mtok=0.5")
    if (unknown == "prompt") and aim.goal != "ttft":
        raise DomainError(f"--for prompt: {aim.goal} does not depend on a prompt; give --target ttft=1s")
    if aim.goal == "speedup" and unknown not in ("batch", "context", "acceptance"):
        raise DomainError(f"--for {unknown}: speedup is solved for batch, context and acceptance")


def _solve_axis(situation: Situation, aim: Aim, unknown: Varied) -> Solution:
    grid = _GRIDS[unknown]
    own = own_rate(situation.deployment, unknown)
    larger_helps = _LARGER_HELPS[unknown] or (unknown == "batch" and aim.goal in _MORE_SEQUENCES_HELP)
    on_grid = reached(situation, aim.goal, unknown, grid)

    def found(end: str) -> Found:
        met = aim.is_met(getattr(on_grid, end))
        if not met.any() or (not larger_helps and not met[0]):
            return Found(reason="never", value=None)
        if larger_helps and met[0]:
            return Found(reason="always", value=own * float(grid[0]))
        if met.all():
            return Found(reason="always", value=None)
        ends = edge(
            lambda values: aim.is_met(getattr(reached(situation, aim.goal, unknown, values), end)),
            grid,
            met,
            whole=unknown in ("batch", "context", "prompt"),
        )
        value = ends.after if larger_helps else ends.before
        return Found(reason="reached", value=None if value is None else own * value)

    solution = found("value")
    best = own * _closest(aim, grid, on_grid.value) if solution.reason == "never" else None
    place = next((one for one in (solution.value, best) if one is not None), float(grid[-1]) * own)
    return Solution(
        unknown=unknown,
        aim=aim,
        situation=situation,
        found=solution,
        if_fast=found("fast"),
        if_slow=found("slow"),
        best=best,
        at=reached(situation, aim.goal, unknown, np.array([place / own])),
        held=_held(_with(situation, unknown, place), aim),
    )


def _closest(aim: Aim, grid: np.ndarray, values: np.ndarray) -> float:
    """The first value of a grid that comes as close to a target as any, to half a percent."""
    is_close = values <= 1.005 * values.min() if aim.goal in LEAST else values >= 0.995 * values.max()
    return float(grid[int(is_close.argmax())])


def own_rate(deployment: Deployment, unknown: Unknown) -> float:
    """What a device has of a rate that is solved for; 1 where no rate is.

    Raises
    ------
    DomainError : if it has no link that a step uses.
    """
    hardware = deployment.hardware
    match unknown:
        case "bandwidth":
            return hardware.memory_bandwidth
        case "flop-rate":
            return hardware.dense_flop_rate[math_format(main_format(deployment), hardware)]
        case "link":
            if deployment.group_devices == 1:
                raise DomainError("--for link: one device sends nothing; give --tp, or --dp")
            return float(machine_of(deployment).link_bandwidth)
        case _:
            return 1.0


def _with(situation: Situation, unknown: Unknown, value: float) -> Situation:
    """A situation with another load."""
    match unknown:
        case "batch":
            return dataclasses.replace(situation, batch=value)
        case "context":
            return dataclasses.replace(situation, context=value)
        case "prompt":
            return dataclasses.replace(situation, prompt=value)
        case _:
            return situation


def _held(situation: Situation, aim: Aim) -> Held:
    deployment = situation.deployment
    new = situation.prompt or 1.0 if aim.goal == "ttft" else 1.0
    step = Step(batch=situation.batch, new_tokens=new, context=situation.context)
    usable = usable_memory(deployment)
    weights = float(np.max(step_traffic(step_ops(deployment, step)).weight_bytes))
    return Held(
        weight_time=weights / deployment.hardware.memory_bandwidth,
        weight_bytes=weights,
        fits=None if usable is None else bool(np.all(resident_bytes(deployment, step) <= usable)),
        max_batch=max_batch(deployment, int(situation.context + new - 1.0)),
    )


def _solve_devices(situation: Situation, aim: Aim) -> Solution:
    """The fewest devices of tensor parallelism that reach a target and hold the model."""
    tried: list[tuple[Situation, Reached, bool]] = []
    problem: RooflinesimError | None = None
    for ranks in range(1, MOST_DEVICES + 1):
        try:
            wider = dataclasses.replace(situation.deployment, tensor_parallel=ranks)
            own = dataclasses.replace(situation, deployment=wider)
            at = reached(own, aim.goal, None, np.array([1.0]))
        except RooflinesimError as error:
            problem = error
            continue
        tried.append((own, at, _held(own, aim).fits is not False))
    if not tried:
        raise problem or DomainError("no number of devices is possible")

    def fewest(end: str) -> Found:
        value = next(
            (float(own.deployment.devices) for own, at, held in tried if held and aim.is_met(getattr(at, end))[0]),
            None,
        )
        return Found(reason="never" if value is None else "reached", value=value)

    found = fewest("value")
    sign = 1.0 if aim.goal in LEAST else -1.0
    nearest = min(tried, key=lambda one: (not one[2], sign * float(one[1].value[0])))
    chosen = nearest if found.value is None else next(one for one in tried if one[0].deployment.devices == found.value)
    return Solution(
        unknown="gpus",
        aim=aim,
        situation=chosen[0],
        found=found,
        if_fast=fewest("fast"),
        if_slow=fewest("slow"),
        best=float(nearest[0].deployment.devices) if found.value is None else None,
        at=chosen[1],
        held=_held(chosen[0], aim),
    )


def _solve_price(situation: Situation, aim: Aim) -> Solution:
    """The price of a device at which tokens cost what they may: cost is proportional to it."""
    own = dataclasses.replace(situation, price=1.0)
    at = reached(own, aim.goal, None, np.array([1.0]))
    found, fast, slow = (
        Found(reason="reached", value=float(aim.value / one[0])) for one in (at.value, at.fast, at.slow)
    )
    paid = dataclasses.replace(situation, price=found.value)
    return Solution(
        unknown="price",
        aim=aim,
        situation=paid,
        found=found,
        if_fast=fast,
        if_slow=slow,
        best=None,
        at=reached(paid, aim.goal, None, np.array([1.0])),
        held=_held(paid, aim),
    )
