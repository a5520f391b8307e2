"""Fitting the law of the experts' kernels, and the routing of the benchmark it is fitted to."""

import csv
import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.validation.expert_fit import (
    PARAMETERS,
    ExpertDevice,
    ExpertRows,
    balanced_load,
    fit_expert_law,
    layer_time,
    power_law_load,
    read_experts,
)

DEVICE = ExpertDevice(
    bandwidth=3.35e12, flop_rate={"bfloat16": 989e12}, cache_bytes=50 * 2.0**20, cache_bandwidth=6.8e12
)
TRUE = ExpertLaw(fixed_time=11e-6, depth_time=2e-9, memory_efficiency=0.9, flop_efficiency=0.5, grouping_passes=3.0)


def written_table(path: Path, tokens: list[int]) -> Path:
    """A table of balanced layers of 128 experts, with placeholders for times."""
    columns = [
        "dtype",
        "hidden_size",
        "inter_size",
        "topk",
        "num_experts",
        "moe_tp",
        "moe_ep",
        "distribution",
        "num_tokens",
        "latency_us",
    ]
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for ranks in (1, 4):
            for count in tokens:
                writer.writerow(["bfloat16", 4096, 1536, 8, 128, 1, ranks, "balanced", count, 100.0])
    return path


def table(path: Path, tokens: list[int]) -> ExpertRows:
    return read_experts(
        written_table(path, tokens), DEVICE, {"bfloat16": (2.0, 2.0)}, lambda row: True, lambda row: True
    )


def test_the_fit_finds_the_constants_that_made_the_times(tmp_path: Path) -> None:
    rows = table(tmp_path / "moe.csv.gz", [1, 2, 4, 8, 16, 64, 256, 512, 1024, 4096])
    rows = dataclasses.replace(rows, time=layer_time(rows, TRUE))
    start = dataclasses.replace(TRUE, fixed_time=5e-6, memory_efficiency=0.7)
    free = [dataclasses.replace(one, prior=None) for one in PARAMETERS if one.name != "depth_time"]
    law, fitted = fit_expert_law(rows, start, parameters=free)
    # Noiseless rows: what is left is the optimiser's tolerance.
    assert fitted.mape < 1e-3
    assert law.fixed_time == pytest.approx(TRUE.fixed_time, rel=0.01)
    assert law.memory_efficiency == pytest.approx(TRUE.memory_efficiency, rel=0.01)


def test_rows_hold_the_load_and_the_bytes_of_one_device(tmp_path: Path) -> None:
    rows = table(tmp_path / "moe.csv.gz", [64])
    assert rows.rows.tolist() == [512.0, 128.0]
    assert rows.remote_rows.tolist() == [0.0, 384.0]
    assert rows.awake.tolist() == [128.0, 32.0]
    assert rows.time.tolist() == pytest.approx([1e-4, 1e-4])


def test_experts_that_fit_in_the_cache_are_read_from_it(tmp_path: Path) -> None:
    rows = table(tmp_path / "moe.csv.gz", [1])
    # Eight experts of 38 MB, and the two of one of four ranks, exceed 50 MiB and stream from memory.
    assert rows.bandwidth.tolist() == pytest.approx([3.35e12, 3.35e12])
    small = dataclasses.replace(DEVICE, cache_bytes=1e9)
    warm = read_experts(tmp_path / "moe.csv.gz", small, {"bfloat16": (2.0, 2.0)}, lambda row: True, lambda row: True)
    assert warm.bandwidth.tolist() == pytest.approx([6.8e12, 6.8e12])


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


def test_a_table_without_such_rows_says_so(tmp_path: Path) -> None:
    path = written_table(tmp_path / "moe.csv.gz", [1])
    with pytest.raises(RooflinesimError, match="no row of that kind"):
        read_experts(path, DEVICE, {"bfloat16": (2.0, 2.0)}, lambda row: False, lambda row: True)


def test_the_law_of_a_layer_is_the_sum_of_its_two_products(tmp_path: Path) -> None:
    rows = table(tmp_path / "moe.csv.gz", [1])
    only_fixed = ExpertLaw(fixed_time=1.0, memory_efficiency=1.0, flop_efficiency=1.0)
    assert layer_time(rows, only_fixed) == pytest.approx(np.full(2, 2.0), rel=1e-3)
