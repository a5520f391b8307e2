"""Decode and prefill results as answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim.report import text
from rooflinesim.report.bars import bar
from rooflinesim.report.columns import columns_of, columns_of_rows
from rooflinesim.report.tables import BOUND_STYLE, Lazy, View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.decode import DecodeResult
    from rooflinesim.analysis.explain import Explanation
    from rooflinesim.analysis.operations import OpRow
    from rooflinesim.analysis.prefill import PrefillResult

_BAND = "the band is meant to hold 80 % of measurements"
RESOURCE_NAMES = {
    "memory_bandwidth": "memory bandwidth",
    "flop_rate": "FLOP rate",
    "on_chip_capacity": "on-chip SRAM",
    "link_bandwidth": "link bandwidth",
}


def decode_content(result: "DecodeResult") -> dict[str, Any]:
    """Columns, summary and fastest rows of decode steps."""
    single = int(np.argmin(result.batch))
    best = int(np.argmax(result.tokens_per_s))
    return {
        "columns": columns_of(result),
        "summary": {
            "step_time_s": float(result.step_time[single]),
            "bound": str(result.bound[single]),
            "batch": float(result.batch[single]),
            "largest_tokens_per_s": float(result.tokens_per_s[best]),
            "largest_tokens_per_s_batch": float(result.batch[best]),
        },
    }


def decode_view(deployment: Deployment, result: "DecodeResult") -> View:
    """Table of decode steps."""

    def row(i: int) -> list[str]:
        return [
            text.whole(result.batch[i]),
            text.whole(result.context[i]),
            text.milliseconds(result.step_time[i]),
            text.time_range(result.step_time_low[i], result.step_time_high[i]),
            text.short(result.tokens_per_s_per_user[i]),
            text.short(result.tokens_per_s[i]),
            str(result.bound[i]),
            text.share(result.mbu[i]),
            text.share(result.mfu[i]),
            _fits(result.fits, i),
        ]

    return View(
        lines=[
            text.deployment_line(deployment),
            f"Time of one decode step, one token for every sequence; {_BAND}.",
        ],
        headers=[
            "batch",
            "context",
            "ms",
            "band ms",
            "tok/s/user",
            "tok/s",
            "bound",
            "MBU",
            "MFU",
            "fits",
        ],
        rows=Lazy(result.batch.size, row),
        left=(6, 9),
        styles=Lazy(result.batch.size, lambda i: BOUND_STYLE[str(result.bound[i])]),
    )


def _fits(fits: np.ndarray | None, index: int) -> str:
    return "?" if fits is None else "yes" if fits[index] else "no"


def prefill_view(deployment: Deployment, result: "PrefillResult") -> View:
    """Table of prefill steps."""

    def row(i: int) -> list[str]:
        return [
            text.whole(result.batch[i]),
            text.whole(result.prompt[i]),
            text.milliseconds(result.ttft[i]),
            text.time_range(result.ttft_low[i], result.ttft_high[i]),
            text.short(result.prompt_tokens_per_s[i]),
            str(result.bound[i]),
            text.share(result.mfu[i]),
            _fits(result.fits, i),
        ]

    return View(
        lines=[
            text.deployment_line(deployment),
            f"Time to first token: the whole prompt in one step, no queueing; {_BAND}.",
        ],
        headers=["batch", "prompt", "TTFT ms", "band ms", "prompt tok/s", "bound", "MFU", "fits"],
        rows=Lazy(result.batch.size, row),
        left=(5, 7),
        styles=Lazy(result.batch.size, lambda i: BOUND_STYLE[str(result.bound[i])]),
    )


def prefill_content(result: "PrefillResult") -> dict[str, Any]:
    """Columns and summary of prefill steps."""
    return {
        "columns": columns_of(result),
        "summary": {"ttft_s": float(result.ttft[0]), "bound": str(result.bound[0])},
    }


def ops_columns(rows: "Sequence[OpRow]") -> dict[str, Any]:
    """Columns of a step's operations."""
    return columns_of_rows(rows)


def ops_view(deployment: Deployment, rows: "Sequence[OpRow]", *, batch: float, context: float) -> View:
    """Table of a step's operations, the longest with the longest bar."""
    widest = max(row.share for row in rows)
    return View(
        lines=[
            text.deployment_line(deployment),
            f"Operations of one decode step at batch {batch:g} and context {context:,.0f}; one device.",
        ],
        headers=["op", "count", "format", "FLOP", "weights", "KV", "FLOP/B", "ms", "share", "", "bound"],
        rows=[
            [
                row.op,
                f"{row.count:g}",
                row.dtype,
                _or_dash(row.flop, ""),
                _or_dash(row.weight_bytes, "B"),
                _or_dash(row.kv_bytes, "B"),
                "-" if row.intensity is None else text.short(row.intensity),
                text.short(row.time * 1e3),
                text.share(row.share),
                bar(row.share / widest),
                row.bound,
            ]
            for row in rows
        ],
        left=(0, 2, 9, 10),
        styles=[BOUND_STYLE[row.bound] for row in rows],
    )


def _or_dash(value: float, unit: str) -> str:
    if value == 0:
        return "-"
    return (
        format_quantity(value, unit or "FLOP", 3).removesuffix("FLOP").strip()
        if not unit
        else format_quantity(value, unit, 3)
    )


def explanation_view(found: "Explanation", *, batch: float, context: float) -> View:
    """What binds a step and what more of each resource would buy."""
    cache = format_quantity(found.cache, "B", 3)
    working_set = format_quantity(found.working_set, "B", 3)
    if found.on_chip > 0:
        share = text.percent(found.on_chip)
        residency = f"weights and KV ({working_set}) stay on chip ({cache}): {share} of the bytes are read there"
    elif found.cache > 0:
        times = found.working_set / found.cache
        residency = (
            f"weights and KV ({working_set}) are {times:,.0f} x the {cache} on chip: every step reads them from memory"
        )
    else:
        residency = f"weights and KV ({working_set}) are read from memory at every step"
    return View(
        lines=[
            f"Why, at batch {batch:g} and context {context:,.0f}:",
            f"  the step is bound by {found.bound}; {found.op} takes {text.percent(found.share)} of it,"
            f" bound by {found.op_bound}",
            f"  {residency}",
        ],
        headers=["10 % more of", "saves", "elasticity"],
        rows=[
            [RESOURCE_NAMES[one.resource], text.percent(one.saved), f"{one.elasticity:.2f}"]
            for one in found.sensitivities
        ],
    )


def explanation_summary(found: "Explanation") -> dict[str, Any]:
    """The explanation under JSON names."""
    return {
        "bound": found.bound,
        "op": found.op,
        "op_share": found.share,
        "op_bound": found.op_bound,
        "working_set_bytes": found.working_set,
        "on_chip_capacity_bytes": found.cache,
        "on_chip": found.on_chip,
        "elasticities": {one.resource: one.elasticity for one in found.sensitivities},
        "saved_by_10_percent_more": {one.resource: one.saved for one in found.sensitivities},
    }
