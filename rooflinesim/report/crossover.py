"""Crossover results as answers."""

from typing import Any

from rooflinesim.analysis.crossover import CrossoverResult, CrossoverRow
from rooflinesim.report import text
from rooflinesim.report.tables import View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import format_quantity

SCOPE_NAMES = {
    "weight_gemms": "weight GEMMs",
    "step": "whole step",
    "half_share": "half compute-bound",
    "half_elasticity": "half elasticity",
    "fits": "fits in memory",
}


def reason_of(row: CrossoverRow, result: CrossoverResult) -> str:
    """A row's answer in words."""
    match row.reason:
        case "flips":
            return _flips(row)
        case "never_at_this_context":
            limit = row.context_limit or 0.0
            return (
                f"never: at {result.context:,.0f} tokens of context KV bytes grow faster than FLOPs;"
                f" it flips only below {limit:,.0f} tokens"
            )
        case "never" if row.scope == "half_share":
            return "never: compute-bound operations stay below half of the step"
        case "never" if row.scope == "half_elasticity":
            return "never: the time grows too slowly with batch"
        case "never":
            return "never: memory-bound at any batch"
        case "always":
            return "compute-bound at any batch"
        case "memory_limit":
            return f"most sequences of {result.context:,.0f} tokens that memory holds beside the weights"
        case "unknown_capacity":
            return "the profile states no memory capacity; give --memory"


def _flips(row: CrossoverRow) -> str:
    match row.scope:
        case "weight_gemms":
            return "weights are read and multiplied in equal time"
        case "step":
            if row.context_limit is None:
                return "all math takes as long as all weight and KV reads; so at any context"
            return f"all math takes as long as all weight and KV reads; none beyond {row.context_limit:,.0f} tokens"
        case "half_share":
            return "compute-bound operations take half of the step"
        case "half_elasticity":
            return "1 % more batch costs 0.5 % more time"
        case _:
            return "its math takes as long as all its traffic"


def crossover_content(result: CrossoverResult) -> dict[str, Any]:
    """Columns and summary of the flips."""
    rows = [
        {
            "scope": row.scope,
            "op": row.op,
            "batch": row.batch,
            "batch_stay": row.batch_stay,
            "context_limit_tokens": row.context_limit,
            "reason": reason_of(row, result),
        }
        for row in result.rows
    ]
    return {
        "columns": {name: [row[name] for row in rows] for name in rows[0]},
        "summary": {
            "context_tokens": result.context,
            "flop_rate_flop_per_s": result.flop_rate,
            "memory_bandwidth_bytes_per_s": result.bandwidth,
            "ridge_flop_per_byte": result.ridge,
            **{row.scope: row.batch for row in result.rows if row.scope != "op"},
        },
    }


def crossover_view(deployment: Deployment, result: CrossoverResult) -> View:
    """Table of the flips."""
    rate, bandwidth = format_quantity(result.flop_rate, "FLOP/s"), format_quantity(result.bandwidth, "B/s")
    return View(
        lines=[
            text.deployment_line(deployment),
            f"Batch at which decoding flips from memory-bound to compute-bound, context {result.context:,.0f}.",
            f"One device reaches {rate} and {bandwidth}: ridge {result.ridge:,.1f} FLOP/B.",
        ],
        headers=["of what", "batch", "meaning"],
        rows=[
            [
                SCOPE_NAMES.get(row.scope, row.op or row.scope),
                _batch(row),
                reason_of(row, result).removeprefix("never: "),
            ]
            for row in result.rows
        ],
        left=(0, 2),
    )


def _batch(row: CrossoverRow) -> str:
    if row.batch is None:
        return "?" if row.reason == "unknown_capacity" else "never"
    first = text.short(row.batch) if row.batch < 10 else text.whole(row.batch)
    if row.batch_stay is not None and abs(row.batch_stay - row.batch) > 0.5:
        return f"{first}, stays from {text.whole(row.batch_stay)}"
    return first
