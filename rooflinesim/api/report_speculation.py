"""The chapter of a report about speculation: what it gains, with which draft, and where it loses."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.analysis.explain import explain
from rooflinesim.analysis.speculation.speculate import SpeculateResult
from rooflinesim.api.drafted_scenarios import speculation_answer
from rooflinesim.api.report_chapters import all_points, field_of, target_of
from rooflinesim.api.report_sections import (
    BATCH,
    Pen,
    cost_section,
    load_section,
    memory_section,
    sensitivity_section,
    time_section,
)
from rooflinesim.api.scenario_drafting import said, speculation_points
from rooflinesim.api.scenarios import DEFAULT_BATCHES, contexts
from rooflinesim.plots.panels import Axis, Line, draw_lines
from rooflinesim.report import text
from rooflinesim.report.document import Chapter, Fact, Section
from rooflinesim.report.scenarios import Part
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import format_quantity, parse_range

METHOD_WORDS: Mapping[str, str] = {
    "draft-model": "a small model",
    "eagle": "an EAGLE head",
    "medusa": "Medusa heads",
    "mtp": "multi-token prediction",
    "ngram": "prompt lookup",
    "self": "the model's own first layers",
    "lookahead": "lookahead",
}


def speculation_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """Rounds of speculation beside plain decoding, at each acceptance that the scenario names."""
    field = field_of(scenario)
    asked = field.deployments[0]
    batches = [float(one) for one in scenario.batch or parse_range(DEFAULT_BATCHES)]
    context = float(contexts(scenario)[0])
    points = speculation_points(scenario)
    results = [part_result(scenario, asked, one) for one in points]
    best = [_best_place(one, context) for one in results]
    gains = [float(one.speedup[at]) for one, at in zip(results, best, strict=True)]
    chosen = int(np.argmax(gains))
    result, at = results[chosen], best[chosen]
    gain, low, high = (float(getattr(result, name)[at]) for name in ("speedup", "speedup_low", "speedup_high"))
    rates = [one.get("acceptance_rate") for one in points]
    losing = part.summary["answers"][chosen].get("losing_reason", "")
    why = explain(asked, batch=float(result.batch[at]), context=context)
    price = field.prices[0]
    method = METHOD_WORDS[said(scenario).method]
    return Chapter(
        title=scenario.name,
        question=f"What does drafting by {method} gain, with which draft, and where does it lose?",
        answer=[
            f"{text.deployment_words(asked)}: at batch {result.batch[at]:,.0f} and"
            f" {context:,.0f} tokens of context drafting by {method} {_gain_words(gains, rates)}.",
            f"At {_kept_words(rates[chosen])} a token takes {format_quantity(float(result.tpot[at]), 's', 3)} in place"
            f" of {format_quantity(float(result.plain_step_time[at]), 's', 3)}, with {_draft_words(result, at)}.",
            f"There speculation {losing}." if losing else "The draft is chosen for each batch.",
        ],
        facts=[
            Fact(what="Speed-up", value=f"{gain:.2f} x", beside=f"band {low:.2f}-{high:.2f}"),
            Fact(
                what="Time per token",
                value=format_quantity(float(result.tpot[at]), "s", 3),
                beside=f"plain {format_quantity(float(result.plain_step_time[at]), 's', 3)}",
            ),
            Fact(
                what="Tokens per round",
                value=f"{float(result.tokens_per_round[at]):.2f}",
                beside=_draft_words(result, at),
            ),
        ],
        sections=[
            gain_section(pen, scenario, asked, context),
            load_section(
                pen,
                field.cases(field.deployments),
                batches=batches,
                context=context,
                target=target_of(scenario),
                held=None,
            ),
            time_section(pen, asked, batch=batches[0], context=context),
            memory_section(pen, field.cases([asked]), batch=int(batches[0]), context=int(context)),
            cost_section(pen, asked, price, batches=batches, context=context),
            sensitivity_section(pen, why, batch=float(result.batch[at]), context=context, band=""),
            dataclasses.replace(all_points(part), title="All numbers of the answer, with the schedule by batch"),
        ],
    )


def _best_place(result: SpeculateResult, context: float) -> int:
    """Row of the best draft at the smallest batch."""
    own = (result.context == context) & result.is_best
    return int(np.flatnonzero(own)[np.argmin(result.batch[own])])


def _gain_words(gains: Sequence[float], rates: Sequence[float | None]) -> str:
    """What speculation gains over what is known of acceptance."""
    if max(gains) <= 1.0:
        return "gains nothing: plain decoding is faster than every draft offered"
    if len(gains) == 1:
        return f"gains {gains[0]:.2f} x"
    least, most = int(np.argmin(gains)), int(np.argmax(gains))
    low = "nothing" if gains[least] <= 1.0 else f"{gains[least]:.2f} x"
    return f"gains {low} at {_kept_words(rates[least])} and {gains[most]:.2f} x at {_kept_words(rates[most])}"


def _kept_words(rate: float | None) -> str:
    return "the measured acceptance" if rate is None else f"an acceptance of {rate:.3g}"


def part_result(scenario: Scenario, asked: Deployment, point: dict[str, float]) -> SpeculateResult:
    """Rounds of one deployment at one acceptance."""
    formats = {"weights": scenario.precision.weights[0], "kv_cache": scenario.precision.kv_cache[0]}
    result: SpeculateResult = speculation_answer(scenario)(asked, {**formats, **point}).result
    return result


def _draft_words(result: SpeculateResult, at: int) -> str:
    if result.tree_nodes is not None:
        return f"a tree of {result.tree_nodes[at]:,.0f} nodes"
    length = float(result.draft_length[at])
    return "no draft" if length == 0 else f"{length:,.0f} drafted tokens a round"


def gain_section(pen: Pen, scenario: Scenario, asked: Deployment, context: float) -> Section:
    """Speed-up of the best draft over batch, or over acceptance where there is one batch."""
    points = speculation_points(scenario)
    results = [part_result(scenario, asked, one) for one in points]
    labels = [f"acceptance {one['acceptance_rate']:.3g}" if one else "measured curve" for one in points]
    axis = Axis(label="speed-up [1]")
    if np.unique(results[0].batch).size > 1:
        lines = {label: _best_line(result, context) for label, result in list(zip(labels, results, strict=True))[-6:]}
        figure = draw_lines(lines, across=BATCH, along=axis, levels={"no gain": 1.0})
        return Section(
            title="What speculation gains",
            drawings=[pen.drawing(figure, "Speed-up of the best draft over batch")],
        )
    lengths = {}
    for label, result in list(zip(labels, results, strict=True))[-6:]:
        own = result.context == context
        order = np.argsort(result.draft_length[own])
        x, y, low, high = (
            getattr(result, name)[own][order] for name in ("draft_length", "speedup", "speedup_low", "speedup_high")
        )
        lengths[label] = Line(x=x, y=y, low=low, high=high)
    figure = draw_lines(lengths, across=Axis(label="drafted tokens a round"), along=axis, levels={"no gain": 1.0})
    return Section(title="What speculation gains", drawings=[pen.drawing(figure, "Speed-up over draft length")])


def _best_line(result: SpeculateResult, context: float) -> Line:
    own = np.flatnonzero((result.context == context) & result.is_best)
    own = own[np.argsort(result.batch[own])]
    return Line(x=result.batch[own], y=result.speedup[own], low=result.speedup_low[own], high=result.speedup_high[own])
