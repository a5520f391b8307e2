"""Times of every step that a simulation can come to, tabulated in advance: its loop never counts an operation."""

import dataclasses
from bisect import bisect_right

import numpy as np

from rooflinesim.analysis.residency import storage_of
from rooflinesim.analysis.serving.load import Drafts
from rooflinesim.analysis.serving.times import cache_room, row_time, sequence_bytes, timed_batches
from rooflinesim.analysis.speculation.memory import draft_prefill_time
from rooflinesim.analysis.speculation.methods import chain, verified_rows
from rooflinesim.analysis.speculation.speculate import emitted_tokens, rounds_result
from rooflinesim.analysis.timing import step_pass, step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import summed_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.forward import cache_ops
from rooflinesim.workload.step import Step

EVERY_ROW = 4096
"""Rows of a step up to which each number is tabulated; beyond, straight lines between numbers 3 % apart."""

CHUNK_RATIO = 1.1
"""Ratio of tabulated chunks: between them attention, of second order in the chunk, is off by 0.25 % at most."""

CONTEXT_RATIO = 1.3
"""Ratio of tabulated contexts, in which attention is all but a straight line."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Caches(Noun):
    """Memory for caches on one device: its room, and what a sequence takes for itself and for each block of tokens.

    A window or a recurrent state that does not grow with the context is part of what a sequence takes for itself.
    """

    room: float = quantity("B")
    sequence_bytes: float = quantity("B")
    block_bytes: float = quantity("B")
    block: int = quantity("tokens")

    def bytes_of(self, tokens: float) -> float:
        """Memory of the cache of one sequence [B]."""
        return self.sequence_bytes + self.block_bytes * -(-tokens // self.block)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StepTable(Noun):
    """Times of steps by what is in them.

    `step` is the time of a decode step, or of a round of speculation, of shape (batches + 1, contexts), and `kept`
    the chance that each drafted position is accepted. `rows_added` is the time of all but attention for so many rows,
    unscored, `scored_added` that of scoring so many; `attention` that of a chunk after a context, of shape
    (chunks, contexts). `prompt_overhead` is what the software adds to a step of prompts alone, `draft_time` by tokens
    of a prompt what its draft needs for it.
    """

    contexts: np.ndarray = quantity("tokens")
    step: np.ndarray = quantity("s")
    rows: np.ndarray = quantity("tokens")
    rows_added: np.ndarray = quantity("s")
    scored_added: np.ndarray = quantity("s")
    chunks: np.ndarray = quantity("tokens")
    attention: np.ndarray = quantity("s")
    prompt_overhead: float = quantity("s")
    prompt_efficiency: float = quantity("1")
    draft_time: np.ndarray = quantity("s")
    rows_each: float = quantity("tokens")
    kept: np.ndarray | None
    caches: Caches

    @property
    def batches(self) -> int:
        """Largest batch."""
        return int(self.step.shape[0]) - 1

    def decode_times(self, batch: int, context: float, steps: int) -> np.ndarray:
        """Times of steps one after another, the mean context growing by a token each [s] shape (steps,)."""
        return np.asarray(np.interp(context + np.arange(steps), self.contexts, self.step[batch]))

    def chunk_attention_time(self, chunk: float, context: float) -> float:
        """Time of a chunk's attention to itself and to what was cached before it [s]."""
        row, low = _cell(self.chunks, chunk)
        column, left = _cell(self.contexts, context)
        table = self.attention
        first = table[row, column] * (1.0 - left) + table[row, column + 1] * left
        second = table[row + 1, column] * (1.0 - left) + table[row + 1, column + 1] * left
        return float(first * (1.0 - low) + second * low)

    def prompt_time(self, batch: int, chunks: list[tuple[float, float]]) -> float:
        """Time that chunks, each with what is cached before it, add to a step of a batch [s]; all of it without one."""
        taken = sum(chunk for chunk, _ in chunks)
        beside = batch * self.rows_each
        scored = len(chunks)
        more = self._rows_time(beside + taken) - (self._rows_time(beside) if batch else 0.0)
        scores = self.scored_added
        last = scores.size - 1
        more += scores[min(int(beside) + scored, last)] - (scores[min(int(beside), last)] if batch else 0.0)
        more += sum(self.chunk_attention_time(chunk, context) for chunk, context in chunks)
        return float(more + (0.0 if batch else self.prompt_overhead)) / self.prompt_efficiency

    def _rows_time(self, rows: float) -> float:
        if rows <= EVERY_ROW:
            return float(self.rows_added[int(rows)])
        return float(np.interp(rows, self.rows, self.rows_added))

    def draft_prefill_time(self, prompt: float) -> float:
        """Time in which a draft reads a prompt [s]."""
        return float(np.interp(prompt, self.contexts, self.draft_time))


def _cell(points: np.ndarray, value: float) -> tuple[int, float]:
    """Cell of a rising grid that a value lies in, and how far in it: 0 to 1."""
    place = min(max(bisect_right(points, value) - 1, 0), len(points) - 2)
    return place, (value - points[place]) / (points[place + 1] - points[place])


def step_table(
    deployment: Deployment,
    *,
    batches: int,
    longest: float,
    step_tokens: float,
    held_tokens: float,
    drafts: Drafts | None = None,
) -> StepTable:
    """Times of the steps of an engine.

    Parameters
    ----------
    batches : largest batch. [1]
    longest : tokens of the longest request. [tokens]
    step_tokens : most tokens of prompts in one step. [tokens]
    held_tokens : tokens of a step whose activations memory is kept free for. [tokens]
    """
    contexts = _geometric(longest + batches, CONTEXT_RATIO)
    timed = timed_batches(batches)
    times, rows_each, kept = _steps(deployment, timed, contexts, drafts)
    every = np.arange(batches + 1.0)
    step = np.array([np.interp(every, np.concatenate([[0.0], timed]), [0.0, *column]) for column in times.T]).T
    scored = np.arange(0.0, np.ceil(batches * rows_each) + 64.0)
    most = step_tokens + batches * rows_each
    rows = np.unique(np.concatenate([np.arange(1.0, min(most, EVERY_ROW) + 1.0), np.round(_geometric(most, 1.03))[1:]]))
    unscored = row_time(deployment, rows, 0.0 * rows)
    all_scored = row_time(deployment, scored[1:], scored[1:]) - row_time(deployment, scored[1:], 0.0 * scored[1:])
    chunks = _geometric(step_tokens, CHUNK_RATIO)[1:]
    attention = _attention(deployment, chunks, contexts)
    one = float(step_time(deployment, Step()).time) - float(
        unscored[0] + all_scored[0] + _attention(deployment, np.ones(1), np.zeros(1))[0, 0]
    )
    drafted = [draft_prefill_time(drafts.speculation, tokens) if drafts else 0.0 for tokens in contexts.tolist()]
    return StepTable(
        contexts=contexts,
        step=step,
        rows=np.concatenate([[0.0], rows]),
        rows_added=np.concatenate([[0.0], unscored]),
        scored_added=np.concatenate([[0.0], all_scored]),
        chunks=chunks,
        attention=attention,
        prompt_overhead=one,
        prompt_efficiency=deployment.stack.prompt_efficiency,
        draft_time=np.array(drafted),
        rows_each=rows_each,
        kept=kept,
        caches=caches_of(deployment, held_tokens, longest, drafts),
    )


def _geometric(most: float, ratio: float) -> np.ndarray:
    """0, 1, and on in equal ratios up to the most or beyond, in whole numbers."""
    count = int(np.ceil(np.log(max(most, 2.0)) / np.log(ratio))) + 1
    return np.unique(np.concatenate([[0.0], np.ceil(ratio ** np.arange(count))]))


def _steps(
    deployment: Deployment, batches: np.ndarray, contexts: np.ndarray, drafts: Drafts | None
) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Times of decode steps or rounds, shape (batches, contexts), rows of each request, and what is kept of a draft."""
    shape = (batches.size, contexts.size)
    batch, context = np.repeat(batches, contexts.size), np.tile(contexts, batches.size)
    if drafts is None:
        return np.reshape(step_time(deployment, Step(batch=batch, context=context)).time, shape), 1.0, None
    speculation = drafts.speculation
    length = np.full(batch.shape, float(drafts.draft_length))
    emitted, whole = emitted_tokens(speculation, drafts.acceptance, length)
    found = rounds_result(
        speculation,
        batch=batch,
        context=context,
        shape=chain(length),
        tokens=emitted,
        kept_whole=whole,
        rate=np.zeros_like(length),
        is_sampled=bool(drafts.acceptance.temperature),
    )
    lengths = np.arange(drafts.draft_length + 1.0)
    kept = np.diff(emitted_tokens(speculation, drafts.acceptance, lengths)[0])
    rows = float(np.max(verified_rows(speculation.method, np.float64(drafts.draft_length))))
    return np.reshape(found.round_time, shape), rows, kept


def _attention(deployment: Deployment, chunks: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """Times of the attention of chunks after contexts, shape (chunks, contexts) [s]."""
    chunk, context = np.repeat(chunks, contexts.size), np.tile(contexts, chunks.size)
    step = Step(batch=1.0, new_tokens=chunk, context=context, logit_tokens=1.0)
    cost = summed_cost(cache_ops(step_pass(deployment, step)), machine_of(deployment), 0.0)
    return np.reshape(np.broadcast_to(cost.time, chunk.shape), (chunks.size, contexts.size))


def caches_of(deployment: Deployment, held_tokens: float, longest: float, drafts: Drafts | None = None) -> Caches:
    """What caches take of a device beside weights and the activations of a step."""
    block = storage_of(deployment).block
    blocks = max(np.ceil(longest / block), 2.0)
    # A step's new token is counted by `sequence_bytes`, so that the context is one short of whole blocks.
    lengths = np.array([blocks // 2, blocks]) * block - 1.0
    half, whole = np.asarray(sequence_bytes(deployment, lengths, drafts)).tolist()
    each = (whole - half) / (blocks - blocks // 2)
    groups = deployment.data_parallel
    return Caches(
        room=cache_room(deployment, held_tokens, drafts) * groups,
        sequence_bytes=max(whole - blocks * each, 0.0),
        block_bytes=each,
        block=block,
    )
