"""What an engine needs for decode steps and prompts at every batch: computed once, used by every load and policy."""

import dataclasses

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.residency import resident_bytes, usable_memory
from rooflinesim.analysis.serving.load import Drafts, Load, length_law
from rooflinesim.analysis.serving.queueing import LARGEST_BATCH, fitting_sequences
from rooflinesim.analysis.speculation.memory import (
    cache_of_kept_states,
    draft_cache_bytes,
    draft_memory,
    draft_prefill_time,
    draft_weight_bytes,
)
from rooflinesim.analysis.speculation.methods import chain, verified_rows
from rooflinesim.analysis.speculation.speculate import emitted_tokens, rounds_result
from rooflinesim.analysis.steps import row_part
from rooflinesim.analysis.timing import step_pass, step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import summed_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.footprint import activation_bytes
from rooflinesim.workload.forward import cache_ops
from rooflinesim.workload.step import Array, Step

EVERY_BATCH = 64
"""Batches up to here are timed one by one, larger ones in steps of about 3 %, with straight lines between."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DecodeTimes(Noun):
    """Decode steps of one engine at the batches 1, 2, 3, ..., arrays of shape (batches,).

    `time` is that of a step; with speculation that of a round over the tokens it emits. `low` and `high` are the
    factors of its band. `rows` are the tokens that a step computes for each request.
    """

    deployment: Deployment
    drafts: Drafts | None
    context: float = quantity("tokens")
    rows: float = quantity("tokens")
    time: np.ndarray = quantity("s")
    low: np.ndarray = quantity("1")
    high: np.ndarray = quantity("1")


def decode_times(
    deployment: Deployment, context: float, drafts: Drafts | None = None, *, largest: int = LARGEST_BATCH
) -> DecodeTimes:
    """Times of decode steps up to a batch, at one context of all requests.

    Parameters
    ----------
    context : mean tokens cached; attention is linear in it, so that its spread does not matter. [tokens]
    largest : batch; fewer where no more fit into memory. [1]
    """
    fitting = float(fitting_requests(deployment, context, drafts=drafts))
    size = int(max(1, min(largest, fitting, LARGEST_BATCH)))
    batches = timed_batches(size)
    step = Step(batch=batches, context=np.full(batches.shape, context))
    rows = 1.0
    if drafts is None:
        time = step_time(deployment, step).time
    else:
        time, rows = _round_time_per_token(drafts, batches, context)
    every = np.arange(1.0, size + 1.0)
    low, high = (np.broadcast_to(factor, batches.shape) for factor in band_of(deployment, step))
    return DecodeTimes(
        deployment=deployment,
        drafts=drafts,
        context=context,
        rows=rows,
        time=np.interp(every, batches, np.broadcast_to(time, batches.shape)),
        low=np.interp(every, batches, low),
        high=np.interp(every, batches, high),
    )


def timed_batches(largest: int) -> np.ndarray:
    """Batches at which steps are timed, from 1 to the largest."""
    ratio = max(largest / EVERY_BATCH, 1.0)
    further = np.round(np.geomspace(EVERY_BATCH, largest, int(np.log(ratio) / 0.03) + 2))
    return np.unique(np.concatenate([np.arange(1.0, min(EVERY_BATCH, largest) + 1.0), further[further <= largest]]))


def _round_time_per_token(drafts: Drafts, batches: np.ndarray, context: float) -> tuple[np.ndarray, float]:
    """Time of a round over what it emits [s], and the tokens that it verifies for each request."""
    length = np.full(batches.shape, float(drafts.draft_length))
    emitted, kept = emitted_tokens(drafts.speculation, drafts.acceptance, length)
    found = rounds_result(
        drafts.speculation,
        batch=batches,
        context=np.full(batches.shape, context),
        shape=chain(length),
        tokens=emitted,
        kept_whole=kept,
        rate=np.zeros_like(length),
        is_sampled=bool(drafts.acceptance.temperature),
    )
    return found.tpot, float(np.max(verified_rows(drafts.speculation.method, np.float64(drafts.draft_length))))


def cache_room(deployment: Deployment, rows: float, drafts: Drafts | None = None) -> float:
    """Memory that weights and the activations of so many tokens leave for caches on each device [B].

    Infinite where the device states no capacity; below zero where not even the weights fit.
    """
    usable = usable_memory(deployment)
    if usable is None:
        return np.inf
    held = float(np.max(resident_bytes(deployment, Step(batch=0.0))))
    own = rows / deployment.data_parallel
    active = activation_bytes(deployment.model, deployment.precision, own, 0.0, deployment.tensor_parallel)
    weights = 0.0
    if drafts is not None and not getattr(drafts.speculation.method, "has_own_devices", False):
        weights = draft_weight_bytes(drafts.speculation)
    return usable - held - float(np.max(active)) - weights


def sequence_bytes(deployment: Deployment, context: Array, drafts: Drafts | None = None) -> Array:
    """Memory that a request of a context takes on each device of its group: cache, states, and a step's logits [B]."""
    rows = 1.0
    extra: Array = 0.0
    if drafts is not None:
        speculation = drafts.speculation
        rows = float(np.max(verified_rows(speculation.method, np.float64(drafts.draft_length))))
        extra = cache_of_kept_states(deployment, rows)
        if not getattr(speculation.method, "has_own_devices", False):
            lengths = np.asarray(context, dtype=np.float64)
            cached = [draft_cache_bytes(speculation, one + rows) for one in lengths.ravel().tolist()]
            extra = extra + np.reshape(cached, lengths.shape)
    context = np.asarray(context, dtype=np.float64)
    none, one = (
        resident_bytes(deployment, Step(batch=batch + 0.0 * context, context=context, new_tokens=rows))
        for batch in (0.0, float(deployment.data_parallel))
    )
    return one - none + extra


def fitting_requests(
    deployment: Deployment, context: Array, *, rows: float = 0.0, drafts: Drafts | None = None
) -> Array:
    """Requests of a context that fit into memory beside a step of so many tokens [1]; infinite where unknown."""
    room = cache_room(deployment, rows, drafts)
    if np.isinf(room):
        return np.full(np.shape(context), np.inf)
    fitting: Array = deployment.data_parallel * fitting_sequences(room, sequence_bytes(deployment, context, drafts))
    if drafts is None or not getattr(drafts.speculation.method, "has_own_devices", False):
        return fitting
    length = float(drafts.draft_length)
    beside = [
        draft_memory(drafts.speculation, context=one, draft_length=length).max_batch
        for one in np.ravel(context).tolist()
    ]
    known = [np.inf if one is None else float(one) for one in beside]
    return np.asarray(np.minimum(fitting, np.reshape(known, np.shape(context))))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PromptTimes(Noun):
    """What the prompt of one request takes beside 0, 1, 2, ... running requests, arrays of shape (batches + 1,).

    `engine_time` is what it adds to the engine's work, `queue_time` after how long the next prompt can start,
    `first_token_time` how long it takes itself from its start on: means over the lengths of prompts. `longest_step` is
    that of a step with a chunk, infinite for whole prompts, which stop decoding for as long as they come. `spread` is
    the squared coefficient of variation of the times, `quantiles` their 50, 95 and 99 % points over the mean. `low` and
    `high` are the factors of the band.
    """

    engine_time: np.ndarray = quantity("s")
    queue_time: np.ndarray = quantity("s")
    first_token_time: np.ndarray = quantity("s")
    longest_step: np.ndarray = quantity("s")
    spread: float = quantity("1")
    quantiles: np.ndarray = quantity("1")
    low: float = quantity("1")
    high: float = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EngineTimes(Noun):
    """Decode steps and prompts of one engine, whatever the rate, the batch limit and the replicas.

    `concurrency` is what memory holds of requests at their mean length; none where not even one whole request fits.
    `elsewhere` are prompts on engines of their own, where they are known.
    """

    decode: DecodeTimes
    prompts: PromptTimes
    concurrency: float = quantity("1")
    elsewhere: PromptTimes | None = None


def engine_times(decode: DecodeTimes, load: Load, chunk_tokens: int | None = None) -> EngineTimes:
    """Times of an engine that takes the prompts of a load whole, or in chunks."""
    rows = float(chunk_tokens or load.new_tokens)
    contexts = np.array([decode.context, load.prompt_tokens + load.output_tokens])
    mean, longest = np.asarray(fitting_requests(decode.deployment, contexts, rows=rows, drafts=decode.drafts)).tolist()
    return EngineTimes(
        decode=decode, prompts=prompt_times(decode, load, chunk_tokens), concurrency=mean if longest >= 1.0 else 0.0
    )


def prefill_times(prefill: Deployment, load: Load, drafts: Drafts | None = None) -> PromptTimes:
    """Times of the prompts of a load on an engine that runs nothing else."""
    return prompt_times(decode_times(prefill, load.prompt_tokens, drafts, largest=1), load)


def prompt_times(decode: DecodeTimes, load: Load, chunk_tokens: int | None = None) -> PromptTimes:
    """Times of prompts at every batch that decode steps were timed at.

    Whole prompts stop decoding for as long as they take. A chunk shares a step with the running requests: the
    products of all its tokens are computed together and attention is added, so that a chunk fills what a memory-bound
    step leaves idle.
    """
    deployment, drafts = decode.deployment, decode.drafts
    kinds, points = length_law(load.prompt_tokens, load.prompt_spread)
    new, chunk = load.new_tokens, float(chunk_tokens or load.new_tokens)
    starts = np.arange(0.0, new, chunk)
    chunks = _prompts(np.minimum(chunk, new - starts), load.cached_tokens + starts)
    low, high = (float(np.max(factor)) for factor in band_of(deployment, chunks, is_prompt=True))
    drafted = draft_prefill_time(drafts.speculation, load.prompt_tokens) if drafts else 0.0
    cached = load.cached_tokens / load.prompt_tokens
    lengths = np.concatenate([kinds, points, [load.prompt_tokens]])
    together = _prompts(
        np.concatenate([np.maximum(lengths * (1.0 - cached), 1.0), np.asarray(chunks.new_tokens)]),
        np.concatenate([lengths * cached, np.asarray(chunks.context)]),
    )
    whole, in_chunks = np.split(prompt_work(deployment, together), [lengths.size])
    mean = float(np.mean(whole[: kinds.size]))
    batches = np.arange(decode.time.size + 1.0)
    nothing = np.zeros_like(batches)
    law = PromptTimes(
        engine_time=nothing,
        queue_time=nothing,
        first_token_time=nothing,
        longest_step=nothing + np.inf,
        spread=float(np.var(whole[: kinds.size])) / mean**2,
        quantiles=whole[kinds.size : -1] / mean,
        low=low,
        high=high,
    )
    if chunk_tokens is None:
        engine = np.full(batches.shape, drafted + mean)
        return dataclasses.replace(law, engine_time=engine, queue_time=engine, first_token_time=engine)
    longer = mean / float(whole[-1])
    alone = drafted + longer * float(np.sum(in_chunks))
    timed = timed_batches(decode.time.size)
    rows = timed * decode.rows
    budget = np.maximum(chunk - rows, 1.0)
    taken = np.minimum(budget, new)
    steps = new / taken
    whole_steps = np.mean(np.ceil(kinds[:, np.newaxis] * (1.0 - cached) / budget), axis=0)
    # Short prompts stand alone in a step while few wait, and fill it together once many do.
    several = np.maximum(budget / new, 1.0)
    plain, mixed, full = np.split(
        row_time(
            deployment,
            np.concatenate([rows, rows + taken, rows + budget]),
            np.concatenate([rows, rows + 1.0, rows + np.minimum(several, budget)]),
        ),
        3,
    )
    chunked = summed_cost(cache_ops(step_pass(deployment, chunks)), machine_of(deployment), 0.0).time
    attention, efficiency = float(np.sum(chunked)), deployment.stack.prompt_efficiency
    added = longer * (steps * (mixed - plain) + attention) / efficiency + drafted
    queued = longer * (new / budget * (full - plain) + attention) / efficiency + drafted
    step = decode.time[timed.astype(int) - 1]

    def at_every_batch(without: float, beside: np.ndarray) -> np.ndarray:
        return np.asarray(np.interp(batches, [0.0, *timed], [without, *beside]))

    return dataclasses.replace(
        law,
        engine_time=at_every_batch(alone, added),
        queue_time=at_every_batch(alone, queued + longer * new / budget * step),
        first_token_time=at_every_batch(alone, added + whole_steps * step),
        longest_step=at_every_batch(alone, queued / (new / budget) + step),
    )


def _prompts(new: np.ndarray, cached: np.ndarray) -> Step:
    """Steps that read so many tokens of one prompt each, and score the last."""
    return Step(batch=1.0, new_tokens=new, context=cached, logit_tokens=1.0)


def prompt_work(deployment: Deployment, prompts: Step) -> np.ndarray:
    """Times of steps that read prompts, or chunks of one, and nothing else [s] shape (points,)."""
    time = step_time(deployment, prompts).time / deployment.stack.prompt_efficiency
    return np.broadcast_to(time, np.shape(prompts.new_tokens))


def row_time(deployment: Deployment, rows: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Time of what a step does with its rows alone: everything but attention and the software's own times [s]."""
    part = row_part(deployment, machine_of(deployment), Step(batch=rows, logit_tokens=scored / rows), None)
    return np.broadcast_to(part.cost.time, rows.shape)
