"""Memory ledgers as answers."""

from typing import Any

from rooflinesim.analysis.memory import MemoryResult
from rooflinesim.report import text
from rooflinesim.report.columns import columns_of_rows
from rooflinesim.report.tables import View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import format_quantity

PART_NAMES = {
    "kv_cache": "KV cache and states",
    "mlp": "MLP",
    "shared_experts": "shared experts",
    "vision": "vision and audio towers",
    "draft": "draft (MTP) layers",
}


def memory_content(result: MemoryResult) -> dict[str, Any]:
    """Columns and summary of a ledger."""
    return {
        "columns": columns_of_rows(result.rows),
        "summary": {
            "batch": result.batch,
            "context_tokens": result.context,
            "resident_bytes": result.resident,
            "streamed_bytes": result.streamed,
            "capacity_bytes": result.capacity,
            "usable_bytes": result.usable,
            "fits": result.fits,
            "free_bytes": result.free,
            "missing_bytes": result.missing,
            "max_batch": result.max_batch,
            "max_context_tokens": result.max_context,
            "kv_bytes_per_token": result.cache_bytes_per_token,
            "fitting_tensor_parallel": result.fitting_tensor_parallel,
        },
    }


def memory_view(deployment: Deployment, result: MemoryResult) -> View:
    """Table of a ledger, and what fits."""
    rows = [
        [
            PART_NAMES.get(row.part, row.part),
            _bytes(row.resident_bytes),
            _bytes(row.streamed_bytes),
        ]
        for row in result.rows
    ]
    rows.append(["total", _bytes(result.resident), _bytes(result.streamed)])
    return View(
        lines=[
            text.deployment_line(deployment),
            f"Memory of one device at batch {result.batch:,} and context {result.context:,}.",
        ],
        headers=["part", "resident", "streamed per step"],
        rows=rows,
        footer=["", *fit_lines(deployment, result)],
    )


def _bytes(value: float) -> str:
    return format_quantity(value, "B", 4) if value else "-"


def fit_lines(deployment: Deployment, result: MemoryResult) -> list[str]:
    """What fits, by how much it does not, and what would."""
    if result.usable is None or result.capacity is None:
        return [
            f"{deployment.hardware.name} states no memory capacity (it depends on the modules fitted);"
            " give --memory, like --memory 768GB"
        ]
    per_token = f"one token of context takes {format_quantity(result.cache_bytes_per_token, 'B')} per sequence"
    if not result.fits:
        missing = result.missing or 0.0
        return [
            f"does not fit: {text.shortage(deployment, missing, result.max_batch, result.fitting_tensor_parallel)}",
            per_token,
        ]
    longest = "unlimited" if result.max_context is None else f"{result.max_context:,}"
    return [
        f"fits: {format_quantity(result.free, 'B')} are free of {text.usable_line(deployment)}; {per_token}",
        f"largest batch at context {result.context:,}: {text.whole(result.max_batch)};"
        f" longest context at batch {result.batch:,}: {longest} tokens",
    ]
