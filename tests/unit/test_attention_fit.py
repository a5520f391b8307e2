import dataclasses

import numpy as np
import pytest

from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.validation import attention_fit
from rooflinesim.validation.attention_fit import REGIMES, Rates

LAW = AttentionLaw(fixed_time=10e-6, ramp_time=5e-6, memory_efficiency=0.9, flop_efficiency=0.8)
LARGE = Rates(bandwidth=3.35e12, flop_rate=989.4e12, cores=132, clock_rate=1.83e9, cache_bytes=50 * 2**20)
SMALL = Rates(bandwidth=864e9, flop_rate=362e12, cores=142, clock_rate=2.52e9, cache_bytes=96 * 2**20)
TRUE = {
    "fixed_time": 8e-6,
    "ramp_time": 6e-6,
    "memory_efficiency": 0.85,
    "flop_efficiency": 0.7,
    "start_tokens": 250.0,
}


def rows(batch, new, context, kv_heads=8.0, heads=32.0, window=0.0):
    """Columns of every combination of the given counts, without a time."""
    names = ("batch", "new_tokens", "context", "kv_heads")
    values = np.meshgrid(batch, new, context, kv_heads)
    columns = {name: value.ravel().astype(float) for name, value in zip(names, values, strict=True)}
    like = np.ones_like(columns["batch"])
    return columns | {
        "heads": heads * like,
        "head_size": 128.0 * like,
        "window": window * like,
        "kv_value_bytes": 2.0 * like,
    }


def measured(rates):
    """Decode and prefill rows whose times follow the law with the true constants."""
    decode = rows([1, 4, 16, 64, 256], [1], [15, 255, 2047, 16383, 65535], [2, 8, 32])
    prefill = rows([1, 2, 8, 32], [32, 128, 512, 2048, 8192], [0], [2, 8, 32])
    columns = {name: np.concatenate([decode[name], prefill[name]]) for name in decode}
    return columns | {"time": attention_fit.predicted_time(columns, rates, TRUE, LAW)}


def test_bytes_and_flops_of_a_decode_are_those_of_its_cache():
    columns = rows([2], [1], [999], 8.0, 32.0)
    assert attention_fit.kv_bytes(columns) == pytest.approx(2 * 1000 * 2 * 8 * 128 * 2)
    assert attention_fit.activation_bytes(columns) == pytest.approx(4 * 2 * 32 * 128)
    assert attention_fit.attention_flops(columns) == pytest.approx(2 * 1000 * 4 * 32 * 128)


def test_flops_of_a_prompt_are_those_of_its_triangle_or_of_its_window():
    pair = 4 * 32 * 128
    assert attention_fit.attention_flops(rows([1], [1000], [0])) == pytest.approx(1000 * 1001 / 2 * pair)
    windowed = attention_fit.attention_flops(rows([1], [1000], [0], window=10.0))
    assert windowed == pytest.approx((10 * 11 / 2 + 990 * 10) * pair)
    assert attention_fit.tokens_read(rows([1], [1], [5000], window=128.0)) == 128


def test_rows_fall_into_regimes_by_phase_cache_and_heads():
    columns = rows([64], [1], [16383], [8, 32])
    assert [REGIMES[index] for index in attention_fit.regimes(columns, LARGE)] == list(REGIMES[:2])
    assert attention_fit.regimes(rows([1], [1], [15]), LARGE) == 2
    np.testing.assert_array_equal(
        attention_fit.regimes(rows([1], [16, 63, 64, 512, 513, 2048, 4096], [0]), LARGE), [3, 3, 4, 4, 5, 5, 6]
    )


def test_every_regime_has_its_share_of_the_weight():
    columns = measured(LARGE)
    weights, index = attention_fit.regime_weights(columns, LARGE), attention_fit.regimes(columns, LARGE)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[index == 0].sum() / weights[index == 1].sum() == pytest.approx(4.0)


def test_a_cache_that_stays_on_chip_neither_streams_nor_ramps_up():
    columns = rows([1], [1], [2047])
    assert attention_fit.resident_share(columns, LARGE) == 1
    slow = dataclasses.replace(LARGE, bandwidth=1e9)
    np.testing.assert_array_equal(
        attention_fit.predicted_time(columns, slow, TRUE, LAW), attention_fit.predicted_time(columns, LARGE, TRUE, LAW)
    )
    assert attention_fit.resident_share(rows([64], [1], [16383]), LARGE) == 0


def test_a_fit_finds_the_constants_that_made_the_times():
    pytest.importorskip("scipy")
    found = attention_fit.fit_device(measured(LARGE), LARGE, LAW)
    assert found.mape < 1e-3
    for name, value in TRUE.items():
        assert found.values[name] == pytest.approx(value, rel=0.01)  # the fit stops at a small change of its cost


def test_constants_shared_by_devices_are_found_without_the_one_left_out():
    pytest.importorskip("scipy")
    tables = {"large": measured(LARGE), "small": measured(SMALL)}
    rates = {"large": LARGE, "small": SMALL}
    laws = {name: dataclasses.replace(LAW, memory_efficiency=TRUE["memory_efficiency"]) for name in tables}
    for device, found in attention_fit.left_out(tables, rates, laws).items():
        predicted = attention_fit.predicted_time(tables[device], rates[device], found.values, laws[device])
        assert attention_fit.scores(tables[device]["time"], predicted)["mape"] < 0.01


def test_leaving_a_device_out_needs_two():
    with pytest.raises(UnsupportedError, match="give rows of another device"):
        attention_fit.left_out({"large": measured(LARGE)}, {"large": LARGE}, {"large": LAW})


def test_an_unknown_constant_is_refused():
    with pytest.raises(UnsupportedError, match="'tile_rows' is no fitted constant of the law; known: fixed_time"):
        attention_fit.fit_device(measured(LARGE), LARGE, LAW, names=("tile_rows",))


def test_scores_count_rows_within_ten_and_twenty_five_percent():
    found = attention_fit.scores(np.ones(4), np.array([1.0, 1.05, 0.8, 2.0]))
    assert found["rows"] == 4
    assert found["mape"] == pytest.approx((0 + 0.05 + 0.2 + 1) / 4)
    assert found["median"] == pytest.approx(0.125)
    assert found["within_10"] == 0.5
    assert found["within_25"] == 0.75
    assert attention_fit.scores(np.array([]), np.array([])) == {"rows": 0.0}


def test_the_table_scores_rooflines_beside_what_is_given():
    columns = measured(LARGE)
    table = attention_fit.score_table(columns, LARGE, {"fitted": columns["time"]})
    assert {kind for _, kind in table} == {"roofline", "roofline/0.75", "fitted"}
    for regime in REGIMES:
        assert table[regime, "fitted"]["mape"] == 0
        assert table[regime, "roofline"]["mape"] > table[regime, "roofline/0.75"]["mape"] > 0
