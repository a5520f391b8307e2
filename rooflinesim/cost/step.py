"""Time of one forward pass: every operation's roofs, overlapped, and what the software adds."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from rooflinesim.cost.all_reduce import all_reduce_law_time, all_to_all_law_time, gather_law_time
from rooflinesim.cost.attention import attention_time
from rooflinesim.cost.experts import expert_time
from rooflinesim.cost.gemm import gemm_time, quantization_time
from rooflinesim.cost.machine import ON_CHIP_MARGIN, Machine, bandwidth_at, software_of
from rooflinesim.cost.measured import measured_time
from rooflinesim.cost.roofline import compute_time, host_bound_time, memory_time, smooth_maximum
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw
from rooflinesim.specs.deployment import Deployment
from rooflinesim.workload.op import AttentionShape, ExpertShape, GemmShape, Op
from rooflinesim.workload.step import Array, Step

UNPACK_EXPONENT = 3.0
"""Order of the smooth maximum of streaming weights and unpacking them on the vector units."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cost(Noun):
    """Time of one operation or of a step, and the roofs below it [s].

    `time` lies between each of memory, compute and network time and the sum of all four terms;
    `overhead_time` holds what kernels lose to filling, splitting and unpacking, and what the software adds.
    """

    time: Array
    memory_time: Array
    compute_time: Array
    network_time: Array
    overhead_time: Array


def working_set_bytes(ops: Iterable[Op]) -> Array:
    """Weights and cache that a step touches, which must stay on chip to be found there again [B]."""
    return sum((op.count * (op.weight_bytes + op.kv_bytes) for op in ops), start=np.float64(0.0))


def on_chip_share(working_set: Array, machine: Machine) -> Array:
    """Share of a step's bytes that is served on chip: 1 while the working set fits, then falling to 0 [1]."""
    excess = working_set / machine.cache_bytes - 1.0
    return 1.0 - np.clip(excess / ON_CHIP_MARGIN, 0.0, 1.0)


def resident_share(ops: Sequence[Op], machine: Machine) -> Array:
    """Share of the bytes of a step's operations that is served on chip [1]."""
    return working_set_share(working_set_bytes(ops), machine)


def working_set_share(working_set: Array, machine: Machine) -> Array:
    """Share of a step's bytes that is served on chip, zero where a machine serves none [1]."""
    if machine.on_chip_bandwidth is None or machine.cache_bytes <= 0:
        return 0.0
    return on_chip_share(working_set, machine)


def op_cost(op: Op, machine: Machine, on_chip: Array = 0.0) -> Cost:
    """Time of one operation on one device, once [s].

    The law follows from the operation's kind and shape, unless its kernel was measured; bytes on chip
    move at the on-chip bandwidth. Overhead is what a law adds to the larger of its two roofs.
    """
    if op.kind in ("all_reduce", "all_gather", "all_to_all"):
        time = collective_time(op, machine)
        return Cost(time=time, memory_time=0.0, compute_time=0.0, network_time=time, overhead_time=0.0)
    measured = measured_time(op, machine, on_chip)
    if measured is not None:
        largest = np.maximum(measured.memory_time, measured.compute_time)
        return Cost(
            time=measured.time,
            memory_time=measured.memory_time,
            compute_time=measured.compute_time,
            network_time=0.0,
            overhead_time=measured.time - largest,
        )
    bandwidth = bandwidth_at(machine.bandwidth, machine, on_chip)
    memory = memory_time(op.memory_bytes, bandwidth)
    compute: Array = 0.0
    match op.shape:
        case GemmShape():
            compute = compute_time(op.flops, machine.flop_rate(op.form))
            time = _gemm_time(op, op.shape, machine, bandwidth)
        case ExpertShape():
            experts = machine.expert_law(op.form)
            memory = memory_time(op.memory_bytes, experts.memory_efficiency * bandwidth)
            compute = compute_time(op.flops, experts.flop_efficiency * machine.dense_rate(op.form))
            time = _expert_time(op, op.shape, machine, bandwidth)
        case AttentionShape():
            law = machine.attention_law(op.form, op.shape.value_bytes)
            reached = np.minimum(law.memory_efficiency * machine.bandwidth, machine.peak_bandwidth)
            bandwidth = bandwidth_at(reached, machine, on_chip)
            memory = memory_time(op.memory_bytes, bandwidth)
            compute = compute_time(op.flops, law.flop_efficiency * machine.dense_rate(op.form))
            time = _attention_time(op, op.shape, machine, bandwidth, law)
        case _:
            small = machine.recurrent if op.kind == "recurrent" else machine.elementwise
            if np.any(op.flops):
                compute = compute_time(op.flops, small.flop_efficiency * machine.dense_rate(op.form))
            time = small.fixed_time + np.maximum(memory, compute)
    return Cost(
        time=time,
        memory_time=memory,
        compute_time=compute,
        network_time=0.0,
        overhead_time=time - np.maximum(memory, compute),
    )


def unpacked_bytes(op: Op, machine: Machine, bandwidth: Array) -> Array:
    r"""Bytes that take as long to stream as the weights do to stream and unpack at once [B].

    .. math:: BW \left((Q_w / (e\, BW))^3 + (c\, n_w / (P_v / 2))^3\right)^{1/3}

    with e the efficiency of the weights' format, :math:`n_w` weights, and two FLOPs per vector operation.
    """
    streamed = op.weight_bytes / machine.weight_efficiency.get(op.form.family, 1.0)
    if not op.form.is_weight_only or machine.vector_rate is None or not np.any(machine.unpack_operations):
        return streamed
    operations = machine.unpack_operations * op.weight_bytes / op.form.bytes
    unpacked = operations / (0.5 * machine.vector_rate) * bandwidth
    return smooth_maximum(streamed, unpacked, UNPACK_EXPONENT)


def _gemm_time(op: Op, shape: GemmShape, machine: Machine, bandwidth: Array) -> Array:
    quantization = machine.quantization_law(op.form)
    extra = quantization_time(shape.rows, shape.inputs, bandwidth, quantization) if quantization else 0.0
    return extra + gemm_time(
        rows=shape.rows,
        inputs=shape.inputs,
        outputs=shape.outputs,
        weight_bytes=unpacked_bytes(op, machine, bandwidth),
        activation_bytes=op.activation_bytes,
        bandwidth=bandwidth,
        flop_rate=machine.flop_rate(op.form),
        cores=machine.cores,
        law=machine.gemm_law(op.form),
    )


def _expert_time(op: Op, shape: ExpertShape, machine: Machine, bandwidth: Array) -> Array:
    law = machine.expert_law(op.form)
    slowed = 1.0 + (law.batch_slowdown - 1.0) * (np.asarray(shape.tokens) > 1.0)
    return expert_time(
        rows=shape.rows,
        remote_rows=shape.remote_rows,
        awake=shape.awake,
        inputs=shape.inputs,
        outputs=shape.outputs,
        weight_bytes=slowed * unpacked_bytes(op, machine, bandwidth),
        activation_bytes=op.activation_bytes,
        flops=op.flops,
        bandwidth=bandwidth,
        flop_rate=machine.dense_rate(op.form),
        law=law,
        clock_rate=machine.clock_rate,
    )


def _attention_time(op: Op, shape: AttentionShape, machine: Machine, bandwidth: Array, law: AttentionLaw) -> Array:
    rate = law.flop_efficiency * machine.dense_rate(op.form)
    time = attention_time(
        batch=np.maximum(shape.batch, 1e-12),
        new_tokens=shape.new_tokens,
        read_tokens=shape.read_tokens,
        kv_heads=shape.kv_heads,
        group=shape.group,
        kv_bytes=op.kv_bytes,
        activation_bytes=op.activation_bytes,
        flops=op.flops,
        pair_flops=shape.pair_flops,
        bandwidth=bandwidth,
        flop_rate=rate,
        cores=machine.cores,
        clock_rate=machine.clock_rate,
        law=law,
    )
    if law.tensor_groups is None or machine.vector_rate is None:
        return time
    streamed = memory_time(op.memory_bytes, bandwidth) + law.ramp_time
    vector = compute_time(op.flops, law.vector_efficiency * machine.vector_rate)
    is_vector = ~np.isin(shape.group, law.tensor_groups) & (np.asarray(shape.new_tokens) == 1.0)
    return np.where(is_vector, law.fixed_time + smooth_maximum(streamed, vector, law.overlap_exponent), time)


def collective_time(op: Op, machine: Machine) -> Array:
    """Time of a collective over the link of a group; across hosts, inside each host and then among hosts [s].

    Raises
    ------
    UnsupportedError : if the profile has no link.
    """
    if op.ranks == 1:
        return 0.0 * op.network_bytes
    inside = min(op.ranks, machine.host_devices)
    hosts = -(-op.ranks // inside)
    if machine.host_devices < 2:
        raise UnsupportedError(f"{machine.hardware.name} has no link to other devices in its profile; use --tp 1")

    def one(ranks: int, message: Array, bandwidth: Array, law: CollectiveLaw) -> Array:
        match op.kind:
            case "all_reduce":
                return all_reduce_law_time(ranks, message, bandwidth, law)
            case "all_gather":
                return gather_law_time(ranks, message, bandwidth, law)
            case _:
                return all_to_all_law_time(ranks, message, bandwidth, law)

    time = one(inside, op.network_bytes, machine.link_bandwidth, machine.collectives)
    if hosts > 1:
        share = op.network_bytes / (inside if op.kind == "all_reduce" else 1.0)
        time = time + one(hosts, share, machine.network_bandwidth, machine.network)
    return time


def op_costs(ops: Sequence[Op], machine: Machine) -> tuple[Cost, ...]:
    """Cost of each operation of one step, once each."""
    on_chip = resident_share(ops, machine)
    return tuple(op_cost(op, machine, on_chip) for op in ops)


def step_cost(ops: Sequence[Op], machine: Machine, deployment: Deployment, step: Step) -> Cost:
    """Time of a whole step: its operations one after another, the host's floor, and fixed software times [s].

    Operations do not overlap each other; inside one, memory and compute do. Stages of a pipeline work one after
    another on the same sequences.
    """
    total = summed_cost(ops, machine, resident_share(ops, machine))
    return with_software(total, kernel_count(ops), deployment, step)


def kernel_count(ops: Iterable[Op]) -> float:
    """Kernels that a step launches [1]."""
    return sum(op.count for op in ops)


def summed_cost(ops: Iterable[Op], machine: Machine, on_chip: Array) -> Cost:
    """Cost of operations one after another, each as often as a step runs it, the software left out [s]."""
    device: Array = 0.0
    memory: Array = 0.0
    compute: Array = 0.0
    network: Array = 0.0
    overhead: Array = 0.0
    for op in ops:
        cost = op_cost(op, machine, on_chip)
        device = device + op.count * cost.time
        memory = memory + op.count * cost.memory_time
        compute = compute + op.count * cost.compute_time
        network = network + op.count * cost.network_time
        overhead = overhead + op.count * cost.overhead_time
    return Cost(time=device, memory_time=memory, compute_time=compute, network_time=network, overhead_time=overhead)


def with_software(total: Cost, kernels: float, deployment: Deployment, step: Step) -> Cost:
    """Cost of a step whose operations take `total`, or what launching them takes, and the software's own times [s]."""
    own = software_of(deployment)
    launched = host_bound_time(total.time, kernels, own.launch_time)
    software = software_time(deployment, step)
    return dataclasses.replace(
        total, time=launched + software, overhead_time=total.overhead_time + (launched - total.time) + software
    )


def software_time(deployment: Deployment, step: Step) -> Array:
    """What the software adds to a step: per step, layer, stage, and sequence of a data-parallel group [s]."""
    stack = deployment.stack
    own = software_of(deployment)
    stages = stack.stage_time * (deployment.pipeline_parallel - 1)
    fixed = own.step_time + own.layer_time * deployment.model.layer_count + stages
    return fixed + own.sequence_time * step.batch / deployment.data_parallel
