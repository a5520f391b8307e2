"""Two deployments side by side, and what makes the difference, as answers."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim.report import text
from rooflinesim.report.columns import columns_of, records
from rooflinesim.report.tables import View
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.compare import Case, CompareResult
    from rooflinesim.analysis.serving.steady import SteadyState

_SIDES = ("A", "B")
_SHOWN_OPS = 12

States = tuple["SteadyState | None", "SteadyState | None"]
_Facts = tuple[tuple[str, str, str], ...]
_DECODE: _Facts = (
    ("step_time_s", "time per step and token", "s"),
    ("tokens_per_s_per_user", "tokens/s and user", "1"),
    ("tokens_per_s", "tokens/s", "1"),
)
_SERVED: _Facts = (
    ("served_requests_per_s", "requests/s", "1"),
    ("tpot_mean_s", "TPOT, mean", "s"),
    ("tpot_p95_s", "TPOT, 95 %", "s"),
    ("ttft_mean_s", "TTFT, mean", "s"),
    ("ttft_p95_s", "TTFT, 95 %", "s"),
    ("running", "running requests", "1"),
    ("saturating_requests_per_s", "saturates at, requests/s", "1"),
)
_PREFILL: _Facts = (("ttft_s", "time to first token", "s"), ("prompt_tokens_per_s", "prompt tokens/s", "1"))
_BOTH: _Facts = (
    ("memory_time_s", "memory alone", "s"),
    ("compute_time_s", "math alone", "s"),
    ("network_time_s", "network alone", "s"),
    ("overhead_time_s", "overhead", "s"),
    ("weight_bytes", "weights read per device", "B"),
    ("kv_bytes", "KV read per device", "B"),
    ("network_bytes", "sent per device", "B"),
    ("flop", "math per device", "FLOP"),
    ("resident_bytes", "memory taken per device", "B"),
    ("devices", "devices", "1"),
    ("usd_per_h", "price", "USD/h"),
    ("usd_per_mtok", "USD per million tokens", "1"),
)


def compare_content(result: "CompareResult", states: States = (None, None)) -> dict[str, Any]:
    """Columns and summary: every list of terms adds up to the difference; `states` are what users see under traffic."""
    apart = result.difference
    whole = apart.second - apart.first
    first, second = result.breakdowns
    rows: list[dict[str, Any]] = []

    def add(by: str, term: str, change: float, one: Any = None, other: Any = None, **of: str) -> None:
        times = [
            None if by == "change" else float(np.ravel(time)[0]) if time is not None else 0.0 for time in (one, other)
        ]
        rows.append(
            {
                "by": by,
                "term": term,
                **{kind: of.get(kind) for kind in ("part", "op", "cause")},
                "first_time_s": times[0],
                "second_time_s": times[1],
                "difference_time_s": change,
                "share": change / whole if whole else None,
            }
        )

    for name, change in result.changes.items():
        add("change", name, change)
    for by, kind in (("cause", "causes"), ("part", "parts"), ("op", "ops")):
        one, other = getattr(first, kind), getattr(second, kind)
        for name, change in getattr(apart, kind).items():
            add(by, name, change, one.get(name), other.get(name), **{by: name})
    for term, change in apart.terms.items():
        named = {"part": term.part, "op": term.op, "cause": term.cause}
        add("term", f"{term.op}, {term.cause}", change, first.terms.get(term), second.terms.get(term), **named)
    sides = [
        {**side_facts(case, row), **served_facts(state)}
        for case, row, state in zip((result.first, result.second), result.rows, states, strict=True)
    ]
    return {
        "columns": {name: [row[name] for row in rows] for name in rows[0]} if rows else {},
        "summary": {
            "first": sides[0],
            "second": sides[1],
            "difference_time_s": whole,
            "ratio": apart.second / apart.first,
            "bands_overlap": bands_overlap(sides[0], sides[1]),
        },
    }


def side_facts(case: "Case", row: Any) -> dict[str, Any]:
    """One side under JSON names: its step, its devices, and what they cost."""
    found = records(columns_of(row))[0]
    count = case.deployment.devices
    cost = None if case.price is None else case.price * count
    rate = found["tokens_per_s" if "tokens_per_s" in found else "prompt_tokens_per_s"]
    return {
        **found,
        "devices": count,
        "usd_per_h": cost,
        "usd_per_mtok": None if cost is None else cost * 1e6 / (3600.0 * rate),
    }


def served_facts(state: "SteadyState | None") -> dict[str, Any]:
    """What users see of one side under its traffic, under JSON names."""
    if state is None:
        return {}
    names = ("requests_per_s", "running", "saturating_requests_per_s")
    times = ("tpot_mean", "tpot_p95", "ttft_mean", "ttft_p95")
    return {
        **{f"served_{name}" if name == "requests_per_s" else name: float(getattr(state, name)[0]) for name in names},
        **{f"{name}_s": float(getattr(state, name)[0]) for name in times},
    }


def bands_overlap(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the bands of two times have a time in common, so that the order is not sure."""
    time = "ttft" if "ttft_s" in first else "step_time"
    return bool(
        first[f"{time}_low_s"] <= second[f"{time}_high_s"] and second[f"{time}_low_s"] <= first[f"{time}_high_s"]
    )


def compare_views(result: "CompareResult", names: Sequence[str], states: States = (None, None)) -> list[View]:
    """Tables: side by side, what was changed, the difference by part and cause, and by operation."""
    return [
        _side_view(result, names, compare_content(result, states)["summary"]),
        *_change_views(result),
        _matrix_view(result),
        _op_view(result),
    ]


def case_words(case: "Case") -> str:
    """A side's point in words."""
    prompt = "" if case.prompt is None else f"prompt {case.prompt:,.0f}, "
    return f"{prompt}batch {case.batch:,.0f}, context {case.context:,.0f}"


def _side_view(result: "CompareResult", names: Sequence[str], summary: Mapping[str, Any]) -> View:
    sides = summary["first"], summary["second"]
    cases = result.first, result.second
    rows = []
    for field, words, unit in (*_SERVED, *(_DECODE if result.first.prompt is None else _PREFILL), *_BOTH):
        values = [side.get(field) for side in sides]
        if not any(values):
            continue
        ratio = values[1] / values[0] if values[0] and values[1] is not None else None
        rows.append([words, *(text.short(value, unit) for value in values), "-" if ratio is None else f"{ratio:.3g}"])
        if field in ("step_time_s", "ttft_s"):
            time = field.removesuffix("_s")
            rows.append(
                [
                    "  its band, ms",
                    *(text.time_range(side[f"{time}_low_s"], side[f"{time}_high_s"]) for side in sides),
                    "",
                ]
            )
    rows.append(["bound by", *(str(side["bound"]) for side in sides), ""])
    rows.append(["fits in memory", *({True: "yes", False: "no", None: "?"}[side["fits"]] for side in sides), ""])
    lines = []
    for letter, name, case in zip(_SIDES, names, cases, strict=True):
        words = f"{text.deployment_line(case.deployment)}; {case_words(case)}"
        lines.append(f"{letter}: {words}" if name in words else f"{letter}: {name}: {words}")
    return View(lines=[*lines, verdict(result, summary)], headers=["", *_SIDES, "B / A"], rows=rows)


def verdict(result: "CompareResult", summary: Mapping[str, Any]) -> str:
    """Which is faster, by how much, how sure that is, and the largest cause."""
    apart = result.difference
    change = apart.second - apart.first
    if change == 0.0:
        return "Both take the same time."
    ratio = summary["ratio"]
    causes = sorted(apart.causes.items(), key=lambda one: -one[1] if change > 0 else one[1])
    name, size = causes[0]
    surely = "their bands overlap" if summary["bands_overlap"] else "their bands do not overlap"
    times = f"{ratio:.3g} x as long" if ratio > 1 else f"{1 / ratio:.3g} x as fast"
    return (
        f"B takes {format_quantity(abs(change), 's', 3)} {'more' if change > 0 else 'less'} ({times}; {surely});"
        f" most of it is {name}: {_signed(size, _decimals(result))} ms."
    )


def _decimals(result: "CompareResult") -> int:
    """Decimals of a ms that show a thousandth of the longer step."""
    longest = max(result.difference.first, result.difference.second) * 1e3
    return max(0, 3 - math.floor(math.log10(longest)))


def _signed(time: float, decimals: int) -> str:
    """A change of a time in ms with its sign; a dot where it is none."""
    words = f"{abs(time) * 1e3:,.{decimals}f}"
    return "·" if not float(words.replace(",", "")) else ("+" if time > 0 else "−") + words


def _change_views(result: "CompareResult") -> Iterator[View]:
    if not result.changes:
        return
    whole, decimals = result.difference.second - result.difference.first, _decimals(result)
    yield View(
        lines=["What was changed from A to B, one after another, and what it adds to the time:"],
        headers=["change", "from", "to", "ms", "share"],
        rows=[
            [
                name,
                *(_changed_words(name, case) for case in (result.first, result.second)),
                _signed(change, decimals),
                _share(change, whole),
            ]
            for name, change in result.changes.items()
        ],
        left=(0, 1, 2),
    )


def _changed_words(name: str, case: "Case") -> str:
    deployment = case.deployment
    words = {
        "load": case_words(case),
        "model": deployment.model.name,
        "formats": text.formats_line(deployment.precision, deployment.model),
        "layout": text.layout_words(deployment) or "one device",
        "device": deployment.hardware.name,
        "stack": deployment.stack.name,
    }
    return ", ".join(words[one] for one in name.split(" and "))


def _share(change: float, whole: float) -> str:
    return text.share(change / whole) if whole else "-"


def _matrix_view(result: "CompareResult") -> View:
    """The difference by part and cause: rows and columns add up to it."""
    apart = result.difference
    whole = apart.second - apart.first
    decimals = _decimals(result)
    causes = list(apart.causes)
    cells = {
        (part, cause): sum(time for term, time in apart.terms.items() if (term.part, term.cause) == (part, cause))
        for part in apart.parts
        for cause in causes
    }
    rows = [
        [part, *(_signed(cells[part, cause], decimals) for cause in causes), _signed(total, decimals)]
        for part, total in apart.parts.items()
    ]
    rows.append(["total", *(_signed(apart.causes[cause], decimals) for cause in causes), _signed(whole, decimals)])
    return View(
        lines=["Where the difference lies, in ms, by part of the model and by cause:"],
        headers=["part", *causes, "total"],
        rows=rows,
    )


def _op_view(result: "CompareResult") -> View:
    """The operations that differ most."""
    apart = result.difference
    first, second = (one.ops for one in result.breakdowns)
    whole, decimals = apart.second - apart.first, _decimals(result)
    ordered = sorted(apart.ops.items(), key=lambda one: -abs(one[1]))
    rest = ordered[_SHOWN_OPS:]
    rows = [
        [
            name,
            *(text.milliseconds(float(ops[name][0])) if name in ops else "-" for ops in (first, second)),
            _signed(change, decimals),
            _share(change, whole),
            _main_cause(result, name),
        ]
        for name, change in ordered[:_SHOWN_OPS]
    ]
    if rest:
        others = sum(change for _, change in rest)
        rows.append([f"{len(rest)} others", "", "", _signed(others, decimals), _share(others, whole), ""])
    return View(
        lines=["The same by operation, the largest differences first:"],
        headers=["operation", "A ms", "B ms", "difference ms", "share", "mostly"],
        rows=rows,
        left=(0, 5),
    )


def _main_cause(result: "CompareResult", op: str) -> str:
    found: dict[str, float] = {}
    for term, time in result.difference.terms.items():
        if term.op == op:
            found[term.cause] = found.get(term.cause, 0.0) + time
    return max(found, key=lambda cause: abs(found[cause]))


def case_inputs(case: "Case") -> dict[str, Any]:
    """A side's point under JSON names."""
    point = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    return {
        "batch": point["batch"],
        "context_tokens": point["context"],
        "prompt_tokens": point["prompt"],
        "price_usd_per_h": point["price"],
    }
