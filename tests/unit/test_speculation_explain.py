"""Explanations of rounds: parts sum to the whole, costs are counted one after another; tables are made on demand."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.explain import RoundExplanation, explain_round
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.speculate import speculate
from rooflinesim.report.tables import DeferredViews, View
from rooflinesim.specs.speculation_law import SpeculationLaw
from tests.conftest import deployed, ideal_stack, serving_stack, small_model

LAW = SpeculationLaw(round_time=40e-6, sequence_time=1e-6, draft_step_time=30e-6)


def explained(speculation: Speculation, *, batch: float = 4.0, rate: float = 0.8) -> RoundExplanation:
    result = speculate(speculation, batch=batch, context=500, draft_length=3, acceptance=Acceptance(value=rate))
    return explain_round(speculation, result, 0)


def drafted(**law: object) -> Speculation:
    stack = serving_stack(speculation=dataclasses.replace(LAW, **law))  # type: ignore[arg-type]
    return Speculation(
        target=deployed(stack=stack, ranks=2),
        method=DraftModel(draft=deployed(small_model(name="draft"), stack=stack)),
    )


def test_terms_of_a_round_sum_to_its_time() -> None:
    speculation = drafted()
    result = speculate(speculation, batch=4, context=500, draft_length=3, acceptance=Acceptance(value=0.8))
    found = explain_round(speculation, result, 0)
    assert found.draft is not None
    assert found.verification.time == pytest.approx(float(result.verify_time[0]))
    assert found.plain.time == pytest.approx(float(result.plain_step_time[0]))
    assert found.draft.time + found.refill_time == pytest.approx(float(result.draft_time[0]))
    assert found.round_overhead_time == pytest.approx(float(result.round_overhead_time[0]))
    # The draft runs on one device: no collectives there.
    assert found.draft.network_time == 0.0
    assert found.plain.network_time > 0.0


def test_each_cost_takes_from_the_gain_until_the_answer_is_left() -> None:
    found = explained(drafted(draft_step_time=1e-3))
    assert found.bare_speedup == pytest.approx((1 - 0.8**4) / 0.2)
    gains = [found.bare_speedup, found.streaming_speedup, found.speedup]
    assert gains == sorted(gains, reverse=True)
    # Three passes of 1 ms against steps of a few hundred microseconds cost more than half of the gain.
    assert found.speedup < 0.5 * found.streaming_speedup


def test_an_ideal_stack_has_no_overhead_but_the_pass_after_full_acceptance() -> None:
    target = deployed(stack=ideal_stack())
    found = explained(Speculation(target=target, method=DraftModel(draft=deployed(small_model(name="draft")))))
    assert found.plain.overhead_time == found.verification.overhead_time == found.round_overhead_time == 0.0
    assert found.with_refill == pytest.approx(found.speedup)
    assert found.with_refill < found.with_network


def test_a_draft_whose_cost_is_given_has_no_terms_of_its_own() -> None:
    found = explained(Speculation(target=deployed(), method=DraftModel(draft=None), draft_cost_ratio=0.1))
    assert found.draft is None
    assert found.streaming_speedup is None
    assert found.draft_time == pytest.approx((3 + 0.8**3) * 0.1 * found.plain.time)


def test_a_share_of_a_step_per_verified_token_is_overhead_of_the_verification() -> None:
    plain, added = explained(drafted()), explained(drafted(verify_token_share=0.1))
    more = added.verification.overhead_time - plain.verification.overhead_time
    assert more == pytest.approx(3 * 0.1 * plain.plain.time)


def test_tables_are_made_once_and_only_when_looked_at() -> None:
    made = []

    def make() -> list[View]:
        made.append(1)
        return [View(lines=["one"], headers=["a"], rows=[["1"]])]

    views = DeferredViews(make)
    assert made == []
    assert len(views) == 1
    assert [view.lines for view in views] == [["one"]]
    assert views[:1][0] is views[0]
    assert made == [1]


def test_explanations_hold_at_every_row() -> None:
    speculation = drafted()
    result = speculate(
        speculation, batch=[1, 8, 64], context=[10, 100, 1000], draft_length=[1, 2, 0], acceptance=Acceptance(value=0.6)
    )
    for index in range(3):
        found = explain_round(speculation, result, index)
        assert found.speedup == result.speedup[index]
        assert np.isfinite(found.verification.time)
