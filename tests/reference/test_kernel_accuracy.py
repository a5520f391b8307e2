"""How far the shipped profiles are from measured kernels; figures are those reached, plus two points."""

from pathlib import Path

import numpy as np
import pytest

from rooflinesim.analysis.comparison import Comparison, joined, score
from rooflinesim.api.measured_kernels import compared_kernels
from rooflinesim.validation.doublings import doublings
from rooflinesim.validation.tables import read_table

ROWS = 8000
"""Rows that are drawn from each table with a fixed seed."""


def tables(shared: Path, *names: str) -> Comparison:
    folder = shared / "data" / "kernels"
    if not folder.is_dir():
        pytest.skip(f"the measured kernels {folder} are not on this machine")
    return joined([compared_kernels(read_table(folder / f"{name}.csv.gz"), limit=ROWS) for name in names])


def chosen(found: Comparison, **labels: str) -> np.ndarray:
    masks = [np.asarray(found.labels[name] == value, dtype=bool) for name, value in labels.items()]
    return np.logical_and.reduce(masks)


def mape(found: Comparison, mask: np.ndarray) -> float:
    scored = score(found, mask, "rows")
    assert scored is not None
    assert scored.n >= 30
    assert scored.mape < scored.roofline_75_mape, "no better than the roofline at 75 %"
    return scored.mape


@pytest.mark.parametrize(
    ("gpu", "few", "several"),
    [("a100_sxm", 0.083, 0.124), ("h100_sxm", 0.051, 0.079), ("l40s", 0.065, 0.072), ("b200_sxm", 0.070, 0.091)],
)
def test_products_in_16_bits_whose_weights_stream(shared: Path, gpu: str, few: float, several: float) -> None:
    found = tables(shared, f"gemm_{gpu}")
    assert mape(found, chosen(found, dtype="bfloat16", regime="cold, m 1-64")) < few
    assert mape(found, chosen(found, dtype="bfloat16", regime="cold, m 65-256")) < several


def test_fp8_products_of_a_known_framework(shared: Path) -> None:
    found = tables(shared, "gemm_h100_sxm", "gemm_l40s", "gemm_b200_sxm")
    assert mape(found, chosen(found, dtype="fp8", regime="cold, m 1-64")) < 0.102


def test_decode_attention_of_grouped_heads_whose_cache_streams(shared: Path) -> None:
    names = [f"decode_attention_{gpu}" for gpu in ("a100_sxm", "h100_sxm", "l40s", "b200_sxm")]
    found = tables(shared, *names)
    assert mape(found, chosen(found, dtype="bfloat16", regime="KV beyond L2, grouped heads")) < 0.111


def test_small_all_reduces_on_nvlink(shared: Path) -> None:
    found = tables(shared, "collectives_aic")
    assert mape(found, chosen(found, regime="all_reduce <= 2 MB, NVLink")) < 0.103


def test_experts_of_few_tokens(shared: Path) -> None:
    found = tables(shared, *(f"moe_{gpu}" for gpu in ("a100_sxm", "h100_sxm", "l40s", "b200_sxm")))
    few = np.char.startswith(found.labels["regime"].astype(str), "tokens <= 256")
    wide = few & (found.labels["dtype"] == "bfloat16") & (found.labels["framework"] != "sglang")
    for mask, reached in ((few, 0.096), (wide, 0.064)):
        scored = score(found, mask, "few tokens")
        assert scored is not None
        assert scored.median_ape < reached


@pytest.mark.parametrize(
    "name",
    [
        "gemm_h100_sxm",
        "decode_attention_h100_sxm",
        "context_attention_h100_sxm",
        "moe_h100_sxm",
        "collectives_aic",
        "vidur_mlp",
    ],
)
def test_bands_hold_about_four_of_five_measurements(shared: Path, name: str) -> None:
    found = tables(shared, name)
    inside = (found.measured >= found.low) & (found.measured <= found.high)
    assert 0.70 < inside.mean() < 0.90


@pytest.mark.parametrize("gpu", ["a100_sxm", "h100_sxm", "l40s", "b200_sxm"])
def test_the_rows_at_which_time_doubles_are_those_measured(shared: Path, gpu: str) -> None:
    folder = shared / "data" / "kernels"
    if not folder.is_dir():
        pytest.skip(f"the measured kernels {folder} are not on this machine")
    found = compared_kernels(read_table(folder / f"gemm_{gpu}.csv.gz"))
    mask = chosen(found, dtype="bfloat16", cache="cold")
    rows = {
        name: found.labels[label][mask].astype(float)
        for name, label in (("rows", "m"), ("outputs", "n"), ("inputs", "k"))
    }
    flips = doublings({**rows, "time": found.measured[mask]}, found.predicted[mask])
    assert flips["measured"].size > 100
    assert np.median(np.abs(flips["predicted"] / flips["measured"] - 1.0)) < 0.15
