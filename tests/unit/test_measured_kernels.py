"""Kernels that were measured enter every prediction: laws, samples, and what falls back to the stack."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.bands import band_of, evidence_of
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.timing import step_op_costs, step_time
from rooflinesim.api.answers import deployment
from rooflinesim.config import load_stack
from rooflinesim.config.declared import build
from rooflinesim.config.writing import plain_data, profile_text
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.measured import gemm_factor
from rooflinesim.errors import DomainError
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.measured_kernels import GemmSamples, MeasuredGemm, MeasuredSmall, RoofLaw
from rooflinesim.workload.step import Step
from tests.conftest import small_model
from tests.measured import ADDED, kernels, measured_device


def asked(hardware: Hardware | None = None, stack: str = "torch-eager"):
    return deployment(
        model=small_model(), hardware=hardware or measured_device(), stack=load_stack(stack), weights="fp32"
    )


def test_a_product_takes_what_the_law_adds_up() -> None:
    # Head: 64 x 1000 weights and 1064 activations of 4 bytes at 10 GB/s, 128 kFLOP at 50 GFLOP/s, 10 us.
    costs = {op.name: cost for op, cost in step_op_costs(asked(), Step(context=100.0))}
    memory, compute = 4 * (64_000 + 1_064) / 10e9, 128_000 / 50e9
    assert costs["head"].memory_time == pytest.approx(memory)
    assert costs["head"].compute_time == pytest.approx(compute)
    assert costs["head"].time == pytest.approx(1e-5 + memory + compute, rel=1e-6)
    assert costs["head"].overhead_time == pytest.approx(1e-5 + compute, rel=1e-6)


def test_attention_pays_for_every_kv_head_of_every_sequence() -> None:
    one, eight = (
        {op.name: float(cost.time) for op, cost in step_op_costs(asked(), Step(batch=b, context=0.0))}["attention.core"]
        for b in (1.0, 8.0)
    )
    # Seven more sequences of 2 KV heads pay 1 us each, and their bytes and FLOPs are added.
    assert eight - one > 14e-6
    assert eight < 8 * one


def test_stacks_that_run_other_kernels_do_not_take_them() -> None:
    measured, bare = asked(stack="vllm"), asked(dataclasses.replace(measured_device(), calibration=None), "vllm")
    step = Step(batch=4.0, context=512.0)
    assert not machine_of(measured).measured
    assert float(step_time(measured, step).time) == pytest.approx(float(step_time(bare, step).time))
    assert evidence_of(measured) == "transferred"


def test_half_the_bandwidth_of_the_profile_slows_memory_bound_steps() -> None:
    step = Step(batch=1.0, context=2048.0)
    whole = float(step_time(asked(), step).time)
    halved = float(step_time(asked(measured_device(memory_bandwidth=10e9)), step).time)
    assert 1.2 * whole < halved < 2.0 * whole


def test_a_step_takes_at_least_its_roofs_and_many_steps_are_one_by_one() -> None:
    result = decode(asked(), batch=[1, 3, 16, 100], context=[64, 64, 4096, 512])
    assert np.all(result.step_time >= np.maximum(result.memory_time, result.compute_time))
    total = result.memory_time + result.compute_time + result.overhead_time
    assert np.all(result.step_time <= total * (1 + 1e-9))
    singles = [float(step_time(asked(), Step(batch=b, context=c)).time) for b, c in ((1, 64), (3, 64), (16, 4096))]
    assert result.step_time[:3] == pytest.approx(singles)


def test_the_band_is_that_of_the_measurement() -> None:
    assert evidence_of(asked()) == "measured"
    low, high = band_of(asked(), Step(batch=4.0, context=512.0))
    assert (float(low), float(high)) == (0.9, 1.1)


def test_a_measured_point_is_met_and_others_lie_between() -> None:
    gemm = kernels(factor=1.5).gemm
    assert gemm_factor(16.0, 4096.0, 4096.0, gemm) == pytest.approx(3.0, rel=1e-4)
    assert gemm_factor(1.0, 512.0, 512.0, gemm) == pytest.approx(1.0, rel=1e-4)
    # Half way between the shapes, and half way between the rows, in logarithms.
    middle = float(gemm_factor(4.0, np.sqrt(512 * 4096), np.sqrt(512 * 4096), gemm))
    assert middle == pytest.approx(np.sqrt(1.0 * np.sqrt(1.5 * 3.0)), rel=1e-3)
    assert gemm_factor(1e6, 4096.0, 4096.0, gemm) == pytest.approx(3.0, rel=1e-4)
    assert gemm_factor(np.array([1.0, 16.0]), 4096.0, 4096.0, gemm) == pytest.approx([1.5, 3.0], rel=1e-4)


@pytest.mark.parametrize("exponent", [1.0, 3.0, 8.0])
def test_the_exponent_turns_adding_into_hiding(exponent: float) -> None:
    law = RoofLaw(fixed_time=0.0, memory_efficiency=1.0, flop_efficiency=1.0, overlap_exponent=exponent)
    own = kernels(law)
    hardware = measured_device()
    assert hardware.calibration is not None
    calibration = dataclasses.replace(hardware.calibration, kernels={"fp32": own})
    found = step_op_costs(asked(dataclasses.replace(hardware, calibration=calibration)), Step(batch=10.0))
    head = next(cost for op, cost in found if op.name == "head")
    memory, compute = float(head.memory_time), float(head.compute_time)
    assert float(head.time) == pytest.approx((memory**exponent + compute**exponent) ** (1 / exponent), rel=1e-6)


def test_a_profile_is_read_back_as_it_was_written() -> None:
    import yaml

    hardware = measured_device()
    text = profile_text(plain_data(hardware))
    again = build(Hardware, yaml.safe_load(text), "again")
    assert "memory_bandwidth: 20 GB/s" in text
    assert again == hardware
    step = Step(batch=4.0, context=512.0)
    assert float(step_time(asked(again), step).time) == float(step_time(asked(hardware), step).time)


def test_samples_that_do_not_match_their_rows_are_refused() -> None:
    shape = GemmSamples(inputs=8, outputs=8, factors=(1.0,))
    with pytest.raises(DomainError, match="8 x 8 has 1 factors for 2 rows"):
        MeasuredGemm(law=ADDED, rows=(1.0, 2.0), shapes=(shape,))
    with pytest.raises(DomainError, match="rows must rise: 2, 1"):
        MeasuredGemm(law=ADDED, rows=(2.0, 1.0), shapes=(shape,))
    with pytest.raises(DomainError, match="2 moved_bytes, but 1 factors"):
        MeasuredSmall(law=ADDED, moved_bytes=(1.0, 2.0), factors=(1.0,))


def test_launching_one_by_one_is_a_floor_where_the_host_was_measured() -> None:
    hardware = measured_device()
    assert hardware.calibration is not None
    slow_host = dataclasses.replace(hardware.calibration, launch_time=1e-3, graph_time=2e-5)
    slow = dataclasses.replace(hardware, calibration=slow_host)
    # 22 operations: 9 in each of 2 layers, embedding, head and its norm, and the choice of a token.
    eager = float(step_time(asked(slow), Step(context=64.0)).time)
    assert eager == pytest.approx(22e-3, rel=1e-6)
    graphs = float(step_time(asked(slow, "torch-graphs"), Step(context=64.0)).time)
    assert graphs == pytest.approx(float(step_time(asked(hardware), Step(context=64.0)).time) + 2e-5, rel=1e-6)


def test_factors_follow_a_trend_over_shapes_and_stay_level_beyond_the_measured_ones() -> None:
    # Factors fall as the square root of the outputs; 64 x 1024 was not measured.
    shapes = tuple(
        GemmSamples(inputs=inputs, outputs=outputs, factors=(outputs**-0.25,))
        for inputs in (64, 256)
        for outputs in (256, 512, 2048, 4096)
    )
    gemm = MeasuredGemm(law=ADDED, rows=(1.0,), shapes=shapes)
    assert gemm_factor(1.0, 64.0, 1024.0, gemm) == pytest.approx(1024**-0.25, rel=0.03)
    far, edge = gemm_factor(1.0, 128.0, 1e6, gemm), gemm_factor(1.0, 128.0, 4096.0, gemm)
    assert far == pytest.approx(edge, rel=0.1)
