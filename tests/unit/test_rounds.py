"""Rounds of speculation: each method's draft passes and verification, counted by hand where they can be."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import eagle_head, eagle_method
from rooflinesim.analysis.speculation.early_exit import early_exit_method
from rooflinesim.analysis.speculation.lookahead import Lookahead, lookahead_rows
from rooflinesim.analysis.speculation.medusa import MedusaHeads
from rooflinesim.analysis.speculation.methods import Speculation, chain, tree_shape, verification_ops
from rooflinesim.analysis.speculation.mtp import mtp_method
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.rounds import RoundTimes, distinct_points, round_times
from rooflinesim.analysis.speculation.speculate import speculate, speculate_trees
from rooflinesim.analysis.timing import step_ops, step_time
from rooflinesim.config import load_draft, load_hardware, load_model
from rooflinesim.errors import DomainError
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.model import LayerGroup, RecurrentMixer
from rooflinesim.specs.speculation_law import SpeculationLaw
from rooflinesim.workload.parameters import model_parameters
from rooflinesim.workload.step import Step
from tests.conftest import deployed, ideal_stack, serving_stack, small_model

LAW = SpeculationLaw(round_time=100e-6, sequence_time=1e-6, draft_step_time=50e-6)


def times(speculation: Speculation, batch: float, context: float, length: float) -> RoundTimes:
    return round_times(speculation, np.array([batch]), np.array([context]), chain(np.array([length])))


def test_a_round_is_draft_passes_verification_and_overhead() -> None:
    stack = serving_stack(speculation=LAW)
    target, draft = deployed(stack=stack), deployed(small_model(name="draft"), stack=stack)
    found = times(Speculation(target=target, method=DraftModel(draft=draft)), 8.0, 1000.0, 4.0)
    # Four passes of the draft at contexts 1000 to 1003, on average 1001.5; 50 us of software each instead of a step's
    # 120 us and 10 us for each of 8 sequences.
    step = float(step_time(draft, Step(batch=8.0, context=1001.5)).time) - 120e-6 - 8 * 10e-6 + 50e-6
    assert found.draft_time == pytest.approx(4 * step)
    assert found.refill_time == pytest.approx(step, rel=1e-3)
    assert found.verify_time == step_time(target, Step(batch=8.0, new_tokens=5.0, context=1000.0)).time
    assert found.plain_step_time == step_time(target, Step(batch=8.0, context=1000.0)).time
    assert found.round_overhead_time == pytest.approx(100e-6 + 8 * 1e-6)


def test_nothing_drafted_is_a_plain_step_to_the_bit() -> None:
    stack = serving_stack(speculation=LAW)
    method = MedusaHeads(heads=4)
    found = times(Speculation(target=deployed(stack=stack), method=method), 8.0, 1000.0, 0.0)
    assert found.verify_time == found.plain_step_time
    assert found.draft_time == found.refill_time == found.round_overhead_time == 0.0


def test_an_eager_draft_waits_for_its_launches() -> None:
    law = dataclasses.replace(LAW, draft_launch="eager", draft_launch_time=10e-6, draft_rank_time=7e-6)
    target = deployed(stack=ideal_stack(speculation=law), ranks=2)
    found = times(Speculation(target=target, method=DraftModel(draft=target)), 1.0, 0.0, 1.0)
    launched = sum(op.count for op in step_ops(target, Step()))
    assert found.draft_time == pytest.approx(launched * 10e-6 + 50e-6 + 7e-6)


def test_a_measured_cost_replaces_the_draft_s() -> None:
    target = deployed()
    by_ratio = times(Speculation(target=target, method=DraftModel(draft=None), draft_cost_ratio=0.1), 1.0, 10.0, 5.0)
    assert by_ratio.draft_time == pytest.approx(0.5 * by_ratio.plain_step_time)
    by_time = times(Speculation(target=target, method=DraftModel(draft=None), draft_pass_time=2e-6), 1.0, 10.0, 5.0)
    assert by_time.draft_time == pytest.approx(10e-6)
    with pytest.raises(DomainError, match="both given"):
        Speculation(target=target, method=DraftModel(draft=None), draft_cost_ratio=0.1, draft_pass_time=1e-6)
    with pytest.raises(DomainError, match="needs a model"):
        Speculation(target=target, method=DraftModel(draft=None))


def test_a_measured_ratio_gives_leviathan_s_formula_where_verifying_is_free() -> None:
    # One user of a 70B model: verifying six tokens streams the same weights once.
    target = deployed(load_model("llama3-70b"), load_hardware("h200"))
    speculation = Speculation(target=target, method=DraftModel(draft=None), draft_cost_ratio=0.05)
    found = speculate(speculation, batch=1, context=0, draft_length=5, acceptance=Acceptance(value=0.8))
    omega, refill = (1 - 0.8**6) / 0.2, 0.8**5 * 0.05
    assert found.speedup == pytest.approx(omega / (5 * 0.05 + 1 + refill), rel=0.01)


def test_a_bounded_draft_cache_is_all_that_a_pass_reads() -> None:
    target = deployed()
    method = DraftModel(draft=target, is_target=True, cache_tokens=512.0)
    found = times(Speculation(target=target, method=method), 4.0, 32768.0, 3.0)
    assert found.draft_time == pytest.approx(3 * step_time(target, Step(batch=4.0, context=512.0)).time)


def test_eagle_3_head_of_an_8b_target_has_0_425e9_parameters() -> None:
    # 3 d_t d + 2 d H dh + 4 d G dh + H dh d + 3 d f + V_d d, with V_d = 32,000; matrices, norms apart.
    target = load_model("llama3-8b")
    first, later = eagle_head(target, load_draft("eagle3", target))
    d, heads, groups, size, width = 4096, 32, 8, 128, 14336
    wanted = 3 * d * d + 2 * d * heads * size + 4 * d * groups * size + heads * size * d + 3 * d * width + 32000 * d
    found = {name: part for name, part in model_parameters(first).items() if name != "embedding"}
    assert sum(part.matrices for part in found.values()) == wanted
    assert wanted == pytest.approx(0.425e9, rel=2e-3)
    # Passes after the first do not join the target's three states again.
    assert first.other_parameters - later.other_parameters == 3 * d * d


def test_eagle_1_head_joins_the_embedding_and_shares_the_output_head() -> None:
    target = deployed(load_model("llama3-8b"))
    method = eagle_method(target, load_draft("eagle", target.model))
    assert method.draft.model.other_parameters == 2 * 4096 * 4096
    assert method.draft.model.vocabulary == 128256
    assert not method.has_own_head
    # Layer and fc are about 0.25e9 parameters, the head another 0.53e9.
    parts = model_parameters(method.draft.model)
    layer = sum(parts[name].matrices for name in ("attention", "mlp", "other"))
    assert layer == pytest.approx(0.25e9, rel=0.02)
    assert parts["head"].matrices == pytest.approx(0.525e9, rel=0.01)


def test_published_heads_of_mixtures_of_experts_replace_the_rule() -> None:
    target = load_model("qwen3-30b-a3b")
    first, _ = eagle_head(target, load_draft("eagle3", target))
    assert first.layers[0].mlp is not None
    assert first.layers[0].mlp.width == 12288
    by_alias = load_draft("SGLang-EAGLE3-Qwen3-30B-A3B-Instruct-2507-SpecForge", target)
    assert by_alias == load_draft(None, target)
    other = load_draft("eagle3", load_model("gpt-oss-120b"))
    assert any("3.5 times the width assumed" in one for one in other.assumptions)


def test_an_eagle_round_has_one_pass_that_takes_tokens_in_and_further_single_ones() -> None:
    stack = serving_stack(speculation=LAW)
    target = deployed(stack=stack)
    head = DraftHead(name="head", source="made up")
    method = eagle_method(target, head)
    found = times(Speculation(target=target, method=method), 2.0, 100.0, 3.0)
    passes = dataclasses.replace(stack, step_time=50e-6, sequence_time=0.0)

    def one(deployment: object, step: Step) -> float:
        return float(step_time(dataclasses.replace(deployment, stack=passes), step).time)  # type: ignore[type-var]

    first = one(method.first, Step(batch=2.0, new_tokens=4.0, context=100.0, logit_tokens=1.0))
    later = one(method.draft, Step(batch=2.0, context=101.0))
    assert found.draft_time == pytest.approx(first + 2 * later)
    assert found.refill_time == 0.0


def test_an_mtp_module_is_the_last_layer_a_projection_and_the_head() -> None:
    target = deployed()
    module = mtp_method(target).draft.model
    assert [group.count for group in module.layers] == [1]
    assert module.other_parameters == 2 * 64 * 64
    found = times(Speculation(target=target, method=mtp_method(target)), 1.0, 100.0, 1.0)
    assert 0 < found.draft_time < found.plain_step_time


def test_medusa_adds_its_heads_to_the_verification() -> None:
    target = deployed()
    step = Step(batch=2.0, new_tokens=5.0, context=100.0)
    own = verification_ops(Speculation(target=target, method=MedusaHeads(heads=3)), step)
    added = sum(op.count * op.weight_bytes for op in own) - sum(
        op.count * op.weight_bytes for op in step_ops(target, step)
    )
    assert added == 3 * 2 * 64 * (64 + 1000)
    found = times(Speculation(target=target, method=MedusaHeads(heads=3)), 2.0, 100.0, 4.0)
    assert found.draft_time == 0.0


def test_an_early_exit_computes_drafted_tokens_once_in_the_first_layers() -> None:
    target = deployed()
    method = early_exit_method(target, 1)
    step = Step(batch=1.0, new_tokens=5.0, context=100.0)
    ops = verification_ops(Speculation(target=target, method=method), step)
    whole = step_ops(target, step)
    # The same weights as the whole target, one layer's matrices for a single token.
    assert sum(op.count * op.weight_bytes for op in ops) == sum(op.count * op.weight_bytes for op in whole)
    matrices = 8192 + 4096 + 16384 + 8192
    saved = sum(op.count * op.flops for op in whole) - sum(op.count * op.flops for op in ops)
    assert saved > 2 * 4 * matrices
    for layers in (0, 2):
        with pytest.raises(DomainError, match="exit after 1 to 1"):
            early_exit_method(target, layers)


def test_prompt_lookup_mixes_rounds_that_hit_with_plain_steps() -> None:
    # (hit omega + 1 - hit) / (hit v + 1 - hit), v the verification over a plain step.
    target = deployed()
    found = speculate(
        Speculation(target=target, method=PromptLookup(hit_rate=0.4)),
        batch=300,
        context=100,
        draft_length=5,
        acceptance=Acceptance(value=0.7),
    )
    omega = (1 - 0.7**6) / 0.3
    steps = [float(step_time(target, Step(batch=300.0, new_tokens=q, context=100.0)).time) for q in (1.0, 6.0)]
    wanted = (0.4 * omega + 0.6) / (0.4 * steps[1] / steps[0] + 0.6)
    assert found.speedup == pytest.approx(wanted)


def test_lookahead_carries_window_and_candidates_in_every_step() -> None:
    # Level 5, window and guesses 7: 1 + (7 + 7) x 4 = 57 rows.
    assert lookahead_rows(Lookahead(window=7, candidates=7), 4.0) == 57.0
    target = deployed()
    found = speculate(
        Speculation(target=target, method=Lookahead(window=7, candidates=3)),
        batch=1,
        context=100,
        draft_length=2,
        acceptance=Acceptance(value=0.5),
    )
    # The best of three candidates: 3 - (1 - 0.5)^3 - (1 - 0.25)^3.
    assert found.tokens_per_round == pytest.approx(3 - 0.5**3 - 0.75**3)
    assert found.verify_time == step_time(target, Step(new_tokens=21.0, context=100.0)).time


@pytest.mark.parametrize(("state", "factor"), [("kept", (1 + 5) / 2), ("replayed", 2.0)])
def test_recurrent_states_are_rolled_back_or_replayed(state: str, factor: float) -> None:
    mixer = RecurrentMixer(state_heads=4, key_size=16, value_size=16, input_width=128, output_width=64)
    model = small_model(layers=(LayerGroup(count=2, recurrent=mixer),))
    law = SpeculationLaw(recurrent_state=state)  # type: ignore[arg-type]
    target = deployed(model, stack=ideal_stack(speculation=law))
    step = Step(batch=2.0, new_tokens=5.0, context=100.0)

    def state_bytes(ops: object) -> float:
        return sum(float(op.kv_bytes) for op in ops if op.kind == "recurrent")  # type: ignore[attr-defined]

    own = state_bytes(verification_ops(Speculation(target=target, method=PromptLookup()), step))
    assert own == pytest.approx(factor * state_bytes(step_ops(target, step)))


def test_verifying_wakes_more_experts_of_a_mixture_worst_at_a_few_sequences() -> None:
    # 256 experts, 8 per token, uniform, beside large dense parts: four tokens of one user wake 30 in place of 8, those
    # of four users 101 in place of 30; from 64 users on nearly all are awake anyway.
    target = deployed(load_model("deepseek-v3"), load_hardware("h200"), ranks=8)
    speculation = Speculation(target=target, method=PromptLookup())
    found = [times(speculation, batch, 500.0, 3.0) for batch in (1.0, 4.0, 64.0)]
    one, few, many = (float((each.verify_time / each.plain_step_time)[0]) for each in found)
    assert few > one > 1.5
    assert 1.0 < many < few


def test_a_tree_verifies_all_nodes_and_moves_the_accepted_path() -> None:
    target = deployed(stack=ideal_stack())
    speculation = Speculation(target=target, method=DraftModel(draft=target))
    shape = tree_shape(np.array([13.0]), np.array([3.0]))
    assert shape.tokens == 12.0
    assert shape.width == 4.0
    found = round_times(speculation, np.array([2.0]), np.array([500.0]), shape)
    assert found.verify_time == step_time(target, Step(batch=2.0, new_tokens=13.0, context=500.0)).time
    # Three tokens of 2 layers x 2 heads x 2 x 16 values of 2 B, read and written, of two sequences.
    assert found.round_overhead_time == pytest.approx(2 * 2 * 3 * (2 * 2 * 2 * 16 * 2) / 1e12)


def test_a_tree_of_width_one_is_the_chain() -> None:
    target = deployed(stack=serving_stack(speculation=LAW))
    head = eagle_method(target, DraftHead(name="head", source="made up"))
    speculation = Speculation(target=target, method=head)
    by_chain = speculate(speculation, batch=4, context=100, draft_length=3, acceptance=Acceptance(value=0.8))
    by_tree = speculate_trees(
        speculation,
        batch=4.0,
        context=100.0,
        nodes=4.0,
        depth=3.0,
        tokens=by_chain.tokens_per_round,
        acceptance_rate=0.8,
    )
    assert by_tree.round_time == pytest.approx(by_chain.round_time)


def test_sampling_reads_the_draft_s_distributions() -> None:
    target = deployed()
    speculation = Speculation(target=target, method=PromptLookup())
    greedy, sampled = (
        speculate(
            speculation,
            batch=3,
            context=10,
            draft_length=4,
            acceptance=Acceptance(value=0.5, temperature=temperature),
        )
        for temperature in (0.0, 0.8)
    )
    more = sampled.round_overhead_time - greedy.round_overhead_time
    assert more == pytest.approx(3 * 4 * 1000 * 4 / 1e12)


def test_points_are_evaluated_once_and_put_back_in_place() -> None:
    columns = {"batch": np.array([8.0, 1.0, 8.0, 1.0, 8.0]), "context": np.array([5.0, 5.0, 5.0, 5.0, 6.0])}
    distinct, place = distinct_points(columns)
    assert distinct["batch"].size == 3
    for name, column in columns.items():
        np.testing.assert_array_equal(distinct[name][place], column)


def test_the_best_draft_is_marked_once_per_batch_context_and_acceptance() -> None:
    speculation = Speculation(target=deployed(), method=DraftModel(draft=None), draft_cost_ratio=0.1)
    length = np.tile(np.arange(0.0, 9.0), 4)
    batch = np.repeat([1.0, 1.0, 200.0, 200.0], 9)
    rate = np.repeat([0.9, 0.3, 0.9, 0.3], 9)
    found = speculate(speculation, batch=batch, context=50, draft_length=length, acceptance=Acceptance(value=rate))
    for start in range(0, 36, 9):
        own = slice(start, start + 9)
        assert np.flatnonzero(found.is_best[own]) == [int(np.argmin(found.tpot[own]))]
