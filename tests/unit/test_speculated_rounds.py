"""Rounds of speculation that were run, beside predictions: what is taken from the run, and what is predicted."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.rounds import round_times
from rooflinesim.validation.speculated_rounds import (
    MeasuredCell,
    MeasuredRound,
    SpeculationCell,
    compared_rounds,
    joined_cells,
    predicted_rounds,
    speculation_verdict,
    textbook_speedup,
)
from tests.conftest import deployed, small_model

CHAIN = SpeculationCell(
    target="small", draft="smaller", form="bf16", batch=4, context=100, parents=(-1, 0, 1), ranks=(0.8,)
)
TREE = dataclasses.replace(CHAIN, parents=(-1, 0, 0, 1, 2, 3, 4), ranks=(0.6, 0.2))


def timed(*, plain=100e-3, draft=20e-3, verify=150e-3, judge=1e-3, refill=None, kept=(1, 2, 0, 1), longest=100):
    return MeasuredRound(
        draft_time=draft,
        verify_time=verify,
        judge_time=judge,
        refill_time=refill,
        plain_step_time=plain,
        kept=kept,
        longest=longest,
    )


def small_pair():
    model = small_model()
    draft = dataclasses.replace(model, layers=(dataclasses.replace(model.layers[0], count=1),))
    return deployed(model), deployed(draft)


def test_a_round_takes_its_parts_and_the_refill_pass_as_often_as_it_ran():
    cell = MeasuredCell(cell=CHAIN, rounds=(timed(), timed(refill=10e-3, kept=(2, 2, 2, 2), longest=104)))
    assert cell.refill_share == 0.5
    assert cell.round_time == pytest.approx(20e-3 + 150e-3 + 1e-3 + 0.5 * 10e-3)
    # Kept 4 of 8 and 8 of 8 drafted tokens: 12 in 8 rows' rounds, and one more token in each.
    assert cell.tokens_per_round == 1.0 + 12 / 8
    assert cell.speedup == pytest.approx(2.5 * 100e-3 / 176e-3)
    assert cell.context == 102.0


def test_medians_leave_out_a_round_that_another_process_disturbed():
    steady = MeasuredCell(cell=CHAIN, rounds=(timed(),) * 5)
    disturbed = MeasuredCell(cell=CHAIN, rounds=(*(timed(),) * 4, timed(verify=9.0, plain=3.0)))
    assert disturbed.speedup == steady.speedup


def test_acceptance_counts_only_tokens_that_were_judged():
    # Rows keep 1, 2, 0 and 1 of 2: judged 2, 2, 1 and 2, since nothing after a wrong token is judged.
    assert MeasuredCell(cell=CHAIN, rounds=(timed(),)).acceptance_rate == pytest.approx(4 / 7)


def test_predicted_rounds_are_draft_passes_refills_and_a_verification():
    target, draft = small_pair()
    cell = MeasuredCell(cell=CHAIN, rounds=(timed(), timed(refill=10e-3)))
    found = predicted_rounds(cell, target, draft)
    times = round_times(
        Speculation(target=target, method=DraftModel(draft=draft)), np.array([4.0]), np.array([100.0]), CHAIN.shape
    )
    # k + P = 2 + 0.5 draft passes, and one verification of 3 tokens per row.
    assert found.round_time == pytest.approx(2.5 * times.refill_time + times.verify_time)
    assert found.speedup == pytest.approx(2.0 * times.plain_step_time / found.round_time)


@pytest.mark.parametrize("cell", [CHAIN, TREE], ids=["chain", "tree"])
def test_cells_that_take_what_is_predicted_have_a_ratio_of_one_and_others_have_not(cell):
    target, draft = small_pair()
    first = MeasuredCell(cell=cell, rounds=(timed(kept=(1, 0, 0, 0)),))
    found = predicted_rounds(first, target, draft)
    plain, drafts, verify = (
        float(one[0])
        for one in (found.plain_step_time, found.draft_time, found.verify_time + found.round_overhead_time)
    )
    same = timed(plain=plain, draft=drafts, verify=verify, judge=0.0, kept=(1, 0, 0, 0))
    exact = dataclasses.replace(first, rounds=(same,))
    assert predicted_rounds(exact, target, draft).speedup[0] == pytest.approx(exact.speedup)
    # A verification that takes twice what is predicted is seen.
    slow = dataclasses.replace(first, rounds=(dataclasses.replace(same, verify_time=2.0 * verify),))
    assert predicted_rounds(slow, target, draft).speedup[0] / slow.speedup > 1.4


def test_a_tree_is_drafted_level_by_level():
    # Passes run the root, two nodes and two nodes; the last level's two are drafted and not run.
    assert (TREE.draft_length, TREE.is_tree, CHAIN.is_tree) == (3, True, False)
    assert (TREE.shape.tokens[0], TREE.shape.passes[0], TREE.shape.width[0]) == (6.0, 3.0, pytest.approx(5 / 3))
    assert (CHAIN.shape.tokens[0], CHAIN.shape.passes[0], CHAIN.shape.width[0]) == (2.0, 2.0, 1.0)


def test_cells_are_named_and_grouped_by_what_they_are():
    assert CHAIN.id == "speculate/bf16/small+smaller/b4k2a0.8"
    assert TREE.id == "speculate/bf16/small+smaller/b4n7d3a0.6-0.2"
    exit_ = dataclasses.replace(CHAIN, draft="exit", ranks=(), exit_layer=3, is_sampled=True)
    assert exit_.id == "speculate/bf16/small+exit/b4k2exit3/sampled"
    assert [one.group for one in (CHAIN, TREE, exit_, dataclasses.replace(exit_, is_sampled=False))] == [
        "chain bf16",
        "tree bf16",
        "sampled bf16",
        "early exit bf16",
    ]


def test_the_textbook_takes_verification_for_a_plain_step():
    target, draft = small_pair()
    cell = MeasuredCell(cell=CHAIN, rounds=(timed(kept=(2, 2, 2, 2)),))
    # The draft streams 36,992 + 64,064 of the target's 138,048 parameters, twice per round.
    assert textbook_speedup(cell, target, draft) == pytest.approx(3.0 / (2 * 101_056 / 138_048 + 1))


def test_sides_are_judged_only_where_the_measurement_has_one():
    pair = small_pair()
    cells = [
        MeasuredCell(cell=CHAIN, rounds=(timed(plain=plain, kept=(0, 0, 0, 0)),), compared=10, gaps=gaps)
        for plain, gaps in ((171e-3 * 1.5, ()), (171e-3 * 1.02, (3.5,)), (171e-3 * 0.5, (0.0, 6.0)))
    ]
    found = compared_rounds(cells, lambda _cell: pair)
    found = dataclasses.replace(found, predicted=np.array([1.2, 0.9, 1.1]))
    verdict = speculation_verdict(cells, found, {"bf16": 0.4}, near_tie=4.0)
    assert (verdict.judged_sides, verdict.right_side) == (2, 0.5)
    assert (verdict.compared_tokens, verdict.differences, verdict.near_ties) == ({"bf16": 30}, {"bf16": 3}, {"bf16": 2})


def test_visits_of_a_cell_are_one_with_all_of_its_rounds():
    first, other = (MeasuredCell(cell=one, rounds=(timed(),), compared=8, gaps=(1.0,)) for one in (CHAIN, TREE))
    again = MeasuredCell(cell=CHAIN, rounds=(timed(verify=170e-3), timed()), compared=16)
    joined = joined_cells([first, other, again])
    assert [one.cell for one in joined] == [CHAIN, TREE]
    assert (len(joined[0].rounds), joined[0].compared, joined[0].gaps) == (3, 24, (1.0,))
    assert joined[1] == other


def test_labels_tell_what_is_behind_a_speedup():
    found = compared_rounds([MeasuredCell(cell=CHAIN, rounds=(timed(),), compared=8)], lambda _cell: small_pair())
    assert found.labels["measured_verify_time_s"][0] == 150e-3
    assert found.labels["tokens_per_round"][0] == 2.0
    assert found.labels["predicted_round_time_s"][0] > 0
    assert list(found.labels["unit"]) == ["1"]
