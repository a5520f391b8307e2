import numpy as np
import pytest

from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.gemm_law import GemmLaw
from rooflinesim.specs.hardware import Hardware
from rooflinesim.validation import gemm_fit
from rooflinesim.validation.gemm_fit import Rates

LAW = GemmLaw(fixed_time=3e-6)
LARGE = Rates(bandwidth=3e12, flop_rate=1e15, cores=132, clock_rate=1.8e9)
SMALL = Rates(bandwidth=1e12, flop_rate=3e14, cores=100, clock_rate=1.4e9)
TRUE = {
    "memory_efficiency": 0.88,
    "flop_efficiency": 0.72,
    "fixed_time": 2.5e-6,
    "split_time": 3e-6,
    "exposed_share": 0.25,
    "idle_core_loss": 0.1,
}


def shapes():
    rows, outputs, inputs = np.meshgrid(
        [1.0, 8.0, 33.0, 64.0, 128.0, 200.0, 512.0, 2048.0, 8192.0],
        [1024.0, 2560.0, 5120.0, 8192.0, 28672.0],
        [1024.0, 4096.0, 14336.0],
    )
    return {"rows": rows.ravel(), "outputs": outputs.ravel(), "inputs": inputs.ravel()}


def measured(rates, constants, noise=0.0, seed=0):
    columns = shapes()
    exact = gemm_fit.predicted_time(columns, rates, constants, LAW)
    return {**columns, "time": exact * np.exp(noise * np.random.default_rng(seed).standard_normal(exact.size))}


def test_fits_return_the_constants_that_made_the_rows():
    tables = {"large": measured(LARGE, TRUE), "small": measured(SMALL, TRUE)}
    found = gemm_fit.fit_shared(tables, {"large": LARGE, "small": SMALL}, LAW)
    assert found.mape < 1e-3
    for name, value in TRUE.items():
        assert found.values[name] == pytest.approx(value, rel=0.02, abs=0), name


def test_a_device_s_fit_moves_only_its_own_constants():
    own = {**TRUE, "memory_efficiency": 0.75, "flop_efficiency": 0.6, "exposed_share": 0.4}
    found = gemm_fit.fit_device(measured(LARGE, own, noise=0.03), LARGE, LAW, TRUE)
    assert set(found.values) == {"memory_efficiency", "flop_efficiency", "exposed_share"}
    # 135 rows of 3 % noise fix the efficiencies within a few percent.
    assert found.values["memory_efficiency"] == pytest.approx(0.75, rel=0.05)
    assert found.values["flop_efficiency"] == pytest.approx(0.6, rel=0.05)
    assert found.mape < 0.04


def test_an_engine_s_kernels_are_fitted_beside_the_device_s():
    narrow = {**TRUE, "quantization_time": 9e-6, "value_bytes": 5.0, "input_time": 1e-9}
    found = gemm_fit.fit_device(
        measured(LARGE, narrow), LARGE, LAW, TRUE, names=("quantization_time", "value_bytes", "input_time")
    )
    for name in ("quantization_time", "value_bytes", "input_time"):
        assert found.values[name] == pytest.approx(narrow[name], rel=0.02, abs=0), name


def test_a_device_left_out_does_not_touch_its_own_constants():
    other = {**TRUE, "memory_efficiency": 0.5}
    tables = {"large": measured(LARGE, TRUE), "small": measured(SMALL, other)}
    rates = {"large": LARGE, "small": SMALL}
    found = gemm_fit.left_out(tables, rates, LAW)
    assert found["small"].values["memory_efficiency"] == pytest.approx(0.88, rel=0.02)
    assert found["large"].values["memory_efficiency"] == pytest.approx(0.5, rel=0.02)


def test_one_device_cannot_be_left_out_and_unknown_names_are_refused():
    tables = {"large": measured(LARGE, TRUE)}
    with pytest.raises(UnsupportedError, match="one device cannot be left out"):
        gemm_fit.left_out(tables, {"large": LARGE}, LAW)
    with pytest.raises(UnsupportedError, match="'speed' is no constant"):
        gemm_fit.fit_device(tables["large"], LARGE, LAW, TRUE, names=("speed",))


def test_rows_are_cold_from_a_fifth_beyond_the_cache():
    columns = {
        "rows": np.array([1.0, 1.0]),
        "outputs": np.array([1000.0, 1300.0]),
        "inputs": np.array([1000.0, 1000.0]),
    }
    # 5 copies of 2 MB and of 2.6 MB against 1.2 x 10 MB.
    assert gemm_fit.is_cold(columns, LARGE, 10e6, 5).tolist() == [False, True]
    assert gemm_fit.chosen(columns, np.array([False, True]))["outputs"].tolist() == [1300.0]


def test_the_middle_time_leaves_missing_engines_out():
    times = [np.array([1.0, 2.0]), np.array([3.0, np.nan]), np.array([2.0, 4.0])]
    assert gemm_fit.middle_time(times).tolist() == [2.0, 3.0]


def test_each_range_of_rows_has_its_share_of_the_weight():
    rows = np.array([1.0] * 90 + [100.0] * 10)
    weights = gemm_fit.regime_weights(rows)
    assert weights.sum() == pytest.approx(100)
    # 0.5 and 0.25 are what the two ranges present weigh.
    assert weights[:90].sum() / weights[90:].sum() == pytest.approx(2.0)


def test_the_roofline_is_the_longer_of_bytes_and_flops():
    columns = {"rows": np.array([1.0, 4096.0]), "outputs": np.array([4096.0] * 2), "inputs": np.array([4096.0] * 2)}
    few = (2 * 4096**2 + 4 * 4096) / 3e12
    np.testing.assert_allclose(gemm_fit.roofline_time(columns, LARGE), [few, 2 * 4096**3 / 1e15], rtol=1e-12)


def test_scores_count_the_errors_of_each_range():
    columns = {"rows": np.array([1.0, 2.0, 64.0, 65.0]), "time": np.array([1.0, 1.0, 1.0, 1.0])}
    first, second = gemm_fit.scores(columns, {"law": np.array([1.0, 1.2, 0.7, 1.05])})
    assert (first.first_rows, first.last_rows, first.prediction, first.count) == (1, 64, "law", 3)
    assert first.mape == pytest.approx(0.5 / 3)
    assert first.median_ape == pytest.approx(0.2)
    assert first.within_10 == pytest.approx(1 / 3)
    assert first.within_25 == pytest.approx(2 / 3)
    assert (second.first_rows, second.count) == (65, 1)
    assert second.mape == pytest.approx(0.05)


def test_standard_predictions_name_the_columns_of_the_error_table():
    columns = measured(LARGE, TRUE)
    predictions = gemm_fit.standard_predictions(columns, LARGE, LAW, fitted=TRUE, transferred=TRUE)
    assert list(predictions) == ["roofline", "roofline/0.75", "fitted", "transferred"]
    np.testing.assert_allclose(predictions["fitted"], columns["time"], rtol=1e-12)
    assert (predictions["roofline"] <= predictions["fitted"]).all()


@pytest.mark.parametrize(
    ("rows", "time", "doubled"),
    [
        ([1, 10, 100], [1.0, 1.0, 4.0], 10**1.5),  # a quadrupling over a decade doubles in its middle
        ([100, 10, 1], [4.0, 1.0, 1.0], 10**1.5),  # in any order
        ([1, 2, 4, 8], [1.0, 3.0, 1.0, 2.0], 8.0),  # a slow kernel for two rows is one that four rows can avoid
        ([1, 10, 100], [1.0, 1.5, 1.9], np.nan),
    ],
)
def test_rows_at_which_time_has_doubled(rows, time, doubled):
    assert gemm_fit.doubling_rows(np.array(rows), np.array(time)) == pytest.approx(doubled, nan_ok=True)


def test_doublings_pair_measured_and_predicted_per_matrix():
    columns = {
        "rows": np.array([1.0, 10.0, 100.0] * 2),
        "outputs": np.array([64.0] * 3 + [128.0] * 3),
        "inputs": np.full(6, 64.0),
        "time": np.array([1.0, 1.0, 4.0, 1.0, 1.0, 1.0]),
    }
    found = gemm_fit.doublings(columns, np.array([1.0, 2.0, 4.0, 1.0, 2.0, 4.0]))
    assert found["outputs"].tolist() == [64.0]  # the time of the other matrix never doubles
    assert found["measured"] == pytest.approx([10**1.5])
    assert found["predicted"] == pytest.approx([10.0])


def test_rates_come_from_the_datasheet():
    hardware = Hardware(
        name="Example",
        vendor="Example",
        architecture="example",
        memory_type="HBM3",
        memory_bandwidth=3e12,
        dense_flop_rate={"bf16": 1e15, "fp8": 2e15},
        source="made up",
        cores=132,
        clock_rate=1.8e9,
    )
    rates = gemm_fit.rates_of(hardware, "fp8", weight_value_bytes=1.0, input_value_bytes=1.0)
    assert rates == Rates(
        bandwidth=3e12, flop_rate=2e15, cores=132, clock_rate=1.8e9, weight_value_bytes=1.0, input_value_bytes=1.0
    )
