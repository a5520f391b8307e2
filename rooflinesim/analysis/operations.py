"""Which operations is a step made of, and what binds each?"""

import dataclasses

from rooflinesim.analysis.timing import step_op_costs
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import step_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OpRow(Noun):
    """One operation of a step on one device; its numbers are those of all `count` runs together."""

    op: str
    count: float
    kind: str
    dtype: str
    flop: float = quantity("FLOP")
    weight_bytes: float = quantity("B")
    kv_bytes: float = quantity("B")
    activation_bytes: float = quantity("B")
    network_bytes: float = quantity("B")
    intensity: float | None = quantity("FLOP/B")
    time: float = quantity("s")
    share: float = quantity("1")
    bound: str


def decode_ops(
    deployment: Deployment,
    *,
    batch: float = 1,
    context: float = 2048,
    new_tokens: float = 1,
    routing: Routing | None = None,
) -> tuple[OpRow, ...]:
    """The operations of one decode step, and the software's own time as the last row."""
    step = Step(batch=batch, context=context, new_tokens=new_tokens)
    costs = step_op_costs(deployment, step, routing)
    total = step_cost([op for op, _ in costs], machine_of(deployment), deployment, step)
    step_seconds = float(total.time)
    rows = []
    for op, cost in costs:
        terms = {
            "memory": cost.memory_time,
            "compute": cost.compute_time,
            "network": cost.network_time,
            "overhead": cost.overhead_time,
        }
        time = float(op.count * cost.time)
        rows.append(
            OpRow(
                op=op.name,
                count=op.count,
                kind=op.kind,
                dtype=op.form.name,
                flop=float(op.count * op.flops),
                weight_bytes=float(op.count * op.weight_bytes),
                kv_bytes=float(op.count * op.kv_bytes),
                activation_bytes=float(op.count * op.activation_bytes),
                network_bytes=float(op.count * op.network_bytes),
                intensity=float(op.flops / op.memory_bytes) if op.memory_bytes else None,
                time=time,
                share=time / step_seconds if step_seconds else 0.0,
                bound=max(terms, key=lambda name: float(terms[name])),
            )
        )
    software = step_seconds - sum(row.time for row in rows)
    if software > 1e-12 * step_seconds:
        rows.append(
            OpRow(
                op="software",
                count=1,
                kind="overhead",
                dtype="-",
                flop=0.0,
                weight_bytes=0.0,
                kv_bytes=0.0,
                activation_bytes=0.0,
                network_bytes=0.0,
                intensity=None,
                time=software,
                share=software / step_seconds,
                bound="overhead",
            )
        )
    return tuple(rows)
