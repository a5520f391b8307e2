"""What every timed step has in common: its columns, evaluated in blocks of points."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from rooflinesim.analysis.residency import resident_bytes, usable_memory
from rooflinesim.analysis.timing import main_format, step_ops, step_traffic
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import resident_share, step_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import math_format
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step

BOUNDS = ("memory", "compute", "network", "overhead")
"""What can bind a step: the largest of its four terms."""

BLOCK_POINTS = 8192
"""Points evaluated together: few enough that every intermediate array stays in the processor's cache."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StepColumns(Noun):
    """What every timed step has; one row per point, one array per column, shape (points,).

    Times are those of one step; bytes and FLOPs are those of one device. `memory_time`, `compute_time` and
    `network_time` are what each resource alone would take, `overhead_time` the fixed times; the step
    takes at least each of them and at most their sum. `bound` is the largest of the four. `on_chip` is
    the share of bytes served from on-chip memory. `mbu` counts weights and KV against the peak bandwidth,
    `mfu` FLOPs against the dense rate of the weights' math. `fits` is None where the device's memory
    capacity is unknown.
    """

    memory_time: np.ndarray = quantity("s")
    compute_time: np.ndarray = quantity("s")
    network_time: np.ndarray = quantity("s")
    overhead_time: np.ndarray = quantity("s")
    bound: np.ndarray
    weight_bytes: np.ndarray = quantity("B")
    kv_bytes: np.ndarray = quantity("B")
    activation_bytes: np.ndarray = quantity("B")
    network_bytes: np.ndarray = quantity("B")
    flop: np.ndarray = quantity("FLOP")
    resident_bytes: np.ndarray = quantity("B")
    fits: np.ndarray | None
    mbu: np.ndarray = quantity("1")
    mfu: np.ndarray = quantity("1")
    on_chip: np.ndarray = quantity("1")


Block = Callable[[Deployment, Step, Routing | None], dict[str, Any]]


def in_blocks(
    block: Block, deployment: Deployment, columns: dict[str, np.ndarray], routing: Routing | None
) -> dict[str, Any]:
    """Columns of a result, evaluated in blocks of points that fit the processor's cache."""
    points = columns["batch"].size
    parts = []
    for start in range(0, max(points, 1), BLOCK_POINTS):
        step = Step(**{name: column[start : start + BLOCK_POINTS] for name, column in columns.items()})
        shape = np.shape(step.batch)
        values = block(deployment, step, routing)
        parts.append(
            {name: value if value is None else np.broadcast_to(value, shape) for name, value in values.items()}
        )
    if len(parts) == 1:
        return parts[0]
    return {
        name: None if first is None else np.concatenate([part[name] for part in parts])
        for name, first in parts[0].items()
    }


def step_columns(deployment: Deployment, step: Step, routing: Routing | None) -> tuple[Array, dict[str, Any]]:
    """Time of the steps, and the columns that every timed step has."""
    ops = step_ops(deployment, step, routing)
    machine = machine_of(deployment)
    cost = step_cost(ops, machine, deployment, step)
    traffic = step_traffic(ops)
    resident = resident_bytes(deployment, step)
    usable = usable_memory(deployment)
    hardware = deployment.hardware
    peak_rate = hardware.dense_flop_rate[math_format(main_format(deployment), hardware)]
    terms = {bound: getattr(cost, f"{bound}_time") for bound in BOUNDS}
    stacked = np.stack([np.broadcast_to(term, np.shape(step.batch)) for term in terms.values()])
    return cost.time, {
        **{f"{bound}_time": term for bound, term in terms.items()},
        "bound": np.asarray(BOUNDS)[stacked.argmax(axis=0)],
        "weight_bytes": traffic.weight_bytes,
        "kv_bytes": traffic.kv_bytes,
        "activation_bytes": traffic.activation_bytes,
        "network_bytes": traffic.network_bytes,
        "flop": traffic.flop,
        "resident_bytes": resident,
        "fits": None if usable is None else resident <= usable,
        "mbu": (traffic.weight_bytes + traffic.kv_bytes) / (cost.time * hardware.memory_bandwidth),
        "mfu": traffic.flop / (cost.time * peak_rate),
        "on_chip": resident_share(ops, machine),
    }
