"""One replica of a fleet as queues see it: its times at every batch that it may reach, and what caps that."""

import dataclasses
from typing import Literal

import numpy as np

from rooflinesim.analysis.residency import storage_of
from rooflinesim.analysis.serving.load import Fleet, Load, Policy
from rooflinesim.analysis.serving.queueing import request_rate, transfer_time
from rooflinesim.analysis.serving.times import EngineTimes, PromptTimes, prefill_times
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.footprint import cache_bytes
from rooflinesim.workload.step import Array

Bound = Literal["memory", "batch_limit", "chunk_tokens", "prefill", "compute"]
"""What keeps a fleet from serving more requests per second: room for caches, the limit of the policy, chunks in every
step already, the engines for prompts, or none of these: more requests at once would hardly help."""

GAIN = 0.1
"""Growth of the rate with the batch, an elasticity, below which more requests at once would not help [1]."""

LEAST_TOKENS = 1e-9
"""Decoded tokens of a request that has only the one of its prompt, so that a decode engine's rate is finite."""

Side = Literal["low", "high"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Engine(Noun):
    """Decode steps at the batches 1 ... `cap` and prompts beside 0 ... `cap` running requests.

    `interference` is the engine time that a prompt takes from the running requests: none where prompts run elsewhere.
    `concurrency` is what memory holds: none where not even one whole request fits.
    """

    decode_time: np.ndarray = quantity("s")
    decode_low: np.ndarray = quantity("1")
    decode_high: np.ndarray = quantity("1")
    interference: np.ndarray = quantity("s")
    prompts: PromptTimes
    transfer_time: float = quantity("s")
    concurrency: float = quantity("1")
    cap: int = quantity("1")
    bound: Bound

    @property
    def reads_whole(self) -> bool:
        """Whether decoding stops for whole prompts."""
        return np.array_equal(self.interference, self.prompts.queue_time[: self.cap + 1])

    def at(self, side: Side) -> "Engine":
        """The engine at one end of its band."""
        decode = self.decode_low if side == "low" else self.decode_high
        factor = self.prompts.low if side == "low" else self.prompts.high
        times = ("engine_time", "queue_time", "first_token_time", "longest_step")
        return dataclasses.replace(
            self,
            decode_time=decode * self.decode_time,
            interference=factor * self.interference,
            prompts=dataclasses.replace(self.prompts, **{name: factor * getattr(self.prompts, name) for name in times}),
        )


def engine_of(fleet: Fleet, load: Load, policy: Policy, times: EngineTimes) -> Engine:
    """The decode engine of a fleet under a policy, with the prompts that it, or another engine, reads."""
    decode, drafts = times.decode, times.decode.drafts
    caps: dict[Bound, float] = {"memory": times.concurrency, "batch_limit": float(policy.batch_limit or np.inf)}
    if policy.chunk_tokens is not None and fleet.prefill is None:
        # Where every step carries a chunk, as many tokens are decoded as such prompts bring along.
        decoded = load.decoded_tokens
        caps["chunk_tokens"] = max(1.0, decoded * policy.chunk_tokens / (load.new_tokens + decoded * decode.rows))
    cap = int(min(*caps.values(), decode.time.size))
    prompts = times.prompts
    if fleet.prefill is not None:
        prompts = times.elsewhere or prefill_times(fleet.prefill, load, drafts)
    engine = Engine(
        decode_time=decode.time[:cap],
        decode_low=decode.low[:cap],
        decode_high=decode.high[:cap],
        interference=prompts.engine_time[: cap + 1] if fleet.prefill is None else np.zeros(cap + 1),
        prompts=prompts,
        transfer_time=0.0 if fleet.prefill is None else float(np.max(moving_time(fleet, load.prompt_tokens))),
        concurrency=times.concurrency,
        cap=cap,
        bound=min(caps, key=lambda name: caps[name]),
    )
    return dataclasses.replace(engine, bound=_bound(engine, fleet, load))


def moving_time(fleet: Fleet, prompt: Array) -> Array:
    """Time in which the cache of a prompt moves to the decode engine, nothing of it hidden [s]."""
    decode = fleet.decode
    storage = dataclasses.replace(storage_of(decode), block=1)
    held = decode.tensor_parallel * cache_bytes(decode.model, decode.precision, prompt, storage)
    return transfer_time(held, fleet.bandwidth)


def completion_rates(engine: Engine, load: Load) -> np.ndarray:
    """Requests per second of one decode engine at each of its batches [1/s] shape (cap,)."""
    batches = np.arange(1.0, engine.cap + 1.0)
    rates = request_rate(batches, max(load.decoded_tokens, LEAST_TOKENS), engine.decode_time, engine.interference[1:])
    if engine.prompts.queue_time.size > engine.cap:
        # Prompts cannot come in faster than their queue moves.
        rates = np.minimum(rates, 1.0 / engine.prompts.queue_time[1 : engine.cap + 1])
    return np.asarray(rates)


def prefill_rate(engine: Engine, fleet: Fleet) -> float:
    """Prompts per second of all engines for prompts [1/s]; infinite where there are none."""
    return fleet.prefill_replicas / float(engine.prompts.queue_time[0]) if fleet.prefill else np.inf


def saturating_rate(engine: Engine, fleet: Fleet, load: Load) -> float:
    """Requests per second of the fleet from which on queues grow without end [1/s]."""
    if engine.cap == 0:
        return 0.0
    return min(fleet.replicas * float(completion_rates(engine, load)[-1]), prefill_rate(engine, fleet))


def _bound(engine: Engine, fleet: Fleet, load: Load) -> Bound:
    if engine.cap == 0:
        return "memory"
    rates = completion_rates(engine, load)
    if prefill_rate(engine, fleet) < fleet.replicas * rates[-1]:
        return "prefill"
    half = max(engine.cap // 2, 1)
    gain = np.log(rates[-1] / rates[half - 1]) / np.log(engine.cap / half) if engine.cap > 1 else 1.0
    return "compute" if gain < GAIN else engine.bound
