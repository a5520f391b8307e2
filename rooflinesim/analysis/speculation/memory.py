"""What a draft takes of memory, how many sequences it costs, and what it adds to the wait for the first token."""

import dataclasses
import math

import numpy as np

from rooflinesim.analysis.residency import resident_bytes, storage_of, usable_memory
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import EagleHead
from rooflinesim.analysis.speculation.medusa import MedusaHeads, medusa_bytes
from rooflinesim.analysis.speculation.methods import Speculation, draft_of, first_pass_of, verified_rows
from rooflinesim.analysis.speculation.mtp import MtpModules
from rooflinesim.analysis.timing import step_time
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.footprint import cache_bytes, resident_weight_bytes, state_bytes
from rooflinesim.workload.step import Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DraftMemory(Noun):
    """What a draft takes on the device that holds most of it, and what that costs.

    `weight_bytes` and `sequence_bytes` of cache lie on the target's devices, or on the draft's own ones; `max_batch`
    is what both leave room for, `plain_max_batch` what fits without speculation: None where no capacity is known.
    `missing_bytes` is what a single sequence lacks. `prefill_time` is what the draft adds to a prompt of `context`.
    """

    context: float = quantity("tokens")
    draft_length: float = quantity("tokens", column="draft_length")
    has_own_devices: bool
    weight_bytes: float = quantity("B", column="draft_weight_bytes")
    sequence_bytes: float = quantity("B", column="draft_kv_bytes_per_sequence")
    plain_max_batch: int | None = quantity("1")
    max_batch: int | None = quantity("1")
    missing_bytes: float | None = quantity("B")
    prefill_time: float = quantity("s", column="draft_prefill_time_s")


def draft_memory(speculation: Speculation, *, context: float, draft_length: float) -> DraftMemory:
    r"""Memory of a draft, and the largest batches with and without it.

    .. math:: B = \lfloor (M u - W - W_d) / ((kv + kv_d) \lceil (s + k + 1)/block \rceil block + act) \rfloor

    Parameters
    ----------
    context : s, tokens of each sequence. [tokens]
    draft_length : k, drafted tokens, those of a tree included. [tokens]
    """
    target, method = speculation.target, speculation.method
    own = isinstance(method, DraftModel) and method.has_own_devices
    weights = draft_weight_bytes(speculation)
    cache = draft_cache_bytes(speculation, context + draft_length + 1.0)
    verified = float(np.max(verified_rows(method, np.float64(draft_length))))
    held = cache_of_kept_states(target, verified) + (0.0 if own else cache)
    usable = usable_memory(target)
    largest = missing = plain = None
    if usable is not None:
        plain, _ = _fitting(target, usable, context, 1.0, 0.0, 0.0)
        largest, missing = _fitting(target, usable, context, verified, 0.0 if own else weights, held)
    draft = draft_of(method)
    if own and draft is not None and usable_memory(draft) is not None:
        room = (usable_memory(draft) or 0.0) - weights
        beside = max(0, math.floor(room / cache)) if cache else 0
        largest = beside if largest is None else min(largest, beside)
        missing = max(missing or 0.0, cache - room)
    return DraftMemory(
        context=float(context),
        draft_length=float(draft_length),
        has_own_devices=own,
        weight_bytes=weights,
        sequence_bytes=cache,
        plain_max_batch=plain,
        max_batch=largest,
        missing_bytes=None if missing is None else max(0.0, missing),
        prefill_time=draft_prefill_time(speculation, context),
    )


def _fitting(
    target: Deployment, usable: float, context: float, tokens: float, weights: float, sequence: float
) -> tuple[int, float]:
    """Sequences that fit beside more weights and more cache each, and how much a single one lacks [B]."""
    none, one = (
        float(np.max(resident_bytes(target, Step(batch=b, context=context, new_tokens=tokens))))
        for b in (0.0, float(target.data_parallel))
    )
    group, each = usable - none - weights, one - none + sequence
    return max(0, math.floor(group / each)) * target.data_parallel, each - group


def draft_weight_bytes(speculation: Speculation) -> float:
    """Weights that drafting keeps on a device beside the target's: what is shared counts for the target [B]."""
    target, method = speculation.target, speculation.method
    match method:
        case DraftModel():
            return 0.0 if method.is_target or method.draft is None else _weights(method.draft)
        case EagleHead():
            shared = ("embedding",) if method.has_own_head else ("embedding", "head")
            return _weights(method.first, shared)
        case MtpModules():
            # Modules whose size the model's description holds are in its own ledger.
            counted = target.model.draft_parameters > 0
            return 0.0 if counted else method.modules * _weights(method.draft, ("embedding", "head"))
        case MedusaHeads():
            return medusa_bytes(target, method.heads)
        case _:
            return 0.0


def _weights(draft: Deployment, shared: tuple[str, ...] = ()) -> float:
    parts = resident_weight_bytes(draft.model, draft.precision, draft.tensor_parallel, draft.group_devices)
    return sum(size for part, size in parts.items() if part not in shared)


def draft_cache_bytes(speculation: Speculation, tokens: float) -> float:
    """Cache and states that a draft keeps for one sequence of so many tokens on a device [B]."""
    method = speculation.method
    match method:
        case DraftModel() if method.draft is not None:
            kept = tokens if method.cache_tokens is None else min(tokens, method.cache_tokens)
            return _cache(method.draft, kept)
        case EagleHead() | MtpModules():
            return _cache(method.draft, tokens)
        case _:
            return 0.0


def _cache(draft: Deployment, tokens: float) -> float:
    model, precision = draft.model, draft.precision
    keys = float(np.max(cache_bytes(model, precision, np.float64(tokens), storage_of(draft))))
    return keys + state_bytes(model, precision, draft.tensor_parallel)


def cache_of_kept_states(target: Deployment, tokens: float) -> float:
    """States beyond the last one that a sequence keeps, one per verified token, to undo rejected ones [B]."""
    if target.stack.speculation.recurrent_state != "kept":
        return 0.0
    return (tokens - 1.0) * state_bytes(target.model, target.precision, target.tensor_parallel)


def draft_prefill_time(speculation: Speculation, prompt: float) -> float:
    """Time in which the draft reads a prompt, after or before the target does [s]; 0 where it keeps no cache."""
    draft = first_pass_of(speculation.method)
    if isinstance(speculation.method, DraftModel) and not speculation.method.is_target:
        draft = speculation.method.draft
    if draft is None or prompt < 1.0:
        return 0.0
    step = Step(batch=1.0, new_tokens=prompt, context=0.0, logit_tokens=1.0)
    return float(step_time(draft, step).time) / draft.stack.prompt_efficiency
