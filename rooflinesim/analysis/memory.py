"""What stays in a device's memory, what a step streams of it, and how many users and tokens fit."""

import dataclasses

from rooflinesim.analysis.residency import (
    fitting_tensor_parallel,
    max_batch,
    resident_bytes,
    storage_of,
    usable_memory,
)
from rooflinesim.analysis.timing import step_ops
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.footprint import (
    activation_bytes,
    cache_bytes,
    resident_weight_bytes,
    state_bytes,
)
from rooflinesim.workload.step import Step

LONGEST_CONTEXT = 2**40


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LedgerRow(Noun):
    """Bytes of one part on one device: kept in memory, and streamed by one decode step."""

    part: str
    resident_bytes: float = quantity("B")
    streamed_bytes: float = quantity("B")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MemoryResult(Noun):
    """Byte ledger of one device at one batch and context.

    `usable` is the share of the capacity that the software takes; None when the capacity is unknown,
    and then nothing is said about what fits. `max_batch` holds at `context`, `max_context` at `batch`;
    None when unbounded or unknown. `missing` is how much too little memory there is, 0 when it fits.
    """

    rows: tuple[LedgerRow, ...]
    batch: int = quantity("1")
    context: int = quantity("tokens")
    capacity: float | None = quantity("B")
    usable: float | None = quantity("B")
    resident: float = quantity("B")
    streamed: float = quantity("B")
    fits: bool | None
    free: float | None = quantity("B")
    missing: float | None = quantity("B")
    max_batch: int | None = quantity("1")
    max_context: int | None = quantity("tokens")
    cache_bytes_per_token: float = quantity("B")
    fitting_tensor_parallel: int | None = quantity("1")


def memory(
    deployment: Deployment, *, batch: int = 1, context: int = 2048, routing: Routing | None = None
) -> MemoryResult:
    """Ledger of resident and streamed bytes, and the largest batch and context that fit.

    Parameters
    ----------
    batch : sequences held at once. [1] >= 1
    context : tokens of each sequence. [tokens] >= 0
    """
    model, precision, ranks = deployment.model, deployment.precision, deployment.tensor_parallel
    step = Step(batch=float(batch), context=float(context))
    ops = step_ops(deployment, step, routing)
    storage = storage_of(deployment)
    stage = storage.stage_share
    weights = resident_weight_bytes(model, precision, ranks, storage.experts_over, storage.head_over)
    resident = {part: stage * size for part, size in weights.items()}
    streamed: dict[str, float] = {}
    for op in ops:
        part = op.part or "other"
        streamed[part] = streamed.get(part, 0.0) + stage * float(op.count * op.weight_bytes)
    own = dataclasses.replace(step, batch=step.batch / deployment.data_parallel)
    sequences = batch / deployment.data_parallel
    caches = sequences * float(cache_bytes(model, precision, step.context + 1.0, storage))
    resident["kv_cache"] = stage * (caches + sequences * state_bytes(model, precision, ranks))
    streamed["kv_cache"] = stage * float(sum(op.count * op.kv_bytes for op in ops))
    resident["activations"] = float(activation_bytes(model, precision, own.tokens, own.logit_rows, ranks))
    streamed["activations"] = stage * float(sum(op.count * op.activation_bytes for op in ops))
    rows = tuple(
        LedgerRow(part=part, resident_bytes=resident.get(part, 0.0), streamed_bytes=streamed.get(part, 0.0))
        for part in dict.fromkeys((*resident, *streamed))
        if resident.get(part) or streamed.get(part)
    )
    total = sum(row.resident_bytes for row in rows)
    usable = usable_memory(deployment)
    return MemoryResult(
        rows=rows,
        batch=batch,
        context=context,
        capacity=deployment.hardware.memory_capacity,
        usable=usable,
        resident=total,
        streamed=sum(row.streamed_bytes for row in rows),
        fits=None if usable is None else total <= usable,
        free=None if usable is None else max(0.0, usable - total),
        missing=None if usable is None else max(0.0, total - usable),
        max_batch=max_batch(deployment, context),
        max_context=max_context(deployment, batch),
        cache_bytes_per_token=float(
            cache_bytes(model, precision, 1.0, dataclasses.replace(storage_of(deployment), block=1))
        ),
        fitting_tensor_parallel=fitting_tensor_parallel(deployment, batch, context),
    )


def max_context(deployment: Deployment, batch: int) -> int | None:
    """Longest context that fits for a batch [tokens]; None if the capacity is unknown or the cache does not grow."""
    usable = usable_memory(deployment)
    if usable is None:
        return None

    def fits(context: int) -> bool:
        return float(resident_bytes(deployment, Step(batch=float(batch), context=float(context)))) <= usable

    if not fits(0):
        return 0
    if fits(LONGEST_CONTEXT):
        return None
    low, high = 0, LONGEST_CONTEXT
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
