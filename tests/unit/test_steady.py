"""A fleet under a steady load: what its users see, where it saturates, and what the parts of the answer must obey."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.requests import request_time
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.queueing import batch_probabilities
from rooflinesim.analysis.serving.steady import SteadyState, steady_state
from rooflinesim.analysis.serving.times import decode_times, engine_times
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.timing import step_time
from rooflinesim.errors import DomainError
from rooflinesim.specs.deployment import Deployment
from rooflinesim.workload.step import Step
from tests.conftest import deployed, device, serving_stack, small_model

PROMPT, OUTPUT = 1000.0, 200.0


def large() -> Deployment:
    """A model of 8 layers of 4,096, so that steps take milliseconds, under a stack with every overhead."""
    from rooflinesim.specs.model import Attention, DenseMlp, LayerGroup

    group = LayerGroup(
        count=8,
        attention=Attention(heads=32, kv_heads=8, key_size=128, value_size=128),
        mlp=DenseMlp(width=14336),
        norm_parameters=8192,
    )
    model = small_model(hidden_size=4096, vocabulary=32000, final_norm_parameters=4096, layers=(group,))
    return deployed(model, device(), serving_stack())


def asked(policy: Policy | None = None, fleet: Fleet | None = None, **changes: object) -> SteadyState:
    given = {"prompt_tokens": PROMPT, "output_tokens": OUTPUT, **changes}
    return steady_state(fleet or Fleet(decode=large()), Load(**given), policy or Policy(batch_limit=128))  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [Policy(batch_limit=128), Policy(batch_limit=128, chunk_tokens=512)])
def test_littles_law_holds_at_every_rate(policy: Policy):
    """The running batch is the rate times 199 decoded tokens times their time, and all users are the rate times all of
    a request's time."""
    found = asked(policy, requests_per_s=np.array([0.1, 1.0, 4.0, 8.0]))
    assert found.is_stable.all()
    assert found.running == pytest.approx(found.requests_per_s * 199.0 * found.tpot_mean, rel=1e-9)
    assert found.users == pytest.approx(found.requests_per_s * (found.ttft_mean + 199.0 * found.tpot_mean), rel=1e-9)


def test_a_lone_request_takes_a_step_per_token_and_its_prompt():
    found = asked(requests_per_s=1e-6)
    fleet = large()
    step = float(step_time(fleet, Step(batch=1.0, context=1100.0)).time)
    prompt = float(step_time(fleet, Step(new_tokens=1000.0, logit_tokens=1.0)).time)
    assert found.tpot_mean[0] == pytest.approx(step, rel=1e-4)
    assert found.ttft_mean[0] == pytest.approx(prompt, rel=1e-3)
    assert found.ttft_p95[0] == pytest.approx(prompt, rel=1e-3)


def test_everything_gets_worse_with_the_rate():
    found = asked(requests_per_s=np.linspace(0.5, 14.0, 28))
    for name in ("running", "running_p95", "tpot_mean", "tpot_p95", "tpot_p99", "ttft_mean", "ttft_p95", "ttft_p99"):
        values = getattr(found, name)[found.is_stable]
        assert np.all(np.diff(values) >= -1e-12), name
    assert np.all(found.tpot_p50 <= found.tpot_p95)
    assert np.all(found.tpot_p95 <= found.tpot_p99)


def test_beyond_saturation_is_an_answer():
    """Full batches, finite time per token, an endless wait for the first one; the rate served is the saturating one."""
    limit = float(asked(requests_per_s=1.0).saturating_requests_per_s[0])
    found = asked(requests_per_s=np.array([0.99 * limit, 1.01 * limit, 100.0 * limit]))
    assert found.is_stable.tolist() == [True, False, False]
    assert found.requests_per_s[1:] == pytest.approx([limit, limit])
    assert found.running[2] == 128
    assert np.isfinite(found.tpot_p95).all()
    assert np.isinf(found.ttft_mean[1:]).all()
    assert found.tokens_per_s[2] == pytest.approx(200 * limit)
    assert set(found.bound) <= {"batch_limit", "memory", "compute"}
    assert not any(np.isnan(getattr(found, field.name)).any() for field in dataclasses.fields(found)[:-1])


def test_the_saturating_rate_fills_the_batch():
    """At 64 running requests: 64 / (199 steps of 64 and 64 prompts)."""
    found = asked(Policy(batch_limit=64), requests_per_s=1.0)
    fleet = large()
    step = float(step_time(fleet, Step(batch=64.0, context=1100.0)).time)
    prompt = float(step_time(fleet, Step(new_tokens=1000.0, logit_tokens=1.0)).time)
    assert found.batch_cap[0] == 64
    assert found.saturating_requests_per_s[0] == pytest.approx(64 / (199 * step + 64 * prompt), rel=1e-9)


def test_replicas_share_the_load_and_add_up():
    one, four = asked(requests_per_s=3.0), asked(fleet=Fleet(decode=large(), replicas=4), requests_per_s=12.0)
    for name in ("running", "tpot_p95", "ttft_p95", "prefill_share"):
        assert getattr(one, name) == pytest.approx(getattr(four, name)), name
    assert four.saturating_requests_per_s == pytest.approx(4 * one.saturating_requests_per_s)
    assert Fleet(decode=large(), replicas=4).devices == 4


def test_many_points_are_what_each_is_alone():
    rates = np.array([0.5, 5.0, 50.0])
    together = asked(requests_per_s=rates)
    for place, rate in enumerate(rates):
        alone = asked(requests_per_s=float(rate))
        for field in dataclasses.fields(SteadyState):
            assert getattr(alone, field.name)[0] == getattr(together, field.name)[place], field.name


def test_times_made_once_give_the_same():
    fleet, load = Fleet(decode=large()), Load(requests_per_s=4.0, prompt_tokens=PROMPT, output_tokens=OUTPUT)
    times = engine_times(decode_times(fleet.decode, load.mean_context), load, 512)
    for limit in (16, 128):
        policy = Policy(batch_limit=limit, chunk_tokens=512)
        assert steady_state(fleet, load, policy, times=times).tpot_p95[0] == pytest.approx(
            steady_state(fleet, load, policy).tpot_p95[0], rel=2e-3
        )


def test_a_closed_loop_is_what_a_measured_one_is_compared_with():
    """16 users of one engine: a step of 16 and the prompts of 15 others, as `request_time` has it."""
    fleet = Fleet(decode=large())
    found = asked(users=16.0)
    alike = request_time(
        fleet.decode,
        serving="closed_loop",
        batch=np.array([16.0]),
        prompt=np.array([PROMPT]),
        output=np.array([OUTPUT - 1.0]),
        context=np.array([PROMPT + OUTPUT / 2]),
    )
    assert found.tpot_mean == pytest.approx(alike.time, rel=1e-9)
    assert found.running[0] == 16
    assert found.users[0] == 16


def test_more_users_than_places_wait():
    found = asked(Policy(batch_limit=32), users=np.array([32.0, 320.0]))
    assert found.running.tolist() == [32, 32]
    assert found.requests_per_s[0] == pytest.approx(found.requests_per_s[1])
    assert found.queue_time[1] - found.queue_time[0] == pytest.approx(288 / found.requests_per_s[0])


def test_chunks_keep_tokens_coming_and_share_the_weights():
    """A chunk beside 32 requests adds less than its prompt alone takes, and lengthens no step by a whole prompt."""
    whole, chunked = asked(requests_per_s=6.0), asked(Policy(batch_limit=128, chunk_tokens=512), requests_per_s=6.0)
    assert chunked.prefill_share[0] < whole.prefill_share[0]
    assert chunked.ttft_mean[0] > whole.ttft_mean[0]


def test_chunks_can_bind():
    """Steps of 64 tokens that all carry a chunk decode 199 tokens with every 1,000 of a prompt: 64 x 199 / 1,199."""
    found = asked(Policy(batch_limit=128, chunk_tokens=64), requests_per_s=1.0)
    assert found.batch_cap[0] == 10
    assert found.bound[0] == "chunk_tokens"


def test_a_cached_prefix_saves_prompts_only():
    plain, cached = asked(requests_per_s=6.0), asked(requests_per_s=6.0, cached_share=0.8)
    assert cached.prefill_share[0] < 0.35 * plain.prefill_share[0]
    # The step of a prompt is smaller too, and leaves its activations to the caches.
    assert cached.concurrency[0] == pytest.approx(plain.concurrency[0], rel=0.01)
    assert cached.saturating_requests_per_s[0] > plain.saturating_requests_per_s[0]


def test_prompts_elsewhere_do_not_disturb():
    """Disaggregated: tokens take decode steps alone, and the first one the prompt, its queue, its transfer, and half of
    the decode step in progress."""
    deployment = large()
    fleet = Fleet(decode=deployment, prefill=deployment, prefill_replicas=2, transfer_bandwidth=1e9)
    found = asked(fleet=fleet, requests_per_s=6.0)
    assert fleet.devices == 3
    assert found.tpot_mean[0] < asked(requests_per_s=6.0).tpot_mean[0]
    prompt = float(step_time(deployment, Step(new_tokens=1000.0, logit_tokens=1.0)).time)
    held = 8 * 2 * 8 * 128 * 2 * 1000.0
    load = 3.0 * prompt
    wait = 3.0 * prompt**2 / (2 * (1 - load))
    assert found.ttft_mean[0] == pytest.approx(prompt + wait + held / 1e9 + 0.5 * found.tpot_mean[0], rel=1e-3)
    assert found.prefill_share[0] == pytest.approx(load)
    one = asked(Policy(batch_limit=512), fleet=Fleet(decode=deployment, prefill=deployment), requests_per_s=6.0)
    assert one.bound[0] == "prefill"
    assert one.saturating_requests_per_s[0] == pytest.approx(1 / prompt)
    flooded = asked(Policy(batch_limit=512), fleet=Fleet(decode=deployment, prefill=deployment), requests_per_s=1e3)
    assert not flooded.is_stable[0]
    assert flooded.tpot_p95[0] < 2 * found.tpot_p95[0]


def test_users_between_two_kinds_of_engines_are_all_somewhere():
    deployment = large()
    fleet = Fleet(decode=deployment, replicas=2, prefill=deployment, prefill_replicas=3)
    found = asked(fleet=fleet, users=np.array([1.0, 10.0, 100.0, 1000.0]))
    inside = found.requests_per_s * (found.ttft_mean + 199.0 * found.tpot_mean)
    assert inside == pytest.approx(found.users, rel=1e-6)
    assert np.all(np.diff(found.requests_per_s) > 0)


def test_memory_that_holds_no_request_serves_none():
    tight = dataclasses.replace(large(), hardware=device(memory_capacity=6e9))
    found = asked(fleet=Fleet(decode=tight), requests_per_s=1.0, prompt_tokens=100000.0)
    assert not found.is_stable[0]
    assert (found.concurrency[0], found.saturating_requests_per_s[0], found.bound[0]) == (0, 0, "memory")
    assert np.isinf(found.tpot_mean[0])


def test_speculation_in_the_loop_shares_a_round_among_its_tokens():
    """Prompt lookup that is always right halves the rounds; one that never is costs only time."""
    deployment = large()

    def tpot(rate: float) -> float:
        drafts = Drafts(
            speculation=Speculation(target=deployment, method=PromptLookup(hit_rate=1.0)),
            acceptance=Acceptance(value=rate),
            draft_length=3,
        )
        load = Load(requests_per_s=0.5, prompt_tokens=PROMPT, output_tokens=OUTPUT)
        return float(steady_state(Fleet(decode=deployment), load, Policy(batch_limit=64), drafts).tpot_mean[0])

    plain = float(asked(requests_per_s=0.5).tpot_mean[0])
    assert tpot(1.0) < 0.4 * plain
    assert tpot(0.0) > plain


def test_the_band_widens_towards_saturation():
    """The stack's band is 0.5 to 2: at twice the times the engine may not keep up any more."""
    found = asked(requests_per_s=np.array([0.01, 7.0]))
    assert found.tpot_mean_high[0] / found.tpot_mean[0] == pytest.approx(2.0, rel=0.01)
    assert found.tpot_mean_high[1] / found.tpot_mean[1] > 2.0
    assert found.saturating_requests_per_s_low[0] == pytest.approx(0.5 * found.saturating_requests_per_s[0])
    assert found.saturating_requests_per_s_high[0] == pytest.approx(2.0 * found.saturating_requests_per_s[0])


def test_an_overloaded_chain_has_no_distribution():
    shares, beyond = batch_probabilities(np.array([10.0]), 100.0, np.full(4, 0.01))
    assert shares.sum() == 0
    assert beyond.tolist() == [1.0]


def test_a_chain_of_equal_servers_is_erlangs():
    """Two servers at a load of 1: a third of the time idle, a third waits (Erlang C)."""
    shares, beyond = batch_probabilities(np.array([1.0]), 1.0, np.array([1.0, 1.0]))
    assert shares[0, 0] == pytest.approx(1 / 3)
    assert shares[0, 2] + beyond[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"requests_per_s": 0.0}, "requests_per_s is 0: give a finite number above 0"),
        ({"requests_per_s": np.inf}, "requests_per_s is inf"),
        ({"requests_per_s": -1.0}, "requests_per_s is -1"),
        ({"users": 0.0}, "users is 0"),
        ({}, "either requests_per_s or users"),
        ({"requests_per_s": 1.0, "users": 1.0}, "either requests_per_s or users"),
        ({"requests_per_s": 1.0, "prompt_tokens": 0.0}, "prompt_tokens is 0"),
        ({"requests_per_s": 1.0, "cached_share": 1.5}, "cached_share is 1.5"),
    ],
)
def test_a_load_without_a_meaning_is_refused(changes: dict[str, float], words: str):
    with pytest.raises(DomainError, match=words):
        asked(**changes)


def test_prefill_and_decode_run_the_same_model():
    with pytest.raises(DomainError, match="give both the same model"):
        Fleet(decode=large(), prefill=deployed())
