"""Published speed-ups of speculation: how near they are predicted, and the directions that simple rules get wrong."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.tokens import expected_tokens
from rooflinesim.api.measured_speculation import compared_speedups, laid_out, round_ratio, timed_rounds
from rooflinesim.validation.published_speculation import SpeculativeRun, speculative_runs
from rooflinesim.validation.speedups import SpeedupComparison, speedup_scores
from rooflinesim.validation.tables import read_table

FILE = Path(__file__).parents[2].parent / "shared" / "data" / "e2e" / "specdec.csv"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"no published runs at {FILE}")


@functools.cache
def published() -> tuple[SpeculativeRun, ...]:
    return speculative_runs(read_table(FILE))[0]


@functools.cache
def comparison() -> SpeedupComparison:
    return compared_speedups(published())


def test_published_speedups_are_predicted_better_than_by_simple_rules() -> None:
    found = comparison()
    every, *regimes = speedup_scores(found, ["regime"])
    assert every.n >= 380
    assert every.mape <= 0.11
    assert every.median_ape <= 0.08
    assert abs(every.bias) <= 0.04
    assert 0.72 <= every.inside_band <= 0.9
    for regime in regimes:
        assert regime.mape < min(regime.leviathan_mape, regime.constant_mape), regime.group
    # Nothing is left out silently.
    assert every.n + len(found.skipped) == len(published())


def of_series(prefix: str, **changes: object) -> list[SpeculativeRun]:
    """Rows of a source that states no acceptance, given some to be laid out."""
    given = {"acceptance": Acceptance(value=0.5), **changes}
    return [dataclasses.replace(run, **given) for run in published() if run.id.startswith(prefix)]


def ratios(runs: list[SpeculativeRun]) -> np.ndarray:
    rows, skipped = laid_out(runs)
    assert not skipped
    return round_ratio(timed_rounds(rows)[1])


@pytest.mark.parametrize("drafting", ["eagle", "eagle3"])
def test_gains_on_one_a100_fall_with_batch_as_eagle_3_table_5_says(drafting: str) -> None:
    runs = [run for run in of_series("eagle3t5", device="A100-80GB") if run.drafting == drafting]
    batch = np.array([run.batch for run in runs])
    measured = np.array([run.speedup for run in runs])
    cost = ratios(runs)
    # Tokens per round are those that meet the row of the smallest batch; the others are predictions.
    predicted = measured[0] * cost[0] / cost
    assert np.mean(np.abs(predicted / measured - 1.0)[1:]) <= 0.07
    # The decline begins at batch 4, long before weights turn compute-bound.
    assert predicted[1] < predicted[0] * 0.995
    if drafting == "eagle3":
        assert (predicted[batch <= 48] > 1.0).all()
    else:
        falls = np.interp(-1.0, -predicted, batch), np.interp(-1.0, -measured, batch)
        assert falls[0] == pytest.approx(falls[1], rel=0.25)


@pytest.mark.parametrize("draft", ["TinyLlama", "self-spec"])
def test_gains_rise_with_batch_at_long_contexts(draft: str) -> None:
    """MagicDec's rows: one acceptance per kind of draft, the order of rows by batch and context."""
    runs = [run for run in of_series("magicdec") if run.draft.startswith(draft)]
    length = np.array([run.drafted for run in runs])
    measured = np.array([run.speedup for run in runs])
    cost = ratios(runs)
    rates = np.linspace(0.4, 0.99, 60)[:, np.newaxis]
    predicted = expected_tokens(length, rates) / cost
    error = np.abs(predicted / measured - 1.0).mean(axis=1)
    assert error.min() <= 0.08
    best = predicted[np.argmin(error)]
    for target in {run.target for run in runs}:
        mine = np.array([run.target == target for run in runs])
        assert list(np.argsort(best[mine])) == list(np.argsort(measured[mine]))


def test_verification_of_experts_at_batch_8_costs_what_published_rounds_say() -> None:
    """Plain steps that a round takes beside its draft passes: 1.39, 1.75, 1.61 and 1.43 of chains of 3, 5 and 7."""
    said = {"Qwen3-30B-A3B": 1.39, "Qwen3-Next-80B": 1.75, "Qwen3-Coder-480B": 1.61, "Ling-flash": 1.43}
    errors = []
    for target, value in said.items():
        runs = [run for run in published() if run.target.startswith(target) and run.drafted == 3.0]
        rows, _ = laid_out(runs)
        times = timed_rounds(rows)[1]
        beside_draft = (times.verify_time + times.round_overhead_time) / times.plain_step_time
        errors.append(abs(float(np.median(beside_draft)) / value - 1.0))
    assert np.median(errors) <= 0.15
