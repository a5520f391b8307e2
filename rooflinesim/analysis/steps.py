"""What every timed step has in common: its columns, evaluated in blocks of points.

Most operations of a step see its rows (tokens) alone, not the cache. What they cost is computed once for each
distinct number of rows and spread over the points; only attention is computed point by point.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from rooflinesim.analysis.distinct import distinct_rows
from rooflinesim.analysis.residency import held_cache_bytes, row_bytes, usable_memory
from rooflinesim.analysis.timing import Traffic, main_format, step_ops, step_pass, step_traffic
from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.step import (
    Cost,
    kernel_count,
    step_cost,
    summed_cost,
    with_software,
    working_set_share,
)
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import math_format
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.forward import cache_ops, row_ops
from rooflinesim.workload.step import Array, Step

BOUNDS = ("memory", "compute", "network", "overhead")
"""What can bind a step: the largest of its four terms."""

BLOCK_POINTS = 8192
"""Points evaluated together: few enough that every intermediate array stays in the processor's cache."""

SHARING = 0.5
"""Distinct rows per point up to which what depends on rows alone is computed apart; beyond, gathering gains nothing."""


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


Sums = TypeVar("Sums", Cost, Traffic)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RowPart(Noun):
    """What a step does that depends on its rows alone: all operations but those that read the cache.

    `resident` are the bytes that stay in memory besides the cache. One value per point, or one for all.
    """

    cost: Cost
    traffic: Traffic
    kernels: float
    resident: Array

    def at(self, place: np.ndarray) -> "RowPart":
        """The parts of points, each given by the place of its rows among the distinct ones."""
        return dataclasses.replace(
            self, cost=_taken(self.cost, place), traffic=_taken(self.traffic, place), resident=_at(self.resident, place)
        )


def _at(values: Array, place: np.ndarray) -> Array:
    """Values at places; one value for all stays one."""
    return values.take(place) if isinstance(values, np.ndarray) and values.ndim else values


def _taken(noun: Sums, place: np.ndarray) -> Sums:
    return dataclasses.replace(
        noun, **{field.name: _at(getattr(noun, field.name), place) for field in dataclasses.fields(noun)}
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Timed(Noun):
    """Points of a deployment, ready to be timed: `rows` is None where no part is known in advance."""

    deployment: Deployment
    machine: Machine
    routing: Routing | None
    step: Step
    rows: RowPart | None = None


Block = Callable[[Timed], dict[str, Any]]


def in_blocks(
    block: Block, deployment: Deployment, columns: dict[str, np.ndarray], routing: Routing | None
) -> dict[str, np.ndarray | None]:
    """Columns of a result, evaluated in blocks of points that fit the processor's cache; `bound` as its place."""
    points = columns["batch"].size
    machine = machine_of(deployment)
    rows, place = distinct_rows({name: column for name, column in columns.items() if name != "context"})
    shared = None
    if rows["batch"].size <= SHARING * points:
        shared = row_part(deployment, machine, Step(**rows), routing)
    whole: dict[str, np.ndarray | None] = {}
    for start in range(0, points, BLOCK_POINTS):
        part = slice(start, start + BLOCK_POINTS)
        timed = Timed(
            deployment=deployment,
            machine=machine,
            routing=routing,
            step=Step(**{name: column[part] for name, column in columns.items()}),
            rows=None if shared is None else shared.at(place[part]),
        )
        for name, value in block(timed).items():
            if start == 0:
                whole[name] = None if value is None else np.empty(points, dtype=np.asarray(value).dtype)
            column = whole[name]
            if column is not None:
                column[part] = value
    return whole


def row_part(deployment: Deployment, machine: Machine, step: Step, routing: Routing | None) -> RowPart:
    """Cost and traffic of the operations of a step that do not read the cache, nothing served on chip."""
    ops = row_ops(step_pass(deployment, dataclasses.replace(step, context=0.0), routing))
    return RowPart(
        cost=summed_cost(ops, machine, 0.0),
        traffic=step_traffic(ops),
        kernels=kernel_count(ops),
        resident=row_bytes(deployment, step),
    )


def _sum(first: Sums, second: Sums) -> Sums:
    """Field by field."""
    return dataclasses.replace(
        first,
        **{field.name: getattr(first, field.name) + getattr(second, field.name) for field in dataclasses.fields(first)},
    )


def timed_cost(timed: Timed) -> tuple[Cost, Traffic, Array, Array]:
    """Cost and traffic of steps, the share of bytes served on chip [1], and what is resident besides the cache [B]."""
    deployment, machine, step = timed.deployment, timed.machine, timed.step
    rows = timed.rows or row_part(deployment, machine, step, timed.routing)
    ops = cache_ops(step_pass(deployment, step, timed.routing))
    traffic = _sum(rows.traffic, step_traffic(ops))
    on_chip = working_set_share(traffic.weight_bytes + traffic.kv_bytes, machine)
    if np.any(on_chip):
        cost = step_cost(step_ops(deployment, step, timed.routing), machine, deployment, step)
    else:
        total = _sum(rows.cost, summed_cost(ops, machine, 0.0))
        cost = with_software(total, rows.kernels + kernel_count(ops), deployment, step)
    return cost, traffic, on_chip, rows.resident


def step_columns(timed: Timed) -> tuple[Array, dict[str, Any]]:
    """Time of the steps, and the columns that every timed step has; `bound` as its place among BOUNDS."""
    deployment = timed.deployment
    cost, traffic, on_chip, resident = timed_cost(timed)
    resident = resident + held_cache_bytes(deployment, timed.step)
    usable = usable_memory(deployment)
    hardware = deployment.hardware
    peak_rate = hardware.dense_flop_rate[math_format(main_format(deployment), hardware)]
    terms = {bound: getattr(cost, f"{bound}_time") for bound in BOUNDS}
    return cost.time, {
        **{f"{bound}_time": term for bound, term in terms.items()},
        "bound": _largest(list(terms.values())),
        "weight_bytes": traffic.weight_bytes,
        "kv_bytes": traffic.kv_bytes,
        "activation_bytes": traffic.activation_bytes,
        "network_bytes": traffic.network_bytes,
        "flop": traffic.flop,
        "resident_bytes": resident,
        "fits": None if usable is None else resident <= usable,
        "mbu": (traffic.weight_bytes + traffic.kv_bytes) / (cost.time * hardware.memory_bandwidth),
        "mfu": traffic.flop / (cost.time * peak_rate),
        "on_chip": on_chip,
    }


def _largest(terms: list[Array]) -> np.ndarray:
    """Place of the first largest of aligned terms."""
    largest, place = terms[0], np.zeros(1, dtype=np.int8)
    for index, term in enumerate(terms[1:], start=1):
        place = np.where(term > largest, np.int8(index), place)
        largest = np.maximum(largest, term)
    return place


def with_bounds_named(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns whose `bound` is a name."""
    return {**columns, "bound": np.asarray(BOUNDS)[columns["bound"]]}
