"""Continuous batching, request by request: where requests come in bursts, and what closed forms are checked against."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rooflinesim.analysis.serving.arrivals import Requests
from rooflinesim.analysis.serving.engine import moving_time
from rooflinesim.analysis.serving.load import Drafts, Fleet, Policy
from rooflinesim.analysis.serving.queueing import LARGEST_BATCH
from rooflinesim.analysis.serving.scheduler import Served, serve
from rooflinesim.analysis.serving.step_table import StepTable, step_table
from rooflinesim.analysis.serving.times import fitting_requests
from rooflinesim.analysis.timing import step_time
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

ROUNDING = 1e-9
"""Share by which Little's law may be missed: both of its sides are sums of the same times in another order."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SimulationResult(Noun):
    """What happened to each request, in order of arrival, arrays of shape (requests,).

    `started` is when an engine first worked on it, `ttft` the time from its arrival to its first token, `tpot` that
    of each later one on average (0 for a single token), `e2e` from arrival to the last. Tokens are seen the stack's
    `admission_time` after the engine made them; users who ask again do so at once.
    """

    arrived: np.ndarray = quantity("s")
    prompt: np.ndarray = quantity("tokens")
    output: np.ndarray = quantity("tokens")
    started: np.ndarray = quantity("s")
    first_token: np.ndarray = quantity("s", column="first_token_s")
    completed: np.ndarray = quantity("s")
    ttft: np.ndarray = quantity("s")
    tpot: np.ndarray = quantity("s")
    e2e: np.ndarray = quantity("s")
    preemptions: np.ndarray = quantity("1")
    replica: np.ndarray = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SimulationRun(Noun):
    """A simulation: its requests, and what its engines did.

    `running` and `waiting` are means over the time from the first arrival to the last completion, of all replicas:
    requests inside an engine, and in front of it. `running_most` is the largest number of them at once in one engine.
    `steps` counts all steps, `prompt_share` is the part of the time that prompts took of the engines that ran them.
    `backlog_from` is when requests began to wait without the queue ever being empty again before the last arrival;
    None if it was empty then.
    """

    requests: SimulationResult
    duration: float = quantity("s")
    running: float = quantity("1")
    waiting: float = quantity("1")
    running_most: int = quantity("1")
    steps: int = quantity("1")
    prompt_share: float = quantity("1")
    backlog_from: float | None = quantity("s", column="backlog_from_s")


def simulate(
    fleet: Fleet,
    requests: Requests,
    policy: Policy | None = None,
    drafts: Drafts | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    table: StepTable | None = None,
) -> SimulationRun:
    """What every request sees of a fleet.

    At the end of each step an engine admits requests in order of arrival while the batch limit and memory (their
    prompts, in whole blocks) allow, forms a step as the policy says, and moves on by the time of that step. A cache
    that no longer fits preempts the request that was admitted last, which is computed again later. Under speculation
    the tokens of every round are drawn. Runs of equal decode steps are taken together up to the next event.

    Parameters
    ----------
    seed : of the draws: which replica a request goes to, and how much of each draft is kept.
    progress : called with the number of requests that were completed since the last call.
    table : of the decode engine, in place of the one that its deployment gives; for checks against closed forms.

    Raises
    ------
    DomainError : if a request fits into no engine, alone.

    Neglected: attention is timed at the mean context of a batch, in which it is linear; several whole prompts in a
    step; overlap of a cache's transfer with the prompt that makes it.
    """
    policy = policy or Policy()
    if table is None:
        table = _table(fleet, requests, policy, drafts)
    _check_room(requests, table)
    draws = np.random.default_rng(seed)
    replica = draws.integers(fleet.replicas, size=requests.size)
    queue = _read(fleet, requests, draws) if fleet.prefill else None
    ready = requests if queue is None else dataclasses.replace(requests, arrived=queue.ready)
    served = []
    for number in range(fleet.replicas):
        places = np.flatnonzero(replica == number)
        places = places[np.argsort(ready.arrived[places], kind="stable")]
        own = Requests(
            arrived=ready.arrived[places],
            prompt=ready.prompt[places],
            output=ready.output[places],
            cached=ready.cached[places],
            users=None if ready.users is None else max(1, ready.users // fleet.replicas),
        )
        found = serve(
            own,
            table,
            policy,
            reads_prompts=queue is None,
            generator=np.random.default_rng((seed, number)),
            progress=progress,
        )
        _check_little(found)
        served.append((places, found))
    return _together(requests, replica, served, queue, fleet)


def _table(fleet: Fleet, requests: Requests, policy: Policy, drafts: Drafts | None) -> StepTable:
    """Times of the decode engine for all steps that the requests can come to."""
    longest = float(np.max(requests.prompt + requests.output))
    shortest = float(np.min(requests.prompt))
    rows = float(policy.chunk_tokens or np.max(requests.prompt - requests.cached))
    fitting = float(fitting_requests(fleet.decode, shortest, rows=rows, drafts=drafts))
    batches = min(policy.batch_limit or LARGEST_BATCH, max(fitting, 1.0), requests.users or requests.size)
    # A preempted request is computed again with the tokens that it had.
    again = longest if policy.chunk_tokens is None else rows
    return step_table(
        fleet.decode, batches=int(batches), longest=longest, step_tokens=again, held_tokens=rows, drafts=drafts
    )


def _check_room(requests: Requests, table: StepTable) -> None:
    caches = table.caches
    tokens = requests.prompt + requests.output + table.rows_each
    needed = caches.sequence_bytes + caches.block_bytes * np.ceil(tokens / caches.block)
    longest = int(np.argmax(needed))
    if needed[longest] > caches.room:
        most = max(caches.room - caches.sequence_bytes, 0.0) // max(caches.block_bytes, 1e-300) * caches.block
        raise DomainError(
            f"request {longest + 1} has {requests.prompt[longest]:,.0f} prompt and {requests.output[longest]:,.0f}"
            f" output tokens, but beside weights and such a step's activations an engine's memory holds {most:,.0f}:"
            " leave it out, read prompts in chunks, or give more devices"
        )


def _check_little(served: Served) -> None:
    """Little's law: request-seconds summed over steps are those summed over requests."""
    steps, requests = served.inside_time + served.waiting_time, float(np.sum(served.completed - served.arrived))
    if abs(steps - requests) > ROUNDING * max(requests, 1.0):
        raise AssertionError(f"Little's law is broken: {steps!r} request-seconds by step, {requests!r} by request")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Queue(Noun):
    """Prompts on engines of their own: when each was begun, and ready to be decoded elsewhere [s]."""

    started: np.ndarray
    ready: np.ndarray
    work: float


def _read(fleet: Fleet, requests: Requests, draws: np.random.Generator) -> _Queue:
    """First come, first served, one prompt at a time on each of the engines for prompts, chosen at random."""
    engine = fleet.prefill
    if engine is None or requests.users is not None:
        raise UnsupportedError("users who wait for each answer are simulated on engines that read prompts themselves")
    step = Step(
        batch=1.0,
        new_tokens=requests.prompt - requests.cached,
        context=requests.cached,
        logit_tokens=1.0,
    )
    work = step_time(engine, step).time / engine.stack.prompt_efficiency
    chosen = draws.integers(fleet.prefill_replicas, size=requests.size).tolist()
    free = [-np.inf] * fleet.prefill_replicas
    started, done = np.empty(requests.size), np.empty(requests.size)
    for place, (arrived, taken, number) in enumerate(
        zip(requests.arrived.tolist(), np.asarray(work).tolist(), chosen, strict=True)
    ):
        started[place] = max(arrived, free[number])
        done[place] = free[number] = started[place] + taken
    return _Queue(started=started, ready=done + moving_time(fleet, requests.prompt), work=float(np.sum(work)))


def _together(
    requests: Requests,
    replica: np.ndarray,
    served: list[tuple[np.ndarray, Served]],
    queue: _Queue | None,
    fleet: Fleet,
) -> SimulationRun:
    """The parts of all replicas in order of arrival."""

    def joined(name: str) -> np.ndarray:
        whole = np.empty(requests.size, dtype=getattr(served[0][1], name).dtype)
        for places, found in served:
            whole[places] = getattr(found, name)
        return whole

    arrived = joined("arrived") if queue is None else requests.arrived
    started = joined("started") if queue is None else queue.started
    admission = fleet.decode.stack.admission_time
    first, completed = joined("first_token") + admission, joined("completed") + admission
    later = requests.output - 1.0
    duration = float(np.max(completed) - np.min(arrived))
    prompts = sum(found.prompt_time for _, found in served) / fleet.replicas
    if queue is not None:
        prompts = queue.work / fleet.prefill_replicas
    queues = [found.waits_since for _, found in served if found.waits_since is not None]
    return SimulationRun(
        requests=SimulationResult(
            arrived=arrived,
            prompt=requests.prompt,
            output=requests.output,
            started=started,
            first_token=first,
            completed=completed,
            ttft=first - arrived,
            tpot=np.where(later > 0, (completed - first) / np.maximum(later, 1.0), 0.0),
            e2e=completed - arrived,
            preemptions=joined("preemptions"),
            replica=replica,
        ),
        duration=duration,
        running=sum(found.inside_time for _, found in served) / duration,
        waiting=sum(found.waiting_time for _, found in served) / duration,
        running_most=max(found.running_most for _, found in served),
        steps=sum(found.steps for _, found in served),
        prompt_share=prompts / duration,
        backlog_from=min(queues) if queues else None,
    )
