"""How do the flip batches, and the batch that fits, move with context?"""

import dataclasses
from collections.abc import Callable

import numpy as np

from rooflinesim.analysis.crossover import Headline, elasticity
from rooflinesim.analysis.residency import resident_bytes, usable_memory
from rooflinesim.cost.machine import machine_of
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step

BATCHES = np.concatenate([np.arange(1.0, 64.0), np.geomspace(64.0, 2.0**20, 16 * 14 + 1)])
"""Batches at which a flip is looked for before it is narrowed down."""

_ROUNDS, _POINTS = 5, 65
"""Rounds that each cut a bracket into 64: to 1e-9 of it, in few evaluations of many points."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FlipsResult(Noun):
    """Batches at which decoding first flips, by the meanings of `crossover`, one per context, shape (contexts,).

    Infinite where a batch is never reached up to a million, `fits` also where the memory capacity is unknown.
    `context_limit` is the longest context at which the whole step flips at any batch; None is no limit.
    """

    context: np.ndarray = quantity("tokens")
    weight_gemms: np.ndarray = quantity("1")
    step: np.ndarray = quantity("1")
    half_elasticity: np.ndarray = quantity("1")
    fits: np.ndarray = quantity("1")
    context_limit: float | None = quantity("tokens")


def flips(deployment: Deployment, *, context: Array | list[int], routing: Routing | None = None) -> FlipsResult:
    """Flip batches of decoding over context; see `crossover` for what each means.

    Parameters
    ----------
    context : tokens of each sequence that are cached before the step. [tokens] scalar or shape (contexts,)
    """
    contexts = np.atleast_1d(np.asarray(context, dtype=np.float64))
    head = Headline(deployment=deployment, machine=machine_of(deployment), routing=routing, new_tokens=1.0)
    gemms = _first(lambda batch, _: head.gemm_ratio(batch), contexts[:1])
    return FlipsResult(
        context=contexts,
        weight_gemms=np.broadcast_to(gemms, contexts.shape),
        step=_first(head.step_ratio, contexts),
        half_elasticity=_first(lambda batch, at: 2.0 * elasticity(deployment, batch, at, 1.0, routing), contexts),
        fits=_fitting(deployment, contexts),
        context_limit=head.context_limit(),
    )


def _first(ratio: Callable[[np.ndarray, np.ndarray], Array], contexts: np.ndarray) -> np.ndarray:
    """Batch at which a ratio of (batch, context) first reaches 1, at each context; infinite where it never does."""
    batch, context = (part.ravel() for part in np.meshgrid(BATCHES, contexts))
    reached = np.reshape(np.broadcast_to(ratio(batch, context), batch.shape) >= 1.0, (contexts.size, BATCHES.size))
    index = reached.argmax(axis=1)
    high = BATCHES[index]
    low = np.where(index == 0, 0.0, BATCHES[index - 1])
    for _ in range(_ROUNDS):
        points = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _POINTS)[1:]
        at = np.broadcast_to(contexts[:, None], points.shape)
        is_reached = np.reshape(np.broadcast_to(ratio(points.ravel(), at.ravel()), points.size) >= 1.0, points.shape)
        # Rounding may put the end of the bracket itself just below 1.
        is_reached[:, -1] = True
        found = is_reached.argmax(axis=1)
        width = (high - low) / (_POINTS - 1)
        low, high = low + found * width, low + (found + 1) * width
    return np.where(reached.any(axis=1), high, np.inf)


def _fitting(deployment: Deployment, contexts: np.ndarray) -> np.ndarray:
    """Whole sequences of each context that fit at once, as `max_batch` has it for one context."""
    usable = usable_memory(deployment)
    if usable is None:
        return np.full(contexts.shape, np.inf)
    none, one = (resident_bytes(deployment, Step(batch=b, context=contexts)) for b in (0.0, 1.0))
    return np.maximum(0.0, np.floor((usable - none) / (one - none)))
