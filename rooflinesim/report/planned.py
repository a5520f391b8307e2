"""A capacity plan: sentences and facts of a report."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rooflinesim.analysis.capacity.sensitivity import MOST_HEAD_ROOM
from rooflinesim.report import text
from rooflinesim.report.document import Fact
from rooflinesim.report.plan_words import engines_words, miss_lines, site_words, telling_names
from rooflinesim.report.served import band_words, load_words, seconds
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.capacity.plan import Plan, Planned

_VERDICTS = {
    "surely": "It surely meets the objective: so does the upper end of the band",
    "probably": "It probably meets the objective: the prediction does, the upper end of its band does not",
    "no": "It does not meet the objective",
}


def plan_sentences(plan: "Plan") -> Iterator[str]:
    """What to rent, what users see of it, and what it costs with what comes next: three sentences."""
    if not plan.fleets:
        yield from miss_lines(plan)
        return
    best = plan.fleets[0]
    choice, state = best.choice, best.choice.state
    telling = telling_names(plan)
    price = "" if choice.price is None else f" for {choice.price:,.4g} USD/h"
    drafted = "" if choice.drafts is None else f", drafting {choice.drafts.draft_length} tokens ahead"
    yield (
        f"Take {_words(best, telling)}{drafted}{price}: the {'cheapest' if price else 'smallest'} fleet of"
        f" {plan.candidates:,} looked at that serves {load_words(plan.demand.load, 0)}."
    )
    yield (
        f"{_VERDICTS[choice.verdict]}; 95 % of tokens take at most {seconds(float(state.tpot_p95[0]))}, 95 % of first"
        f" tokens come within {seconds(float(state.ttft_p95[0]))}, and it bears {room_words(best)}."
    )
    yield f"{_cost_words(best)}{_next_words(plan)}."


def room_words(one: "Planned") -> str:
    """How much more traffic a fleet bears."""
    if one.head_room >= MOST_HEAD_ROOM:
        return f"more than {MOST_HEAD_ROOM:g} times the traffic"
    return f"{one.head_room:.2f} times the traffic"


def _cost_words(one: "Planned") -> str:
    energy = format_quantity(one.energy.per_token, "J", 3)
    if one.prices.per_million_output is None or one.prices.per_million_input is None:
        return f"An output token takes about {energy}"
    return (
        f"A million output tokens cost {one.prices.per_million_output:.3g} USD, of prompts"
        f" {one.prices.per_million_input:.3g} USD, and an output token takes about {energy}"
    )


def _next_words(plan: "Plan") -> str:
    """What else there is: the next best, or what is surely enough."""
    best, surest = plan.fleets[0], plan.surest
    telling = telling_names(plan)
    if best.choice.verdict != "surely":
        if surest is None:
            return "; no fleet surely meets the objective"
        other, why = surest, "to be sure, take"
    else:
        others = [one for one in plan.fleets[1:] if _words(one, telling) != _words(best, telling)]
        if not others:
            return ""
        other, why = others[0], "next best are"
    dearer = other.choice.cost / best.choice.cost - 1.0
    more = f" for {text.percent(dearer)} more" if dearer > 0.005 else " for as much"
    return f"; {why} {_words(other, telling)}{more}"


def _words(one: "Planned", telling: Sequence[str]) -> str:
    devices = f"{one.choice.fleet.devices:,} x {site_words(one.choice.candidate.site, telling)}"
    return f"{devices} as {engines_words(one.choice)}"


def plan_facts(plan: "Plan") -> list[Fact]:
    """The numbers of the best fleet that stand out."""
    best = plan.fleets[0]
    choice, state, targets = best.choice, best.choice.state, plan.demand.targets

    def time(name: str, what: str) -> Fact:
        target = targets.get(name)
        band = band_words(state, name, 0)
        held = "" if target is None else f"target {format_quantity(target, 's', 3)}"
        beside = "; ".join(filter(None, [f"band {band}" if band else "", held]))
        return Fact(what=what, value=seconds(float(getattr(state, name)[0])), beside=beside)

    facts = [
        Fact(what="Meets the objective", value=choice.verdict, beside=f"up to {room_words(best)}"),
        Fact(
            what="Devices",
            value=f"{choice.fleet.devices:,}",
            beside=f"{choice.candidate.site.hardware.name}, {engines_words(choice)}",
        ),
        time("tpot_p95", "Time per token, 95 %"),
        time("ttft_p95", "Time to first token, 95 %"),
    ]
    if choice.price is not None and best.prices.per_million_output is not None:
        month = choice.price * 730.0
        facts.append(Fact(what="Price", value=f"{choice.price:,.4g} USD/h", beside=f"{month:,.0f} USD a month"))
        facts.append(
            Fact(
                what="A million output tokens",
                value=f"{best.prices.per_million_output:.3g} USD",
                beside=f"{best.prices.per_million_input:.3g} USD for prompts",
            )
        )
    peak = "" if best.energy.peak is None else f", at most {format_quantity(best.energy.peak, 'W', 3)}"
    facts.append(
        Fact(
            what="Power, about",
            value=format_quantity(best.energy.power, "W", 3),
            beside=f"{format_quantity(best.energy.per_token, 'J', 3)} per output token{peak}",
        )
    )
    return facts
