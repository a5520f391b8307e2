"""Where does a step's time go, by part of the model and by cause, and what makes two deployments differ?"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from rooflinesim.analysis.timing import aligned, step_op_costs, step_time
from rooflinesim.cost.step import Cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step

PARTS = (
    "attention",
    "attention projections",
    "recurrent state",
    "MLP",
    "experts",
    "shared experts",
    "router",
    "head",
    "small kernels",
    "communication",
    "software",
)
"""Parts of a step, in the order in which they are stacked."""
CAUSES = ("weight reads", "KV reads", "activations", "math", "network", "kernel overhead", "software")
"""What a step's time is spent on."""

_GEMM_PARTS = {
    "attention": "attention projections",
    "mlp": "MLP",
    "experts": "experts",
    "shared_experts": "shared experts",
    "router": "router",
    "head": "head",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Breakdown(Noun):
    """A decode step's time by part and by cause, each of shape (points,); either adds up to `step_time`.

    An operation's time goes to the larger of its roofs, to its reads by their bytes or to its math, and what its law
    adds to kernel overhead.
    """

    batch: np.ndarray = quantity("1")
    context: np.ndarray = quantity("tokens")
    step_time: np.ndarray = quantity("s")
    parts: Mapping[str, np.ndarray] = quantity("s")
    causes: Mapping[str, np.ndarray] = quantity("s")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Difference(Noun):
    """What makes a second step longer than a first, term by term; the terms add up to the difference."""

    first: float = quantity("s")
    second: float = quantity("s")
    parts: Mapping[str, float] = quantity("s")
    causes: Mapping[str, float] = quantity("s")


def breakdown(
    deployment: Deployment,
    *,
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 2048,
    routing: Routing | None = None,
) -> Breakdown:
    """Time of decode steps by part of the model and by cause, parts and causes without time left out.

    Parameters
    ----------
    batch : sequences in the step. [1] >= 0, scalar or shape (points,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    """
    columns = aligned(batch=batch, context=context)
    step = Step(**columns)
    shape = columns["batch"].shape
    parts = {name: np.zeros(shape) for name in PARTS}
    causes = {name: np.zeros(shape) for name in CAUSES}
    for op, cost in step_op_costs(deployment, step, routing):
        parts[part_of(op)] += op.count * cost.time
        for cause, time in _causes(op, cost).items():
            causes[cause] += op.count * time
    whole = np.broadcast_to(step_time(deployment, step, routing).time, shape)
    software = np.maximum(0.0, whole - sum(parts.values()))
    parts["software"] += software
    causes["software"] += software
    return Breakdown(
        batch=columns["batch"],
        context=columns["context"],
        step_time=whole,
        parts=_with_time(parts, whole),
        causes=_with_time(causes, whole),
    )


def _with_time(terms: Mapping[str, np.ndarray], whole: np.ndarray) -> dict[str, np.ndarray]:
    """Terms that take time somewhere, more than rounding leaves."""
    return {name: time for name, time in terms.items() if np.any(time > 1e-12 * whole)}


def part_of(op: Op) -> str:
    """Part of the step that an operation belongs to, one of PARTS."""
    match op.kind:
        case "attention":
            return "attention"
        case "recurrent":
            return "recurrent state"
        case "all_reduce" | "all_gather" | "all_to_all":
            return "communication"
        case "gemm" | "experts":
            return _GEMM_PARTS.get(op.part or "", "MLP")
        case _:
            return "small kernels"


def short_name(op: Op) -> str:
    """Name of an operation without the group of layers that it belongs to."""
    return re.sub(r"^layers\d+\.", "", op.name)


def _causes(op: Op, cost: Cost) -> dict[str, Array]:
    """Time of one operation, once, by cause; the sum is its time."""
    memory, compute = np.asarray(cost.memory_time), np.asarray(cost.compute_time)
    is_memory = memory >= compute
    moved = np.asarray(op.memory_bytes)
    per_byte = np.where(is_memory, memory, 0.0) / np.where(moved > 0, moved, 1.0)
    return {
        "weight reads": per_byte * op.weight_bytes,
        "KV reads": per_byte * op.kv_bytes,
        "activations": per_byte * op.activation_bytes,
        "math": np.where(is_memory, 0.0, compute),
        "network": cost.network_time,
        "kernel overhead": np.maximum(0.0, cost.overhead_time),
    }


def difference(first: Breakdown, second: Breakdown, *, point: int = 0) -> Difference:
    """What makes the second step longer than the first at one point, term by term [s]."""

    def apart(
        one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], order: tuple[str, ...]
    ) -> dict[str, float]:
        none = np.zeros(point + 1)
        return {
            name: float(other.get(name, none)[point] - one.get(name, none)[point])
            for name in order
            if name in one or name in other
        }

    return Difference(
        first=float(first.step_time[point]),
        second=float(second.step_time[point]),
        parts=apart(first.parts, second.parts, PARTS),
        causes=apart(first.causes, second.causes, CAUSES),
    )
