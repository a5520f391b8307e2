"""Chapters of a report about serving: what users see of a fleet over load, and a trace replayed on it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rooflinesim.analysis.capacity.energy import fleet_power
from rooflinesim.analysis.explain import explain
from rooflinesim.analysis.recommend import Cost, cost_of, hourly_price
from rooflinesim.analysis.serving.arrivals import load_of
from rooflinesim.analysis.serving.asked import load_at, policy_at
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.steady import SteadyState, steady_state
from rooflinesim.api.report_chapters import all_points, field_of
from rooflinesim.api.report_sections import (
    Pen,
    cost_drawings,
    cost_words,
    memory_section,
    sensitivity_section,
    time_section,
)
from rooflinesim.api.scenario_traffic import traffic_of
from rooflinesim.api.serving import drafts_at, fleet_at, serving_points, trace_of
from rooflinesim.nouns import Noun
from rooflinesim.plots.panels import Axis, Line, draw_lines
from rooflinesim.report import served as report
from rooflinesim.report import text
from rooflinesim.report.document import Chapter, Section
from rooflinesim.report.scenarios import Part
from rooflinesim.specs.scenario import Objective, Scenario
from rooflinesim.units import format_quantity, quantity

_SHARES = np.concatenate([np.linspace(0.05, 0.9, 30), np.linspace(0.91, 0.99, 9)])
"""Shares of the saturating rate over which curves are drawn."""
_SHOWN_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
_HIGHEST = 20.0
"""Multiple of the targets, or of the time without load, up to which times are drawn [1]."""
_MOST_TRIED = 60
"""Fleets of a scenario that are looked at for the best one."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Served(Noun):
    """A fleet at the point of a load that is told about, with what it costs there."""

    fleet: Fleet
    load: Load
    policy: Policy
    drafts: Drafts | None
    price: float | None = quantity("USD/h", default=None)
    prefill_price: float | None = quantity("USD/h", default=None)
    place: int = 0

    def at(self, load: Load) -> SteadyState:
        """The fleet under another load."""
        return steady_state(self.fleet, load, self.policy, self.drafts)

    @property
    def hourly(self) -> float | None:
        """Price of all devices [USD/h]; None where one has none."""
        own = hourly_price(self.fleet.decode, self.price)
        if self.fleet.prefill is None:
            return None if own is None else own * self.fleet.replicas
        other = hourly_price(self.fleet.prefill, self.prefill_price)
        both = own is not None and other is not None
        return own * self.fleet.replicas + other * self.fleet.prefill_replicas if both else None  # type: ignore[operator]

    def cost(self, state: SteadyState, load: Load) -> Cost:
        """What the tokens of a load take."""
        power = fleet_power(self.fleet, load, state, self.drafts)
        return cost_of(self.hourly, power, np.maximum(state.tokens_per_s, 1e-12))


def targets_of(objective: Objective | None) -> dict[str, float]:
    """The strictest value of each target of an objective [s]."""
    if objective is None:
        return {}
    given = {field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)}
    return {name: min(values) for name, values in given.items() if values and name[:4] in ("tpot", "ttft")}


def varied(load: Load, points: np.ndarray) -> Load:
    """The same requests at other rates or numbers of users."""
    if load.users is not None:
        return dataclasses.replace(load, users=points)
    return dataclasses.replace(load, requests_per_s=points)


def serving_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """A fleet in the long run, at the loads that a scenario names; of several fleets the one that serves most."""
    best, tried = _best(scenario)
    state = best.at(best.load)
    return Chapter(
        title=scenario.name,
        question=_question(tried),
        answer=list(_sentences(best, state, targets_of(scenario.objective))),
        facts=report.served_facts(
            best.fleet, best.load, state, best.cost(state, best.load), targets_of(scenario.objective), best.place
        ),
        sections=[
            *([Section(title="Request by request", views=part.views)] if scenario.asked == "simulate" else []),
            *serving_sections(pen, best, targets_of(scenario.objective)),
            *([] if scenario.asked == "simulate" else [all_points(part)]),
        ],
    )


def _question(tried: int) -> str:
    which = f" Of {tried} ways to serve it, the one that serves most for its price is told about." if tried > 1 else ""
    return f"What do users see of this fleet, and where does it saturate?{which}"


def _sentences(best: Served, state: SteadyState, targets: Mapping[str, float]) -> list[str]:
    doubled = best.at(varied(best.load, 2.0 * best.load.points))
    return list(report.served_sentences(best.fleet, best.load, state, doubled, targets, best.place))


def _best(scenario: Scenario) -> tuple[Served, int]:
    """The fleet of a scenario that serves most within its targets, for its price or for each device."""
    field = field_of(scenario)
    traffic = traffic_of(scenario)
    targets = targets_of(scenario.objective)
    found: list[tuple[tuple[int, float], Served]] = []
    for deployment, price in zip(field.deployments, field.prices, strict=True):
        for point in serving_points(scenario):
            if len(found) >= _MOST_TRIED:
                break
            load = load_of(trace_of(scenario, point["cached_share"])) if traffic.trace else load_at(traffic, point)
            drafts, _ = drafts_at(deployment, scenario, load, point)
            fleet = fleet_at(deployment, scenario, point)
            served = Served(
                fleet=fleet,
                load=load,
                policy=policy_at(point),
                drafts=drafts,
                price=price,
                prefill_price=price,
                place=load.points.size - 1,
            )
            state = served.at(load)
            met = [
                not report.missed(state, targets, place) and bool(state.is_stable[place])
                for place in range(load.points.size)
            ]
            worth = float(state.saturating_requests_per_s[-1]) / (served.hourly or fleet.devices)
            if any(met):
                served = dataclasses.replace(served, place=int(np.flatnonzero(met)[-1]))
            found.append(((-sum(met), -worth), served))
    return min(found, key=lambda one: one[0])[1], len(found)


def serving_sections(pen: Pen, best: Served, targets: Mapping[str, float]) -> list[Section]:
    """A fleet over load, its memory, time and cost; the latter at the batch that runs at its load."""
    state = best.at(best.load)
    running = max(1.0, float(np.round(state.running[best.place])))
    asked = best.fleet.decode
    context = best.load.mean_context
    why = explain(asked, batch=running, context=context)
    cap = float(state.batch_cap[best.place])
    label = text.telling_labels([asked])[0]
    band = report.band_words(state, "tpot_p95", best.place)
    return [
        Section(
            title="Deployment",
            views=[report.fleet_view(best.fleet, best.load, best.policy, best.drafts, best.price)],
        ),
        load_curves(pen, best, targets),
        time_section(pen, asked, batch=running, context=context),
        memory_section(pen, {label: asked}, batch=max(1, int(cap)), context=int(context)),
        cost_curves(pen, best),
        sensitivity_section(pen, why, batch=running, context=context, band=band),
    ]


def _points(best: Served) -> np.ndarray:
    """Loads for curves: shares of what saturates an open loop, or users up to twice the most that are asked about."""
    if best.load.users is not None:
        most = 2.0 * float(np.max(best.load.points))
        return np.unique(np.round(np.geomspace(1.0, max(2.0, most), 40)))
    room = float(best.at(best.load).saturating_requests_per_s[best.place])
    return room * _SHARES


def load_curves(pen: Pen, best: Served, targets: Mapping[str, float]) -> Section:
    """Time per token and to the first token over load, with bands, targets and the load that is asked about."""
    points = _points(best)
    state = best.at(varied(best.load, points))
    across = _across(best)
    asked = float(best.load.points[best.place])
    places = {"this load": asked} if asked <= points[-1] else {}

    def drawn(kind: str, words: str) -> object:
        lines = {}
        wanted = [value for name, value in targets.items() if name.startswith(kind)]
        # Close to saturation times grow beyond all measure.
        most = _HIGHEST * (max(wanted) if wanted else float(getattr(state, f"{kind}_p95")[0]))
        for point, label in (("p95", "95 %"), ("p50", "median")):
            name = f"{kind}_{point}"
            low, high = (getattr(state, f"{name}_{end}") for end in ("low", "high"))
            known = getattr(state, name) <= most
            is_first = point == "p95"
            lines[label] = Line(
                x=points[known],
                y=getattr(state, name)[known],
                low=low[known] if is_first else None,
                high=high[known] if is_first else None,
            )
        levels = {
            f"target {name.partition('_')[2]} {format_quantity(value, 's', 3)}": value
            for name, value in targets.items()
            if name.startswith(kind)
        }
        axis = Axis(label=f"{words} [s]", unit="s", scale="log")
        return draw_lines(lines, across=across, along=axis, levels=levels, places=places)

    running = {
        "running, mean": Line(x=points, y=state.running),
        "running, 95 %": Line(x=points, y=state.running_p95),
    }
    cap = float(state.batch_cap[0])
    batch = draw_lines(
        running,
        across=across,
        along=Axis(label="requests at once, one replica", scale="log"),
        levels={f"at most {cap:,.0f}": cap} if cap < 1e5 else {},
        places=places,
    )
    rate = draw_lines(
        {"tokens/s": Line(x=points, y=state.tokens_per_s)},
        across=across,
        along=Axis(label="output tokens/s"),
        places=places,
    )
    shown = varied(best.load, np.unique(np.concatenate([_shown_points(best), best.load.points])))
    at_shown = best.at(shown)
    return Section(
        title="Latency and throughput over load",
        drawings=[
            pen.drawing(drawn("tpot", "time per token"), "Time per output token"),
            pen.drawing(drawn("ttft", "time to first token"), "Time to the first token"),
            pen.drawing(batch, "Running requests"),
            pen.drawing(rate, "Throughput"),
        ],
        views=[report.curve_view(shown, at_shown, best.cost(at_shown, shown))],
    )


def _shown_points(best: Served) -> np.ndarray:
    points = _points(best)
    if best.load.users is not None:
        return points[:: max(1, points.size // 5)]
    return np.asarray(points[-1] / _SHARES[-1] * np.asarray(_SHOWN_SHARES))


def cost_curves(pen: Pen, best: Served) -> Section:
    """What an output token costs over load, in money and energy."""
    points = _points(best)
    asked = varied(best.load, points)
    cost = best.cost(best.at(asked), asked)
    return Section(
        title="Cost and energy",
        words=[
            "A fleet costs the same whatever it serves: the busier it is, the cheaper a token.",
            *cost_words(best.hourly),
        ],
        drawings=cost_drawings(pen, _across(best), points, cost, with_what=", its prompt included"),
    )


def _across(best: Served) -> Axis:
    return Axis(label="users" if best.load.users is not None else "requests per second")
