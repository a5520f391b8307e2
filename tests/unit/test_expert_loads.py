"""The routing of the benchmarks that experts are timed under."""

import pytest

from rooflinesim.validation.expert_loads import balanced_load, power_law_load


def test_balanced_pairs_wake_experts_one_after_another() -> None:
    assert balanced_load(128, 8, 1, 4) == (32.0, 32.0)
    assert balanced_load(128, 8, 16, 1) == (1.0, 1.0)
    assert balanced_load(128, 8, 16, 256) == (128.0, 8.0)


@pytest.mark.parametrize("ranks", [1, 8])
def test_a_power_law_keeps_all_pairs_and_wakes_fewer_experts(ranks: int) -> None:
    for tokens in (1, 16, 256):
        pairs, awake, everywhere = power_law_load(128, 8, ranks, tokens, 1.2)
        # The busiest rank has at least an even share, at most everything.
        assert tokens * 8 / ranks <= pairs <= tokens * 8
        assert 1.0 <= awake <= min(pairs, 128 / ranks)
        assert everywhere <= min(tokens * 8, 128)
    assert power_law_load(128, 8, 1, 16, 1.2)[0] == 128.0
    assert power_law_load(128, 8, 1, 16, 1.2)[1] < 80.0
