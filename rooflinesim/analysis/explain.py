"""What binds a step, and what more of each resource would buy."""

import dataclasses
from typing import Literal

from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.operations import decode_ops
from rooflinesim.analysis.timing import step_ops, step_time
from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.step import working_set_bytes
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step

Resource = Literal["memory_bandwidth", "flop_rate", "on_chip_capacity", "link_bandwidth"]
RESOURCES: tuple[Resource, ...] = ("memory_bandwidth", "flop_rate", "on_chip_capacity", "link_bandwidth")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sensitivity(Noun):
    """What one resource is worth: `elasticity` is -d ln time / d ln resource, `saved` the share of the
    step's time that 10 % more of it saves.
    """

    resource: Resource
    elasticity: float = quantity("1", minimum=-1.0)
    saved: float = quantity("1", minimum=-1.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation(Noun):
    """Why a step takes as long as it does.

    `bound` is the largest of its four terms; `op` the operation that takes the largest share of its time,
    with that `share` and its own `op_bound`. `working_set` is what would have to fit into `cache` to be
    read on chip.
    """

    bound: str
    op: str
    share: float = quantity("1")
    op_bound: str
    working_set: float = quantity("B")
    cache: float = quantity("B")
    on_chip: float = quantity("1")
    sensitivities: tuple[Sensitivity, ...]


def explain(
    deployment: Deployment,
    *,
    batch: float = 1,
    context: float = 2048,
    new_tokens: float = 1,
    routing: Routing | None = None,
) -> Explanation:
    """The binding resource, the heaviest operation, and the elasticities of one decode step's time."""
    step = Step(batch=batch, context=context, new_tokens=new_tokens)
    row = decode(deployment, batch=batch, context=context, new_tokens=new_tokens, routing=routing)
    rows = decode_ops(deployment, batch=batch, context=context, new_tokens=new_tokens, routing=routing)
    heaviest = max(rows, key=lambda one: one.time)
    machine = machine_of(deployment)

    def time(changed: Machine) -> float:
        return float(step_time(deployment, step, routing, changed).time)

    whole = time(machine)
    sensitivities = []
    for resource in RESOURCES:
        more, less = (time(scaled(machine, resource, factor)) for factor in (1.001, 1 / 1.001))
        sensitivities.append(
            Sensitivity(
                resource=resource,
                elasticity=(less - more) / whole / 0.002 if whole else 0.0,
                saved=1.0 - time(scaled(machine, resource, 1.1)) / whole if whole else 0.0,
            )
        )
    return Explanation(
        bound=str(row.bound[0]),
        op=heaviest.op,
        share=heaviest.share,
        op_bound=heaviest.bound,
        working_set=float(working_set_bytes(step_ops(deployment, step, routing))),
        cache=float(machine.cache_bytes),
        on_chip=float(row.on_chip[0]),
        sensitivities=tuple(sensitivities),
    )


def scaled(machine: Machine, resource: Resource, factor: Array) -> Machine:
    """A machine with more of one resource."""
    match resource:
        case "memory_bandwidth":
            peak = machine.peak_bandwidth * factor
            return dataclasses.replace(machine, bandwidth=machine.bandwidth * factor, peak_bandwidth=peak)
        case "flop_rate":
            return dataclasses.replace(machine, flop_scale=machine.flop_scale * factor)
        case "on_chip_capacity":
            return dataclasses.replace(machine, cache_bytes=machine.cache_bytes * factor)
        case "link_bandwidth":
            return dataclasses.replace(machine, link_bandwidth=machine.link_bandwidth * factor)
