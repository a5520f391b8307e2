"""Capacity plans as tables: the best fleets, what they cost and draw, and what would change the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from rooflinesim.analysis.capacity.candidates import Rejection
from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.capacity.objectives import strictest
from rooflinesim.analysis.capacity.plan import Plan
from rooflinesim.analysis.capacity.sensitivity import MOST_HEAD_ROOM, Change
from rooflinesim.analysis.serving.load import Drafts
from rooflinesim.report import text
from rooflinesim.report.plan_rows import batch_limit
from rooflinesim.report.plan_words import (
    LIMITS,
    engines_words,
    fleet_words,
    layout_words,
    miss_lines,
    rejection_words,
    site_words,
    targets_words,
    telling_names,
    verdict_words,
)
from rooflinesim.report.tables import View

FRONTIER_ROWS = 8
"""Points of the frontier that a table shows; JSON holds all."""

SLOWEST = 0.5
"""Share of the speed that the objective asks for below which points of the frontier are not shown [1]."""


def plan_views(name: str, point: Mapping[str, Any], plan: Plan, *, explain: bool) -> list[View]:
    """Tables of one plan."""
    views = [fleets_view(name, point, plan)]
    if plan.fleets:
        views.append(costs_view(plan))
    if plan.frontier:
        views.append(frontier_view(plan))
    if len(plan.scaling) > 1:
        views.append(scaling_view(plan))
    if plan.changes:
        views.append(changes_view(plan))
    views.append(limits_view(plan))
    if explain:
        views.append(rejections_view(plan.rejected))
    return views


def fleets_view(name: str, point: Mapping[str, Any], plan: Plan) -> View:
    """The answer in words, and the best fleets."""
    targets = list(plan.demand.targets)
    sites = telling_names(plan)
    rows = [
        [
            str(rank),
            site_words(one.choice.candidate.site, sites),
            engines_words(one.choice),
            text.whole(one.choice.fleet.devices),
            text.whole(batch_limit(one.choice)),
            _chunk(one.choice),
            *([_draft(one.choice.drafts)] if _has_drafts(plan) else []),
            *(_time(one.choice, metric) for metric in targets),
            one.choice.verdict,
            *([text.short(one.choice.price)] if one.choice.price is not None else []),
        ]
        for rank, one in enumerate(plan.fleets, start=1)
    ]
    priced = any(one.choice.price is not None for one in plan.fleets)
    return View(
        lines=[name, *asked_lines(point, plan), *answer_lines(plan)],
        headers=[
            "#",
            "device",
            "engines",
            "GPUs",
            "batch",
            "chunk",
            *(["draft"] if _has_drafts(plan) else []),
            *(f"{metric.replace('_', ' ')} ms" for metric in targets),
            "meets",
            *(["USD/h"] if priced else []),
        ],
        rows=rows,
        left=(1, 2),
        styles=["green" if one.choice.verdict == "surely" else None for one in plan.fleets],
    )


def asked_lines(point: Mapping[str, Any], plan: Plan) -> list[str]:
    """What was asked."""
    load, targets = plan.demand.load, plan.demand.targets
    many = "user" if plan.demand.amount == 1 else "users"
    amount = (
        f"{text.whole(plan.demand.amount)} {many} at all times"
        if plan.demand.is_closed
        else f"{text.short(plan.demand.amount)} requests/s"
    )
    cached = f", {text.percent(load.cached_share)} of them cached" if load.cached_share else ""
    held = targets_words(targets)
    model = f"{point['model']}, " if "model" in point else ""
    return [
        f"{model}{amount} of {load.prompt_tokens:,.0f} tokens in{cached}, {load.output_tokens:,.0f} out;"
        f" {held or 'no objective but to keep up'}."
    ]


def answer_lines(plan: Plan) -> list[str]:
    """The recommendation, or what comes nearest."""
    if not plan.fleets:
        return miss_lines(plan)
    best, surest = plan.fleets[0], plan.surest
    lines = [f"Cheapest: {fleet_words(best.choice, telling_names(plan))}; {verdict_words(best)}."]
    if surest is None:
        is_bound = best.choice.evidence == "bound"
        why = "the stack has no error band" if is_bound else "the band's high end reaches past it on every fleet"
        lines.append(f"None surely meets the objective: {why}.")
    elif surest.choice is not best.choice:
        lines.append(f"To be sure: {fleet_words(surest.choice, telling_names(plan))}; {verdict_words(surest)}.")
    return lines


def costs_view(plan: Plan) -> View:
    """Cost, energy and head-room of the same fleets."""
    has_prices = any(one.choice.price is not None for one in plan.fleets)
    priced = ": USD per million tokens" if has_prices else ""
    rows = [
        [
            str(rank),
            *(
                [
                    text.short(one.choice.price),
                    text.short(one.prices.per_million_input),
                    text.short(one.prices.per_million_output),
                ]
                if has_prices
                else []
            ),
            text.short(one.energy.per_token),
            text.short(one.energy.power / 1e3),
            "-" if one.energy.peak is None else text.short(one.energy.peak / 1e3),
            text.whole(float(one.choice.state.running[0])),
            text.short(float(one.choice.state.tokens_per_s[0]) / one.choice.fleet.devices),
            f"x{one.head_room:.2f}" if one.head_room < MOST_HEAD_ROOM else f">x{MOST_HEAD_ROOM:g}",
        ]
        for rank, one in enumerate(plan.fleets, start=1)
    ]
    return View(
        lines=[
            f"What the same fleets cost and draw{priced}, J per token out (assumed, not measured), and how many times",
            "the traffic they have room for.",
        ],
        headers=[
            "#",
            *(["USD/h", "USD/M in", "USD/M out"] if has_prices else []),
            "J/token",
            "kW",
            "max kW",
            "running",
            "tok/s/GPU",
            "room",
        ],
        rows=rows,
        left=(),
    )


def frontier_view(plan: Plan) -> View:
    """Speed for each user against work per device and cost."""
    slowest = SLOWEST / strictest(plan.demand.targets, "tpot")
    points = [one for one in plan.frontier if one.tokens_per_s_per_user >= slowest] or list(plan.frontier[:1])
    step = max(1, -(-len(points) // FRONTIER_ROWS))
    shown = points[::step] if points[-1] in points[::step] else [*points[::step], points[-1]]
    telling = telling_names(plan, [one.candidate for one in shown])
    rows = [
        [
            site_words(one.candidate.site, telling),
            layout_words(one.candidate.layout),
            *([_draft(one.drafts)] if _has_drafts(plan) else []),
            text.whole(one.batch),
            text.short(one.tokens_per_s_per_user),
            text.short(one.tokens_per_s_per_device),
            *([text.short(one.cost_per_million)] if one.cost_per_million is not None else []),
            "both" if one.is_most_per_device and one.is_cheapest else "work" if one.is_most_per_device else "cost",
        ]
        for one in shown
    ]
    priced = bool(shown) and shown[0].cost_per_million is not None
    return View(
        lines=["Speed for each user against work per GPU and cost, prompts included: none beats these in both."],
        headers=[
            "device",
            "engine",
            *(["draft"] if _has_drafts(plan) else []),
            "batch",
            "tok/s/user",
            "tok/s/GPU",
            *(["USD/Mtok out"] if priced else []),
            "best in",
        ],
        rows=rows,
        left=(0, 1, len(rows[0]) - 1),
        footer=[f"JSON has all {len(plan.frontier):,} points"] if len(shown) < len(plan.frontier) else [],
    )


def scaling_view(plan: Plan) -> View:
    """Where more devices for one replica stop helping: the sizes at which tokens get faster, and the largest."""
    points = plan.scaling
    quickest = [
        one for place, one in enumerate(points) if one.step_time <= min(p.step_time for p in points[: place + 1])
    ]
    shown = quickest if points[-1] in quickest else [*quickest, points[-1]]
    last = quickest[-1].devices
    return View(
        lines=[
            f"More GPUs for one replica on {site_words(points[0].candidate.site, telling_names(plan))}, at batch"
            f" {points[0].batch:,}, without drafts: the fastest engine of each size that beats all smaller ones."
        ],
        headers=["GPUs", "engine", "step ms", "speed-up", "per GPU"],
        rows=[
            [
                str(one.devices),
                layout_words(one.candidate.layout),
                text.milliseconds(one.step_time),
                f"{one.speedup:.2f}",
                text.percent(one.per_device),
            ]
            for one in shown
        ],
        left=(1,),
        footer=[f"Beyond {last} GPUs none is faster."] if last < points[-1].devices else [],
    )


def changes_view(plan: Plan) -> View:
    """What would change the answer."""
    telling = telling_names(plan, [one.choice.candidate for one in plan.changes if one.choice])

    def row(one: Change) -> list[str]:
        change = f"{one.what} {(one.factor - 1.0) * 100:+.0f} %"
        if one.choice is None:
            return [change, "-", "none of these fleets meets the objective"]
        best, choice = plan.fleets[0].choice, one.choice
        is_same = one.is_same and engines_words(choice) == engines_words(best)
        fleet = f"{choice.fleet.devices:,} x {site_words(choice.candidate.site, telling)} as {engines_words(choice)}"
        return [change, text.short(choice.cost), "the same fleet" if is_same else fleet]

    unit = "USD/h" if plan.fleets[0].choice.price is not None else "GPUs"
    return View(
        lines=["What would change the answer: the cheapest of the best fleets when one thing changes."],
        headers=["change", unit, "cheapest"],
        rows=[row(one) for one in plan.changes],
        left=(0, 2),
    )


def limits_view(plan: Plan) -> View:
    """Why the other engines are in no fleet shown."""
    counts: dict[str, int] = {}
    for one in plan.rejected:
        counts[one.limit] = counts.get(one.limit, 0) + 1
    return View(
        lines=[
            f"{plan.candidates:,} engines were looked at, {plan.variants:,} with their drafts;"
            f" the fleets of {plan.looked_at:,} had to be solved."
        ],
        headers=["not taken", "limit", "because"],
        rows=[
            [text.whole(count), limit, LIMITS[limit]] for limit, count in sorted(counts.items(), key=lambda c: -c[1])
        ],
        left=(1, 2),
    )


def rejections_view(rejected: Sequence[Rejection]) -> View:
    """Every engine that is in no fleet, and what binds it."""
    return View(
        lines=["Every engine that is in no fleet, and what binds it."],
        headers=["device", "weights", "KV", "engine", "limit", "by how much"],
        rows=[
            [
                str(one.site.names["hardware"]),
                str(one.site.names["weights"]),
                str(one.site.names["kv_cache"]),
                layout_words(one.layout),
                one.limit,
                rejection_words(one),
            ]
            for one in rejected
        ],
        left=(0, 1, 2, 3, 4, 5),
    )


def _has_drafts(plan: Plan) -> bool:
    return any(one.drafts for one in plan.frontier) or any(one.choice.drafts for one in plan.fleets)


def _draft(drafts: Drafts | None) -> str:
    return "-" if drafts is None else str(drafts.draft_length)


def _chunk(choice: Choice) -> str:
    return "-" if choice.policy.chunk_tokens is None else text.whole(choice.policy.chunk_tokens)


def _time(choice: Choice, metric: str) -> str:
    """A time in ms with its band, which has no end where the high end of the band lets queues grow without one."""
    state = choice.state
    middle, low, high = (float(getattr(state, f"{metric}{end}")[0]) * 1e3 for end in ("", "_low", "_high"))
    is_endless = metric.startswith("ttft") and state.requests_per_s[0] >= state.saturating_requests_per_s_low[0]
    if low == high:
        return text.short(middle)
    return f"{text.short(middle)} ({text.short(low, digits=2)}-{'' if is_endless else text.short(high, digits=2)})"
