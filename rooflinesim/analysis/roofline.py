"""Where do a step's operations lie under the roofs of their device?"""

import dataclasses

import numpy as np

from rooflinesim.analysis.breakdown import part_of, short_name
from rooflinesim.analysis.timing import aligned, step_op_costs, step_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.roofline import ridge_intensity
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import math_format
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Roof(Noun):
    """Rates of one math format on one device, by its datasheet and as large products reach them, and their ridges."""

    math: str
    peak_flop_rate: float = quantity("FLOP/s")
    flop_rate: float = quantity("FLOP/s")
    peak_ridge: float = quantity("FLOP/B")
    ridge: float = quantity("FLOP/B")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RooflineOp(Noun):
    """One operation that computes, all layers together, at each batch; arrays of shape (batches,).

    `part` is one of breakdown's PARTS; `flop_rate` is what it reaches, fixed times included, `time` what it takes
    of a step, `share` that over the step's whole time.
    """

    op: str
    part: str
    math: str
    intensity: np.ndarray = quantity("FLOP/B")
    flop_rate: np.ndarray = quantity("FLOP/s")
    time: np.ndarray = quantity("s")
    share: np.ndarray = quantity("1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RooflineResult(Noun):
    """Operations of a decode step on one device under its roofs; the math of most FLOPs comes first.

    `peak_bandwidth` is the datasheet's, `bandwidth` what streaming reaches; `on_chip_bandwidth` is None where
    nothing is known of it.
    """

    batch: np.ndarray = quantity("1")
    context: float = quantity("tokens")
    ops: tuple[RooflineOp, ...]
    roofs: tuple[Roof, ...]
    peak_bandwidth: float = quantity("B/s")
    bandwidth: float = quantity("B/s")
    on_chip_bandwidth: float | None = quantity("B/s")


def roofline(
    deployment: Deployment,
    *,
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: float = 2048,
    routing: Routing | None = None,
) -> RooflineResult:
    """Intensity and reached rate of each operation of decode steps that computes, and the roofs above them.

    Parameters
    ----------
    batch : sequences in the step. [1] > 0, scalar or shape (batches,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    """
    batches = aligned(batch=batch)["batch"]
    machine = machine_of(deployment)
    hardware = deployment.hardware
    sums: dict[tuple[str, str, str], np.ndarray] = {}
    reached: dict[str, float] = {}
    step = Step(batch=batches, context=float(context))
    whole = step_time(deployment, step, routing).time
    for op, cost in step_op_costs(deployment, step, routing):
        if not np.any(op.flops):
            continue
        math = math_format(op.form, hardware)
        reached[math] = float(machine.flop_rate(op.form))
        own = np.stack(
            [op.count * np.broadcast_to(term, batches.shape) for term in (op.flops, op.memory_bytes, cost.time)]
        )
        key = (short_name(op), part_of(op), math)
        sums[key] = sums.get(key, 0.0) + own
    flops = {math: sum(own[0].sum() for (_, _, its), own in sums.items() if its == math) for math in reached}
    peak = hardware.memory_bandwidth
    bandwidth = float(machine.bandwidth)
    return RooflineResult(
        batch=batches,
        context=float(context),
        ops=tuple(
            RooflineOp(
                op=name,
                part=part,
                math=math,
                intensity=own[0] / own[1],
                flop_rate=own[0] / own[2],
                time=own[2],
                share=own[2] / whole,
            )
            for (name, part, math), own in sums.items()
        ),
        roofs=tuple(
            Roof(
                math=math,
                peak_flop_rate=hardware.dense_flop_rate[math],
                flop_rate=reached[math],
                peak_ridge=float(ridge_intensity(hardware.dense_flop_rate[math], peak)),
                ridge=float(ridge_intensity(reached[math], bandwidth)),
            )
            for math in sorted(reached, key=lambda one: -flops[one])
        ),
        peak_bandwidth=peak,
        bandwidth=bandwidth,
        on_chip_bandwidth=machine.on_chip_bandwidth,
    )
