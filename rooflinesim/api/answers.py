"""From a question's result to an answer: the deployment that was asked about, and what it rests on."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rooflinesim import __version__
from rooflinesim.analysis.residency import fitting_tensor_parallel, max_batch, usable_memory
from rooflinesim.report import text
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import provenance_of
from rooflinesim.report.tables import View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.workload.step import Array

Counts = Array | Sequence[int] | Sequence[float]


def deployment(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
) -> Deployment:
    """A model on devices; formats default to what the checkpoint says.

    Parameters
    ----------
    weights, kv : number formats, such as "fp8" or "int4". None follows the checkpoint
    tp : devices that share every layer. [1] >= 1
    pp : stages of layers, one after another. [1] >= 1
    ep : shares into which the experts are dealt; it divides tp x dp. [1] >= 1
    dp : groups of tp devices that attend to sequences of their own and share the experts. [1] >= 1

    Raises
    ------
    DomainError : if the layout is not possible for the model.
    UnsupportedError : if the device has no link to others.
    """
    precision = precision_of(model, weights=weights, kv_cache=kv)
    return Deployment(
        model=model,
        hardware=hardware,
        stack=stack,
        precision=precision,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        expert_parallel=ep,
        data_parallel=dp,
    )


def answer(
    command: str,
    asked: Deployment,
    paths: Mapping[str, str] | None,
    result: Any,
    content: Mapping[str, Any],
    views: Sequence[View],
    inputs: Mapping[str, Any],
    notes: Sequence[str],
    draw: Callable[[], Any] | None = None,
) -> Answer:
    """The answer to a question about a deployment, with what it rests on and how it is drawn."""
    return Answer(
        command=command,
        version=__version__,
        result=result,
        columns=content["columns"],
        describe_inputs=functools.partial(resolved, asked, paths or {}, inputs),
        provenance=provenance_of(asked),
        summary=content["summary"],
        notes=[*notes, *text.deployment_notes(asked)],
        views=views,
        draw=draw,
    )


def resolved(asked: Deployment, paths: Mapping[str, str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a question was resolved to, enough to repeat the run."""
    precision = asked.precision
    return {
        "model": {"name": asked.model.name, "source": asked.model.source, "hash": _hash(asked.model)},
        "hardware": {
            "name": asked.hardware.name,
            "source": asked.hardware.source,
            "hash": _hash(asked.hardware),
        },
        "stack": {"name": asked.stack.name, "hash": _hash(asked.stack)},
        "tensor_parallel": asked.tensor_parallel,
        "pipeline_parallel": asked.pipeline_parallel,
        "expert_parallel": asked.expert_parallel,
        "data_parallel": asked.data_parallel,
        "precision": {
            field.name: {
                "format": getattr(precision, field.name).name,
                "bits": getattr(precision, field.name).bits,
            }
            for field in dataclasses.fields(precision)
        },
        "paths": dict(paths),
        **inputs,
    }


def _hash(spec: Any) -> str:
    """Fingerprint of a described noun."""
    import hashlib

    return hashlib.sha256(repr(spec).encode()).hexdigest()[:16]


def grid(result: Any) -> dict[str, Any]:
    """Batches and contexts of a result, as inputs."""
    return {"batch": listed(result.batch), "context_tokens": listed(result.context)}


def listed(values: Any) -> list[float]:
    """Distinct values of an axis, in order, of at most a thousand."""
    distinct = dict.fromkeys(values.tolist()) if values.size <= 1000 else (values.min(), values.max())
    return [int(value) if float(value).is_integer() else float(value) for value in distinct]


def numbers(values: Counts) -> Any:
    """Counts as numpy takes them."""
    return list(values) if isinstance(values, (list, tuple, range)) else values


def remarks(asked: Deployment, result: Any) -> list[str]:
    """What stands out in a result: on-chip residency, what no fit has seen, and what does not fit."""
    return [*_residency(asked, result), *_unseen(asked, result), *_unfit(asked, result)]


def _unseen(asked: Deployment, result: Any) -> list[str]:
    """Say where bands are wider, because no run behind the fit was as large or as long."""
    stack = asked.stack
    is_beyond = (result.batch > stack.largest_batch) | (result.context > stack.longest_context)
    if not stack.bands or not is_beyond.any():
        return []
    return [
        f"beyond batch {stack.largest_batch:,.0f} or {stack.longest_context:,.0f} tokens of context, which runs behind"
        f" {stack.name} do not reach, bands are wider"
    ]


def _residency(asked: Deployment, result: Any) -> list[str]:
    """Say which steps are served from on-chip memory, in part or whole."""
    if not result.on_chip.any():
        return []
    best = int(result.on_chip.argmax())
    return [text.residency_line(asked, float(result.on_chip[best]), int(result.batch[best]), int(result.context[best]))]


def _unfit(asked: Deployment, result: Any) -> list[str]:
    """Say where a deployment does not fit into memory, by how much, and what would."""
    if result.fits is None:
        return [f"{asked.hardware.name} states no memory capacity, so nothing is said about what fits; give --memory"]
    if result.fits.all():
        return []
    first = int((~result.fits).argmax())
    batch, context = int(result.batch[first]), int(result.context[first])
    missing = float(result.resident_bytes[first]) - (usable_memory(asked) or 0.0)
    return [
        f"batch {batch:,} at context {context:,} does not fit: "
        + text.shortage(asked, missing, max_batch(asked, context), fitting_tensor_parallel(asked, batch, context))
    ]
