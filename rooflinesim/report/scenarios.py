"""Answers to scenarios: rows of many deployments in one table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.grid import Columns, Grid, Labels
from rooflinesim.nouns import Noun
from rooflinesim.report import text
from rooflinesim.report.answer import Answer
from rooflinesim.report.bars import sparkline
from rooflinesim.report.provenance import Provenance
from rooflinesim.report.rows import plain_values
from rooflinesim.report.tables import BOUND_STYLE, View
from rooflinesim.specs.deployment import Deployment

SHOWN_ROWS = 200
"""Rows of a table for people; JSON and CSV hold all."""

_HEADERS = {
    "context_tokens": "context",
    "prompt_tokens": "prompt",
    "tensor_parallel": "TP",
    "pipeline_parallel": "PP",
    "expert_parallel": "EP",
    "data_parallel": "DP",
    "kv_cache": "KV",
    "memory_capacity_bytes": "memory",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Part(Noun):
    """The answer to one scenario: its rows as plain values, its tables, and what it rests on."""

    result: Any
    columns: Mapping[str, Sequence[Any]]
    inputs: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Sequence[Provenance]
    notes: Sequence[str]
    views: Sequence[View]


def together(parts: Sequence[Part]) -> dict[str, list[Any]]:
    """Rows of several answers as one table: each names its scenario, a column that a row lacks is None."""
    names = dict.fromkeys(name for part in parts for name in part.columns)
    whole: dict[str, list[Any]] = {"scenario": [], **{name: [] for name in names}}
    for part in parts:
        size = len(next(iter(part.columns.values()), ()))
        whole["scenario"].extend([part.inputs["scenario"]] * size)
        for name in names:
            whole[name].extend(part.columns.get(name, [None] * size))
    return whole


def step_columns(columns: Columns) -> dict[str, list[Any]]:
    """Columns of steps as plain values."""
    return {name: plain_values(column) for name, column in columns.items()}


def plain_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Values of axes without those that say nothing."""
    return {name: value for name, value in point.items() if value is not None}


def fastest(columns: Columns) -> dict[str, Any]:
    """The row of the most tokens per second."""
    rate = columns.get("tokens_per_s", columns.get("prompt_tokens_per_s"))
    if not isinstance(rate, np.ndarray):
        return {}
    place = int(np.argmax(rate))
    return {name: plain_values(_row(column, place))[0] for name, column in columns.items()}


def _row(column: Labels | np.ndarray, place: int) -> Labels | np.ndarray:
    one = slice(place, place + 1)
    return Labels(codes=column.codes[one], names=column.names) if isinstance(column, Labels) else column[one]


def step_view(name: str, grid: Grid, columns: Columns, first: Deployment) -> View:
    """Table of steps: the axes that vary, times, rates and what binds."""
    is_decode = grid.asked.question == "decode"
    plain = step_columns(columns)
    axes = [axis for axis in plain if axis in grid.varying or axis == "batch"]
    length = "context_tokens" if is_decode else "prompt_tokens"
    axes = [axis for axis in axes if axis not in ("batch", length)] + ["batch", length]
    time = "step_time_s" if is_decode else "ttft_s"
    rate = "tokens_per_s_per_user" if is_decode else "prompt_tokens_per_s"
    low, high = (f"{time.removesuffix('_s')}_{end}_s" for end in ("low", "high"))
    rows = [
        [
            *(_cell(axis, plain[axis][i]) for axis in axes),
            text.milliseconds(plain[time][i]),
            text.time_range(plain[low][i], plain[high][i]),
            text.short(plain[rate][i]),
            *([text.short(plain["tokens_per_s"][i])] if is_decode else []),
            plain["bound"][i],
            {True: "yes", False: "no", None: "?"}[plain["fits"][i]],
        ]
        for i in range(min(len(plain["batch"]), SHOWN_ROWS))
    ]
    rest = len(plain["batch"]) - len(rows)
    what = "one token for every sequence" if is_decode else "the whole prompt in one step, no queueing"
    words = "Time of one decode step" if is_decode else "Time to first token"
    titles = [name] if grid.deployments > 1 else list(dict.fromkeys([name, text.deployment_line(first)]))
    return View(
        lines=[
            *titles,
            f"{words}, {what}; the band is meant to hold 80 % of measurements.",
            *(_trend(plain, rate if is_decode else time) if len(grid.varying) == 1 else []),
        ],
        headers=[
            *(_HEADERS.get(axis, axis) for axis in axes),
            "ms" if is_decode else "TTFT ms",
            "band ms",
            *(["tok/s/user", "tok/s"] if is_decode else ["prompt tok/s"]),
            "bound",
            "fits",
        ],
        rows=rows,
        left=tuple(i for i, axis in enumerate(axes) if isinstance(plain[axis][0], str)),
        styles=[BOUND_STYLE[bound] for bound in plain["bound"][: len(rows)]],
        footer=[f"{rest:,} more rows; --format csv has them all"] if rest else [],
    )


def _trend(plain: Mapping[str, list[Any]], field: str) -> list[str]:
    """A column at a glance, along the one axis that there is."""
    values = plain[field]
    if not 4 <= len(values) <= 60:
        return []
    words = {"tokens_per_s_per_user": "tok/s/user", "ttft_s": "TTFT"}[field]
    return [f"{words} down the table: {sparkline(values)}"]


def _cell(axis: str, value: Any) -> str:
    if axis == "memory_capacity_bytes":
        return text.short(value, "B")
    return value if isinstance(value, str) else text.whole(value)


def answer_columns(grid: Grid, answers: Sequence[tuple[Mapping[str, Any], Answer]]) -> dict[str, list[Any]]:
    """Rows of several answers to one question, each with the values of the axes that it is for."""
    axes = [axis for axis in answers[0][0] if answers[0][0][axis] is not None or axis in grid.varying]
    names = [*axes, *(name for name in answers[0][1].columns if name not in axes)]
    whole: dict[str, list[Any]] = {name: [] for name in names}
    for point, one in answers:
        for row in one.rows:
            for name in names:
                whole[name].append(row[name] if name in row else point[name])
    return whole


def titled(name: str, views: Sequence[View]) -> list[View]:
    """Tables of one answer, the first under the name of its scenario."""
    first, *others = views
    return [dataclasses.replace(first, lines=[name, *first.lines]), *others]
