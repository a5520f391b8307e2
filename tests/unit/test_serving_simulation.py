"""Continuous batching request by request: laws that hold exactly, memory, chunks, and the trace of a service."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rooflinesim.analysis.serving import scheduler
from rooflinesim.analysis.serving.arrivals import Requests, drawn_requests, faster, load_of, requests_of
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.queueing import batch_probabilities, prompt_wait
from rooflinesim.analysis.serving.simulation import SimulationRun, simulate
from rooflinesim.analysis.serving.steady import steady_state
from rooflinesim.analysis.serving.step_table import Caches, StepTable, step_table
from rooflinesim.analysis.speculation.acceptance import Acceptance, tokens_per_round
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.timing import step_time
from rooflinesim.config.traces import load_trace
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.workload.step import Step
from tests.unit.test_steady import large

FREE = Caches(room=np.inf, sequence_bytes=0.0, block_bytes=1.0, block=16)
REPLICATIONS = 6


def table(fixed_time: float, sequence_time: float = 0.0, token_time: float = 0.0, batches: int = 200) -> StepTable:
    """Steps of t0 + t1 b at any context, and prompts of so much per token."""
    rows = np.arange(20_001.0)
    every = np.arange(batches + 1.0)[:, np.newaxis]
    return StepTable(
        contexts=np.array([0.0, 1e9]),
        step=np.broadcast_to(fixed_time + sequence_time * every, (batches + 1, 2)),
        rows=rows,
        rows_added=token_time * rows,
        scored_added=np.zeros(2),
        chunks=np.array([0.0, 1e9]),
        attention=np.zeros((2, 2)),
        prompt_overhead=0.0,
        prompt_efficiency=1.0,
        draft_time=np.zeros(2),
        rows_each=1.0,
        kept=None,
        caches=FREE,
    )


def served(requests: Requests, times: StepTable, policy: Policy | None = None, seed: int = 0) -> SimulationRun:
    return simulate(Fleet(decode=large()), requests, policy, seed=seed, table=times)


def geometric(rate: float, mean: float, count: int, seed: int) -> Requests:
    """Poisson arrivals of requests that decode a geometric number of tokens after the one of their prompt."""
    draws = np.random.default_rng(seed)
    arrived = np.cumsum(draws.exponential(1.0 / rate, count))
    return requests_of(arrived, np.ones(count), 1.0 + draws.geometric(1.0 / mean, count))


def agrees(found: list[float], expected: float, errors: float = 3.0) -> bool:
    """Whether independent runs have an expected mean, within so many standard errors."""
    return abs(np.mean(found) - expected) <= errors * np.std(found, ddof=1) / np.sqrt(len(found))


def test_the_running_batch_is_a_birth_death_chain():
    """Two requests a second of 250 tokens in steps of 6 ms + 25 us each: 3.0506 at once (THEORY 4.6)."""
    batches = np.arange(0.0, 201.0)
    shares, _ = batch_probabilities(np.array([2.0]), 250.0, 0.006 + 2.5e-5 * batches[1:])
    expected = float(shares[0] @ batches)
    assert expected == pytest.approx(3.0506, rel=1e-4)
    runs = [served(geometric(2.0, 250.0, 3000, seed), table(0.006, 2.5e-5)) for seed in range(REPLICATIONS)]
    assert agrees([run.running for run in runs], expected)


def test_prompts_wait_as_in_an_m_g_1_queue():
    """Four prompts a second of exponential length, 0.15 s on average: 0.225 s of waiting (THEORY 4.8)."""
    assert float(prompt_wait(4.0, 0.15, 0.045)) == pytest.approx(0.225)
    found = []
    for seed in range(REPLICATIONS):
        draws = np.random.default_rng(seed)
        count = 4000
        prompt = np.maximum(np.round(draws.exponential(1000.0, count)), 1.0)
        requests = requests_of(np.cumsum(draws.exponential(0.25, count)), prompt, np.ones(count))
        run = served(requests, table(0.006, token_time=1.5e-4)).requests
        found.append(float(np.mean(run.started - run.arrived)))
    assert agrees(found, 0.225)


def test_requests_wait_for_places_as_erlang_says():
    """Steps of 10 ms whatever the batch are servers of their own: four places, 100 tokens, 3.2 requests a second."""
    shares, beyond = batch_probabilities(np.array([3.2]), 100.0, np.full(4, 0.01))
    expected = float(beyond[0] / (1.0 - 0.8) / 3.2)
    found = []
    for seed in range(REPLICATIONS):
        run = served(geometric(3.2, 100.0, 3000, seed), table(0.01), Policy(batch_limit=4)).requests
        # An arrival in the middle of a step waits for its end before it can take a place: half a step.
        found.append(float(np.mean(run.started - run.arrived)) - 0.005)
    assert float(shares[0, 4] + beyond[0]) == pytest.approx(0.5964, abs=1e-4)
    assert agrees(found, expected)


@pytest.mark.parametrize("chunk", [None, 256])
def test_littles_law_holds_in_a_run(chunk: int | None):
    """Requests at once are arrivals per second times their time inside, also with chunks and a full engine."""
    load = Load(requests_per_s=8.0, prompt_tokens=800, output_tokens=100, prompt_spread=1.0, output_spread=1.0)
    run = simulate(
        Fleet(decode=large(), replicas=2), drawn_requests(load, 400), Policy(batch_limit=8, chunk_tokens=chunk)
    )
    requests = run.requests
    inside = float(np.sum(requests.e2e)) / run.duration
    assert run.running + run.waiting == pytest.approx(inside, rel=1e-9)
    assert np.all(requests.started >= requests.arrived)
    assert np.all(requests.first_token > requests.started)
    assert np.all(requests.completed >= requests.first_token)
    assert run.running_most <= 8


def test_a_broken_count_is_noticed(monkeypatch: pytest.MonkeyPatch):
    moved = scheduler._Loop._move_on
    monkeypatch.setattr(scheduler._Loop, "_move_on", lambda loop, time, inside: moved(loop, time, inside + 1))
    with pytest.raises(AssertionError, match="Little's law is broken"):
        served(geometric(2.0, 50.0, 20, 0), table(0.006))


@pytest.mark.parametrize("chunk", [None, 512])
def test_runs_of_equal_steps_are_those_steps(monkeypatch: pytest.MonkeyPatch, chunk: int | None):
    """Taken together or one at a time, up to rounding."""
    load = Load(requests_per_s=5.0, prompt_tokens=500, output_tokens=80, output_spread=1.0)
    fleet, requests, policy = Fleet(decode=large()), drawn_requests(load, 200), Policy(chunk_tokens=chunk)
    together = simulate(fleet, requests, policy)
    monkeypatch.setattr(scheduler, "LONGEST_RUN", 1)
    single = simulate(fleet, requests, policy)
    assert together.steps == single.steps
    assert together.requests.completed == pytest.approx(single.requests.completed, rel=1e-9)


def test_the_table_gives_the_times_of_the_step_model():
    deployment = large()
    times = step_table(deployment, batches=96, longest=3000.0, step_tokens=2048.0, held_tokens=2048.0)
    for batch, context in ((1, 77.0), (33, 500.0), (96, 2999.0)):
        expected = float(step_time(deployment, Step(batch=float(batch), context=context)).time)
        assert float(times.decode_times(batch, context, 1)[0]) == pytest.approx(expected, rel=2e-3)
    for new, context in ((1.0, 0.0), (500.0, 0.0), (2000.0, 700.0)):
        prompt = Step(new_tokens=new, context=context, logit_tokens=1.0)
        expected = float(step_time(deployment, prompt).time)
        assert times.prompt_time(0, [(new, context)]) == pytest.approx(expected, rel=3e-3)


def test_a_lone_prompt_in_chunks_takes_its_chunks():
    deployment = large()
    run = simulate(
        Fleet(decode=deployment), requests_of(np.zeros(1), np.array([1000.0]), np.ones(1)), Policy(chunk_tokens=400)
    )
    steps = Step(
        new_tokens=np.array([400.0, 400.0, 200.0]), context=np.array([0.0, 400.0, 800.0]), logit_tokens=np.ones(3)
    )
    assert run.steps == 3
    assert run.requests.ttft[0] == pytest.approx(float(np.sum(step_time(deployment, steps).time)), rel=5e-3)


def test_chunks_let_tokens_through():
    """A prompt of 8,000 tokens that comes in while another request decodes delays a token by less when chunked."""
    requests = requests_of(np.array([0.0, 0.1]), np.array([10.0, 8000.0]), np.array([200.0, 2.0]))
    whole, chunked = (
        simulate(Fleet(decode=large()), requests, Policy(chunk_tokens=chunk)).requests for chunk in (None, 256)
    )
    assert chunked.completed[0] < whole.completed[0]
    assert chunked.ttft[1] > whole.ttft[1]


def test_full_memory_preempts_the_newest_and_all_end():
    """Three requests of up to 32 blocks in 64 blocks: the last one in is computed again."""
    tight = dataclasses.replace(table(0.01, token_time=1e-5), caches=dataclasses.replace(FREE, room=64.0))
    requests = requests_of(np.array([0.0, 0.001, 0.002]), np.full(3, 160.0), np.full(3, 340.0))
    run = served(requests, tight)
    assert run.requests.preemptions.tolist()[0] == 0
    assert run.requests.preemptions.sum() > 0
    assert np.isfinite(run.requests.completed).all()
    assert run.requests.completed[0] == run.requests.completed.min()
    free = served(requests, table(0.01, token_time=1e-5))
    assert run.duration > free.duration


def test_a_request_larger_than_memory_is_refused():
    tight = dataclasses.replace(table(0.01), caches=dataclasses.replace(FREE, room=64.0))
    with pytest.raises(
        DomainError, match=r"request 2 has 1,000 prompt and 100 output tokens.*holds 1,024: leave it out"
    ):
        served(requests_of(np.zeros(2), np.array([10.0, 1000.0]), np.full(2, 100.0)), tight)


def test_speculation_emits_what_its_acceptance_says():
    """Alone, 3 drafted tokens at 0.8: 2.952 tokens of every round, so that a token takes 1 / 2.952 of it."""
    deployment = large()
    drafts = Drafts(
        speculation=Speculation(target=deployment, method=PromptLookup(hit_rate=1.0)),
        acceptance=Acceptance(value=0.8),
        draft_length=3,
    )
    requests = requests_of(100.0 * np.arange(20.0), np.full(20, 100.0), np.full(20, 2000.0))
    run = simulate(Fleet(decode=deployment), requests, drafts=drafts)
    load = Load(requests_per_s=1e-6, prompt_tokens=100, output_tokens=2000)
    expected = float(steady_state(Fleet(decode=deployment), load, Policy(batch_limit=1), drafts).tpot_mean[0])
    assert float(tokens_per_round(Acceptance(value=0.8), 3.0)) == pytest.approx(2.952)
    assert agrees(run.requests.tpot.tolist(), expected)


@pytest.mark.parametrize("chunk", [None, 1024])
def test_closed_forms_meet_the_simulation_at_moderate_load(chunk: int | None):
    """60 % of the saturating rate, lengths of an exponential law: means within 12 %, 95 % points within 15 %."""
    fleet, policy = Fleet(decode=large()), Policy(batch_limit=64, chunk_tokens=chunk)
    shape = {"prompt_tokens": 600.0, "output_tokens": 200.0, "prompt_spread": 1.0, "output_spread": 1.0}
    limit = float(steady_state(fleet, Load(requests_per_s=1.0, **shape), policy).saturating_requests_per_s[0])
    load = Load(requests_per_s=0.6 * limit, **shape)
    drawn = drawn_requests(load, 8000, seed=3)
    expected = steady_state(fleet, load_of(drawn), policy)
    run = simulate(fleet, drawn, policy)
    requests = run.requests
    several = requests.output > 1
    assert run.running == pytest.approx(expected.running[0], rel=0.06)
    assert np.mean(requests.ttft) == pytest.approx(expected.ttft_mean[0], rel=0.12)
    assert np.quantile(requests.ttft, 0.95) == pytest.approx(expected.ttft_p95[0], rel=0.15)
    assert np.mean(requests.tpot[several]) == pytest.approx(expected.tpot_mean[0], rel=0.06)
    assert np.quantile(requests.tpot[several], 0.95) == pytest.approx(expected.tpot_p95[0], rel=0.15)


def test_a_disaggregated_fleet_meets_its_closed_forms():
    deployment = large()
    fleet = Fleet(decode=deployment, replicas=2, prefill=deployment, prefill_replicas=2)
    load = Load(requests_per_s=15.0, prompt_tokens=1000, output_tokens=200, output_spread=1.0)
    expected, run = steady_state(fleet, load), simulate(fleet, drawn_requests(load, 6000, seed=1))
    requests = run.requests
    assert run.running / 2 == pytest.approx(expected.running[0], rel=0.05)
    assert np.mean(requests.ttft) == pytest.approx(expected.ttft_mean[0], rel=0.05)
    assert run.prompt_share == pytest.approx(expected.prefill_share[0], rel=0.05)


def test_users_ask_again_when_answered():
    """Ten users and a hundred requests: never more than ten inside, and the rate of the closed form."""
    fleet = Fleet(decode=large())
    load = Load(users=10.0, prompt_tokens=500, output_tokens=100, output_spread=1.0)
    run = simulate(fleet, drawn_requests(load, 1000))
    assert run.running_most <= 10
    assert 1000 / run.duration == pytest.approx(float(steady_state(fleet, load).requests_per_s[0]), rel=0.05)
    with pytest.raises(UnsupportedError, match="engines that read prompts themselves"):
        simulate(Fleet(decode=large(), prefill=large()), drawn_requests(load, 10))


def test_a_seed_gives_the_same_and_another_gives_other_requests():
    load = Load(requests_per_s=4.0, prompt_tokens=500, output_tokens=50, prompt_spread=0.5)
    fleet = Fleet(decode=large(), replicas=3)
    first, again = (simulate(fleet, drawn_requests(load, 300, seed=7), seed=7) for _ in range(2))
    assert first.requests.completed.tobytes() == again.requests.completed.tobytes()
    other = simulate(fleet, drawn_requests(load, 300, seed=8), seed=8)
    assert other.requests.completed.tobytes() != first.requests.completed.tobytes()


def test_drawn_requests_have_the_moments_that_were_asked_for():
    load = Load(requests_per_s=5.0, prompt_tokens=1000, output_tokens=300, prompt_spread=0.5, output_spread=2.0)
    drawn = drawn_requests(load, 50_000, seed=1, burstiness=4.0)
    gaps = np.diff(drawn.arrived)
    assert np.var(gaps) / np.mean(gaps) ** 2 == pytest.approx(4.0, rel=0.1)
    found = load_of(drawn)
    assert found.points[0] == pytest.approx(5.0, rel=0.05)
    assert found.prompt_tokens == pytest.approx(1000, rel=0.02)
    assert found.prompt_spread == pytest.approx(0.5, rel=0.05)
    assert found.output_spread == pytest.approx(2.0, rel=0.1)


def test_a_faster_trace_has_the_same_requests():
    requests = requests_of(np.array([0.0, 10.0, 20.0]), np.full(3, 8.0), np.full(3, 2.0))
    assert faster(requests, 10.0).arrived.tolist() == [0.0, 1.0, 2.0]
    assert faster(requests, 10.0).rate == pytest.approx(1.0)
    with pytest.raises(DomainError, match="rate scale is 0"):
        faster(requests, 0.0)


def test_the_azure_conversations_on_one_a100(shared: Path):
    """19,366 requests at 5.5 a second; ten times as fast they saturate an A100 at about 8 a second."""
    import rooflinesim as rs

    trace = load_trace(shared / "data" / "traces" / "azure_llm_2023_conv.csv")
    assert trace.size == 19_366
    deployment = rs.deployment(
        model=rs.load_model("llama3-8b"), hardware=rs.load_hardware("a100"), stack=rs.load_stack("vllm")
    )
    fleet, policy = Fleet(decode=deployment), Policy(batch_limit=256)
    run = simulate(fleet, trace, policy)
    assert np.isfinite(run.requests.completed).all()
    assert run.backlog_from is None
    hasty = faster(trace, 10.0)
    crowded = simulate(fleet, hasty, policy)
    assert crowded.backlog_from is not None
    limit = float(steady_state(fleet, load_of(hasty), policy).saturating_requests_per_s[0])
    assert 19_366 / crowded.duration == pytest.approx(limit, rel=0.05)
