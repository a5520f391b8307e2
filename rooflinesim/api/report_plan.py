"""The chapter of a report about capacity: what to rent, what users see of it, and what else there is."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.capacity.frontier import FrontierPoint
from rooflinesim.analysis.capacity.objectives import strictest
from rooflinesim.analysis.capacity.plan import Plan
from rooflinesim.analysis.explain import explain
from rooflinesim.api.report_chapters import all_points
from rooflinesim.api.report_sections import Pen, crossover_section, memory_section, sensitivity_section, time_section
from rooflinesim.api.report_serving import Served, cost_curves, load_curves, varied
from rooflinesim.api.report_speculation import gain_section
from rooflinesim.plots.panels import Axis, draw_bars, draw_points
from rooflinesim.report import plan as plan_report
from rooflinesim.report import planned as report
from rooflinesim.report import served as served_report
from rooflinesim.report import text
from rooflinesim.report.document import Chapter, Drawing, Section
from rooflinesim.report.plan_words import engines_words, layout_words, site_words, telling_names
from rooflinesim.report.scenarios import Part
from rooflinesim.report.tables import View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario


def plan_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """The cheapest fleet; of several plans the first is told whole, the others in a table."""
    plans: Sequence[Plan] = part.result if isinstance(part.result, tuple) else (part.result,)
    plan = plans[0]
    point = {name: values[0] for name, values in part.inputs["axes"].items()}
    asked = plan_report.asked_lines(point, plan)[0]
    more = f" The first of {len(plans)} such questions; all are below." if len(plans) > 1 else ""
    return Chapter(
        title=scenario.name,
        question=f"Which fleet serves this, at the least cost: {asked}{more}",
        answer=list(report.plan_sentences(plan)),
        facts=report.plan_facts(plan) if plan.fleets else [],
        sections=[
            *(_found(pen, scenario, plan) if plan.fleets else []),
            *_others(pen, plan),
            all_points(part),
        ],
    )


def served_of(choice: Choice, plan: Plan) -> Served:
    """A fleet of a plan under its load."""
    return Served(
        fleet=choice.fleet,
        load=plan.demand.load,
        policy=choice.policy,
        drafts=choice.drafts,
        price=choice.candidate.site.price,
        prefill_price=choice.prefill.site.price if choice.prefill else None,
    )


def _found(pen: Pen, scenario: Scenario, plan: Plan) -> list[Section]:
    """The best fleet from all sides, and those that come next."""
    choice = plan.fleets[0].choice
    best, asked = served_of(choice, plan), choice.candidate.deployment
    context = plan.demand.load.mean_context
    running = max(1.0, float(np.round(choice.state.running[0])))
    why = explain(asked, batch=running, context=context)
    label = text.telling_labels([asked])[0]
    sensitive = sensitivity_section(
        pen, why, batch=running, context=context, band=served_report.band_words(choice.state, "tpot_p95", 0)
    )
    changed = _without_words(plan_report.changes_view(plan)) if plan.changes else None
    return [
        Section(
            title="Recommended deployment",
            views=[served_report.fleet_view(best.fleet, best.load, best.policy, best.drafts, best.price)],
        ),
        _choices(pen, plan),
        load_curves(pen, best, plan.demand.targets),
        memory_section(pen, {label: asked}, batch=max(1, int(choice.state.batch_cap[0])), context=int(context)),
        dataclasses.replace(
            cost_curves(pen, best), views=[_without_words(plan_report.costs_view(plan))], title="Cost and energy"
        ),
        time_section(pen, asked, batch=running, context=context),
        crossover_section(pen, asked, contexts=[context], context=context),
        *([_gain(pen, scenario, asked, int(context))] if _can_draft(scenario, choice) else []),
        dataclasses.replace(
            sensitive,
            words=[f"With twice the traffic: {_doubled(best)}", *sensitive.words],
            views=[*([changed] if changed else []), *sensitive.views],
        ),
    ]


def _without_words(view: View) -> View:
    return dataclasses.replace(view, lines=[])


def _can_draft(scenario: Scenario, choice: Choice) -> bool:
    deployment = choice.candidate.deployment
    return scenario.speculation is not None and deployment.devices == deployment.tensor_parallel


def _gain(pen: Pen, scenario: Scenario, asked: Deployment, context: int) -> Section:
    """What speculation gains at the context of the traffic."""
    return gain_section(pen, dataclasses.replace(scenario, context=(context,), batch=()), asked, float(context))


def _doubled(best: Served) -> str:
    """What happens at twice the traffic."""
    state = best.at(varied(best.load, 2.0 * best.load.points))
    if not state.is_stable[0]:
        room = text.short(float(state.saturating_requests_per_s[0]))
        return f"it saturates at {room} requests/s, and queues would grow without end."
    token, first = (served_report.seconds(float(getattr(state, f"{name}_p95")[0])) for name in ("tpot", "ttft"))
    return f"95 % of tokens would take at most {token}, and 95 % of first tokens {first}."


def _choices(pen: Pen, plan: Plan) -> Section:
    """The best fleets side by side."""
    telling = telling_names(plan)
    words = [
        f"{one.choice.fleet.devices:,} x {site_words(one.choice.candidate.site, telling)}: {engines_words(one.choice)}"
        for one in plan.fleets
    ]
    ranked = zip(words, plan.fleets, strict=True)
    costs = {f"{rank}. {name}": {"cost": one.choice.cost} for rank, (name, one) in enumerate(ranked, start=1)}
    is_priced = plan.fleets[0].choice.price is not None
    bars = draw_bars(costs, along=Axis(label="price [USD/h]" if is_priced else "devices"))
    title = "Price of the best fleets" if is_priced else "Size of the best fleets"
    return Section(
        title="What else would do",
        drawings=[pen.drawing(bars, title), *_frontier(pen, plan)],
        views=[_without_words(plan_report.fleets_view("", {}, plan))],
    )


def _frontier(pen: Pen, plan: Plan) -> list[Drawing]:
    """Speed for each user against work per device, and where the chosen fleet stands."""
    slowest = 0.25 / strictest(plan.demand.targets, "tpot")
    shown = [one for one in plan.frontier if one.tokens_per_s_per_user >= slowest]
    if len(shown) < 2:
        return []
    groups: dict[str, list[FrontierPoint]] = {}
    for one in shown:
        groups.setdefault(str(one.candidate.site.names["hardware"]), []).append(one)
    few = dict(sorted(groups.items(), key=lambda pair: -len(pair[1]))[:6])
    best = [one for one in shown if one.is_most_per_device]
    state = plan.fleets[0].choice.state
    devices = plan.fleets[0].choice.fleet.devices
    figure = draw_points(
        {name: _rates(points) for name, points in few.items()},
        _rates(best) if len(best) > 1 else None,
        (float(state.tokens_per_s_per_user[0]), float(state.tokens_per_s[0]) / devices),
        across=Axis(label="speed for each user [tokens/s]", scale="log"),
        along=Axis(label="work of a device [tokens/s]", scale="log"),
    )
    words = "Engines that are always full and run whole prompts; the chosen fleet is ringed, under this traffic."
    return [pen.drawing(figure, "Speed for each user against work", words)]


def _rates(points: Sequence[FrontierPoint]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([one.tokens_per_s_per_user for one in points]),
        np.array([one.tokens_per_s_per_device for one in points]),
    )


def _others(pen: Pen, plan: Plan) -> list[Section]:
    """How far more devices help, and why the rest is not among the fleets."""
    sections = []
    if len(plan.scaling) > 1:
        bars = {
            f"{one.devices} ({layout_words(one.candidate.layout)})": {"speed-up": one.speedup} for one in plan.scaling
        }
        figure = draw_bars(bars, along=Axis(label="speed-up of a decode step [1]"))
        sections.append(
            Section(
                title="Where more devices stop helping",
                drawings=[pen.drawing(figure, "The fastest layout of each number of devices")],
                views=[plan_report.scaling_view(plan)],
            )
        )
    limits = plan_report.limits_view(plan)
    sections.append(Section(title="Why the others were not taken", views=[limits]))
    return sections
