"""Speculation run in torch: greedy output is plain decoding's, samples follow the target, all tokens are paid for."""

import dataclasses
import math

import pytest

from rooflinesim.errors import DomainError

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device import rules, speculation  # noqa: E402
from rooflinesim.validation.device.decoder import CachePool, Decoder, WeightPool, cache_elements, pool_elements  # noqa: E402
from rooflinesim.validation.device.distribution import chi_square_probability, sampling_probability  # noqa: E402
from rooflinesim.validation.device.sizes import known_decoder  # noqa: E402

CONTEXT = 20
TREE = speculation.DraftTree((-1, 0, 0, 1, 1, 2, 3, 5))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


def pair(form="fp32", *, exit_layer=None, quiet=1.0, model=None, drafts=None):
    """A tiny target and its draft: a smaller model, or the target's own first layers where the others are quiet."""
    model = model or known_decoder("tiny")
    target = Decoder(model, WeightPool(pool_elements(model), form), longest=256)
    if exit_layer:
        target.quieten(exit_layer, quiet)
        return target, target.exit_after(exit_layer)
    own = drafts or dataclasses.replace(model, layers=(dataclasses.replace(model.layers[0], count=1),))
    return target, Decoder(own, WeightPool(pool_elements(own), form, seed=5), longest=256)


def begun(target, draft, batch, capacity=200):
    def cache(decoder, seed):
        elements = cache_elements(decoder.model, batch, capacity)
        return CachePool(elements, decoder.form, seed=seed).view(decoder.model, batch, capacity)

    rows = speculation.begin(target, cache(target, 1), cache(draft, 2), CONTEXT)
    if draft.layers[0] is target.layers[0]:
        rows.draft_cache.keys.copy_(rows.cache.keys[: len(draft.layers)])
        rows.draft_cache.values.copy_(rows.cache.values[: len(draft.layers)])
    return rows


def nothing(_name):
    pass


@pytest.mark.parametrize("tree", [speculation.chain(1), speculation.chain(4), TREE], ids=["chain 1", "chain 4", "tree"])
@pytest.mark.parametrize("draft", ["separate", "early exit"])
def test_greedy_speculation_emits_what_plain_decoding_does_token_for_token(tree, draft):
    target, drafts = pair(exit_layer=2, quiet=0.2) if draft == "early exit" else pair()
    rows = begun(target, drafts, 3)
    reference = rules.plain_reference(target, rows, 70)
    kept = 0
    for _ in range(12):
        kept += sum(
            len(path) for path in speculation.run_round(target, drafts, rows, tree, rules.Greedy(), nothing).paths
        )
    assert [own[: len(emitted)] for own, emitted in zip(reference.tokens, rows.emitted, strict=True)] == rows.emitted
    assert all(len(emitted) >= 12 for emitted in rows.emitted)
    assert kept > 0 or draft == "separate"
    assert rows.lengths == [CONTEXT + len(emitted) for emitted in rows.emitted]


@pytest.mark.parametrize("form", ["bf16", "fp16"])
def test_where_16_bits_differ_from_plain_decoding_it_is_at_a_near_tie(form):
    target, draft = pair(form, exit_layer=2, quiet=0.2)
    rows = begun(target, draft, 8)
    reference = rules.plain_reference(target, rows, 110)
    rule = rules.Controlled(reference, rows, (0.8,), vocabulary=256, seed=3)
    for _ in range(20):
        speculation.run_round(target, draft, rows, speculation.chain(4), rule, nothing)
    assert rule.compared > 300
    assert all(one.is_near_tie for one in rule.differences), rule.differences
    assert [own[: len(emitted)] for own, emitted in zip(reference.tokens, rows.emitted, strict=True)] == rows.emitted


def test_a_difference_that_is_no_near_tie_is_told_from_one_that_is():
    scores = torch.tensor([[[4.0, 3.0, 3.97, 0.0]]])
    reference = rules.Reference(tokens=[[0]], scores=scores)
    assert reference.difference(0, 0, 0) is None
    # The last place of 4.0 is 2^2 / 2^7 = 0.03125: one of them is a near tie, 32 are not.
    assert rules.last_place(4.0) == 0.03125
    assert reference.difference(0, 0, 2).is_near_tie
    assert reference.difference(0, 0, 1).gap == 32.0
    assert not reference.difference(0, 0, 1).is_near_tie


@pytest.mark.parametrize(("tree", "ranks"), [(speculation.chain(3), (0.7,)), (TREE, (0.5, 0.3))], ids=["chain", "tree"])
def test_a_controlled_draft_is_kept_as_often_as_asked_and_still_emits_plain_decoding(tree, ranks):
    target, draft = pair()
    rows = begun(target, draft, 24)
    reference = rules.plain_reference(target, rows, 100)
    rule = rules.Controlled(reference, rows, ranks, vocabulary=256, seed=1)
    verdicts = [speculation.run_round(target, draft, rows, tree, rule, nothing) for _ in range(20)]
    assert not rule.differences
    assert [own[: len(emitted)] for own, emitted in zip(reference.tokens, rows.emitted, strict=True)] == rows.emitted
    rounds = 24 * 20
    for rank, share in enumerate(ranks):
        node = tree.children(0)[rank]
        kept = sum(path[:1] == [node] for verdict in verdicts for path in verdict.paths) / rounds
        assert kept == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / rounds))


def test_rows_advance_unevenly_and_a_refill_pass_runs_only_after_a_draft_kept_whole():
    target, draft = pair()
    rows = begun(target, draft, 4)
    rule = rules.Controlled(rules.plain_reference(target, rows, 60), rows, (0.5,), vocabulary=256, seed=2)
    seen = []
    for _ in range(12):
        marks = []
        verdict = speculation.run_round(target, draft, rows, speculation.chain(2), rule, marks.append)
        seen.append(("refill" in marks, any(len(path) == 2 for path in verdict.paths)))
        assert marks[:3] == ["draft", "verify", "judge"]
    assert len(set(rows.lengths)) > 1
    assert {had for had, _ in seen} == {True, False}
    assert all(had == whole for had, whole in seen)


@pytest.mark.parametrize("tree", [speculation.chain(1), speculation.chain(3), TREE], ids=["chain 1", "chain 3", "tree"])
def test_sampled_speculation_is_distributed_as_the_targets_own_samples(tree):
    assert sampling_probability(tree) > 0.001


def test_a_rule_that_forgets_what_the_draft_took_is_told_from_the_right_one():
    class Forgetful(rules.Sampled):
        """After a rejection draws from the target's whole distribution, not from what is left of it."""

        def judge(self, scores, proposed, tree):
            found, wanted = super().judge(scores, proposed, tree), self.probabilities(scores)
            ends = [path[-1] if path else 0 for path in found.paths]
            last = self.draw(wanted[torch.arange(len(ends)), ends])[:, 0].tolist()
            return speculation.Verdict(paths=found.paths, tokens=last)

    assert sampling_probability(speculation.chain(3), rule=Forgetful(seed=11)) < 1e-6


def test_chi_square_probabilities_are_the_tables():
    # 35 degrees of freedom: 5 % at 49.8, 0.1 % at 66.6; built as one cell off by what gives that sum.
    exact = torch.full((36,), 1 / 36)
    for chi_square, probability in ((49.8, 0.05), (66.6, 0.001)):
        counts = torch.full((36,), 100.0)
        shift = math.sqrt(chi_square * 100.0 / 2)
        counts[0] += shift
        counts[1] -= shift
        assert chi_square_probability(counts, exact) == pytest.approx(probability, rel=0.1)


def test_trees_are_given_level_by_level():
    assert (TREE.widths, TREE.depths[-1], TREE.children(0)) == ((1, 2, 3, 2), 3, (1, 2))
    assert TREE.level(2) == ([0, 0, 1], [0, 1, 0])
    assert speculation.chain(3).parents == (-1, 0, 1, 2)
    for wrong in ((-1,), (-1, 1), (-1, 0, 1, 0), (0, 0)):
        with pytest.raises(DomainError, match="level by level"):
            speculation.DraftTree(wrong)
