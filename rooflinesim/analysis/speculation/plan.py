"""What to configure: the best draft per batch, what acceptance pays, and the batch from which speculation loses."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.chains import best_option, losing_from
from rooflinesim.analysis.speculation.memory import DraftMemory
from rooflinesim.analysis.speculation.methods import DraftShape, Speculation, chain
from rooflinesim.analysis.speculation.options import DraftOptions, option_rounds
from rooflinesim.analysis.speculation.speculate import SpeculateResult, emitted_tokens
from rooflinesim.analysis.timing import step_time
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

Reason = Literal["loses", "always_loses", "never_memory_bound", "never"]

LARGEST_BATCH = 2.0**20
"""Batch up to which losing is looked for: beyond it every cost of a round grows with the batch."""

EVERY_BATCH = 1024
"""Batches up to here are looked at one by one, larger ones in steps of about 3 %."""

SLACK = 0.03
"""Share of the best throughput that a short schedule gives away at most [1]."""

_HALVINGS = 60


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScheduleRow(Noun):
    """Draft to use while the batch lies between two numbers, both included; 0 tokens is plain decoding."""

    batch_from: int = quantity("1")
    batch_to: int = quantity("1")
    draft_length: int = quantity("tokens", column="draft_length")
    tree_nodes: int | None = quantity("1")
    tree_depth: int | None = quantity("1")
    speedup_from: float = quantity("1")
    speedup_to: float = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BreakEven(Noun):
    """Least conditional acceptance at which some offered draft pays, and its length; None if none does."""

    batch: float = quantity("1")
    acceptance_rate: float | None = quantity("1")
    draft_length: int | None = quantity("tokens", column="draft_length")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculationPlan(Noun):
    """Answers at one context and acceptance.

    `schedule` names the best draft of every batch, `short_schedule` drafts within `SLACK` of the best in as few ranges
    as there can be: products that are computed in steps of rows make the best one flicker from batch to batch.
    `losing_from` is the least batch from which on even the best offered draft loses; None is never, and `reason`
    says why. `final_speedup` is that of the best draft at the largest batch looked at. `break_even` is None for trees.
    """

    context: float = quantity("tokens")
    acceptance_rate: float = quantity("1")
    schedule: tuple[ScheduleRow, ...]
    short_schedule: tuple[ScheduleRow, ...]
    break_even: tuple[BreakEven, ...] | None
    losing_from: int | None = quantity("1")
    reason: Reason
    final_speedup: float = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Goodput(Noun):
    """Tokens per second at full memory: with the best draft beside the weights, and without any draft.

    `plain_equal_batch` decodes plainly the batch that speculation leaves room for, `plain` the larger one that fits
    without a draft.
    """

    context: float = quantity("tokens")
    max_batch: int = quantity("1")
    plain_max_batch: int = quantity("1")
    speculating: float = quantity("tokens/s", column="tokens_per_s")
    plain_equal_batch: float = quantity("tokens/s", column="plain_tokens_per_s_at_equal_batch")
    plain: float = quantity("tokens/s", column="plain_tokens_per_s")


def plan(
    speculation: Speculation,
    *,
    batches: Sequence[int],
    context: float,
    options: DraftOptions,
    decay: float = 1.0,
    routing: Routing | None = None,
) -> SpeculationPlan:
    """Schedule between the least and the largest batch, break-even acceptance at each, and where it loses.

    Parameters
    ----------
    batches : that are asked about. [1] >= 1
    context : tokens cached before a round. [tokens]
    options : drafts to choose from
    decay : of acceptance from one position to the next, for the break-even. [1]

    Raises
    ------
    DomainError : if no draft is offered.
    """
    if not np.any(options.shape.tokens > 0):
        raise DomainError("draft_length offers no draft: give lengths of at least 1, such as 0:8")
    every = whole_batches(min(batches), max(batches))
    rounds = option_rounds(speculation, every, context, options, routing)
    size = options.tokens.size
    least, reason, final = _losing(speculation, context, options, routing)
    return SpeculationPlan(
        context=float(context),
        acceptance_rate=float(options.rate[-1]),
        schedule=_schedule(rounds, every, options, best_options(rounds, size)),
        short_schedule=_schedule(rounds, every, options, near_best_options(rounds, size)),
        break_even=None
        if options.is_tree
        else break_even(
            speculation, np.array(sorted(set(batches)), dtype=np.float64), context, options, decay, routing
        ),
        losing_from=least,
        reason=reason,
        final_speedup=final,
    )


def goodput(
    speculation: Speculation, options: DraftOptions, memory: DraftMemory, routing: Routing | None = None
) -> Goodput | None:
    """Tokens per second at equal memory and at equal batch; None where no capacity is known or nothing fits."""
    if not memory.max_batch or not memory.plain_max_batch:
        return None
    batches = np.array([float(memory.max_batch), float(memory.plain_max_batch)])
    rounds = option_rounds(speculation, batches, memory.context, options, routing)
    rate = rounds.tokens_per_s.reshape(2, -1)
    return Goodput(
        context=memory.context,
        max_batch=memory.max_batch,
        plain_max_batch=memory.plain_max_batch,
        speculating=float(rate[0, 1:].max()),
        plain_equal_batch=float(rate[0, 0]),
        plain=float(rate[1, 0]),
    )


def whole_batches(least: int, largest: int) -> np.ndarray:
    """Whole batches between two numbers: each one, beyond `EVERY_BATCH` in steps of about 3 %."""
    single = np.arange(least, min(largest, max(EVERY_BATCH, least)) + 1.0)
    if largest <= single[-1]:
        return single
    steps = np.ceil(np.log(largest / single[-1]) / np.log(1.03)).astype(int) + 1
    return np.unique(np.concatenate([single, np.round(np.geomspace(single[-1], largest, steps))]))


def best_options(rounds: SpeculateResult, options: int) -> np.ndarray:
    """Option that emits most per second at each batch, shape (batches,); of equal ones the smallest draft."""
    return best_option(rounds.tokens_per_round.reshape(-1, options), rounds.round_time.reshape(-1, options))


def near_best_options(rounds: SpeculateResult, options: int) -> np.ndarray:
    """Options within `SLACK` of the best at each batch, changed as seldom as possible, shape (batches,).

    Plain decoding is the first option; a draft that loses against it is never taken.
    """
    rate = rounds.tokens_per_s.reshape(-1, options)
    is_near = (rate >= (1.0 - SLACK) * rate.max(axis=1, keepdims=True)) & (rate >= rate[:, :1])
    # Batches for which an option stays near without a break, from each batch on.
    lasting = np.zeros(is_near.shape, dtype=np.int64)
    for index in range(is_near.shape[0] - 1, -1, -1):
        after = lasting[index + 1] if index + 1 < is_near.shape[0] else 0
        lasting[index] = np.where(is_near[index], after + 1, 0)
    chosen = np.zeros(is_near.shape[0], dtype=np.intp)
    start = 0
    while start < chosen.size:
        # Of options that last equally long the one that is best at the start.
        longest = lasting[start] == lasting[start].max()
        own = int(np.argmax(np.where(longest, rate[start], -np.inf)))
        chosen[start : start + lasting[start, own]] = own
        start += int(lasting[start, own])
    return chosen


def _schedule(
    rounds: SpeculateResult, batches: np.ndarray, options: DraftOptions, chosen: np.ndarray
) -> tuple[ScheduleRow, ...]:
    """Runs of batches for which the same option is chosen."""
    gain = np.take_along_axis(rounds.speedup.reshape(batches.size, -1), chosen[:, np.newaxis], axis=1)[:, 0]
    edges = [0, *(np.flatnonzero(np.diff(chosen)) + 1).tolist(), batches.size]
    passes, tokens = np.asarray(options.shape.passes), np.asarray(options.shape.tokens)
    rows = []
    for start, stop in itertools.pairwise(edges):
        own = int(chosen[start])
        rows.append(
            ScheduleRow(
                batch_from=int(batches[start]),
                batch_to=int(batches[stop] - 1 if stop < batches.size else batches[-1]),
                draft_length=int(passes[own]),
                tree_nodes=int(tokens[own]) + 1 if options.is_tree else None,
                tree_depth=int(passes[own]) if options.is_tree else None,
                speedup_from=float(gain[start]),
                speedup_to=float(gain[stop - 1]),
            )
        )
    return tuple(rows)


def break_even(
    speculation: Speculation,
    batches: np.ndarray,
    context: float,
    options: DraftOptions,
    decay: float = 1.0,
    routing: Routing | None = None,
) -> tuple[BreakEven, ...]:
    r"""Least acceptance at which a chain of an offered length pays, :math:`\omega(a) = T_{round}(a) / T_{dec}`.

    Found by bisection for all batches and lengths at once; the pass after full acceptance makes a round's time depend
    on the acceptance too.
    """
    lengths = np.asarray(options.shape.tokens)
    lengths = lengths[lengths > 0]
    offered = dataclasses.replace(
        options,
        shape=chain(lengths),
        tokens=np.ones_like(lengths),
        kept_whole=np.zeros_like(lengths),
        rate=np.zeros_like(lengths),
    )
    never, always = (
        option_rounds(speculation, batches, context, dataclasses.replace(offered, kept_whole=kept), routing)
        for kept in (np.zeros_like(lengths), np.ones_like(lengths))
    )
    refill = always.draft_time - never.draft_time
    length = never.draft_length

    def pays(rate: np.ndarray) -> np.ndarray:
        tokens, kept = emitted_tokens(speculation, Acceptance(value=rate, decay=decay), length)
        paid: np.ndarray = tokens * never.plain_step_time >= never.round_time + kept * refill
        return paid

    low, high = np.zeros_like(length), np.ones_like(length)
    reachable = pays(high)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        enough = pays(middle)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    rates = np.where(reachable, high, np.inf).reshape(batches.size, -1)
    best = np.argmin(rates, axis=1)
    return tuple(
        BreakEven(
            batch=float(batch),
            acceptance_rate=None if np.isinf(row[own]) else float(row[own]),
            draft_length=None if np.isinf(row[own]) else int(lengths[own]),
        )
        for batch, row, own in zip(batches, rates, best, strict=True)
    )


def _losing(
    speculation: Speculation, context: float, options: DraftOptions, routing: Routing | None
) -> tuple[int | None, Reason, float]:
    """Least batch from which on the best draft loses, why, and the speed-up at the largest batch."""
    drafting = np.asarray(options.shape.tokens) > 0
    offered = dataclasses.replace(
        options,
        shape=DraftShape(
            **{
                name: np.broadcast_to(getattr(options.shape, name), drafting.shape)[drafting]
                for name in ("tokens", "passes", "width")
            }
        ),
        **{name: getattr(options, name)[drafting] for name in ("tokens", "kept_whole", "rate")},
    )

    def best(batches: np.ndarray) -> np.ndarray:
        rounds = option_rounds(speculation, batches, context, offered, routing)
        gain: np.ndarray = rounds.speedup.reshape(batches.size, -1).max(axis=1)
        return gain

    batches = whole_batches(1, int(LARGEST_BATCH))
    gains = best(batches)
    index = int(losing_from(gains))
    final = float(gains[-1])
    if index >= batches.size:
        return None, _why_never(speculation, context, routing), final
    if index == 0:
        return 1, "always_loses", final
    low, high = int(batches[index - 1]), int(batches[index])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if best(np.array([float(middle)]))[0] < 1.0 else (middle, high)
    return high, "loses", final


def _why_never(speculation: Speculation, context: float, routing: Routing | None) -> Reason:
    """Whether memory still binds the largest step, as reading long caches makes it."""
    cost = step_time(speculation.target, Step(batch=LARGEST_BATCH, context=float(context)), routing)
    return "never_memory_bound" if float(cost.memory_time) > float(cost.compute_time) else "never"
