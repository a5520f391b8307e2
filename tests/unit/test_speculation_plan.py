"""Plans of speculation: schedules against brute force, what pays, where it loses, and what the draft takes."""

import itertools

import numpy as np
import pytest

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import eagle_method
from rooflinesim.analysis.speculation.memory import draft_memory
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.mtp import mtp_method
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.options import DraftOptions, best_tree_options, chain_options, option_rounds
from rooflinesim.analysis.speculation.plan import SLACK, SpeculationPlan, goodput, plan, whole_batches
from rooflinesim.analysis.speculation.speculate import speculate, speculate_trees
from rooflinesim.analysis.speculation.trees import Tree, tree_tokens
from rooflinesim.config import load_draft, load_hardware, load_model, load_stack
from rooflinesim.errors import DomainError
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.speculation_law import SpeculationLaw
from tests.conftest import deployed, serving_stack, small_model

LAW = SpeculationLaw(round_time=20e-6, sequence_time=1e-6, draft_step_time=10e-6)
RANKS = (0.62, 0.14, 0.07, 0.04)


def served() -> Deployment:
    """An 8B model on one A100, with products in steps of rows."""
    return deployed(load_model("llama3-8b"), load_hardware("a100-sxm-80gb"), load_stack("generic"))


def drafted_cheaply() -> Speculation:
    return Speculation(target=served(), method=DraftModel(draft=None), draft_cost_ratio=0.05)


def planned(
    speculation: Speculation, context: float = 200.0, rate: float = 0.8
) -> tuple[SpeculationPlan, DraftOptions]:
    options = chain_options(speculation, Acceptance(value=rate), range(17))
    return plan(speculation, batches=[1, 300], context=context, options=options), options


def test_the_schedule_agrees_with_brute_force_over_all_lengths_up_to_16() -> None:
    speculation = drafted_cheaply()
    found, _ = planned(speculation)
    by_batch = {b: row for row in found.schedule for b in range(row.batch_from, row.batch_to + 1)}
    assert sorted(by_batch) == list(range(1, 301))
    for batch in range(1, 301, 7):
        tpot = [
            float(
                speculate(speculation, batch=batch, context=200, draft_length=k, acceptance=Acceptance(value=0.8)).tpot[
                    0
                ]
            )
            for k in range(17)
        ]
        assert by_batch[batch].draft_length == int(np.argmin(tpot)), batch


def test_the_short_schedule_gives_away_little_in_fewer_ranges() -> None:
    speculation = drafted_cheaply()
    found, options = planned(speculation)
    assert len(found.short_schedule) < len(found.schedule)
    batches = np.arange(1.0, 301.0)
    rate = option_rounds(speculation, batches, 200.0, options).tokens_per_s.reshape(300, -1)
    for row in found.short_schedule:
        own = rate[row.batch_from - 1 : row.batch_to]
        assert np.all(own[:, row.draft_length] >= (1 - SLACK) * own.max(axis=1))
        assert np.all(own[:, row.draft_length] >= own[:, 0])


def all_trees(nodes: int, children: int) -> list[Tree]:
    """Every tree of so many nodes whose nodes have at most so many children; parents in rising order."""
    found = []
    for parents in itertools.product(*(range(node) for node in range(1, nodes))):
        is_canonical = all(one <= other for one, other in itertools.pairwise(parents))
        if is_canonical and max((parents.count(one) for one in set(parents)), default=0) <= children:
            found.append(Tree(parents=parents))
    return found


@pytest.mark.parametrize("batch", [1.0, 16.0, 100.0])
def test_the_best_tree_agrees_with_brute_force_over_all_trees(batch: float) -> None:
    # All trees up to 7 nodes here; that the heap finds the best tree of any budget is tested with its own brute force.
    speculation = drafted_cheaply()
    options = best_tree_options(RANKS, nodes=7, depth=6)
    rounds = option_rounds(speculation, np.array([batch]), 200.0, options)
    best = float(rounds.tpot.min())
    least = min(
        float(
            speculate_trees(
                speculation,
                batch=batch,
                context=200.0,
                nodes=float(tree.nodes),
                depth=float(tree.depth),
                tokens=tree_tokens(tree, np.array(RANKS)),
                acceptance_rate=0.62,
            ).tpot[0]
        )
        for nodes in range(1, 8)
        for tree in all_trees(nodes, 4)
    )
    assert best == pytest.approx(least, rel=1e-12)


def test_break_even_acceptance_makes_a_round_worth_exactly_one_step() -> None:
    speculation = drafted_cheaply()
    found, _ = planned(speculation)
    assert found.break_even is not None
    for row in found.break_even:
        assert row.acceptance_rate is not None
        again = speculate(
            speculation,
            batch=row.batch,
            context=200,
            draft_length=row.draft_length or 0,
            acceptance=Acceptance(value=row.acceptance_rate),
        )
        assert again.speedup == pytest.approx(1.0, rel=1e-9)


def test_an_expensive_draft_never_breaks_even() -> None:
    speculation = Speculation(target=served(), method=DraftModel(draft=None), draft_cost_ratio=3.0)
    found, _ = planned(speculation)
    assert found.break_even is not None
    assert [row.acceptance_rate for row in found.break_even] == [None, None]
    assert found.losing_from == 1
    assert found.reason == "always_loses"
    assert [row.draft_length for row in found.schedule] == [0]


def test_losing_starts_where_no_larger_batch_pays() -> None:
    speculation = Speculation(
        target=deployed(load_model("llama3-70b"), load_hardware("h100"), load_stack("ideal"), ranks=8),
        method=DraftModel(
            draft=deployed(load_model("llama3.2-1b"), load_hardware("h100"), load_stack("ideal"), ranks=8)
        ),
    )
    acceptance = Acceptance(value=0.7)
    options = chain_options(speculation, acceptance, [2, 3, 5])
    found = plan(speculation, batches=[1, 256], context=1024, options=options)
    assert found.losing_from is not None
    assert found.reason == "loses"
    least = found.losing_from
    gains = option_rounds(speculation, np.arange(least - 1.0, 600.0), 1024.0, options).speedup.reshape(-1, 4)[:, 1:]
    assert gains[0].max() >= 1.0
    assert np.all(gains[1:].max(axis=1) < 1.0)


def test_long_contexts_never_lose_because_caches_bind_at_any_batch() -> None:
    # 70B on H100 flips below 1,476 tokens only: at 16k even huge batches read caches, which verification amortises.
    speculation = Speculation(
        target=deployed(load_model("llama3-70b"), load_hardware("h100"), load_stack("ideal"), ranks=8),
        method=DraftModel(draft=None),
        draft_cost_ratio=0.02,
    )
    options = chain_options(speculation, Acceptance(value=0.7), [3])
    found = plan(speculation, batches=[1, 64], context=16384, options=options)
    assert found.losing_from is None
    assert found.reason == "never_memory_bound"
    assert found.final_speedup > 1.3


def test_a_plan_without_a_draft_is_refused() -> None:
    speculation = drafted_cheaply()
    options = chain_options(speculation, Acceptance(value=0.5), [0])
    with pytest.raises(DomainError, match="offers no draft"):
        plan(speculation, batches=[1], context=10, options=options)


def test_batches_are_looked_at_one_by_one_then_in_small_steps() -> None:
    few, many = whole_batches(3, 9), whole_batches(1, 100_000)
    np.testing.assert_array_equal(few, np.arange(3.0, 10.0))
    np.testing.assert_array_equal(many[:1024], np.arange(1.0, 1025.0))
    assert many[-1] == 100_000
    assert np.all(np.diff(many) >= 1)
    assert np.all(many[1:] / many[:-1] <= 2.0)


def test_a_draft_of_8b_leaves_425_of_624_sequences_of_a_70b_model() -> None:
    # 8 x 80 GB at peak, 2,048 tokens, no block rounding: THEORY.md 3.8.
    stack = load_stack("ideal")
    hardware = load_hardware("h100")
    target = deployed(load_model("llama3-70b"), hardware, stack, ranks=8)
    draft = deployed(load_model("llama3-8b"), hardware, stack, ranks=8)
    speculation = Speculation(target=target, method=DraftModel(draft=draft))
    found = draft_memory(speculation, context=2048, draft_length=5)
    assert found.plain_max_batch is not None
    assert found.max_batch is not None
    assert found.max_batch / found.plain_max_batch == pytest.approx(425 / 624, rel=0.03)
    assert found.weight_bytes == pytest.approx(16.06e9 / 8, rel=0.001)
    # 32 layers x 8 heads x 2 x 128 x 2 B over 8 devices, 2,054 tokens.
    assert found.sequence_bytes == 32 * 2 * 128 * 2 * 2054
    assert found.prefill_time > 0


def test_a_head_shares_embedding_and_a_full_output_head_with_its_target() -> None:
    target = deployed(load_model("llama3-8b"), load_hardware("h100"))
    sizes = {}
    for name in ("eagle", "eagle3"):
        method = eagle_method(target, load_draft(name, target.model))
        sizes[name] = draft_memory(Speculation(target=target, method=method), context=2048, draft_length=3).weight_bytes
    assert sizes["eagle"] == pytest.approx(2 * 0.2517e9, rel=0.01)
    assert sizes["eagle3"] == pytest.approx(2 * 0.4247e9, rel=0.01)


def test_methods_without_a_draft_take_no_memory_and_modules_take_theirs() -> None:
    target = deployed()
    none = draft_memory(Speculation(target=target, method=PromptLookup()), context=100, draft_length=4)
    assert (none.weight_bytes, none.sequence_bytes, none.prefill_time) == (0.0, 0.0, 0.0)
    module = draft_memory(Speculation(target=target, method=mtp_method(target)), context=99, draft_length=1)
    # One layer of 36,992 parameters, the projection 2 x 64 x 64, three norms of 64.
    assert module.weight_bytes == 2 * (36_992 + 2 * 64 * 64 + 3 * 64)
    assert module.sequence_bytes == 101 * 2 * 2 * 16 * 2


def test_a_draft_on_its_own_devices_leaves_the_target_s_memory_alone() -> None:
    target = deployed(load_model("llama3-8b"), load_hardware("h100"))
    draft = deployed(load_model("llama3.2-1b"), load_hardware("4090"))
    own = draft_memory(
        Speculation(target=target, method=DraftModel(draft=draft, has_own_devices=True)), context=2048, draft_length=4
    )
    shared = draft_memory(Speculation(target=target, method=DraftModel(draft=draft)), context=2048, draft_length=4)
    assert own.has_own_devices
    assert own.max_batch is not None
    assert shared.max_batch is not None
    assert shared.max_batch < own.max_batch <= (own.plain_max_batch or 0)


def test_a_draft_that_leaves_no_memory_says_how_much_is_missing() -> None:
    target = deployed(load_model("llama3-8b"), load_hardware("4090"), load_stack("generic"))
    draft = deployed(load_model("llama3-8b"), load_hardware("4090"), load_stack("generic"))
    found = draft_memory(Speculation(target=target, method=DraftModel(draft=draft)), context=2048, draft_length=4)
    assert found.max_batch == 0
    # 16.06 GB twice and two caches of 2,064 tokens of 131 kB against 0.9 x 24 GiB.
    assert found.missing_bytes == pytest.approx(2 * 16.06e9 + 2 * 2064 * 131_072 - 0.9 * 24 * 2**30, rel=0.01)
    assert goodput(Speculation(target=target, method=PromptLookup()), _one(target), found) is None


def _one(target: Deployment) -> DraftOptions:
    return chain_options(Speculation(target=target, method=PromptLookup()), Acceptance(value=0.5), [2])


def test_goodput_compares_at_equal_memory_and_at_equal_batch() -> None:
    target = deployed(small_model(), stack=serving_stack(speculation=LAW))
    draft = deployed(small_model(name="draft"), stack=serving_stack(speculation=LAW))
    speculation = Speculation(target=target, method=DraftModel(draft=draft))
    memory = draft_memory(speculation, context=50_000, draft_length=2)
    options = chain_options(speculation, Acceptance(value=0.8), [2])
    found = goodput(speculation, options, memory)
    assert found is not None
    assert found.max_batch < found.plain_max_batch
    assert found.plain > found.plain_equal_batch
    again = speculate(
        speculation,
        batch=[found.max_batch, found.plain_max_batch],
        context=50_000,
        draft_length=[2, 0],
        acceptance=Acceptance(value=0.8),
    )
    assert [found.speculating, found.plain] == pytest.approx(again.tokens_per_s.tolist())
