"""How long does one step take, token by token or prompt at once, and what binds it?"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from rooflinesim.analysis.residency import resident_bytes, usable_memory
from rooflinesim.analysis.timing import (
    BLOCK_POINTS,
    aligned,
    band_of,
    step_op_costs,
    step_ops,
    step_traffic,
)
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.step import resident_share, step_cost
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.hardware import math_format
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array, Step

BOUNDS = ("memory", "compute", "network", "overhead")
"""What can bind a step: the largest of its four terms."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StepColumns:
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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DecodeResult(StepColumns):
    """Decode steps: each sequence of a batch gets `new_tokens` tokens."""

    batch: np.ndarray = quantity("1")
    context: np.ndarray = quantity("tokens")
    new_tokens: np.ndarray = quantity("tokens")
    step_time: np.ndarray = quantity("s")
    step_time_low: np.ndarray = quantity("s")
    step_time_high: np.ndarray = quantity("s")
    tokens_per_s_per_user: np.ndarray = quantity("tokens/s", column="tokens_per_s_per_user")
    tokens_per_s: np.ndarray = quantity("tokens/s")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PrefillResult(StepColumns):
    """Steps that read a batch of prompts: the time to first token, without queueing."""

    batch: np.ndarray = quantity("1")
    prompt: np.ndarray = quantity("tokens")
    context: np.ndarray = quantity("tokens")
    ttft: np.ndarray = quantity("s")
    ttft_low: np.ndarray = quantity("s")
    ttft_high: np.ndarray = quantity("s")
    prompt_tokens_per_s: np.ndarray = quantity("tokens/s", column="prompt_tokens_per_s")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OpRow:
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


def decode(
    deployment: Deployment,
    *,
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 2048,
    new_tokens: Array | list[int] | tuple[int, ...] = 1,
    routing: Routing | None = None,
) -> DecodeResult:
    """Time of steps in which every sequence of a batch gets `new_tokens` tokens, all of them scored.

    Parameters
    ----------
    batch : sequences in the step. [1] >= 0, scalar or shape (points,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    new_tokens : tokens per sequence: 1 decodes, more verify a draft. [tokens] >= 1

    Raises
    ------
    DomainError : if a number is negative or not finite, or the ranks do not divide the heads.
    UnsupportedError : if the device cannot multiply a number format.
    """
    columns = aligned(batch=batch, context=context, new_tokens=new_tokens)
    return DecodeResult(**_in_blocks(_decode_block, deployment, columns, routing))


def prefill(
    deployment: Deployment,
    *,
    prompt: Array | list[int] | tuple[int, ...],
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 0,
    routing: Routing | None = None,
) -> PrefillResult:
    """Time of steps that read whole prompts and score their last token only.

    Parameters
    ----------
    prompt : new tokens per sequence. [tokens] >= 1
    batch : prompts in the step. [1]
    context : tokens cached before the prompt, a prefix hit. [tokens] >= 0
    """
    columns = aligned(batch=batch, context=context, new_tokens=prompt)
    columns["logit_tokens"] = np.ones_like(columns["batch"])
    return PrefillResult(**_in_blocks(_prefill_block, deployment, columns, routing))


Block = Callable[[Deployment, Step, Routing | None], dict[str, Any]]


def _in_blocks(
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


def _decode_block(deployment: Deployment, step: Step, routing: Routing | None) -> dict[str, Any]:
    time, columns = _step_columns(deployment, step, routing)
    low, high = band_of(deployment, step.batch)
    return {
        "batch": step.batch,
        "context": step.context,
        "new_tokens": step.new_tokens,
        "step_time": time,
        "step_time_low": time * low,
        "step_time_high": time * high,
        "tokens_per_s_per_user": step.new_tokens / time,
        "tokens_per_s": step.tokens / time,
        **columns,
    }


def _prefill_block(deployment: Deployment, step: Step, routing: Routing | None) -> dict[str, Any]:
    time, columns = _step_columns(deployment, step, routing)
    low, high = band_of(deployment, np.inf)
    return {
        "batch": step.batch,
        "prompt": step.new_tokens,
        "context": step.context,
        "ttft": time,
        "ttft_low": time * low,
        "ttft_high": time * high,
        "prompt_tokens_per_s": step.tokens / time,
        **columns,
    }


def _step_columns(deployment: Deployment, step: Step, routing: Routing | None) -> tuple[Array, dict[str, Any]]:
    """Time of the steps, and the columns that every timed step has."""
    ops = step_ops(deployment, step, routing)
    machine = machine_of(deployment)
    cost = step_cost(ops, machine, deployment.stack, deployment.model, step)
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


def main_format(deployment: Deployment) -> NumberFormat:
    """Number format of most of the weights that a step multiplies with."""
    precision = deployment.precision
    return precision.experts if any(group.moe for group in deployment.model.layers) else precision.mlp


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
    total = step_cost([op for op, _ in costs], machine_of(deployment), deployment.stack, deployment.model, step)
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
