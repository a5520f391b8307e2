import dataclasses

import numpy as np
import pytest
from conftest import (
    MEMORY_CLASSES,
    deployed,
    device,
    ideal_stack,
    kernel,
    plain_attention,
    plain_gemm,
    serving_stack,
    small_model,
)

import rooflinesim as rs
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.operations import decode_ops
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.timing import step_ops, step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.errors import DomainError, RooflinesimError, UnsupportedError
from rooflinesim.specs.formats import FORMATS
from rooflinesim.specs.hardware import Calibration, OnChipMemory
from rooflinesim.specs.model import LayerGroup
from rooflinesim.specs.routing import Routing
from rooflinesim.workload.step import Step


def weights_and_cache(context: int = 0) -> int:
    """Bytes that decode of the small model touches again in the next step: weights, keys and values."""
    return 2 * 138_048 + 256 * (context + 2)


def test_the_step_of_a_small_model_worked_by_hand():
    # All memory-bound on the ideal stack: every byte at 1 TB/s, matrices at one token.
    row = decode(deployed(), batch=1, context=99)
    assert row.weight_bytes[0] == 276_096
    assert row.kv_bytes[0] == 101 * 256  # 100 tokens read, 1 written
    moved = row.weight_bytes + row.kv_bytes + row.activation_bytes
    assert row.step_time[0] == pytest.approx(moved[0] / 1e12, rel=1e-12)
    assert row.flop[0] == 2 * 137_728 + 2 * 2 * 4 * 32 * 100
    assert row.bound[0] == "memory"
    assert row.mbu[0] == pytest.approx((276_096 + 101 * 256) / moved[0])


def test_kernels_that_the_host_launches_one_by_one_are_a_floor():
    # embedding, 2 x (5 of attention and 4 of the MLP with their norms), head norm, head, sampling: 22 kernels
    eager = ideal_stack(launch="eager", launch_time=5e-6, step_time=100e-6)
    assert sum(op.count for op in step_ops(deployed(), Step(), Routing())) == 22
    row = decode(deployed(stack=eager), batch=1, context=0)
    assert row.step_time[0] == pytest.approx(22 * 5e-6 + 100e-6, rel=1e-12)
    assert row.bound[0] == "overhead"
    graphs = decode(deployed(stack=dataclasses.replace(eager, launch="graphs")), batch=1, context=0)
    assert graphs.step_time[0] < 102e-6


def test_the_floor_of_launches_vanishes_under_long_kernels():
    eager, graphs = (ideal_stack(launch=launch, launch_time=5e-6) for launch in ("eager", "graphs"))
    long = {"batch": 4096, "context": 100_000}
    assert decode(deployed(stack=eager), **long).step_time[0] == decode(deployed(stack=graphs), **long).step_time[0]


def test_fixed_times_add_to_every_kernel_sequence_layer_and_step():
    kernels = {"gemm": plain_gemm(1e-6), "elementwise": kernel(2e-6), "attention": plain_attention(3e-6)}
    stack = ideal_stack(**kernels, step_time=1e-3, sequence_time=1e-5, layer_time=1e-4)
    free, fixed = (decode(deployed(stack=one), batch=7, context=10) for one in (ideal_stack(), stack))
    # 9 GEMMs (4 per layer and the head), 2 attentions, 11 others; 7 sequences and 2 layers
    expected = 9 * 1e-6 + 2 * 3e-6 + 11 * 2e-6 + 1e-3 + 7e-5 + 2e-4
    assert fixed.step_time[0] - free.step_time[0] == pytest.approx(expected, rel=1e-9)
    assert fixed.overhead_time[0] == pytest.approx(expected, rel=1e-12)


def test_a_model_that_fits_into_the_cache_runs_at_the_bandwidth_of_the_cache():
    cached = device(on_chip=OnChipMemory(l2_capacity=10e6, bandwidth=5e12))
    off, on = (decode(deployed(hardware=one), batch=1, context=0) for one in (device(), cached))
    assert (off.on_chip[0], on.on_chip[0]) == (0.0, 1.0)
    assert on.step_time[0] == pytest.approx(off.step_time[0] / 5, rel=1e-12)


@pytest.mark.parametrize(("excess", "share"), [(-0.5, 1.0), (0.0, 1.0), (0.075, 0.5), (0.15, 0.0), (1.0, 0.0)])
def test_a_working_set_that_outgrows_the_cache_is_streamed_again(excess, share):
    cache = weights_and_cache() / (1 + excess)
    hardware = device(on_chip=OnChipMemory(l2_capacity=cache, bandwidth=5e12))
    row = decode(deployed(hardware=hardware), batch=1, context=0)
    assert row.on_chip[0] == pytest.approx(share, abs=1e-9)
    plain = decode(deployed(), batch=1, context=0).memory_time[0]
    assert row.memory_time[0] == pytest.approx((1 - share) * plain + share * plain / 5, rel=1e-9)


def test_the_stack_decides_how_much_of_the_cache_is_usable():
    hardware = device(on_chip=OnChipMemory(l2_capacity=weights_and_cache(), bandwidth=5e12))
    half = ideal_stack(on_chip_share=0.5)
    assert decode(deployed(hardware=hardware), context=0).on_chip[0] == 1.0
    assert decode(deployed(hardware=hardware, stack=half), context=0).on_chip[0] == 0.0


@pytest.mark.parametrize(
    ("cores", "clock", "stated", "bandwidth"),
    [
        (100, 1e9, None, 100 * 1e9 * 28),
        (100, 1e9, 5e12, 5e12),  # what the profile states wins
        (10, 1e9, None, 1e12),  # never slower than device memory
        (None, 1e9, None, None),
        (100, None, None, None),
    ],
)
def test_the_bandwidth_of_the_cache_is_stated_or_counted_from_cores(cores, clock, stated, bandwidth):
    chip = OnChipMemory(l2_capacity=10e6, bandwidth=stated)
    stack = ideal_stack(on_chip_bandwidth_per_core_clock=28.0)
    deployment = deployed(hardware=device(cores=cores, clock_rate=clock, on_chip=chip), stack=stack)
    assert machine_of(deployment).on_chip_bandwidth == bandwidth
    assert decode(deployment, context=0).on_chip[0] == (0.0 if bandwidth is None else 1.0)


def test_fp8_weights_on_an_a100_move_half_the_bytes_and_run_in_bf16_math():
    a100, model = rs.load_hardware("a100"), small_model()
    machine = machine_of(deployed(model, a100, weights="fp8"))
    assert machine.flop_rate(FORMATS["fp8"]) == machine.flop_rate(FORMATS["bf16"]) == 312e12
    wide, narrow = (
        rs.decode(model=model, hardware=a100, stack=ideal_stack(), weights=form) for form in ("bf16", "fp8")
    )
    assert narrow.rows[0]["weight_bytes"] < wide.rows[0]["weight_bytes"]
    assert narrow.rows[0]["compute_time_s"] == wide.rows[0]["compute_time_s"]
    note = "A100-SXM4-80GB has no fp8 unit: values are converted and multiplied in bf16 at 312 TFLOP/s"
    assert note in narrow.notes
    assert note not in wide.notes


def test_fp8_weights_on_an_h100_run_in_fp8_math():
    h100 = rs.load_hardware("h100-sxm")
    assert machine_of(deployed(hardware=h100)).flop_rate(FORMATS["fp8"]) == 1978.9e12
    found = rs.decode(model=small_model(), hardware=h100, stack=ideal_stack(), weights="fp8", kv="fp8")
    assert not any("no fp8 unit" in note for note in found.notes)


def test_bf16_on_a_v100_runs_in_fp32_math_and_says_that_fp16_would_be_faster():
    v100 = rs.load_hardware("v100")
    found = rs.decode(model=small_model(), hardware=v100, stack=ideal_stack())
    (note,) = [note for note in found.notes if "no bf16 unit" in note]
    assert "multiplied in fp32 at 15.7 TFLOP/s" in note
    assert "--weights fp16 would run at 125 TFLOP/s" in note
    machine = machine_of(deployed(hardware=v100))
    assert machine.flop_rate(FORMATS["bf16"]) == 15.7e12
    assert machine.flop_rate(FORMATS["int4"]) == 125e12  # weight-only: dequantised to fp16


def test_a_device_without_any_math_for_a_format_is_refused():
    with pytest.raises(UnsupportedError, match=r"device has no unit for bf16 .* it multiplies in int8"):
        decode(deployed(hardware=device(dense_flop_rate={"int8": 1e14})))


def test_measured_values_replace_the_constants_of_the_stack_only_where_it_uses_them():
    measured = Calibration(source="a run", memory_efficiency=0.9, flop_efficiency={"bf16": 0.6}, kernel_time=1e-6)
    hardware = device(calibration=measured)
    used = machine_of(deployed(hardware=hardware, stack=serving_stack()))
    assert used.bandwidth == 0.9e12
    assert used.flop_rate(FORMATS["bf16"]) == 60e12
    assert used.gemm.fixed_time == 1e-6
    ideal = machine_of(deployed(hardware=hardware, stack=ideal_stack()))
    assert ideal.bandwidth == 1e12
    assert ideal.flop_rate(FORMATS["bf16"]) == 100e12


@pytest.mark.parametrize("kind", MEMORY_CLASSES)
def test_a_stack_that_does_not_know_the_memory_of_a_device_is_refused(kind):
    stack = ideal_stack(memory_efficiency={one: 1.0 for one in MEMORY_CLASSES if one != kind})
    memory_type = {"DDR": "DDR5-4800"}.get(kind, kind)
    vendor = "Apple" if kind == "Apple" else "-"
    with pytest.raises(RooflinesimError, match=kind):
        decode(deployed(hardware=device(memory_type=memory_type, vendor=vendor), stack=stack))


@pytest.mark.parametrize(
    "changes", [{"batch": -1}, {"batch": float("nan")}, {"context": -1}, {"context": float("inf")}, {"new_tokens": 0}]
)
def test_a_step_outside_its_domain_is_refused_with_the_name_and_value(changes):
    (name,) = changes
    with pytest.raises(DomainError, match=f"{name} is .*: it must be finite and at least"):
        decode(deployed(), **changes)


def test_the_rows_of_the_operations_share_the_step():
    rows = decode_ops(deployed(stack=serving_stack()), batch=4, context=100)
    assert rows[-1].op == "software"
    assert rows[-1].time == pytest.approx(120e-6 + 4 * 10e-6, rel=1e-9)
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    assert [row.op for row in decode_ops(deployed())][:3] == ["embedding", "attention.norm", "attention.qkv"]


def test_groups_of_layers_keep_their_operations_apart():
    group = small_model().layers[0]
    model = small_model(layers=(group, dataclasses.replace(group, count=3)))
    names = [op.name for op in step_ops(deployed(model), Step(), Routing())]
    assert "layers0.attention.qkv" in names
    assert "layers1.mlp.down" in names
    assert len(set(names)) == len(names)


def test_equal_layers_cost_the_same_in_one_group_as_in_two():
    group = small_model().layers[0]
    split = small_model(layers=(LayerGroup(**{**vars(group), "count": 1}),) * 2)
    one, two = (
        step_time(deployed(model, stack=serving_stack()), Step(batch=5.0, context=50.0))
        for model in (small_model(), split)
    )
    assert one.time == pytest.approx(two.time, rel=1e-12)


def test_messages_of_two_devices_worked_by_hand():
    row = decode(deployed(ranks=2), batch=3, context=10)
    # two all-reduces of 3 x 64 x 2 B in each of 2 layers, and a gather of 3 x 500 logits of 2 B
    assert row.network_bytes[0] == 4 * 384 + 3000
    # an ideal all-reduce of two devices: one message each way at 100 GB/s
    assert row.network_time[0] == pytest.approx((4 * 384 + 3000) / 100e9, rel=1e-12)


def test_prefill_scores_the_last_token_only():
    row = prefill(deployed(), prompt=100, batch=2)
    matrices = 137_728 - 64_000
    attention = 2 * 2 * 2 * 4 * 32 * 5050  # 2 layers, 2 sequences, 5,050 pairs
    assert row.flop[0] == 2 * 200 * matrices + 2 * 2 * 64_000 + attention
    assert np.array_equal(row.prompt, [100.0])


def test_the_band_of_one_user_is_its_own():
    stack = serving_stack()
    single = dataclasses.replace(stack.bands["single"], low=0.9, high=1.2)
    narrow = dataclasses.replace(stack, bands={**stack.bands, "single": single})
    row = decode(deployed(stack=narrow), batch=[1, 2], context=10)
    np.testing.assert_allclose(row.step_time_low / row.step_time, [0.9, 0.5])
    np.testing.assert_allclose(row.step_time_high / row.step_time, [1.2, 2.0])
    ideal = decode(deployed(), batch=[1, 2], context=10)
    assert (ideal.step_time_low == ideal.step_time_high).all()


@pytest.mark.parametrize(
    ("batch", "context", "word"),
    [([], 2048, "empty"), ([1, 2], [1, 2, 3], "one length"), (["many"], 2048, "numbers")],
)
def test_columns_that_do_not_go_together_are_refused(batch, context, word):
    with pytest.raises(DomainError, match=word):
        decode(deployed(), batch=batch, context=context)
