"""Constants of rounds that made speed-ups are found again from them."""

import numpy as np
import pytest

from rooflinesim.validation.speculation_fit import (
    ENGINE_PARAMETERS,
    OVERLAPS,
    RESEARCH_PARAMETERS,
    RoundParts,
    fitted_values,
    left_out_speedups,
    predicted_speedups,
)


def made(rows: int, harness: str, seed: int) -> RoundParts:
    generator = np.random.default_rng(seed)
    passes = generator.integers(1, 8, rows).astype(float)
    plain = generator.uniform(5e-3, 30e-3, rows)
    is_engine = harness == "engine"
    growth = generator.uniform(0.0, 0.4, (rows, 1))
    return RoundParts(
        measured=np.ones(rows),
        emitted=1.0 + passes * 0.4,
        plain_time=plain,
        verify_times=plain[:, np.newaxis] * (1.05 + growth * (1.0 - OVERLAPS)),
        draft_time=passes * 3e-4,
        moved_time=np.zeros(rows),
        passes=passes,
        drafted=passes if is_engine else passes * 8,
        further_ranks=generator.choice([0.0, 3.0, 7.0], rows),
        batch=generator.choice([1.0, 8.0, 32.0], rows),
        harness=np.array([harness] * rows),
        family=np.array(["head"] * rows),
        task=np.full(rows, -1),
        anchor=np.full(rows, -1),
    )


def test_engine_constants_are_found_again() -> None:
    pytest.importorskip("scipy")
    truth = {one.name: one.start for one in (*ENGINE_PARAMETERS, *RESEARCH_PARAMETERS)}
    truth |= {"draft_step_time": 2e-4, "draft_rank_time": 3e-5, "round_time": 8e-4, "sequence_time": 9e-5}
    truth |= {"expert_independence": 0.45}
    parts = made(300, "engine", 1)
    parts = RoundParts(**{**vars_of(parts), "measured": predicted_speedups(parts, truth)})
    found = fitted_values(parts)
    for one in ENGINE_PARAMETERS:
        # Priors one sigma wide pull by a few per cent.
        assert found[one.name] == pytest.approx(truth[one.name], rel=0.05)


def test_shares_of_tasks_are_found_again() -> None:
    pytest.importorskip("scipy")
    truth = {one.name: one.start for one in (*ENGINE_PARAMETERS, *RESEARCH_PARAMETERS)}
    truth |= {"head.translation": 0.7, "head.rag": 1.3, "benchmark.draft_step_time": 1.8e-3}
    parts = made(400, "benchmark", 2)
    parts = RoundParts(**{**vars_of(parts), "task": np.arange(400) % 7 - 1})
    parts = RoundParts(**{**vars_of(parts), "measured": predicted_speedups(parts, truth)})
    found = fitted_values(parts)
    assert found["head.translation"] == pytest.approx(0.7, rel=0.03)
    assert found["head.rag"] == pytest.approx(1.3, rel=0.03)


def test_rows_of_a_series_follow_their_anchor() -> None:
    values = {one.name: one.start for one in (*ENGINE_PARAMETERS, *RESEARCH_PARAMETERS)}
    parts = made(6, "engine", 4)
    parts = RoundParts(**{**vars_of(parts), "anchor": np.array([-1, 1, 1, 1, -1, -1]), "measured": np.full(6, 1.5)})
    found = predicted_speedups(parts, values)
    assert found[1] == pytest.approx(1.5)
    assert list(parts.is_anchor) == [False, True, False, False, False, False]
    # Chosen whole, a series is predicted the same.
    chosen = np.array([False, True, True, True, False, True])
    assert predicted_speedups(parts.rows(chosen), values) == pytest.approx(found[chosen])


def test_left_out_groups_do_not_inform_their_own_prediction() -> None:
    pytest.importorskip("scipy")
    truth = {one.name: one.start for one in (*ENGINE_PARAMETERS, *RESEARCH_PARAMETERS)}
    parts = made(120, "engine", 3)
    measured = predicted_speedups(parts, truth)
    groups = np.arange(120) % 3
    spoiled = np.where(groups == 0, 2.0 * measured, measured)
    parts = RoundParts(**{**vars_of(parts), "measured": spoiled})
    found = left_out_speedups(parts, groups)
    assert found[groups == 0] == pytest.approx(measured[groups == 0], rel=0.03)


def vars_of(parts: RoundParts) -> dict[str, np.ndarray]:
    return {name: getattr(parts, name) for name in parts.__dataclass_fields__}
