"""The step of a deployment, counted and timed, for one point or for many at once."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.step import Cost, op_costs, step_cost
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.routing import Routing
from rooflinesim.workload.forward import Pass, forward
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Traffic(Noun):
    """What one device does in a step, all operations together [FLOP, B]."""

    flop: Array
    weight_bytes: Array
    kv_bytes: Array
    activation_bytes: Array
    network_bytes: Array


def step_ops(deployment: Deployment, step: Step, routing: Routing | None = None) -> tuple[Op, ...]:
    """Operations of a step on one device of each stage; experts are chosen as the stack says unless routing is given.

    The sequences of the step are dealt evenly over data-parallel groups.
    """
    return forward(
        Pass(
            model=deployment.model,
            precision=deployment.precision,
            step=dataclasses.replace(step, batch=step.batch / deployment.data_parallel),
            ranks=deployment.tensor_parallel,
            replicas=deployment.data_parallel,
            expert_ranks=deployment.expert_parallel,
            shards_head=deployment.stack.shards_head,
            routing=routing or deployment.stack.routing,
        )
    )


def step_traffic(ops: tuple[Op, ...]) -> Traffic:
    """FLOPs and bytes of a step: sums over its operations."""

    def total(values: Callable[[Op], Array]) -> Array:
        return sum((op.count * values(op) for op in ops), start=np.float64(0.0))

    return Traffic(
        flop=total(lambda op: op.flops),
        weight_bytes=total(lambda op: op.weight_bytes),
        kv_bytes=total(lambda op: op.kv_bytes),
        activation_bytes=total(lambda op: op.activation_bytes),
        network_bytes=total(lambda op: op.network_bytes),
    )


def step_time(
    deployment: Deployment, step: Step, routing: Routing | None = None, machine: Machine | None = None
) -> Cost:
    """Time of a step and its roofs, on the deployment's own machine or a changed one [s]."""
    ops = step_ops(deployment, step, routing)
    return step_cost(ops, machine or machine_of(deployment), deployment, step)


def step_op_costs(deployment: Deployment, step: Step, routing: Routing | None = None) -> tuple[tuple[Op, Cost], ...]:
    """Operations of a step with their costs, once each."""
    ops = step_ops(deployment, step, routing)
    return tuple(zip(ops, op_costs(ops, machine_of(deployment)), strict=True))


def aligned(**columns: Array | list[float] | list[int] | tuple[int, ...] | None) -> dict[str, np.ndarray]:
    """Columns broadcast to one shape (points,) of float64; None columns are left out.

    Raises
    ------
    DomainError : if a column is empty, holds no numbers, or the lengths do not go together.
    """
    lengths = {name: np.size(value) for name, value in columns.items() if value is not None}
    try:
        given = {name: np.asarray(value, dtype=np.float64) for name, value in columns.items() if value is not None}
        arrays = np.broadcast_arrays(*given.values())
    except (TypeError, ValueError):
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DomainError(f"columns must be numbers of one length or single: {shown}") from None
    if not arrays[0].size:
        raise DomainError(f"{', '.join(name for name, length in lengths.items() if not length)} is empty; give a point")
    return {name: np.atleast_1d(array).ravel() for name, array in zip(given, arrays, strict=True)}


def main_format(deployment: Deployment) -> NumberFormat:
    """Number format of most of the weights that a step multiplies with."""
    precision = deployment.precision
    return precision.experts if any(group.moe for group in deployment.model.layers) else precision.mlp
