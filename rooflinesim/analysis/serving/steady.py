"""What do users see of a fleet under a steady load: time per token, to the first token, and where does it saturate?"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.serving.engine import Engine, completion_rates, engine_of, prefill_rate, saturating_rate
from rooflinesim.analysis.serving.load import QUANTILES, Drafts, Fleet, Load, Policy, length_law
from rooflinesim.analysis.serving.queueing import (
    LARGEST_BATCH,
    batch_at_rate,
    batch_probabilities,
    clearing_time,
    interruption_variance,
    mixture_quantiles,
    prompt_wait,
    wait_quantile,
)
from rooflinesim.analysis.serving.times import EngineTimes, decode_times, engine_times
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step

_FULL = 1.0 - 1e-9
"""Share of the saturating rate up to which queues are computed."""

_HALVINGS = 60


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SteadyState(Noun):
    """A fleet at each point of a load, arrays of shape (points,); times with the ends of their band.

    `requests_per_s` is what the fleet serves; `users` are all requests in it, waiting ones included. `running` is the
    mean number of decoding requests of one replica, `running_p95` its 95 % point. `tpot` is the time per output token
    after the first, `ttft` the time to the first one, and `queue_time` the mean of that in which a request waits for
    others. `prefill_share` is the part of an engine's time that prompts take. `concurrency` is the requests that one
    replica's memory holds (infinite where the capacity is unknown), `batch_cap` the least of it and what else limits
    them.

    From `saturating_requests_per_s` of the whole fleet on queues grow without end, for the reason in `bound`: beyond,
    `is_stable` is False, the fleet serves that rate, decodes with full batches, and `ttft` and `users` are infinite.
    So are all times where not even one request fits.
    """

    requests_per_s: np.ndarray = quantity("1")
    users: np.ndarray = quantity("1")
    running: np.ndarray = quantity("1")
    running_p95: np.ndarray = quantity("1")
    tpot_mean: np.ndarray = quantity("s")
    tpot_mean_low: np.ndarray = quantity("s")
    tpot_mean_high: np.ndarray = quantity("s")
    tpot_p50: np.ndarray = quantity("s")
    tpot_p50_low: np.ndarray = quantity("s")
    tpot_p50_high: np.ndarray = quantity("s")
    tpot_p95: np.ndarray = quantity("s")
    tpot_p95_low: np.ndarray = quantity("s")
    tpot_p95_high: np.ndarray = quantity("s")
    tpot_p99: np.ndarray = quantity("s")
    tpot_p99_low: np.ndarray = quantity("s")
    tpot_p99_high: np.ndarray = quantity("s")
    ttft_mean: np.ndarray = quantity("s")
    ttft_mean_low: np.ndarray = quantity("s")
    ttft_mean_high: np.ndarray = quantity("s")
    ttft_p50: np.ndarray = quantity("s")
    ttft_p50_low: np.ndarray = quantity("s")
    ttft_p50_high: np.ndarray = quantity("s")
    ttft_p95: np.ndarray = quantity("s")
    ttft_p95_low: np.ndarray = quantity("s")
    ttft_p95_high: np.ndarray = quantity("s")
    ttft_p99: np.ndarray = quantity("s")
    ttft_p99_low: np.ndarray = quantity("s")
    ttft_p99_high: np.ndarray = quantity("s")
    queue_time: np.ndarray = quantity("s")
    prefill_share: np.ndarray = quantity("1")
    tokens_per_s: np.ndarray = quantity("tokens/s")
    tokens_per_s_per_user: np.ndarray = quantity("tokens/s", column="tokens_per_s_per_user")
    concurrency: np.ndarray = quantity("1")
    batch_cap: np.ndarray = quantity("1")
    is_stable: np.ndarray
    saturating_requests_per_s: np.ndarray = quantity("1")
    saturating_requests_per_s_low: np.ndarray = quantity("1")
    saturating_requests_per_s_high: np.ndarray = quantity("1")
    bound: np.ndarray


def steady_state(
    fleet: Fleet,
    load: Load,
    policy: Policy | None = None,
    drafts: Drafts | None = None,
    times: EngineTimes | None = None,
) -> SteadyState:
    """A fleet in the long run, at each rate or number of users of a load.

    Open loop: Poisson arrivals; the running batch is a birth-death chain whose steps get longer as it grows, prompts
    wait in a queue of one server, requests for a free place. Closed loop: as many requests as users, at all times; a
    prompt waits for as many others as the stack's fit says. The band follows from solving everything again with the
    times at the ends of their bands, so that it widens towards saturation.

    Parameters
    ----------
    policy : of every engine that decodes; engines for prompts alone run whole prompts.
    drafts : speculation; a step is then a round, and its time is shared by what it emits.
    times : of the decode engine, from `engine_times`, where several rates, batch limits or numbers of replicas are
        asked about. Computed when not given.

    Neglected: replicas that take requests by each other's queues; several prompts in one step; preemption.
    """
    policy = policy or Policy()
    if times is None:
        largest = policy.batch_limit or LARGEST_BATCH
        chunk = None if fleet.is_disaggregated else policy.chunk_tokens
        times = engine_times(decode_times(fleet.decode, load.mean_context, drafts, largest=largest), load, chunk)
    engine = engine_of(fleet, load, policy, times)
    solve = _open_loop if load.users is None else _disaggregated_loop if fleet.is_disaggregated else _closed_loop
    if engine.cap == 0:
        solve = _nothing_fits
    fast, middle, slow = (solve(one, fleet, load) for one in (engine.at("low"), engine, engine.at("high")))
    if solve is _closed_loop:
        fast, slow = (_with_queued_band(fleet, middle, one, place) for place, one in enumerate((fast, slow)))
    columns = dict(middle)
    for name in (f"{metric}_{point}" for metric in ("tpot", "ttft") for point in ("mean", *QUANTILES)):
        columns[f"{name}_low"] = np.minimum(fast[name], middle[name])
        columns[f"{name}_high"] = np.maximum(slow[name], middle[name])
    ends = {"low": slow, "high": fast}
    points = load.points.shape
    return SteadyState(
        **{name: np.broadcast_to(values, points) for name, values in columns.items()},
        **{
            f"saturating_requests_per_s_{end}": np.broadcast_to(one["saturating_requests_per_s"], points)
            for end, one in ends.items()
        },
    )


Found = dict[str, Any]


def _common(engine: Engine, fleet: Fleet, load: Load, rate: np.ndarray) -> Found:
    """Columns that follow from what a fleet serves."""
    return {
        "requests_per_s": rate,
        "tokens_per_s": rate * load.output_tokens,
        "concurrency": engine.concurrency,
        "batch_cap": float(engine.cap),
        "saturating_requests_per_s": saturating_rate(engine, fleet, load),
        "bound": engine.bound,
    }


def _nothing_fits(engine: Engine, fleet: Fleet, load: Load) -> Found:
    """Not even one request has room."""
    none, never = np.zeros(load.points.shape), np.full(load.points.shape, np.inf)
    return {
        **_common(engine, fleet, load, none),
        **dict.fromkeys(("running", "running_p95", "prefill_share", "tokens_per_s_per_user"), none),
        **{f"{metric}_{point}": never for metric in ("tpot", "ttft") for point in ("mean", *QUANTILES)},
        "users": never,
        "queue_time": never,
        "is_stable": none > 0,
    }


def _open_loop(engine: Engine, fleet: Fleet, load: Load) -> Found:
    asked, saturating = load.points, saturating_rate(engine, fleet, load)
    is_stable = asked < saturating * _FULL
    served = np.where(is_stable, asked, saturating)
    rate = np.minimum(asked, saturating * _FULL) / fleet.replicas
    decoded, batches = load.decoded_tokens, np.arange(engine.cap + 1.0)
    free = np.maximum(1.0 - rate[:, np.newaxis] * engine.interference[1:], 1e-9)
    prompt = engine.interference[1:]
    slowed = engine.decode_time / free
    if engine.reads_whole and decoded > 0:
        clearing = clearing_time(rate, prompt[0], prompt[0] ** 2 * (1.0 + engine.prompts.spread))
        # An engine with all places taken lets no prompt in that could stop it.
        slowed = slowed + (clearing / decoded)[:, np.newaxis] * (1.0 - batches[1:] / engine.cap)
    shares, beyond = batch_probabilities(rate, decoded, slowed)
    weights = batches * shares
    weights[:, -1] += engine.cap * beyond
    running = weights.sum(axis=1)
    growth = rate * decoded * slowed[:, -1] / engine.cap
    place_wait = np.where(growth < 1.0, beyond / np.maximum(1.0 - growth, 1e-12), np.inf) / rate
    is_decoding = decoded > 0
    tpot = running / (rate * decoded) if is_decoding else slowed[:, 0]
    found = _first_token(engine, fleet, rate, running, shares[:, -1] + beyond, place_wait)
    full = np.where(is_stable, 0.0, np.inf)
    # Where prompts are read elsewhere, too slowly, decoding goes on at what they let through.
    is_full = engine.bound != "prefill"
    at_limit = engine.cap / (saturating / fleet.replicas * decoded) if is_decoding else slowed[:, -1]
    overloaded = ~is_stable & is_full
    by_token = np.cumsum(weights, axis=1) / np.maximum(running, 1e-300)[:, np.newaxis]
    longest = np.full(rate.shape, np.inf)
    if not fleet.is_disaggregated and np.isfinite(engine.prompts.longest_step[0]):
        longest = _beside(engine.prompts.longest_step, running)
    interrupted = _interrupted(engine, load, rate, running) if is_decoding else np.zeros((rate.size, len(QUANTILES)))
    for column, (name, share) in enumerate(QUANTILES.items()):
        place = np.maximum(np.argmax(by_token >= share - 1e-12, axis=1), 1)
        parts = (
            slowed[np.arange(rate.size), place - 1] - tpot,
            interrupted[:, column],
        )
        most = np.maximum(longest, tpot)
        found[f"tpot_{name}"] = np.where(overloaded, at_limit, np.minimum(tpot + _together(parts), most))
        found[f"ttft_{name}"] = found[f"ttft_{name}"] + full
    chance = np.cumsum(shares, axis=1)
    place = np.where(chance[:, -1] < 0.95, engine.cap, np.argmax(chance >= 0.95, axis=1))
    tpot = np.where(overloaded, at_limit, tpot)
    ttft = found["ttft_mean"] + full
    return {
        **_common(engine, fleet, load, served),
        **found,
        "running": np.where(overloaded, engine.cap, running),
        "running_p95": np.where(overloaded, engine.cap, place),
        "tpot_mean": tpot,
        "ttft_mean": ttft,
        "users": served * (ttft + decoded * tpot),
        "queue_time": found["queue_time"] + full,
        "prefill_share": _prefill_share(engine, fleet, served, running),
        "tokens_per_s_per_user": 1.0 / tpot,
        "is_stable": is_stable,
    }


def _prefill_share(engine: Engine, fleet: Fleet, rate: np.ndarray, running: np.ndarray) -> np.ndarray:
    """Part of the time that prompts take of the engines that run them [1]."""
    if fleet.is_disaggregated:
        return np.asarray(np.minimum(rate / prefill_rate(engine, fleet), 1.0))
    return np.asarray(rate / fleet.replicas * _beside(engine.interference, running))


def _beside(times: np.ndarray, running: np.ndarray) -> np.ndarray:
    """Times at mean running batches [s]."""
    return np.asarray(np.interp(running, np.arange(float(times.size)), times))


def _first_token(
    engine: Engine,
    fleet: Fleet,
    rate: np.ndarray,
    running: np.ndarray,
    full_share: np.ndarray,
    place_wait: np.ndarray,
) -> Found:
    """Time to the first token in an open loop: waits for a place, for the step in progress and for other prompts."""
    prompts = engine.prompts
    own_rate = rate * fleet.replicas / fleet.prefill_replicas if fleet.is_disaggregated else rate
    beside = 0.0 * running if fleet.is_disaggregated else running
    taken = np.minimum(_beside(prompts.queue_time, beside), _FULL / own_rate)
    first = _beside(prompts.first_token_time, beside)
    # Prompts in chunks share steps, but what an arrival finds in progress is a whole step: between both in the mean.
    squared = taken * np.maximum(taken, np.minimum(first, _FULL / own_rate)) * (1.0 + prompts.spread)
    wait = prompt_wait(own_rate, taken, squared)
    step = np.minimum(running, 1.0) * _beside(np.concatenate([[0.0], engine.decode_time]), running)
    mean = fleet.decode.stack.admission_time + place_wait + wait + 0.5 * step + first + engine.transfer_time
    found: Found = {"ttft_mean": mean, "queue_time": place_wait + wait + 0.5 * step}
    for (name, share), size in zip(QUANTILES.items(), prompts.quantiles, strict=True):
        parts = (
            wait_quantile(full_share, place_wait, share) - place_wait,
            wait_quantile(own_rate * taken, wait, share) - wait,
            (share - 0.5) * step,
            (size - 1.0) * first,
        )
        found[f"ttft_{name}"] = np.maximum(mean + _together(parts), 0.0)
    return found


def _together(deviations: Sequence[Array]) -> np.ndarray:
    """Deviations of independent parts from their means as one, in quadrature: exact where one of them dominates."""
    squares = np.sum([np.sign(part) * part**2 for part in deviations], axis=0)
    return np.asarray(np.sign(squares) * np.sqrt(np.abs(squares)))


def _interrupted(engine: Engine, load: Load, rate: np.ndarray, running: np.ndarray) -> np.ndarray:
    """Deviations from the mean of the time per token, by how many prompts a request happens to meet [s].

    One column for each of the percentiles. Requests of few tokens meet none or many for their length.
    """
    kinds, _ = length_law(load.output_tokens, load.output_spread)
    tokens = np.maximum(kinds - 1.0, 1.0)
    prompt = _beside(engine.interference, running)
    squared = prompt**2 * (1.0 + engine.prompts.spread)
    step = _beside(np.concatenate([engine.decode_time[:1], engine.decode_time]), running)
    clearing = clearing_time(rate, prompt, squared) if engine.reads_whole else 0.0 * rate
    variance = interruption_variance(rate, step, prompt, squared)[:, np.newaxis] * tokens
    deviations = np.sqrt(variance + clearing[:, np.newaxis] ** 2) / tokens
    means = clearing[:, np.newaxis] / tokens
    quantiles = mixture_quantiles(means, deviations, np.array(list(QUANTILES.values())))
    return quantiles - (clearing / load.decoded_tokens)[:, np.newaxis]


def _closed_loop(engine: Engine, fleet: Fleet, load: Load) -> Found:
    """Engines that run prompts themselves: each user asks again as soon as the last answer is complete."""
    users, decoded, prompts = load.points / fleet.replicas, load.decoded_tokens, engine.prompts
    rates = np.concatenate([[0.0], completion_rates(engine, load)])
    batches = np.arange(engine.cap + 1.0)
    is_whole = engine.reads_whole
    # Whole prompts stop all steps, so that a request that reads its own counts among the running ones.
    inside = batches if is_whole else batches + rates * prompts.first_token_time[: engine.cap + 1]
    running = np.interp(users, np.maximum.accumulate(inside), batches)
    rate = np.interp(running, batches, rates)
    waiting = np.maximum(users - inside[-1], 0.0) / rate
    first = _beside(prompts.first_token_time, running)
    step = _beside(np.concatenate([engine.decode_time[:1], engine.decode_time]), running)
    decoding = running / rate - (first if is_whole else 0.0)
    tpot = np.maximum(decoding / decoded, step) if decoded > 0 else step
    stack = fleet.decode.stack
    others = stack.waiting_share * np.maximum(running - 1.0, 0.0) * first
    served = rate * fleet.replicas
    found: Found = {f"tpot_{point}": tpot for point in ("mean", *QUANTILES)}
    mean = stack.admission_time + waiting + others + first + step
    for name, share in QUANTILES.items():
        found[f"ttft_{name}"] = mean - others + wait_quantile(1.0, others, share)
    return {
        **_common(engine, fleet, load, served),
        **found,
        "users": load.points,
        "running": running,
        "running_p95": running,
        "ttft_mean": mean,
        "queue_time": waiting + others,
        "prefill_share": _prefill_share(engine, fleet, served, running),
        "tokens_per_s_per_user": 1.0 / tpot,
        "is_stable": np.ones(users.shape, dtype=bool),
    }


def _with_queued_band(fleet: Fleet, middle: Found, end: Found, place: int) -> Found:
    """Times to the first token of a closed loop, at one end of the band that such times have."""
    context = np.zeros_like(middle["running"])
    factor = band_of(fleet.decode, Step(batch=np.maximum(middle["running"], 1.0), context=context), is_queued=True)[
        place
    ]
    return {**end, **{name: factor * values for name, values in middle.items() if name.startswith("ttft_")}}


def _disaggregated_loop(engine: Engine, fleet: Fleet, load: Load) -> Found:
    r"""Engines for prompts and for decoding: users move between both.

    With :math:`\rho` the load of one of the engines for prompts and N / P users for each, a prompt finds the queue
    that others leave, :math:`Q = \rho / (1 - \rho (N/P - 1) / (N/P))` (mean value analysis, after Schweitzer).
    """
    users, decoded = load.points, load.decoded_tokens
    rates = completion_rates(engine, load)
    prompt = float(engine.prompts.queue_time[0])
    each = np.maximum(users / fleet.prefill_replicas, 1.0)

    def inside(rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        busy = rate / fleet.prefill_replicas * prompt
        reading = fleet.prefill_replicas * busy / np.maximum(1.0 - busy * (each - 1.0) / each, 1e-12)
        return reading, np.asarray(batch_at_rate(rate / fleet.replicas, rates))

    low, high = np.zeros(users.shape), np.full(users.shape, saturating_rate(engine, fleet, load))
    for _ in range(_HALVINGS):
        rate = 0.5 * (low + high)
        reading, running = inside(rate)
        is_below = reading + fleet.replicas * running + rate * engine.transfer_time < users
        low, high = np.where(is_below, rate, low), np.where(is_below, high, rate)
    rate = 0.5 * (low + high)
    reading, running = inside(rate)
    rest = np.maximum(users - reading - fleet.replicas * running - rate * engine.transfer_time, 0.0)
    time = fleet.decode.stack.admission_time + engine.prompts.first_token_time[0]
    wait = np.maximum(reading / rate - prompt, 0.0) + rest / rate
    step = _beside(np.concatenate([engine.decode_time[:1], engine.decode_time]), running)
    tpot = np.maximum(running * fleet.replicas / (rate * decoded), step) if decoded > 0 else step
    found: Found = {f"tpot_{point}": tpot for point in ("mean", *QUANTILES)}
    for name, share in QUANTILES.items():
        found[f"ttft_{name}"] = time + engine.transfer_time + wait_quantile(1.0, wait, share)
    return {
        **_common(engine, fleet, load, rate),
        **found,
        "users": users,
        "running": running,
        "running_p95": running,
        "ttft_mean": time + engine.transfer_time + wait,
        "queue_time": wait,
        "prefill_share": _prefill_share(engine, fleet, rate, running),
        "tokens_per_s_per_user": 1.0 / tpot,
        "is_stable": np.ones(users.shape, dtype=bool),
    }
