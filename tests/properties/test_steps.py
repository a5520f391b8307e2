"""Laws that hold for every model, device, stack and step."""

import dataclasses
import math

import numpy as np
import pytest
from conftest import MEMORY_CLASSES, ideal_stack
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    NOTHING,
    attentions,
    dense_mlps,
    deployments,
    devices,
    grown,
    latent_attentions,
    models,
    moe_mlps,
    recurrent_mixers,
    routings,
    steps,
)

from rooflinesim.analysis import steps as blocks
from rooflinesim.analysis.crossover import crossover
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.explain import explain
from rooflinesim.analysis.memory import max_context, memory
from rooflinesim.analysis.operations import decode_ops
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.residency import max_batch, resident_bytes, usable_memory
from rooflinesim.analysis.steps import BLOCK_POINTS
from rooflinesim.analysis.timing import step_op_costs, step_ops, step_time, step_traffic
from rooflinesim.cost.machine import machine_of
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.formats import FORMATS
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Attention, Model, MoeMlp, RecurrentMixer
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.routing import Routing
from rooflinesim.workload.attention import read_tokens, visible_pairs
from rooflinesim.workload.experts import awake_experts
from rooflinesim.workload.footprint import Storage, cache_bytes, resident_weight_bytes
from rooflinesim.workload.forward import format_of
from rooflinesim.workload.matrices import layer_matrices
from rooflinesim.workload.parameters import model_parameters, streamed_parameters
from rooflinesim.workload.step import Step

# A step is a sum of some hundred rounded products, and numpy's powers of arrays differ from those of
# single numbers in the last bit: 1e-12 is several thousand roundings, far below any error of a count.
ROUNDING = 1e-12
TERMS = ("time", "memory_time", "compute_time", "network_time", "overhead_time")
NUMBERS = (
    "step_time",
    "memory_time",
    "compute_time",
    "network_time",
    "overhead_time",
    "weight_bytes",
    "kv_bytes",
    "activation_bytes",
    "network_bytes",
    "flop",
    "resident_bytes",
    "mbu",
    "mfu",
    "on_chip",
)
UNIFORM = dict.fromkeys(
    (
        "attention",
        "mlp",
        "experts",
        "shared_experts",
        "head",
        "embedding",
        "vectors",
        "kv_cache",
        "activations",
        "messages",
    ),
    FORMATS["bf16"],
)


def with_peaks(hardware: Hardware, factor: float) -> Hardware:
    """A device whose every rate is multiplied by a factor."""
    chip, link = hardware.on_chip, hardware.link
    return dataclasses.replace(
        hardware,
        memory_bandwidth=factor * hardware.memory_bandwidth,
        dense_flop_rate={math: factor * rate for math, rate in hardware.dense_flop_rate.items()},
        clock_rate=factor * hardware.clock_rate if hardware.clock_rate else None,
        on_chip=dataclasses.replace(chip, bandwidth=factor * chip.bandwidth) if chip.bandwidth else chip,
        link=dataclasses.replace(link, bandwidth=factor * link.bandwidth) if link else None,
    )


def with_attention(model: Model, **changes: None) -> Model:
    """A model whose softmax attention has other fields."""
    layers = (
        dataclasses.replace(group, attention=dataclasses.replace(group.attention, **changes))
        if group.attention
        else group
        for group in model.layers
    )
    return dataclasses.replace(model, layers=tuple(layers))


def on(deployment: Deployment, hardware: Hardware) -> Deployment:
    return dataclasses.replace(deployment, hardware=hardware)


# --- one body for numbers and arrays ---------------------------------------------------------------


@given(deployments(), st.lists(steps(), min_size=1, max_size=5), routings)
def test_a_point_alone_and_among_others_takes_the_same_time(deployment, points, routing):
    together = Step(
        **{name: np.array([getattr(one, name) for one in points]) for name in ("batch", "new_tokens", "context")}
    )
    many = step_time(deployment, together, routing)
    for index, point in enumerate(points):
        alone = step_time(deployment, point, routing)
        for term in TERMS:
            among = np.broadcast_to(getattr(many, term), len(points))[index]
            assert among == pytest.approx(float(getattr(alone, term)), rel=ROUNDING, abs=1e-30)


@given(deployments(), st.lists(steps(), min_size=3, max_size=12), routings, st.integers(1, 4))
def test_a_sweep_cut_into_blocks_equals_the_sweep_in_one(deployment, points, routing, block):
    sweep = {name: [getattr(one, name) for one in points] for name in ("batch", "context", "new_tokens")}
    whole = decode(deployment, **sweep, routing=routing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_POINTS", block)
        cut = decode(deployment, **sweep, routing=routing)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=ROUNDING)
    assert (cut.bound == whole.bound).all()
    assert (cut.fits == whole.fits).all()


@settings(max_examples=8)
@given(deployments(), routings)
def test_a_long_sweep_equals_its_points_one_by_one(deployment, routing):
    points = 2 * BLOCK_POINTS + 3
    batch, context = np.arange(1, points + 1), np.arange(points)[::-1] * 7
    sweep = decode(deployment, batch=batch, context=context, routing=routing)
    assert sweep.step_time.shape == (points,)
    for index in (0, BLOCK_POINTS - 1, BLOCK_POINTS, 2 * BLOCK_POINTS, points - 1):
        alone = decode(deployment, batch=int(batch[index]), context=int(context[index]), routing=routing)
        for name in ("batch", "context", "new_tokens", *NUMBERS):
            expected = pytest.approx(getattr(alone, name)[0], rel=ROUNDING)
            assert getattr(sweep, name)[index] == expected, name
        assert sweep.fits[index] == alone.fits[0]


# --- monotone, bounded, homogeneous ----------------------------------------------------------------


@given(
    deployments(),
    steps(),
    routings,
    st.sampled_from(("batch", "new_tokens", "context")),
    st.integers(1, 5000),
)
def test_more_work_never_takes_less_time(deployment, step, routing, axis, more):
    less, longer = (step_time(deployment, one, routing).time for one in (step, grown(step, axis, more)))
    assert longer >= less * (1 - ROUNDING)


@given(deployments(), steps(), routings)
def test_time_lies_between_each_roof_and_the_sum_of_all_terms(deployment, step, routing):
    cost = step_time(deployment, step, routing)
    roofs = (cost.memory_time, cost.compute_time, cost.network_time)
    assert cost.time >= max(roofs) * (1 - ROUNDING)
    assert cost.time <= (sum(roofs) + cost.overhead_time) * (1 + ROUNDING)


@given(deployments(), steps(), routings)
def test_each_operation_lies_between_its_roofs_and_their_sum(deployment, step, routing):
    for op, cost in step_op_costs(deployment, step, routing):
        roofs = (cost.memory_time, cost.compute_time, cost.network_time)
        assert cost.time >= max(roofs) * (1 - ROUNDING), op.name
        assert cost.time <= (sum(roofs) + cost.overhead_time) * (1 + ROUNDING), op.name


@given(deployments(has_fixed_times=False), steps(), routings)
def test_doubling_all_rates_halves_all_times_where_no_fixed_term_acts(deployment, step, routing):
    once = step_time(deployment, step, routing)
    twice = step_time(on(deployment, with_peaks(deployment.hardware, 2.0)), step, routing)
    for term in TERMS:
        assert 2 * getattr(twice, term) == pytest.approx(getattr(once, term), rel=ROUNDING, abs=1e-30)


@given(deployments(), steps(), st.floats(1.0, 100.0), st.sampled_from(("memory", "math", "link", "all")))
def test_a_faster_device_is_never_slower(deployment, step, factor, what):
    slow = deployment.hardware
    fast = {
        "memory": dataclasses.replace(slow, memory_bandwidth=factor * slow.memory_bandwidth),
        "math": dataclasses.replace(
            slow, dense_flop_rate={math: factor * rate for math, rate in slow.dense_flop_rate.items()}
        ),
        "link": dataclasses.replace(slow, link=dataclasses.replace(slow.link, bandwidth=factor * slow.link.bandwidth)),
        "all": with_peaks(slow, factor),
    }[what]
    assert step_time(on(deployment, fast), step).time <= step_time(deployment, step).time * (1 + ROUNDING)


@given(deployments(has_cache=False, has_fixed_times=False), steps())
def test_with_unlimited_bandwidth_only_math_and_messages_are_left(deployment, step):
    hardware = dataclasses.replace(deployment.hardware, memory_bandwidth=1e40)
    cost = step_time(on(deployment, hardware), step)
    # Memory time is not zero but some 1e-25 s, far below the rounding of the other terms.
    assert cost.time == pytest.approx(cost.compute_time + cost.network_time, rel=ROUNDING, abs=1e-24)


@given(deployments(has_cache=False, has_fixed_times=False), steps())
def test_with_unlimited_math_only_memory_and_messages_are_left(deployment, step):
    hardware = dataclasses.replace(deployment.hardware, dense_flop_rate={"fp32": 1e40})
    cost = step_time(on(deployment, hardware), step)
    assert cost.time == pytest.approx(cost.memory_time + cost.network_time, rel=ROUNDING)


@given(
    deployments(mixers=(attentions, recurrent_mixers), has_cache=False),  # MLA may change its form, a cache overflow
    st.integers(1, 64),
    st.integers(2, 12),
    st.integers(0, 20_000),
    routings,
)
def test_verification_costs_no_more_than_separate_decodes(deployment, batch, tokens, context, routing):
    # Deltas of one token each, with the context that the tokens before it have left.
    separate = decode(deployment, batch=batch, context=np.arange(context, context + tokens), routing=routing)
    together = decode(deployment, batch=batch, context=context, new_tokens=tokens, routing=routing)
    assert together.step_time[0] <= separate.step_time.sum() * (1 + ROUNDING)


@given(deployments(), steps(), routings)
def test_the_band_holds_the_prediction(deployment, step, routing):
    row = decode(deployment, batch=step.batch, context=step.context, new_tokens=step.new_tokens, routing=routing)
    assert row.step_time_low[0] <= row.step_time[0] <= row.step_time_high[0]
    assert row.tokens_per_s[0] == pytest.approx(row.tokens_per_s_per_user[0] * step.batch, rel=ROUNDING)


@given(deployments(has_cache=False, has_fixed_times=False), steps())
def test_elasticities_of_all_resources_sum_to_one_without_fixed_terms(deployment, step):
    found = explain(deployment, batch=step.batch, context=step.context, new_tokens=step.new_tokens)
    # Differences over 0.1 % to each side: the second order leaves some 1e-3.
    assert sum(one.elasticity for one in found.sensitivities) == pytest.approx(1.0, abs=3e-3)


# --- sums ------------------------------------------------------------------------------------------


@given(deployments(), steps(), routings)
def test_operations_sum_to_the_step(deployment, step, routing):
    point = {"batch": step.batch, "context": step.context, "new_tokens": step.new_tokens}
    rows = decode_ops(deployment, **point, routing=routing)
    total = decode(deployment, **point, routing=routing)
    traffic = step_traffic(step_ops(deployment, step, routing))
    for name in ("flop", "weight_bytes", "kv_bytes", "activation_bytes", "network_bytes"):
        # To the byte; beyond 2^53 bytes floats themselves are coarser than that.
        expected = pytest.approx(math.fsum(getattr(row, name) for row in rows), abs=0.5, rel=1e-15)
        assert getattr(total, name)[0] == expected, name
        assert float(getattr(traffic, name)) == expected, name
    assert total.step_time[0] == pytest.approx(math.fsum(row.time for row in rows), rel=ROUNDING)
    assert math.fsum(row.share for row in rows) == pytest.approx(1.0, rel=1e-9)


@given(deployments(), st.integers(1, 500), st.integers(0, 20_000))
def test_the_ledger_and_the_step_agree_on_every_byte(deployment, batch, context):
    ledger = memory(deployment, batch=batch, context=context)
    row = decode(deployment, batch=batch, context=context)
    streamed = row.weight_bytes[0] + row.kv_bytes[0] + row.activation_bytes[0]
    assert ledger.streamed == pytest.approx(streamed, abs=1.0, rel=1e-15)
    assert ledger.resident == pytest.approx(row.resident_bytes[0], abs=1.0, rel=1e-15)
    assert ledger.fits == row.fits[0]
    assert math.fsum(part.resident_bytes for part in ledger.rows) == pytest.approx(ledger.resident)


# --- counts ----------------------------------------------------------------------------------------


@given(models(mlps=(dense_mlps,)))
def test_dense_weights_streamed_at_one_token_are_two_bytes_for_each_streamed_parameter(model):
    deployment = uniform(model)
    traffic = step_traffic(step_ops(deployment, Step(context=100.0), Routing()))
    assert float(traffic.weight_bytes) == 2 * streamed_parameters(model)


@given(models(), routings)
def test_weights_streamed_at_one_token_are_two_bytes_for_each_streamed_parameter(model, routing):
    traffic = step_traffic(step_ops(uniform(model), Step(), routing))
    # The expected number of awake experts is a rounded power, not a whole number.
    assert float(traffic.weight_bytes) == pytest.approx(2 * streamed_parameters(model), rel=1e-12)


@given(deployments(ranks=(1,)))
def test_weights_streamed_at_one_token_are_the_streamed_parameters_times_their_formats(deployment):
    precision = deployment.precision
    expected = sum(
        format_of(part, precision).bytes * elements.active_matrices
        + precision.vectors.bytes * elements.streamed_vectors
        for part, elements in model_parameters(deployment.model).items()
    )
    traffic = step_traffic(step_ops(deployment, Step(), Routing()))
    assert float(traffic.weight_bytes) == pytest.approx(expected, rel=1e-12)


@given(deployments())
def test_a_step_of_one_token_streams_no_weight_that_is_not_resident(deployment):
    resident = resident_weight_bytes(deployment.model, deployment.precision, deployment.tensor_parallel)
    streamed = dict.fromkeys(resident, 0.0)
    for op in step_ops(deployment, Step(), Routing()):
        if op.weight_bytes:
            assert op.part in resident, op.name
            streamed[op.part] += op.count * op.weight_bytes
    for part, size in streamed.items():
        assert size <= resident[part] * (1 + ROUNDING), part


@given(models(mixers=(attentions,), mlps=(dense_mlps,)), steps())
def test_flops_are_two_for_each_weight_and_row_and_the_pairs_of_attention(model, step):
    model = with_attention(model, indexer=None)
    rows = step.batch * step.new_tokens
    expected = 2 * rows * (model.vocabulary * (model.embedding_size or model.hidden_size))
    expected += 2 * rows * model.other_parameters
    for group in model.layers:
        weights = sum(matrix.parameters for matrix in layer_matrices(group, model.hidden_size))
        expected += group.count * 2 * rows * weights
        if group.attention:
            one = group.attention
            pairs = visible_pairs(step.new_tokens, step.context, one.window)
            expected += group.count * 2 * step.batch * one.heads * (one.key_size + one.value_size) * pairs
    traffic = step_traffic(step_ops(uniform(model), step, Routing()))
    assert float(traffic.flop) == pytest.approx(expected, rel=ROUNDING)


@given(deployments(ranks=(1,)), steps())
def test_one_device_sends_no_messages(deployment, step):
    cost = step_time(deployment, step)
    assert float(cost.network_time) == 0.0
    assert float(step_traffic(step_ops(deployment, step, Routing())).network_bytes) == 0.0


@given(deployments(ranks=(2, 4, 8)), steps(), routings)
def test_devices_that_share_a_layer_do_at_least_their_share_and_no_more_than_all(deployment, step, routing):
    alone = dataclasses.replace(deployment, tensor_parallel=1)
    whole, part = (step_traffic(step_ops(one, step, routing)) for one in (alone, deployment))
    assert part.network_bytes > 0
    for name in ("flop", "weight_bytes", "kv_bytes"):
        all_ranks = deployment.tensor_parallel * getattr(part, name)
        assert all_ranks >= getattr(whole, name) * (1 - ROUNDING), name
        assert getattr(part, name) <= getattr(whole, name) * (1 + ROUNDING), name


@given(models(), steps(), st.sampled_from(("fp8", "int4", "nvfp4", "q4_k_m")), st.sampled_from(("fp8", "int4")))
def test_fewer_bits_move_fewer_bytes_and_leave_the_flops(model, step, weights, kv):
    narrow = dataclasses.replace(uniform(model), precision=precision_of(model, weights=weights, kv_cache=kv))
    wide = dataclasses.replace(uniform(model), precision=precision_of(model, weights="bf16", kv_cache="bf16"))
    less, more = (step_traffic(step_ops(one, step, Routing())) for one in (narrow, wide))
    assert less.weight_bytes <= more.weight_bytes * (1 + ROUNDING)
    assert less.kv_bytes <= more.kv_bytes * (1 + ROUNDING)
    assert less.flop == more.flop


# --- experts, windows, caches ----------------------------------------------------------------------


@given(st.integers(1, 512), st.data(), steps(), routings)
def test_awake_experts_are_at_most_all_and_at_most_those_chosen(experts, data, step, routing):
    active = data.draw(st.integers(1, experts))
    awake = awake_experts(experts, active, step, routing)
    tokens = step.batch * step.new_tokens
    assert awake <= min(experts, tokens * active) * (1 + 1e-9)  # Zipf shares are found by bisection
    assert awake >= active * (1 - 1e-9)


@given(st.integers(1, 512), st.data(), routings)
def test_one_token_wakes_the_experts_that_it_chooses(experts, data, routing):
    active = data.draw(st.integers(1, experts))
    assert awake_experts(experts, active, Step(), routing) == pytest.approx(active, rel=1e-9)


@given(st.integers(1, 512), st.data(), steps(), st.floats(0.0, 2.0), st.floats(0.0, 1.0))
def test_a_skewed_router_wakes_no_more_experts_than_a_uniform_one(experts, data, step, exponent, overlap):
    active = data.draw(st.integers(1, experts))
    skewed, uniform_ = (
        awake_experts(experts, active, step, Routing(zipf_exponent=z, overlap=overlap)) for z in (exponent, 0.0)
    )
    assert skewed <= uniform_ * (1 + 1e-9)


@given(st.integers(1, 512), st.data(), steps(), st.floats(0.0, 1.0))
def test_tokens_that_choose_alike_wake_no_more_experts(experts, data, step, overlap):
    active = data.draw(st.integers(1, experts))
    alike, apart = (awake_experts(experts, active, step, Routing(overlap=r)) for r in (overlap, 0.0))
    assert alike <= apart * (1 + ROUNDING)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_visible_pairs_and_reads_agree_with_a_mask_that_is_drawn(new_tokens, context, window):
    keys, queries = np.arange(context + new_tokens), np.arange(context, context + new_tokens)
    seen = (keys <= queries[:, None]) & (keys > queries[:, None] - window)
    assert visible_pairs(float(new_tokens), float(context), float(window)) == seen.sum()
    assert read_tokens(float(new_tokens), float(context), float(window)) == seen.any(axis=0).sum()


@given(models(mixers=(attentions,)), steps())
def test_windows_read_keep_and_compute_no_more_than_full_attention(model, step):
    full = with_attention(model, window=None)
    windowed, unlimited = (step_traffic(step_ops(uniform(one), step, Routing())) for one in (model, full))
    assert windowed.kv_bytes <= unlimited.kv_bytes
    assert windowed.flop <= unlimited.flop * (1 + ROUNDING)
    kept, all_kept = (cache_bytes(one, uniform(one).precision, step.context, Storage()) for one in (model, full))
    assert kept <= all_kept


@given(
    deployments(mixers=(attentions, latent_attentions, recurrent_mixers)), st.integers(0, 100_000), st.integers(1, 256)
)
def test_a_paged_cache_wastes_less_than_a_block_per_sequence_and_layer(deployment, context, block):
    model, precision, ranks = deployment.model, deployment.precision, deployment.tensor_parallel
    exact, paged = (
        cache_bytes(model, precision, float(context), Storage(ranks=ranks, block=size)) for size in (1, block)
    )
    one_token = cache_bytes(model, precision, 1.0, Storage(ranks=ranks))
    assert exact <= paged * (1 + ROUNDING)
    assert paged <= (exact + (block - 1) * one_token) * (1 + ROUNDING)


@given(deployments(), st.integers(0, 50_000))
def test_the_largest_batch_fits_and_one_more_does_not(deployment, context):
    usable = usable_memory(deployment)
    most = max_batch(deployment, context)
    point = Step(batch=np.array([max(most, 0), most + 1.0]), context=float(context))
    taken = resident_bytes(deployment, point)
    # The bound is a quotient of large differences: a millionth of a sequence is rounding.
    assert most == 0 or taken[0] <= usable * (1 + 1e-9)
    assert taken[1] > usable * (1 - 1e-9)


@given(deployments(), st.integers(1, 500))
def test_the_longest_context_fits_and_one_token_more_does_not(deployment, batch):
    longest = max_context(deployment, batch)
    if longest is None:
        mixers = [group.mixer for group in deployment.model.layers]
        assert all(
            mixer is None
            or isinstance(mixer, RecurrentMixer)
            or (isinstance(mixer, Attention) and (mixer.window or mixer.shares_kv_cache))
            for mixer in mixers
        )
        return
    contexts = np.array([longest, longest + 1.0])
    taken = np.broadcast_to(resident_bytes(deployment, Step(batch=float(batch), context=contexts)), 2)
    usable = usable_memory(deployment)
    assert longest == 0 or taken[0] <= usable
    assert taken[1] > usable or longest == 0


# --- crossovers ------------------------------------------------------------------------------------


@settings(max_examples=6)
@given(
    models(mixers=(attentions, latent_attentions, recurrent_mixers), mlps=(dense_mlps,), vectors=NOTHING),
    devices(has_cache=False),
)
def test_weight_gemms_of_dense_models_flip_at_half_the_ridge_whatever_their_size(model, hardware):
    rate, bandwidth = 400e12, hardware.memory_bandwidth
    hardware = dataclasses.replace(hardware, dense_flop_rate={"bf16": rate, "fp32": rate})
    found = crossover(dataclasses.replace(uniform(model), hardware=hardware)).row("weight_gemms")
    # n* = w R / 2 with w = 2 B per weight: the ridge itself.
    assert found.batch == pytest.approx(rate / bandwidth, rel=1e-9)
    assert found.batch_stay == found.batch


@settings(max_examples=4)
@given(deployments(ranks=(1,), has_cache=False, has_fixed_times=False), st.integers(0, 5000))
def test_doubling_math_and_memory_together_leaves_every_flip(deployment, context):
    deployment = dataclasses.replace(deployment, stack=ideal_stack())
    once = crossover(deployment, context=context)
    twice = crossover(on(deployment, with_peaks(deployment.hardware, 2.0)), context=context)
    for before, after in zip(once.rows, twice.rows, strict=True):
        assert (before.scope, before.op, before.reason) == (after.scope, after.op, after.reason)
        for name in ("batch", "batch_stay", "context_limit"):
            one, other = getattr(before, name), getattr(after, name)
            assert (one is None) == (other is None)
            assert one is None or other == pytest.approx(one, rel=1e-9)


@settings(max_examples=3)
@given(deployments(ranks=(1,), mlps=(dense_mlps,), has_cache=False), st.sampled_from((2, 4)))
def test_weight_gemms_flip_at_a_share_of_the_batch_when_tokens_are_verified_together(deployment, tokens):
    one, many = (crossover(deployment, new_tokens=q).row("weight_gemms") for q in (1, tokens))
    assert one.reason == many.reason == "flips"
    assert many.batch * tokens == pytest.approx(one.batch, rel=1e-9)


@settings(max_examples=10)
@given(deployments(), st.integers(1, 64), st.lists(st.integers(1, 4000), min_size=2, max_size=4))
def test_longer_prompts_never_come_back_sooner(deployment, batch, prompts):
    ordered = sorted(prompts)
    times = prefill(deployment, prompt=ordered, batch=batch).ttft
    assert (np.diff(times) >= -ROUNDING * times[:-1]).all()


@given(deployments(), steps())
def test_a_machine_reaches_no_more_than_its_datasheet(deployment, step):
    machine = machine_of(deployment)
    assert machine.bandwidth <= deployment.hardware.memory_bandwidth
    for op in step_ops(deployment, step, Routing()):
        if np.any(op.flops):
            assert machine.flop_rate(op.form) <= max(deployment.hardware.dense_flop_rate.values())


def uniform(model: Model) -> Deployment:
    """A model whose every value has 16 bits, on a device without limits worth naming."""
    hardware = Hardware(
        name="-",
        vendor="-",
        architecture="-",
        memory_type=MEMORY_CLASSES[0],
        memory_bandwidth=1e12,
        memory_capacity=1e15,
        dense_flop_rate={"bf16": 1e14, "fp32": 1e14},
        source="made up",
    )
    precision = dataclasses.replace(precision_of(model), **UNIFORM)
    return Deployment(model=model, hardware=hardware, stack=ideal_stack(), precision=precision)


@given(moe_mlps(), steps(), routings)
def test_more_tokens_wake_more_experts_until_all_are_awake(moe: MoeMlp, step, routing):
    now, later = (
        awake_experts(moe.experts, moe.active_experts, one, routing) for one in (step, grown(step, "batch", 100))
    )
    assert later >= now * (1 - ROUNDING)
    everyone = awake_experts(moe.experts, moe.active_experts, Step(batch=1e12), Routing())
    assert everyone == pytest.approx(moe.experts)
