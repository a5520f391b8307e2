"""Catalogue entries as answers: one model, device or stack, and lists of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rooflinesim.analysis.shape import ModelShape
from rooflinesim.report.columns import Columns, columns_of_rows
from rooflinesim.report.tables import View
from rooflinesim.report.text import formats_line
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.units import column_name, format_quantity
from rooflinesim.workload.footprint import resident_weight_bytes
from rooflinesim.workload.forward import format_of
from rooflinesim.workload.parameters import model_parameters

Content = tuple[View, Columns, Mapping[str, Any]]
"""A table, its columns for JSON and CSV, and a summary."""


def list_content(found: Sequence[tuple[str, str, Sequence[str]]]) -> Content:
    """Names of the shipped profiles of one kind."""
    view = View(
        lines=[],
        headers=["name", "stands for", "also"],
        rows=[[key, name, ", ".join(alias for alias in aliases if alias != key)] for key, name, aliases in found],
        left=(0, 1, 2),
    )
    columns = {
        "name": [key for key, _, _ in found],
        "full_name": [name for _, name, _ in found],
        "aliases": [" ".join(aliases) for _, _, aliases in found],
    }
    return view, columns, {"count": len(found)}


def plain(value: Any) -> Any:
    """A spec as plain data for JSON, its fields named with their units."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            column_name(field): plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) not in (None, (), {}, "")
        }
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(inner) for inner in value]
    return value


def fact_rows(spec: Hardware | Stack) -> list[list[str]]:
    """Name, value and source of every fact of a device or stack."""
    return [
        [name, value, _source(spec, name)]
        for name, value in _facts(spec, "")
        if name not in ("name", "aliases", "source", "note") and not name.startswith(("sources", "kinds"))
    ]


def _facts(spec: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        name = prefix + field.name
        unit = field.metadata.get("unit", "1")
        if value in (None, (), {}, ""):
            continue
        if dataclasses.is_dataclass(value):
            yield from _facts(value, f"{name}.")
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                shown = format_quantity(inner, unit) if isinstance(inner, float) else str(inner)
                yield f"{name}.{key}", shown
        elif isinstance(value, float):
            yield name, format_quantity(value, unit)
        elif isinstance(value, tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)


def _source(spec: Hardware | Stack, name: str) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        found = spec.sources.get(".".join(parts[:length]))
        if found:
            return found
    return ""


def hardware_content(hardware: Hardware) -> Content:
    """A device: every fact, and its own source where it has one."""
    lines = [hardware.name, f"also: {', '.join(hardware.aliases) or '-'}", f"source: {hardware.source}"]
    if hardware.note:
        lines.append(f"note: {hardware.note}")
    return _fact_content(hardware, lines)


def stack_content(stack: Stack) -> Content:
    """A software stack: every constant, and its own source where it has one."""
    return _fact_content(stack, [stack.name, f"also: {', '.join(stack.aliases) or '-'}", f"source: {stack.source}"])


def _fact_content(spec: Hardware | Stack, lines: Sequence[str]) -> Content:
    rows = fact_rows(spec)
    view = View(lines=lines, headers=["fact", "value", "its own source"], rows=rows, left=(0, 2))
    columns = {name: [row[index] for row in rows] for index, name in enumerate(("fact", "value", "source"))}
    return view, columns, plain(spec)


_PART_NAMES = {
    "embedding": "embedding (gathered, not streamed)",
    "mlp": "dense MLP",
    "experts": "routed experts",
    "shared_experts": "shared experts",
}


def model_content(model: Model, shape: ModelShape) -> Content:
    """A model: its parameters part by part, its cache, and what was assumed."""
    precision = precision_of(model)
    lines = [
        f"{model.name}: {_billions(shape.text_params)} parameters, {_billions(shape.active_params)} active,"
        f" {_billions(shape.active_params_streamed)} streamed by a decode step of one token",
        f"{shape.layers} layers, hidden size {shape.hidden_size:,}, vocabulary {shape.vocab_size:,};"
        f" {formats_line(precision, model)}",
        _cache_line(shape),
    ]
    if shape.state_bytes_per_sequence:
        states = format_quantity(shape.state_bytes_per_sequence, "B")
        lines.append(f"recurrent and convolution states {states} per sequence, whatever its length")
    lines.append(f"source: {model.source}")
    lines.extend(f"assumed: {assumption}" for assumption in model.assumptions)
    parts = model_parameters(model)
    sizes = resident_weight_bytes(model, precision)
    rows = [
        [
            _PART_NAMES.get(name, name),
            f"{part.total:,}",
            f"{part.streamed:,}",
            format_of(name, precision).name,
            format_quantity(sizes.get(name, 0.0), "B"),
        ]
        for name, part in parts.items()
    ]
    rows.append(
        [
            "total",
            f"{shape.text_params:,}",
            f"{shape.active_params_streamed:,}",
            "",
            format_quantity(sum(sizes.values()), "B"),
        ]
    )
    view = View(lines=lines, headers=["part", "parameters", "streamed", "format", "bytes"], rows=rows, left=(0, 3))
    row = {name: values[0] for name, values in columns_of_rows([shape]).items()}
    summary = {
        "assumptions": list(model.assumptions),
        "formats": {name: format_of(name, precision).name for name in parts},
        "weight_bytes": sizes,
    }
    return view, {name: [value] for name, value in row.items()}, summary


def _cache_line(shape: ModelShape) -> str:
    """What the cache of one sequence takes, per token and at two lengths."""
    per_token = format_quantity(shape.kv_bytes_per_token, "B")
    if shape.kv_bytes_per_token_window_layers:
        per_token += f" ({format_quantity(shape.kv_bytes_per_token_window_layers, 'B')} of it only inside windows)"
    if shape.indexer_key_bytes_per_token:
        per_token += f" and {format_quantity(shape.indexer_key_bytes_per_token, 'B')} of indexer keys"
    short, long = shape.kv_bytes_per_sequence_at_8k, shape.kv_bytes_per_sequence_at_128k
    return (
        f"KV cache {per_token} per token in 16 bits; a sequence of 8k tokens takes {format_quantity(short, 'B')},"
        f" of 128k {format_quantity(long, 'B')}"
    )


def _billions(count: int) -> str:
    return f"{count / 1e9:,.2f} B" if count >= 1e8 else f"{count / 1e6:,.1f} M"
