"""Time of one forward pass: every operation's roofs, overlapped, and what the software adds."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from rooflinesim.cost.collectives import all_gather_time, all_reduce_time
from rooflinesim.cost.machine import ON_CHIP_MARGIN, Machine
from rooflinesim.cost.roofline import compute_time, host_bound_time, memory_time, smooth_maximum
from rooflinesim.nouns import Noun
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cost(Noun):
    """Time of one operation or of a step, and the roofs below it [s].

    `time` lies between each of memory, compute and network time and the sum of all four terms;
    `overhead_time` holds fixed and ramp times of kernels and what the software adds.
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
    if machine.on_chip_bandwidth is None or machine.cache_bytes <= 0:
        return 0.0
    return on_chip_share(working_set_bytes(ops), machine)


def op_cost(op: Op, machine: Machine, on_chip: Array = 0.0) -> Cost:
    r"""Time of one operation on one device, once [s].

    .. math:: t = t_0 + \left((F / P)^p + (Q / BW + t_{ramp})^p\right)^{1/p}

    P and BW are achievable rates; bytes on chip move at the on-chip bandwidth. Collectives take the
    fastest algorithm that the software has.
    """
    if op.kind in ("all_reduce", "all_gather"):
        collective = all_reduce_time if op.kind == "all_reduce" else all_gather_time
        time = collective(op.ranks, op.network_bytes, machine.link_bandwidth, machine.collectives)
        return Cost(time=time, memory_time=0.0, compute_time=0.0, network_time=time, overhead_time=0.0)
    law = machine.laws[op.kind]
    memory = memory_time(op.memory_bytes, machine.bandwidth)
    if machine.on_chip_bandwidth is not None and np.any(on_chip):
        inside = memory_time(op.memory_bytes, machine.on_chip_bandwidth)
        memory = (1.0 - on_chip) * memory + on_chip * inside
    compute: Array = 0.0
    overlapped = memory + law.ramp_time
    if np.any(op.flops):
        compute = compute_time(op.flops, machine.flop_rate(op.form, op.kind))
        overlapped = smooth_maximum(compute, overlapped, machine.overlap_exponent)
    return Cost(
        time=law.fixed_time + overlapped,
        memory_time=memory,
        compute_time=compute,
        network_time=0.0,
        overhead_time=law.fixed_time + law.ramp_time,
    )


def op_costs(ops: Sequence[Op], machine: Machine) -> tuple[Cost, ...]:
    """Cost of each operation of one step, once each."""
    on_chip = resident_share(ops, machine)
    return tuple(op_cost(op, machine, on_chip) for op in ops)


def step_cost(ops: Sequence[Op], machine: Machine, stack: Stack, model: Model, step: Step) -> Cost:
    """Time of a whole step: its operations one after another, the host's floor, and fixed software times [s].

    Operations do not overlap each other; inside one, memory and compute do.
    """
    on_chip = resident_share(ops, machine)
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
    kernels = sum(op.count for op in ops)
    launched = host_bound_time(device, kernels, stack.launch_time) if stack.launch == "eager" else device
    software = stack.step_time + stack.layer_time * model.layer_count + stack.sequence_time * step.batch
    return Cost(
        time=launched + software,
        memory_time=memory,
        compute_time=compute,
        network_time=network,
        overhead_time=overhead + (launched - device) + software,
    )
