"""Inverse questions as answers: the value that just reaches a target, or why none does."""

from collections.abc import Sequence
from typing import Any

from rooflinesim.analysis.aims import LEAST, Goal
from rooflinesim.analysis.solve import UNIT, Found, Solution, Unknown, own_rate
from rooflinesim.report import text
from rooflinesim.report.tables import View
from rooflinesim.units import format_quantity

GOAL_WORDS: dict[Goal, str] = {
    "tpot": "time per output token",
    "tokens-per-s-per-user": "rate of each user",
    "tokens-per-s": "rate of all users",
    "speedup": "speed-up",
    "ttft": "time to first token",
    "usd-per-mtok": "cost of a million output tokens",
}
_UNKNOWN_WORDS: dict[Unknown, str] = {
    "batch": "batch",
    "context": "context",
    "prompt": "prompt",
    "acceptance": "acceptance per draft token",
    "bandwidth": "memory bandwidth of each device",
    "flop-rate": "dense FLOP rate of each device",
    "link": "link bandwidth of each device",
    "gpus": "number of devices",
    "price": "price of a device",
}
_SHORT: dict[Unknown, str] = {
    "acceptance": "acceptance",
    "bandwidth": "bandwidth",
    "flop-rate": "FLOP rate",
    "link": "link",
    "gpus": "devices",
    "price": "price",
}
_RATES = ("bandwidth", "flop-rate", "link")
_TERMS = ("memory", "compute", "network", "overhead")


def solve_content(solutions: Sequence[Solution]) -> dict[str, Any]:
    """Columns and summary: one row per target and load."""
    rows = [_row(one) for one in solutions]
    first = rows[0]
    names = ("value", "value_if_slow", "value_if_fast", "unit", "reason", "explanation", "fits", "max_batch")
    return {
        "columns": {name: [row[name] for row in rows] for name in first},
        "summary": {name: first[name] for name in names},
    }


def _row(one: Solution) -> dict[str, Any]:
    situation, at = one.situation, one.at
    is_prompt = one.aim.goal == "ttft"
    return {
        "for": one.unknown,
        "target": one.aim.goal,
        "target_value": one.aim.value,
        "target_unit": _goal_unit(one.aim.goal),
        "batch": None if one.unknown == "batch" else situation.batch,
        "context_tokens": None if one.unknown == "context" else situation.context,
        "prompt_tokens": situation.prompt if is_prompt and one.unknown != "prompt" else None,
        "devices": None if one.unknown == "gpus" else situation.deployment.devices,
        "value": one.found.value,
        "value_if_slow": one.if_slow.value,
        "value_if_fast": one.if_fast.value,
        "unit": UNIT[one.unknown],
        "reason": one.found.reason,
        "reason_if_slow": one.if_slow.reason,
        "reason_if_fast": one.if_fast.reason,
        "explanation": explanation(one),
        "reached": float(at.value[0]),
        "reached_if_slow": float(at.slow[0]),
        "reached_if_fast": float(at.fast[0]),
        "draft_length": None if at.draft_length is None else int(at.draft_length[0]),
        "closest": one.best,
        "fits": one.held.fits,
        "max_batch": one.held.max_batch,
    }


def _goal_unit(goal: Goal) -> str:
    return {"tpot": "s", "ttft": "s", "usd-per-mtok": "USD", "speedup": "1"}.get(goal, "tokens/s")


def explanation(one: Solution) -> str:
    """Why no value reaches a target, or all do, or what else must be known."""
    match one.found.reason:
        case "never":
            return f"never: {_never(one)}"
        case "always":
            return _always(one)
        case _:
            return _unfit(one)


def _never(one: Solution) -> str:
    goal, at, closest = one.aim.goal, one.at, _amount(one, one.best)
    value = goal_words(goal, float(at.value[0]))
    whole = f"the {GOAL_WORDS[goal]} comes no closer than {value}, at {closest}"
    if one.unknown in _RATES:
        whole = f"however high, the {GOAL_WORDS[goal]} comes no closer than {value}"
    if one.unknown == "gpus" and one.held.fits is False:
        whole = f"no number of devices holds the model; {whole}"
    if at.memory_time is not None and goal != "usd-per-mtok":
        terms = [(name, float(getattr(at, f"{name}_time")[0])) for name in _TERMS]
        shown = [
            f"{name} {format_quantity(time, 's', 3)}" for name, time in terms if time > 1e-3 * sum(t for _, t in terms)
        ]
        whole += f" ({', '.join(shown)})"
    floor = _floor(one)
    return f"{whole}; {floor}" if floor else whole


def _floor(one: Solution) -> str:
    """The physical floor that a target lies below: reading the weights, whatever the software."""
    goal, held = one.aim.goal, one.held
    is_time = goal in ("tpot", "tokens-per-s-per-user", "ttft")
    asked = one.aim.value if goal in LEAST else 1.0 / one.aim.value
    if not is_time or one.unknown == "bandwidth" or one.at.draft_length is not None or asked >= held.weight_time:
        return ""
    hardware = one.situation.deployment.hardware
    return (
        f"reading the {format_quantity(held.weight_bytes, 'B', 3)} of weights alone takes"
        f" {format_quantity(held.weight_time, 's', 3)} at {format_quantity(hardware.memory_bandwidth, 'B/s', 3)}"
    )


def _always(one: Solution) -> str:
    if one.found.value is None:
        return f"at any {one.unknown}"
    if one.unknown in _RATES:
        return f"whatever the {_SHORT[one.unknown]}"
    return f"already at {_amount(one, one.found.value)}"


def _unfit(one: Solution) -> str:
    if one.held.fits is not False:
        return ""
    if one.unknown == "batch" and one.held.max_batch:
        return f"but memory holds {one.held.max_batch:,} sequences at this context"
    if one.unknown == "batch":
        return "but memory does not hold the weights"
    return "but memory does not hold it"


def _amount(one: Solution, value: float | None) -> str:
    """A value of the unknown in words."""
    if value is None:
        return "none"
    match one.unknown:
        case "gpus":
            return f"{value:,.0f} devices" if value > 1 else "one device"
        case "batch" | "context" | "prompt":
            return f"{one.unknown} {value:,.0f}"
        case "acceptance":
            return f"acceptance {value:.3g}"
        case _:
            return format_quantity(value, UNIT[one.unknown], 4)


def goal_words(goal: Goal, value: float) -> str:
    """A target's quantity as people read it."""
    if goal in ("tpot", "ttft"):
        return format_quantity(value, "s", 3)
    return {"speedup": f"{value:.3g} x", "usd-per-mtok": f"{value:.3g} USD"}.get(goal, f"{text.short(value)} tokens/s")


def solve_views(solutions: Sequence[Solution]) -> list[View]:
    """One table per target: the answer at each load, at both ends of the band, and whether it fits."""
    aims = list(dict.fromkeys(one.aim for one in solutions))
    return [_view([one for one in solutions if one.aim == aim]) for aim in aims]


def _view(solutions: Sequence[Solution]) -> View:
    first = solutions[0]
    goal, unknown = first.aim.goal, first.unknown
    helps = "Smallest" if _is_smallest(first) else "Largest"
    does = f"keeps the {GOAL_WORDS[goal]} within" if goal in LEAST else f"reaches a {GOAL_WORDS[goal]} of"
    loads = [
        name for name in ("prompt", "batch", "context") if name != unknown and (name != "prompt" or goal == "ttft")
    ]
    notes = list(dict.fromkeys(_footer(one, loads, len(solutions) > 1) for one in solutions if explanation(one)))
    if unknown in _RATES:
        own = format_quantity(own_rate(first.situation.deployment, unknown), UNIT[unknown])
        notes.append(f"The device has {own}; software is taken to reach the same share of another rate.")
    return View(
        lines=[
            text.deployment_line(first.situation.deployment),
            f"{helps} {_UNKNOWN_WORDS[unknown]} that {does} {goal_words(goal, first.aim.value)}; slow and fast are the"
            " ends of the band.",
        ],
        headers=[
            *loads,
            _SHORT.get(unknown, unknown),
            "if slow",
            "if fast",
            *(["of the device's"] if unknown in _RATES else []),
            "there",
            "band",
            *(["draft"] if first.at.draft_length is not None else []),
            "fits",
        ],
        rows=[_cells(one, loads) for one in solutions],
        footer=["", *notes] if notes else [],
    )


def _is_smallest(one: Solution) -> bool:
    if one.unknown == "price":
        return False
    is_batch_rate = one.unknown == "batch" and one.aim.goal in ("tokens-per-s", "usd-per-mtok")
    return is_batch_rate or one.unknown in ("acceptance", "gpus", *_RATES)


def _footer(one: Solution, loads: Sequence[str], is_one_of_many: bool) -> str:
    where = ", ".join(f"{name} {getattr(one.situation, name):,.0f}" for name in loads) if is_one_of_many else ""
    return f"{where}: {explanation(one)}" if where else explanation(one)


def _cells(one: Solution, loads: Sequence[str]) -> list[str]:
    goal, at = one.aim.goal, one.at
    ends = sorted((float(at.slow[0]), float(at.fast[0])))
    times = 1e3 if goal in ("tpot", "ttft") else 1.0
    band = "-" if ends[0] == ends[1] else f"{text.short(ends[0] * times)}-{text.short(ends[1] * times)}"
    own = own_rate(one.situation.deployment, one.unknown) if one.unknown in _RATES else 1.0
    return [
        *(text.whole(getattr(one.situation, name)) for name in loads),
        _cell(one, one.found),
        _cell(one, one.if_slow),
        _cell(one, one.if_fast),
        *([f"{one.found.value / own:.3g} x" if one.found.value is not None else "-"] if one.unknown in _RATES else []),
        goal_words(goal, float(at.value[0])),
        band,
        *([text.whole(at.draft_length[0])] if at.draft_length is not None else []),
        {True: "yes", False: "no", None: "?"}[one.held.fits],
    ]


def _cell(one: Solution, found: Found) -> str:
    value = found.value
    if value is None or (found.reason == "always" and one.unknown in _RATES):
        return "any" if found.reason == "always" else "never"
    if one.unknown in ("batch", "context", "prompt", "gpus"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if one.unknown == "acceptance" else format_quantity(value, UNIT[one.unknown], 4)
