"""One engine's loop: admit requests, form a step, move on by its time, hand out tokens."""

import dataclasses
from collections import deque
from collections.abc import Callable

import numpy as np

from rooflinesim.analysis.serving.arrivals import Requests
from rooflinesim.analysis.serving.load import Policy
from rooflinesim.analysis.serving.step_table import StepTable
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

LONGEST_RUN = 4096
"""Steps that are taken together at most."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Served(Noun):
    """What one engine did with its requests, arrays of shape (requests,), and request-seconds added up on the way.

    `inside_time` is that of requests in the engine, `waiting_time` in front of it. `waits_since` is when the queue
    that stood at the last arrival began; None if there was none.
    """

    arrived: np.ndarray = quantity("s")
    started: np.ndarray = quantity("s")
    first_token: np.ndarray = quantity("s")
    completed: np.ndarray = quantity("s")
    preemptions: np.ndarray = quantity("1")
    inside_time: float = quantity("s")
    waiting_time: float = quantity("s")
    prompt_time: float = quantity("s")
    running_most: int = quantity("1")
    steps: int = quantity("1")
    waits_since: float | None = quantity("s")


def serve(
    requests: Requests,
    table: StepTable,
    policy: Policy,
    *,
    reads_prompts: bool = True,
    generator: np.random.Generator,
    progress: Callable[[int], None] | None = None,
) -> Served:
    """What an engine does with requests in order of arrival.

    Parameters
    ----------
    reads_prompts : whether prompts are computed here; else their caches come from elsewhere, and only what was
        preempted is computed again.
    generator : of how much of each draft is kept.
    progress : called with the number of requests that were completed since the last call.
    """
    loop = _Loop(requests, table, policy, reads_prompts, generator, progress or (lambda _: None))
    loop.run()
    return Served(
        arrived=loop.arrived,
        started=loop.started,
        first_token=loop.first_token,
        completed=loop.completed,
        preemptions=loop.preemptions,
        inside_time=loop.inside_time,
        waiting_time=loop.waiting_time,
        prompt_time=loop.prompt_time,
        running_most=loop.running_most,
        steps=loop.steps,
        waits_since=loop.waits_since,
    )


class _Loop:
    """The state of an engine between two steps; requests go by their number in order of arrival.

    Those that decode are aligned arrays in order of admission: numbers, cached tokens, and tokens to come. `reading`
    holds prompts in chunks, with the tokens that are cached so far.
    """

    def __init__(
        self,
        requests: Requests,
        table: StepTable,
        policy: Policy,
        reads_prompts: bool,
        generator: np.random.Generator,
        progress: Callable[[int], None],
    ) -> None:
        size = requests.size
        self.table, self.caches, self.generator, self.progress = table, table.caches, generator, progress
        self.reads_prompts = reads_prompts
        self.chunk = float(policy.chunk_tokens or 0) if reads_prompts else 0.0
        self.limit = min(policy.batch_limit or table.batches, table.batches)
        self.arrived = requests.arrived.astype(np.float64)
        self.cached = requests.cached.tolist()
        # Tokens to compute before the next one comes: the prompt, and after a preemption what came until then.
        self.needed = requests.prompt.tolist()
        self.left = [int(count) for count in requests.output.tolist()]
        self.started, self.first_token, self.completed = (np.full(size, np.nan) for _ in range(3))
        self.preemptions = np.zeros(size, dtype=np.int64)
        known = size if requests.users is None else min(requests.users, size)
        self.due: deque[tuple[float, int]] = deque(zip(self.arrived[:known].tolist(), range(known), strict=True))
        self.later = deque(range(known, size))
        self.waiting: deque[int] = deque()
        self.reading: deque[tuple[int, float]] = deque()
        self.ids: np.ndarray = np.empty(0, dtype=np.int64)
        self.lengths: np.ndarray = np.empty(0)
        self.coming: np.ndarray = np.empty(0, dtype=np.int64)
        self.now = self.due[0][0] if self.due else 0.0
        self.inside_time = self.waiting_time = self.prompt_time = 0.0
        self.running_most = self.steps = 0
        self.waits_since: float | None = None

    def run(self) -> None:
        """Serve all requests."""
        while True:
            self._take_arrivals()
            if not (self.ids.size or self.reading or self.waiting):
                if not self.due:
                    return
                self.now = self.due[0][0]
            elif self.chunk:
                self._step_with_chunks()
            elif self.waiting and self._has_place(self.waiting[0]):
                self._read_whole_prompt()
            else:
                self._decode()

    def _take_arrivals(self) -> None:
        while self.due and self.due[0][0] <= self.now:
            arrived, one = self.due.popleft()
            self.waiting_time += self.now - arrived
            self.waiting.append(one)
            if not self.due and len(self.waiting) > 1 and self.waits_since is None:
                self.waits_since = float(self.arrived[self.waiting[0]])

    def _move_on(self, time: float, inside: int) -> None:
        self.inside_time += time * inside
        self.waiting_time += time * len(self.waiting)
        self.running_most = max(self.running_most, inside)
        self.now += time

    def _held(self, further: float = 0.0) -> float:
        """Memory of all caches when each running request has so many more tokens [B]."""
        caches = self.caches
        blocks = np.ceil((self.lengths + further) / caches.block).sum()
        blocks += sum(-(-(self.needed[one] + 1.0) // caches.block) for one, _ in self.reading)
        return float(caches.block_bytes * blocks + caches.sequence_bytes * (self.ids.size + len(self.reading)))

    def _has_place(self, one: int) -> bool:
        """Whether a request that waits may come in, with its whole prompt and its next token."""
        if self.ids.size + len(self.reading) >= self.limit:
            return False
        return self._held(self.table.rows_each) + self.caches.bytes_of(self.needed[one] + 1.0) <= self.caches.room

    def _come_in(self) -> int:
        one = self.waiting.popleft()
        if np.isnan(self.started[one]):
            self.started[one] = self.now
        return one

    def _read_whole_prompt(self) -> None:
        one = self._come_in()
        is_here = self.reads_prompts or self.preemptions[one] > 0
        if is_here:
            cached = self.cached[one]
            time = self.table.prompt_time(0, [(self.needed[one] - cached, cached)])
            time += self.table.draft_prefill_time(self.needed[one])
            self._move_on(time, self.ids.size + 1)
            self.prompt_time += time
            self.steps += 1
        self._start_decoding([one])

    def _start_decoding(self, ones: list[int]) -> None:
        """Prompts are read: each gives its next token."""
        for one in ones:
            self.left[one] -= 1
            if np.isnan(self.first_token[one]):
                self.first_token[one] = self.now
        self._complete([one for one in ones if self.left[one] == 0])
        further = [one for one in ones if self.left[one]]
        if further:
            self.ids = np.append(self.ids, further)
            self.lengths = np.append(self.lengths, [self.needed[one] for one in further])
            self.coming = np.append(self.coming, [self.left[one] for one in further])

    def _complete(self, ones: list[int]) -> None:
        for one in ones:
            self.completed[one] = self.now
            if self.later:
                following = self.later.popleft()
                self.arrived[following] = self.now
                self.due.append((self.now, following))
        if ones:
            self.progress(len(ones))

    def _fitting_steps(self, most: int) -> int:
        """Decode steps of all running requests until a cache is short of a block, at most so many."""
        room, each = self.caches.room, self.table.rows_each
        bound = (self.ids.size * (most * each / self.caches.block + 1.0)) * self.caches.block_bytes
        if np.isinf(room) or self._held() + bound <= room:
            return most
        low, high = 0, most + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._held(middle * each) <= room else (low, middle)
        return low

    def _preempt(self) -> None:
        """Send the request that came in last back to the head of the queue; its tokens are computed again."""
        if self.reading:
            one, _ = self.reading.pop()
        else:
            one = int(self.ids[-1])
            self.needed[one] = float(self.lengths[-1]) + 1.0
            self.left[one] = int(self.coming[-1])
            self.ids, self.lengths, self.coming = self.ids[:-1], self.lengths[:-1], self.coming[:-1]
        self.preemptions[one] += 1
        self.waiting.appendleft(one)

    def _make_room(self) -> None:
        """Preempt until every running request can take its next step; a lone one always can."""
        while self.ids.size + len(self.reading) > 1 and self.ids.size and not self._fitting_steps(1):
            self._preempt()

    def _note_queue(self) -> None:
        """Remember since when requests wait that cannot come in, while there are arrivals to come."""
        if self.due and not self.waiting:
            self.waits_since = None
        elif self.due and self.waits_since is None:
            self.waits_since = self.now

    def _decode(self) -> None:
        """Decode steps up to the next completion, arrival that could come in, or shortage of memory."""
        self._make_room()
        self._note_queue()
        batch, context = self.ids.size, float(self.lengths.mean())
        if self.table.kept is not None:
            self._hand_out(self.table.decode_times(batch, context, 1), batch)
            return
        steps = self._fitting_steps(min(int(self.coming.min()), LONGEST_RUN)) or 1
        if not self.due or self.waiting:
            self._hand_out(self.table.decode_times(batch, context, steps), batch)
            return
        gap = self.due[0][0] - self.now
        first = float(self.table.decode_times(batch, context, 1)[0])
        times = self.table.decode_times(batch, context, min(steps, int(gap / first) + 1))
        self._hand_out(times[: int(np.searchsorted(np.cumsum(times), gap)) + 1], batch)

    def _hand_out(self, times: np.ndarray, inside: int) -> None:
        """Move on by steps and give every running request what they emit."""
        self._move_on(float(times.sum()), inside)
        self.steps += times.size
        self._emit(times.size)

    def _emit(self, steps: int) -> None:
        if self.table.kept is None:
            self.lengths = self.lengths + steps
            self.coming = self.coming - steps
        else:
            chance = self.generator.random(self.ids.size)
            drawn = 1 + (chance[:, np.newaxis] < self.table.kept).sum(axis=1)
            drawn = np.minimum(drawn, self.coming)
            self.lengths = self.lengths + drawn
            self.coming = self.coming - drawn
        is_done = self.coming == 0
        if is_done.any():
            done = self.ids[is_done].tolist()
            is_open = ~is_done
            self.ids, self.lengths, self.coming = self.ids[is_open], self.lengths[is_open], self.coming[is_open]
            self._complete(done)

    def _step_with_chunks(self) -> None:
        """One step of all running requests and of chunks of prompts, or decode steps alone where nothing is read."""
        self._make_room()
        budget = max(self.chunk - self.ids.size * self.table.rows_each, 1.0)
        chunks: list[tuple[float, float]] = []
        while budget > 0:
            place = len(chunks)
            if place == len(self.reading):
                if not (self.waiting and self._has_place(self.waiting[0])):
                    break
                one = self._come_in()
                self.reading.append((one, self.cached[one]))
            one, done = self.reading[place]
            taken = min(budget, self.needed[one] - done)
            chunks.append((taken, done))
            self.reading[place] = (one, done + taken)
            budget -= taken
        if not chunks:
            self._decode()
            return
        self._note_queue()
        complete = [one for one, done in self.reading if done >= self.needed[one]]
        batch = self.ids.size
        added = self.table.prompt_time(batch, chunks)
        added += sum(self.table.draft_prefill_time(self.needed[one]) for one in complete)
        step = float(self.table.decode_times(batch, float(self.lengths.mean()), 1)[0]) if batch else 0.0
        self._move_on(step + added, batch + len(self.reading))
        self.prompt_time += added
        self.steps += 1
        # Prompts are read in order, so that the complete ones stand first.
        for _ in complete:
            self.reading.popleft()
        if batch:
            self._emit(1)
        self._start_decoding(complete)
