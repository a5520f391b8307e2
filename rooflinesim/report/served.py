"""A fleet under load: sentences, facts and tables of a report."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rooflinesim.report import text
from rooflinesim.report.document import Fact
from rooflinesim.report.serving import bound_words, fleet_lines
from rooflinesim.report.standings import energy_fact
from rooflinesim.report.tables import View
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.recommend import Cost
    from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
    from rooflinesim.analysis.serving.steady import SteadyState

TARGET_WORDS = {"tpot": "time per token", "ttft": "time to the first token"}


LONGEST = 86_400.0
"""Times beyond a day are no answer to a request [s]."""


def seconds(value: float) -> str:
    """A time, or the word for one without end."""
    return format_quantity(value, "s", 3) if np.isfinite(value) else "without end"


def band_words(state: "SteadyState", name: str, place: int) -> str:
    """The band of a time in words; empty where there is none."""
    low, high = (float(getattr(state, f"{name}_{end}")[place]) for end in ("low", "high"))
    if low == high:
        return ""
    return text.span(low, high, "s") if high < LONGEST else f"from {seconds(low)} without end"


def target_words(name: str, value: float) -> str:
    """A target such as tpot_p95 in words."""
    kind, _, point = name.partition("_")
    which = "mean" if point == "mean" else f"{point[1:]} % of the"
    return f"{which} {TARGET_WORDS[kind]} within {format_quantity(value, 's', 3)}"


def missed(state: "SteadyState", targets: Mapping[str, float], place: int, end: str = "") -> list[str]:
    """Targets that a state misses, at the predicted times or at an end of their bands."""
    return [name for name, most in targets.items() if not float(getattr(state, f"{name}{end}")[place]) <= most]


def load_words(load: "Load", place: int) -> str:
    """A load in words."""
    amount = f"{text.short(float(load.points[place]))} {'users' if load.users is not None else 'requests/s'}"
    prompt, output = (text.short(value, digits=4) for value in (load.prompt_tokens, load.output_tokens))
    return f"{amount} of {prompt} + {output} tokens"


def fleet_words(fleet: "Fleet") -> str:
    """A fleet in few words."""
    many = f"{fleet.replicas:,} x " if fleet.replicas > 1 else ""
    return f"{many}{text.deployment_words(fleet.decode)}"


def served_sentences(
    fleet: "Fleet", load: "Load", state: "SteadyState", doubled: "SteadyState", targets: Mapping[str, float], place: int
) -> Iterator[str]:
    """What users see, where it saturates, and what happens at twice the load: three sentences."""
    if not state.is_stable[place]:
        yield f"{fleet_words(fleet)} cannot serve {load_words(load, place)}: queues grow without end."
    else:
        yield (
            f"{fleet_words(fleet)} serves {load_words(load, place)}: 95 % of its tokens take at most"
            f" {seconds(float(state.tpot_p95[place]))}, 95 % of first tokens come within"
            f" {seconds(float(state.ttft_p95[place]))}{_met_words(state, targets, place)}."
        )
    room = float(state.saturating_requests_per_s[place])
    used = float(state.requests_per_s[place]) / room if room else 1.0
    yield (
        f"It saturates at {text.short(room)} requests/s, of which this load is {text.percent(used)}:"
        f" {bound_words(state, place)}."
    )
    if not doubled.is_stable[place]:
        yield "Twice the load is beyond it."
    else:
        lost = missed(doubled, targets, place)
        verdict = f" and miss {', '.join(_plain(name) for name in lost)}" if lost else " and still meet the targets"
        yield (
            f"At twice the load tokens would take {seconds(float(doubled.tpot_p95[place]))} and first tokens"
            f" {seconds(float(doubled.ttft_p95[place]))} in 95 % of cases{verdict if targets else ''}."
        )


def _plain(name: str) -> str:
    kind, _, point = name.partition("_")
    return f"{kind.upper()} {point}"


def _met_words(state: "SteadyState", targets: Mapping[str, float], place: int) -> str:
    if not targets:
        return ""
    lost = missed(state, targets, place)
    if lost:
        return f"; it misses {', '.join(_plain(name) for name in lost)}"
    return ", within the targets" + (", probably" if missed(state, targets, place, "_high") else ", surely")


def served_facts(
    fleet: "Fleet", load: "Load", state: "SteadyState", cost: "Cost", targets: Mapping[str, float], place: int
) -> list[Fact]:
    """The numbers of a fleet that stand out."""

    def time(name: str, what: str) -> Fact:
        band = band_words(state, name, place)
        most = targets.get(name)
        beside = [f"band {band}" if band else "", "" if most is None else f"target {format_quantity(most, 's', 3)}"]
        return Fact(
            what=what, value=seconds(float(getattr(state, name)[place])), beside="; ".join(filter(None, beside))
        )

    facts = [
        time("tpot_p95", "Time per token, 95 %"),
        time("ttft_p95", "Time to first token, 95 %"),
        Fact(what="Devices", value=f"{fleet.devices:,}", beside=fleet.decode.hardware.name),
        Fact(
            what="Saturates at",
            value=f"{text.short(float(state.saturating_requests_per_s[place]))} requests/s",
            beside=load_words(load, place),
        ),
    ]
    if cost.usd_per_mtok is not None:
        value = f"{float(cost.usd_per_mtok[place]):.3g} USD"
        facts.append(Fact(what="A million output tokens", value=value, beside="prompts included, at this load"))
    facts.append(energy_fact(cost, place))
    return facts


def fleet_view(fleet: "Fleet", load: "Load", policy: "Policy", drafts: "Drafts | None", price: float | None) -> View:
    """What to set up, line by line."""
    one = fleet.decode
    rows = [
        ["model", one.model.name],
        ["replicas", f"{fleet.replicas:,}"],
        ["devices of a replica", f"{one.devices} x {one.hardware.name}"],
        ["layout of a replica", text.layout_words(one) or "one device"],
        ["formats", text.formats_line(one.precision, one.model)],
        ["software", one.stack.name],
        ["scheduling", fleet_lines(fleet, load, policy, drafts)[1]],
    ]
    if price is not None:
        rows.append(["price", f"{price:.4g} USD/h for one device"])
    return View(lines=[], headers=["", ""], rows=rows, left=(0, 1))


def curve_view(load: "Load", state: "SteadyState", cost: "Cost") -> View:
    """What users see over load, and what it costs."""
    is_closed = load.users is not None
    has_cost = cost.usd_per_mtok is not None

    def times(name: str, place: int) -> list[str]:
        value = float(getattr(state, name)[place])
        return [text.milliseconds(value) if np.isfinite(value) else "∞", band_words(state, name, place) or "-"]

    return View(
        lines=["Over load, 95 % points with their bands:"],
        headers=[
            "users" if is_closed else "requests/s",
            "running",
            "TPOT ms",
            "band",
            "TTFT ms",
            "band",
            "tok/s",
            *(["USD/Mtok all in"] if has_cost else []),
            "stable",
        ],
        rows=[
            [
                text.short(float(load.points[place])),
                f"{float(state.running[place]):.1f}",
                *times("tpot_p95", place),
                *times("ttft_p95", place),
                text.short(float(state.tokens_per_s[place])),
                *([text.short(float(cost.usd_per_mtok[place]))] if cost.usd_per_mtok is not None else []),
                "yes" if state.is_stable[place] else "no",
            ]
            for place in range(load.points.size)
        ],
        left=(),
    )
