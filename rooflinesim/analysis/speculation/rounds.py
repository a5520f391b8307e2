"""What a round of speculation costs: draft passes, verification, and what the software adds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import (
    DraftShape,
    Speculation,
    draft_of,
    first_pass_of,
    verification_ops,
    verified_rows,
)
from rooflinesim.analysis.steps import BLOCK_POINTS
from rooflinesim.analysis.timing import step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import Cost, step_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.footprint import Storage, cache_bytes
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RoundTimes(Noun):
    """Times of a round, whatever is accepted; aligned arrays, and of a plain decode step beside it.

    `refill_time` is one more draft pass, which a separate draft needs after full acceptance.
    """

    plain_step_time: np.ndarray = quantity("s")
    draft_time: np.ndarray = quantity("s")
    refill_time: np.ndarray = quantity("s")
    verify_time: np.ndarray = quantity("s")
    round_overhead_time: np.ndarray = quantity("s")


def round_times(
    speculation: Speculation,
    batch: np.ndarray,
    context: np.ndarray,
    shape: DraftShape,
    *,
    is_sampled: bool = False,
    routing: Routing | None = None,
) -> RoundTimes:
    r"""Times of rounds at aligned batches, contexts and shapes of drafts [s].

    .. math:: T_{round} = \sum_{i=0}^{k-1} T_{dr}(b, 1, s + i) + T_{ver}(b, k + 1, s) + T_o

    every term from the same per-operation model as a decode step. Draft passes of a round are timed at their mean
    context. A shape that drafts nothing is a plain step: nothing drafted, nothing added.

    Parameters
    ----------
    batch : b, sequences. [1] shape (points,)
    context : s, tokens cached before the round. [tokens] shape (points,)
    shape : what is drafted, arrays of shape (points,)
    is_sampled : whether tokens are sampled, so that the draft's distributions are read for rejection sampling

    Neglected: sending tokens to a draft on other devices; rows of a tree are scored against all rows before them.

    References
    ----------
    .. [1] Chen et al. MagicDec. 2024, arXiv 2408.11049, section 3.
    """
    columns = {
        "batch": batch,
        "context": context,
        "tokens": np.broadcast_to(shape.tokens, batch.shape),
        "passes": np.broadcast_to(shape.passes, batch.shape),
        "width": np.broadcast_to(shape.width, batch.shape),
    }

    def plain(batch: np.ndarray, context: np.ndarray) -> list[Array]:
        step = Step(batch=batch, context=context, new_tokens=np.ones_like(batch))
        return [step_time(speculation.target, step, routing).time]

    def round_of(batch: np.ndarray, context: np.ndarray, **rest: np.ndarray) -> list[Array]:
        drafted = DraftShape(**rest)
        return [
            *draft_times(speculation, batch, context, drafted, routing),
            verification_cost(speculation, batch, context, drafted, routing).time,
            overhead_time(speculation, batch, drafted, is_sampled=is_sampled),
        ]

    (step,) = evaluated(plain, {name: columns[name] for name in ("batch", "context")})
    drafts, refill, verification, overhead = evaluated(round_of, columns)
    if speculation.draft_cost_ratio is not None:
        drafts, refill = drafts * step, refill * step
    verification = verification + speculation.target.stack.speculation.verify_token_share * columns["tokens"] * step
    drafts_nothing = columns["tokens"] == 0.0
    return RoundTimes(
        plain_step_time=step,
        draft_time=np.where(drafts_nothing, 0.0, drafts),
        refill_time=np.where(drafts_nothing, 0.0, refill),
        verify_time=np.where(drafts_nothing, step, verification),
        round_overhead_time=np.where(drafts_nothing, 0.0, overhead),
    )


def draft_times(
    speculation: Speculation, batch: Array, context: Array, shape: DraftShape, routing: Routing | None = None
) -> tuple[Array, Array]:
    """Time of a round's draft passes together, and of one more after full acceptance [s].

    With a measured cost ratio both are in plain steps. A head that goes on from the target's hidden states takes the
    tokens of the last verification in with its first pass, padded to passes + 1 of each sequence.
    """
    method = speculation.method
    one = np.zeros_like(np.asarray(shape.passes, dtype=np.float64))
    measured = speculation.draft_pass_time if speculation.draft_cost_ratio is None else speculation.draft_cost_ratio
    draft = draft_of(method)
    first = first_pass_of(method)
    if measured is not None:
        own = one + measured
        return shape.passes * own, own if isinstance(method, DraftModel) else one
    if draft is None:
        return one, one
    length = np.maximum(context + 0.5 * np.maximum(shape.tokens - 1.0, 0.0), 0.0)
    if isinstance(method, DraftModel) and method.cache_tokens is not None:
        length = np.minimum(length, method.cache_tokens)
    further = pass_cost(draft, Step(batch=batch, new_tokens=shape.width, context=length), routing).time
    if first is None:
        return shape.passes * further, further if isinstance(method, DraftModel) else one
    taken_in = Step(batch=batch, new_tokens=shape.passes + 1.0, context=context, logit_tokens=one + 1.0)
    return pass_cost(first, taken_in, routing).time + np.maximum(shape.passes - 1.0, 0.0) * further, one


def pass_cost(draft: Deployment, step: Step, routing: Routing | None = None) -> Cost:
    """Cost of one draft pass: its operations, and the software's time for a draft pass in place of a step's [s]."""
    law = draft.stack.speculation
    ranks = law.draft_rank_time * (draft.tensor_parallel - 1)
    is_eager = law.draft_launch == "eager"
    stack = dataclasses.replace(
        draft.stack,
        step_time=law.draft_step_time + ranks,
        sequence_time=0.0,
        launch="eager" if is_eager else draft.stack.launch,
        launch_time=law.draft_launch_time if is_eager else draft.stack.launch_time,
    )
    return step_time(dataclasses.replace(draft, stack=stack), step, routing)


def verification_cost(
    speculation: Speculation, batch: Array, context: Array, shape: DraftShape, routing: Routing | None = None
) -> Cost:
    """Cost of the pass in which the target scores a draft [s]."""
    target = speculation.target
    step = Step(batch=batch, new_tokens=verified_rows(speculation.method, shape.tokens), context=context)
    return step_cost(verification_ops(speculation, step, routing), machine_of(target), target, step)


def overhead_time(speculation: Speculation, batch: Array, shape: DraftShape, *, is_sampled: bool = False) -> Array:
    """What a round adds to drafting and verifying: software, distributions of the draft, moved caches of a tree [s]."""
    target = speculation.target
    law, machine = target.stack.speculation, machine_of(target)
    own_batch = batch / target.data_parallel
    moved: Array = 0.0
    if is_sampled:
        moved = target.precision.logits.bytes * target.model.vocabulary * shape.tokens
    # The accepted path of a tree lies scattered in the cache and is moved together: read once, written once.
    storage = Storage(ranks=target.tensor_parallel)
    token_bytes = float(np.max(cache_bytes(target.model, target.precision, 1.0, storage)))
    moved = moved + np.where(shape.tokens > shape.passes, 2.0 * token_bytes * shape.passes, 0.0)
    return law.round_time + law.sequence_time * own_batch + own_batch * moved / machine.bandwidth


def evaluated(function: Callable[..., list[Array]], columns: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Columns that a function gives for aligned columns, each distinct point evaluated once, in blocks."""
    distinct, place = distinct_points(columns)
    points = next(iter(distinct.values())).size
    parts = []
    for start in range(0, points, BLOCK_POINTS):
        block = {name: column[start : start + BLOCK_POINTS] for name, column in distinct.items()}
        size = next(iter(block.values())).size
        parts.append([np.broadcast_to(values, (size,)) for values in function(**block)])
    return [np.concatenate(column)[place] for column in zip(*parts, strict=True)]


def distinct_points(columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Aligned columns with every point once, and the place of each point among them."""
    code: Any = None
    for column in columns.values():
        values, own = np.unique(column, return_inverse=True)
        if values.size == 1 and code is not None:
            continue
        code = own if code is None else np.unique(code * values.size + own, return_inverse=True)[1]
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    return {name: column[first] for name, column in columns.items()}, place
