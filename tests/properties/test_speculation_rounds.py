"""Laws of speculation that hold for every target, draft, device and stack: THEORY.md section 7."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import eagle_method
from rooflinesim.analysis.speculation.lookahead import Lookahead
from rooflinesim.analysis.speculation.medusa import MedusaHeads
from rooflinesim.analysis.speculation.methods import Method, Speculation
from rooflinesim.analysis.speculation.mtp import mtp_method
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.speculation_law import SpeculationLaw
from tests.conftest import deployed, device, ideal_stack, small_model
from tests.properties.strategies import deployments, seconds

BATCHES = st.integers(1, 4096)
CONTEXTS = st.integers(0, 65536)
LENGTHS = st.integers(1, 16)
FEW = settings(max_examples=15)
RATES = st.floats(0.0, 1.0)


@st.composite
def laws(draw: st.DrawFn) -> SpeculationLaw:
    return SpeculationLaw(
        round_time=draw(seconds(1e-3)),
        sequence_time=draw(seconds(1e-5)),
        draft_step_time=draw(seconds(1e-3)),
        draft_rank_time=draw(seconds(1e-4)),
        draft_launch=draw(st.sampled_from(("graphs", "eager"))),
        draft_launch_time=draw(seconds(1e-5)),
        recurrent_state=draw(st.sampled_from(("kept", "replayed"))),
        speedup_low=draw(st.floats(0.3, 1.0)),
        speedup_high=draw(st.floats(1.0, 3.0)),
    )


def _methods(target: Deployment) -> list[Method]:
    found: list[Method] = [
        DraftModel(draft=target),
        DraftModel(draft=target, is_target=True, cache_tokens=64.0),
        MedusaHeads(heads=3),
        PromptLookup(hit_rate=0.7),
        Lookahead(window=3, candidates=2),
    ]
    if any(group.attention for group in target.model.layers):
        found.append(eagle_method(target, DraftHead(name="head", source="made up")))
    if any(group.attention or group.latent_attention for group in target.model.layers):
        found.append(mtp_method(target))
    return found


@st.composite
def speculations(draw: st.DrawFn) -> Speculation:
    target = draw(deployments())
    target = dataclasses.replace(target, stack=dataclasses.replace(target.stack, speculation=draw(laws())))
    return Speculation(target=target, method=draw(st.sampled_from(_methods(target))))


def rounds(speculation: Speculation, batch: int, context: int, length: int, rate: float) -> SpeculateResult:
    return speculate(speculation, batch=batch, context=context, draft_length=length, acceptance=Acceptance(value=rate))


@FEW
@given(speculations(), BATCHES, CONTEXTS, RATES)
def test_draft_length_0_is_exactly_plain_decoding(
    speculation: Speculation, batch: int, context: int, rate: float
) -> None:
    found = rounds(speculation, batch, context, 0, rate)
    plain = decode(speculation.target, batch=batch, context=context)
    assert found.round_time == found.tpot == found.plain_step_time
    # The same operations, added up in another order where decode shares them between points.
    assert found.plain_step_time == pytest.approx(plain.step_time, rel=1e-12)
    assert found.speedup == found.speedup_low == found.speedup_high == found.tokens_per_round == 1.0
    assert found.draft_time == found.round_overhead_time == 0.0


@FEW
@given(speculations(), BATCHES, CONTEXTS, LENGTHS)
def test_a_draft_that_is_never_accepted_gains_nothing(
    speculation: Speculation, batch: int, context: int, length: int
) -> None:
    found = rounds(speculation, batch, context, length, 0.0)
    assert found.tokens_per_round == 1.0
    assert found.speedup[0] <= 1.0 + 1e-9


@FEW
@given(speculations(), BATCHES, CONTEXTS, LENGTHS, RATES)
def test_a_round_is_the_sum_of_its_terms_and_bounds_its_gain(
    speculation: Speculation, batch: int, context: int, length: int, rate: float
) -> None:
    found = rounds(speculation, batch, context, length, rate)
    terms = found.draft_time + found.verify_time + found.round_overhead_time
    np.testing.assert_allclose(found.round_time, terms, rtol=1e-12)
    assert 1.0 <= found.tokens_per_round[0] <= length + 1.0
    # Verifying takes at least a plain step, so that a round gains at most what it emits.
    assert found.speedup[0] <= found.tokens_per_round[0] * (1 + 1e-9)
    np.testing.assert_allclose(found.tpot * found.tokens_per_round, found.round_time, rtol=1e-12)
    assert found.speedup_low[0] <= found.speedup[0] <= found.speedup_high[0]


@FEW
@given(speculations(), BATCHES, CONTEXTS, LENGTHS)
def test_full_acceptance_emits_the_whole_draft_and_one_more(
    speculation: Speculation, batch: int, context: int, length: int
) -> None:
    found = rounds(speculation, batch, context, length, 1.0)
    whole = length + 1.0
    hit = speculation.method.hit_rate if isinstance(speculation.method, PromptLookup) else 1.0
    np.testing.assert_allclose(found.tokens_per_round, hit * whole + 1.0 - hit)


@FEW
@given(speculations(), BATCHES, CONTEXTS, LENGTHS, RATES, RATES)
def test_more_acceptance_emits_no_less(
    speculation: Speculation, batch: int, context: int, length: int, first: float, second: float
) -> None:
    less, more = (rounds(speculation, batch, context, length, rate) for rate in sorted((first, second)))
    assert less.tokens_per_round[0] <= more.tokens_per_round[0] + 1e-12


@FEW
@given(speculations(), BATCHES, CONTEXTS, LENGTHS)
def test_longer_drafts_and_more_sequences_take_no_less_time(
    speculation: Speculation, batch: int, context: int, length: int
) -> None:
    found, longer, wider = (
        rounds(speculation, b, context, k, 0.5) for b, k in ((batch, length), (batch, length + 1), (batch + 1, length))
    )
    for more in (longer, wider):
        for name in ("draft_time", "verify_time", "round_overhead_time"):
            # The draft pass after full acceptance is needed less often after longer drafts.
            refill = found.draft_time[0] / length if name == "draft_time" and more is longer else 0.0
            assert getattr(more, name)[0] >= getattr(found, name)[0] * (1 - 1e-9) - refill


@FEW
@given(speculations(), st.lists(st.tuples(BATCHES, CONTEXTS, LENGTHS, RATES), min_size=2, max_size=6))
def test_a_call_for_many_points_equals_calls_for_each(
    speculation: Speculation, points: list[tuple[int, int, int, float]]
) -> None:
    batch, context, length, rate = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    together = speculate(
        speculation, batch=batch, context=context, draft_length=length, acceptance=Acceptance(value=rate)
    )
    for index, (b, s, k, a) in enumerate(points):
        alone = rounds(speculation, b, s, k, a)
        for name in ("round_time", "plain_step_time", "speedup", "tokens_per_round"):
            np.testing.assert_allclose(getattr(together, name)[index], getattr(alone, name)[0], rtol=1e-12)


@given(BATCHES, CONTEXTS, LENGTHS, RATES, st.sampled_from((1, 2)))
def test_doubling_rates_halves_every_time_and_leaves_the_gain(
    batch: int, context: int, length: int, rate: float, ranks: int
) -> None:
    slow = device()
    fast = device(
        memory_bandwidth=2e12,
        dense_flop_rate={"bf16": 200e12, "fp32": 100e12},
        link=dataclasses.replace(slow.link, bandwidth=200e9),  # type: ignore[type-var]
    )
    found = []
    for hardware in (slow, fast):
        target = deployed(hardware=hardware, ranks=ranks)
        draft = deployed(small_model(name="draft"), hardware, ranks=ranks)
        found.append(rounds(Speculation(target=target, method=DraftModel(draft=draft)), batch, context, length, rate))
    np.testing.assert_allclose(found[0].round_time, 2 * found[1].round_time, rtol=1e-12)
    np.testing.assert_allclose(found[0].speedup, found[1].speedup, rtol=1e-12)


@given(BATCHES, CONTEXTS, LENGTHS, RATES)
def test_infinite_bandwidth_never_gains(batch: int, context: int, length: int, rate: float) -> None:
    # With free memory a round computes every drafted token and throws some away.
    hardware = device(memory_bandwidth=1e30)
    target = deployed(hardware=hardware, stack=ideal_stack())
    for method in (DraftModel(draft=target), PromptLookup(), MedusaHeads(heads=2)):
        found = rounds(Speculation(target=target, method=method), batch, context, length, rate)
        assert found.speedup[0] <= 1.0 + 1e-9


@given(BATCHES, CONTEXTS, LENGTHS)
def test_infinite_compute_gains_all_that_a_free_draft_emits_where_weights_bind(
    batch: int, context: int, length: int
) -> None:
    hardware = device(dense_flop_rate={"bf16": 1e30, "fp32": 1e30})
    target = deployed(hardware=hardware, stack=ideal_stack())
    speculation = Speculation(target=target, method=DraftModel(draft=None), draft_cost_ratio=0.0)
    found = rounds(speculation, batch, context, length, 1.0)
    # Activations and the new tokens' own cache are all that verification moves more.
    assert 1.0 <= found.speedup[0] <= length + 1.0
