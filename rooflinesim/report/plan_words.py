"""Capacity plans in words: devices, engines, fleets, and by how much others miss."""

from collections.abc import Mapping, Sequence

from rooflinesim.analysis.capacity.candidates import Candidate, Rejection, Site
from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.capacity.layouts import Layout
from rooflinesim.analysis.capacity.plan import Plan, Planned
from rooflinesim.analysis.capacity.sensitivity import MOST_HEAD_ROOM
from rooflinesim.report import text
from rooflinesim.report.plan_rows import WAYS
from rooflinesim.units import format_quantity

LIMITS = {
    "layout": "heads, layers or experts do not divide",
    "device": "the device lacks a link or a number format",
    "memory": "not one request fits into memory",
    "tpot": "time per token out of reach",
    "ttft": "time to the first token out of reach",
    "devices": "would need more devices or replicas than may be",
    "cost": "others that meet the objective are cheaper",
}


def fleet_words(choice: Choice, telling: Sequence[str]) -> str:
    """A fleet in one phrase."""
    cost = "" if choice.price is None else f", {text.short(choice.price)} USD/h"
    draft = "" if choice.drafts is None else f", drafting {choice.drafts.draft_length}"
    devices = f"{choice.fleet.devices:,} x {site_words(choice.candidate.site, telling)}"
    return f"{devices} as {engines_words(choice)}{draft}{cost}"


def verdict_words(one: Planned) -> str:
    """Whether a fleet meets the objective, and how much more traffic it bears."""
    room = one.head_room
    more = (
        f"{room:.2f} times the traffic" if room < MOST_HEAD_ROOM else f"more than {MOST_HEAD_ROOM:g} times the traffic"
    )
    return f"{one.choice.verdict} meets the objective, up to {more}"


def miss_lines(plan: Plan) -> list[str]:
    """Nothing is feasible: what comes nearest, and what would make it feasible."""
    miss, targets = plan.nearest, plan.demand.targets
    lines = ["Nothing is feasible: no fleet of these devices meets the objective."]
    if miss is None:
        return lines
    strictest = min((value for name, value in targets.items() if name.startswith("tpot")), default=None)
    if miss.floor is not None and miss.floor_candidate is not None and strictest is not None and strictest < miss.floor:
        lines.append(
            f"Reading the weights takes at least {format_quantity(miss.floor, 's', 3)} per token"
            f" ({layout_words(miss.floor_candidate.layout)} on {miss.floor_candidate.site.names['hardware']}, at full"
            " bandwidth):"
            f" {format_quantity(strictest, 's')} is below what any batch, replica or software reaches."
        )
    near = miss.rejection
    if miss.relaxed is not None and miss.targets == targets:
        lines.append(f"It would take more devices: {fleet_words(miss.relaxed, telling_names(plan))}.")
    elif near is not None and near.metric is not None and near.least_time is not None:
        lines.append(
            f"Nearest: {layout_words(near.layout)} on {site_words(near.site, telling_names(plan))} reaches"
            f" {near.metric.replace('_', ' ')} of {format_quantity(near.least_time, 's', 3)} at best."
        )
        if miss.relaxed is not None:
            longer = {name: value for name, value in miss.targets.items() if value > targets[name]}
            lines.append(
                f"With {targets_words(longer)} it would be feasible: {fleet_words(miss.relaxed, telling_names(plan))}."
            )
    elif near is not None and near.missing is not None:
        lines.append(
            f"Nearest: {layout_words(near.layout)} on {near.site.names['hardware']} lacks"
            f" {format_quantity(near.missing, 'B', 3)} of memory on every device for one request; more devices for each"
            " replica, fewer bits or shorter requests would make it fit."
        )
    return lines


def targets_words(targets: Mapping[str, float]) -> str:
    """Targets as people write them."""
    return ", ".join(f"{name.replace('_', ' ')} <= {format_quantity(value, 's', 3)}" for name, value in targets.items())


def rejection_words(one: Rejection) -> str:
    """By how much an engine misses."""
    if one.reason:
        return one.reason
    if one.missing is not None:
        return f"lacks {format_quantity(one.missing, 'B', 3)} on every device"
    if one.metric is not None and one.least_time is not None:
        target = one.least_time / (one.excess or 1.0)
        return (
            f"{one.metric.replace('_', ' ')} of {format_quantity(one.least_time, 's', 3)} at best,"
            f" {format_quantity(target, 's')} wanted"
        )
    if one.least_cost is not None:
        unit = "USD/h" if one.site.price is not None else "devices"
        return f"{text.short(one.least_cost)} {unit} or more"
    return LIMITS[one.limit]


def layout_words(layout: Layout) -> str:
    """How an engine is spread over its devices."""
    words = [f"{short}{getattr(layout, field)}" for short, field in WAYS.items() if getattr(layout, field) > 1]
    return " ".join(words) or "1 GPU"


def engines_words(choice: Choice) -> str:
    """How many engines of which layout."""
    own = f"{choice.fleet.replicas:,} x {layout_words(choice.candidate.layout)}"
    if choice.prefill is None:
        return own
    return f"{choice.fleet.prefill_replicas:,} x {layout_words(choice.prefill.layout)} prefill + {own}"


def telling_names(plan: Plan, more: Sequence[Candidate] = ()) -> list[str]:
    """Names of sites that tell them apart, besides the device."""
    sites = [one.site for one in plan.rejected] + [one.choice.candidate.site for one in plan.fleets]
    sites += [one.site for one in more]
    names = ("memory_capacity_bytes", "stack", "weights", "kv_cache")
    return [name for name in names if len({site.names.get(name) for site in sites}) > 1]


def site_words(site: Site, telling: Sequence[str]) -> str:
    """A kind of device, and what tells it from others."""
    words = [
        format_quantity(site.names[name], "B") if name == "memory_capacity_bytes" else str(site.names[name])
        for name in telling
        if name in site.names
    ]
    return " ".join([str(site.names["hardware"]), *words])
