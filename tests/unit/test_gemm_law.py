import dataclasses

import numpy as np
import pytest

from rooflinesim.cost.gemm import (
    computed_rows,
    gemm_time,
    idle_core_ratio,
    law_at_clock,
    quantization_time,
    split_share,
    whole_steps,
)
from rooflinesim.errors import DomainError
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw

LAW = GemmLaw(fixed_time=2e-6, split_time=1e-6, exposed_share=0.5, idle_core_loss=0.1)
IDEAL = GemmLaw(fixed_time=0.0, tile_rows=1, row_step=1)
UNSPLIT = dataclasses.replace(LAW, input_time=1e-9)
BANDWIDTH, FLOP_RATE, CORES = 1e12, 1e15, 100


def time_of(rows, law=LAW, inputs=1024, outputs=3200, value_bytes=2.0, cores=CORES, **rates):
    return gemm_time(
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        weight_bytes=inputs * outputs * value_bytes,
        activation_bytes=rows * (inputs + outputs) * 2.0,
        bandwidth=rates.get("bandwidth", BANDWIDTH),
        flop_rate=rates.get("flop_rate", FLOP_RATE),
        cores=cores,
        law=law,
    )


def test_two_rows_take_their_fixed_times_their_bytes_and_a_share_of_a_step():
    # 50 tiles on 100 cores, in two parts: half split, none idle. Weights 6.5536 us; 16 rows are 0.1048576 us of FLOPs.
    expected = 2e-6 + 0.5e-6 + 6.5536e-6 + 2 * 8.448e-9 + 0.5 * 0.1048576e-6
    assert time_of(2) == pytest.approx(expected, rel=1e-12, abs=0)


def test_many_rows_take_the_flops_of_whole_tiles_and_a_share_of_their_bytes():
    # 1025 rows are 17 tiles of 64: 7.1303168 us of FLOPs, less than the bytes unless memory is ten times as fast.
    memory, compute = 6.5536e-6 + 1025 * 8.448e-9, 7.1303168e-6
    assert time_of(1025) == pytest.approx(2.5e-6 + memory + 0.5 * compute, rel=1e-12, abs=0)
    assert time_of(1025, bandwidth=1e13) == pytest.approx(2.5e-6 + compute + 0.05 * memory, rel=1e-12, abs=0)


def test_without_constants_the_law_is_the_roofline():
    rows = np.array([1.0, 7.0, 200.0, 5000.0])
    roofs = np.maximum((6.5536e6 + rows * 8448) / BANDWIDTH, 6.5536e6 * rows / FLOP_RATE)
    np.testing.assert_allclose(time_of(rows, IDEAL), roofs, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "computed"), [(0, 0), (1, 1), (2, 16), (16, 16), (17, 32), (64, 64), (65, 128), (129, 192)]
)
def test_rows_are_computed_in_steps_within_a_tile_and_in_tiles_beyond(rows, computed):
    assert computed_rows(rows, LAW) == computed


def test_a_fraction_beyond_one_row_is_a_whole_step():
    assert whole_steps(0.2, 16) == 16
    assert computed_rows(1.2, LAW) == 16
    assert computed_rows(0.2, LAW) == 0.2


@pytest.mark.parametrize(("outputs", "share"), [(64, 0.99), (3200, 0.5), (3201, 0.49), (6400, 0.0), (12800, 0.0)])
def test_a_matrix_too_narrow_for_the_cores_is_split(outputs, share):
    assert split_share(51200, outputs, CORES, LAW) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    ("inputs", "outputs", "idle"),
    [
        (8192, 3200, 0.0),  # 50 tiles in two parts occupy 100 cores
        (8192, 4480, 100 / 70 - 1),  # 70 tiles cannot be halved
        (512, 3200, 1.0),  # inputs too few to split: half of the cores is idle
        (8192, 6464, 200 / 101 - 1),  # 101 tiles take two rounds
    ],
)
def test_cores_without_a_tile_are_idle(inputs, outputs, idle):
    assert idle_core_ratio(inputs, outputs, CORES, LAW) == pytest.approx(idle, abs=1e-12)


def test_idle_cores_slow_the_stream_of_weights_by_the_loss():
    # 101 tiles on 100 cores: 99 idle per 101 busy, of which a tenth is lost.
    slowed = time_of(1, outputs=6464) - time_of(1, dataclasses.replace(LAW, idle_core_loss=0.0), outputs=6464)
    assert slowed == pytest.approx(0.1 * 99 / 101 * 6464 * 2048 / BANDWIDTH, rel=1e-9, abs=0)


def test_unknown_cores_leave_splitting_and_idle_cores_out():
    assert split_share(4096, 64, None, LAW) == 0.0
    assert idle_core_ratio(8192, 4480, None, LAW) == 0.0
    assert time_of(1, cores=None) == pytest.approx(time_of(1) - 0.5e-6, rel=1e-9, abs=0)


def test_kernels_that_never_split_are_as_slow_as_one_core():
    # 16384 inputs at 1 ns are 16.4 us on a core, however few outputs share the 2.1 us of the stream.
    narrow = time_of(1, UNSPLIT, inputs=16384, outputs=64)
    assert narrow > 16.384e-6
    assert narrow < 16.384e-6 + 2e-6 + 2.2e-6
    # A wide matrix hides it: 840 us of weights.
    assert time_of(1, UNSPLIT, inputs=16384, outputs=25600) == pytest.approx(
        time_of(1, inputs=16384, outputs=25600), rel=1e-3, abs=0
    )


def test_kernels_that_never_split_pay_for_no_split_and_idle_cores_only_in_a_last_round():
    assert split_share(4096, 64, CORES, UNSPLIT) == 0.0
    assert idle_core_ratio(8192, 64, CORES, UNSPLIT) == 0.0
    assert idle_core_ratio(8192, 6464, CORES, UNSPLIT) == pytest.approx(200 / 101 - 1)


@pytest.mark.parametrize("law", [LAW, IDEAL, UNSPLIT])
@pytest.mark.parametrize("cores", [None, 1, 108, 132])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (4096, 6144), (65536, 128), (512, 152064)])
@pytest.mark.parametrize("value_bytes", [2.0, 1.0, 0.5625])
def test_time_never_falls_with_rows_and_stays_above_each_roof(law, cores, inputs, outputs, value_bytes):
    rows = np.concatenate([[0.0, 0.5], np.arange(1.0, 700.0), [1024.0, 1025.0, 16384.0]])
    time = time_of(rows, law, inputs, outputs, value_bytes, cores)
    assert np.isfinite(time).all()
    assert (np.diff(time) >= 0).all()
    moved = inputs * outputs * value_bytes + rows * (inputs + outputs) * 2.0
    roofs = np.maximum(moved / BANDWIDTH, 2.0 * rows * inputs * outputs / FLOP_RATE)
    assert (time >= roofs * (1 - 1e-12)).all()


def test_one_row_equals_the_first_of_many():
    rows = np.array([1.0, 64.0, 65.0, 300.0])
    np.testing.assert_allclose([time_of(row) for row in rows], time_of(rows), rtol=1e-15)


def test_times_of_the_law_are_clock_cycles():
    slow = law_at_clock(dataclasses.replace(UNSPLIT, reference_clock_rate=1.8e9), 0.9e9)
    assert (slow.fixed_time, slow.split_time, slow.input_time) == (4e-6, 2e-6, 2e-9)
    assert law_at_clock(slow, 0.9e9) == slow
    assert law_at_clock(LAW, None) == LAW


def test_narrowing_activations_takes_a_fixed_time_and_its_bytes():
    kernels = QuantizationLaw(fixed_time=4e-6, value_bytes=3.0)
    assert quantization_time(0, 4096, BANDWIDTH, kernels) == 4e-6
    times = quantization_time(np.array([1.0, 1000.0]), 4096, BANDWIDTH, kernels)
    np.testing.assert_allclose(times, [4e-6 + 12288e-12, 4e-6 + 12.288e-6], rtol=1e-12)


def test_a_share_above_one_is_refused():
    with pytest.raises(DomainError, match="exposed_share"):
        GemmLaw(fixed_time=0.0, exposed_share=1.5)
    with pytest.raises(DomainError, match="fixed_time"):
        QuantizationLaw(fixed_time=-1e-6)
