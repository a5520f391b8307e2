"""Laws fitted to kernels whose times follow known laws: the constants come back, and what is left out is foretold."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.api.measured_hardware import intervals
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import op_cost
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.formats import FORMATS
from rooflinesim.validation.agreement import half_throughput_batch, mape_interval, median_interval
from rooflinesim.validation.measured_fit import TimedOp, kernels_of, law_errors
from rooflinesim.workload.op import AttentionShape, Op, gemm
from tests.conftest import deployed
from tests.measured import kernels, measured_device

pytest.importorskip("scipy", reason="scipy is not installed, which fits need")

SHAPES = ((512, 512), (512, 3072), (1536, 512), (2048, 2048), (640, 8192), (4096, 1280))


def timed(spread: float = 0.0) -> list[TimedOp]:
    """Kernels with the times that the round device gives them, with noise of a spread in each of four rounds."""
    plain = kernels()
    plain = dataclasses.replace(plain, gemm=dataclasses.replace(plain.gemm, shapes=plain.gemm.shapes[:1]))
    hardware = measured_device()
    assert hardware.calibration is not None
    truth = dataclasses.replace(hardware.calibration, kernels={"fp32": plain})
    from rooflinesim.config import load_stack

    machine = machine_of(
        deployed(hardware=dataclasses.replace(hardware, calibration=truth), stack=load_stack("torch-eager"))
    )
    form = FORMATS["fp32"]
    ops = [
        gemm("product", rows=float(rows), inputs=float(k), outputs=float(n), weights=form, activations=form)
        for k, n in SHAPES
        for rows in (1, 4, 16, 64, 256)
    ]
    ops += [_attention(batch, context) for batch in (1.0, 4.0, 32.0) for context in (64.0, 512.0, 4096.0)]
    ops += [
        Op(name="mlp.norm", kind="elementwise", count=1.0, form=form, activation_bytes=float(size))
        for size in (1e3, 1e4, 1e5, 1e6, 1e7)
    ]
    drawn = np.random.default_rng(1)
    return [
        TimedOp(
            form="fp32",
            op=op,
            times=tuple((n, float(op_cost(op, machine).time) * np.exp(spread * drawn.normal())) for n in range(4)),
        )
        for op in ops
    ]


def _attention(batch: float, context: float) -> Op:
    moved = 4.0 * 2 * 4 * 64 * batch * context
    flops = 4.0 * 16 * 64 * batch * context
    shape = AttentionShape(
        batch=batch, new_tokens=1.0, read_tokens=context, kv_heads=4.0, group=4.0, pair_flops=4.0 * 16 * 64
    )
    return Op(
        name="attention.core",
        kind="attention",
        count=1.0,
        form=FORMATS["fp32"],
        flops=flops,
        kv_bytes=moved,
        shape=shape,
    )


def test_constants_come_back_from_times_that_follow_the_law() -> None:
    found = kernels_of(timed(), measured_device())
    assert found.gemm.law.memory_efficiency == pytest.approx(0.5, rel=0.03)
    assert found.gemm.law.flop_efficiency == pytest.approx(0.5, rel=0.03)
    assert found.gemm.law.overlap_exponent == pytest.approx(1.0, abs=0.03)
    assert found.attention is not None
    # Decoding moves bytes and computes in one proportion, so that only their sum is fixed.
    assert [sample.factor for sample in found.attention.samples] == pytest.approx([1.0] * 9, rel=0.05)
    assert found.small["norm"].law.fixed_time == pytest.approx(1e-5, rel=0.03)
    for shape in found.gemm.shapes:
        assert shape.factors == pytest.approx([1.0] * 5, rel=0.05)


def test_kernels_that_follow_the_law_are_foretold_from_the_others_and_noisy_ones_within_their_noise() -> None:
    exact, noisy = timed(), timed(0.1)
    hardware = measured_device()
    sharp, dull = (law_errors(ops, hardware, kernels_of(ops, hardware)) for ops in (exact, noisy))
    assert sharp.gemm < 0.03
    # The median of four rounds of 10 % is off by some 6 %.
    assert 0.03 < dull.gemm < 0.12


def test_a_resampled_round_has_only_that_rounds_times() -> None:
    one = timed(0.1)[0]
    assert one.of_rounds([2, 2]).times == (one.times[2], one.times[2])
    assert one.of_rounds([9]).times == one.times


def test_without_products_nothing_is_fitted() -> None:
    with pytest.raises(UnsupportedError, match="a larger budget measures more"):
        kernels_of([one for one in timed() if one.op.kind == "attention"], measured_device())


def test_the_half_throughput_batch_is_where_the_line_has_doubled() -> None:
    batch = np.array([1.0, 2.0, 8.0, 32.0, 128.0])
    # 20 ms and 2 ms per sequence: half of 500 tokens/s at 10 sequences; a slow single sequence changes nothing.
    time = 0.02 + 0.002 * batch
    time[0] = 0.5
    assert half_throughput_batch(batch, time) == pytest.approx(10.0)
    assert half_throughput_batch(batch[:3], time[:3]) is None
    assert half_throughput_batch(batch, np.array([9.0, 8.0, 7.0, 6.0, 5.0])) is None


def test_the_interval_of_the_error_widens_with_noise_and_with_unlike_clusters() -> None:
    quiet = [tuple((n, 1.0) for n in range(5))] * 8
    names = ["a"] * 4 + ["b"] * 4
    same = mape_interval(quiet, np.full(8, 1.05), names)
    assert same == pytest.approx((0.05, 0.05))
    unlike = mape_interval(quiet, np.array([1.0] * 4 + [1.1] * 4), names)
    assert unlike == pytest.approx((0.0, 0.1))


def test_the_interval_of_a_median_lies_inside_its_samples() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    low, high = median_interval(list(np.arange(101.0)))
    assert 35.0 < low < 50.0 < high < 65.0


def test_intervals_hold_the_constants_of_another_day_where_the_pace_was_seen_to_change() -> None:
    ops, hardware = timed(0.01), measured_device()
    near = {"fp32": kernels_of(ops, hardware)}
    later = kernels_of([one.at_pace(1.08) for one in ops], hardware).gemm.law.flop_efficiency
    name = "fp32.gemm.flop_efficiency"
    steady = intervals(ops, hardware, near, 0.0)[name]
    moving = intervals(ops, hardware, near, 0.06)[name]
    assert later < steady.low
    assert moving.low < later < moving.high
