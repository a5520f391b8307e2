"""Chapters of a report about steps: decode, prefill, memory and crossover."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.analysis.compare import Case, compare
from rooflinesim.analysis.crossover import crossover
from rooflinesim.analysis.explain import explain
from rooflinesim.analysis.grid import Grid, deployment_at, values_at
from rooflinesim.analysis.memory import memory
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.recommend import Standing, standings
from rooflinesim.analysis.residency import max_batch
from rooflinesim.api.report_sections import (
    Pen,
    cost_section,
    crossover_section,
    curve,
    load_section,
    memory_section,
    sensitivity_section,
    time_section,
)
from rooflinesim.api.scenarios import DEFAULT_BATCHES, contexts, grid_of, step_question
from rooflinesim.config.scenarios import named
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.plots.panels import Axis, Line, draw_lines
from rooflinesim.report import compare as compare_report
from rooflinesim.report import crossover as crossover_report
from rooflinesim.report import memory as memory_report
from rooflinesim.report import standings as report
from rooflinesim.report import text
from rooflinesim.report.decode import RESOURCE_NAMES
from rooflinesim.report.document import Chapter, Fact, Section
from rooflinesim.report.scenarios import Part
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.scenario import Scenario
from rooflinesim.units import format_quantity, parse_range

MOST_CASES = 6
"""Deployments in one figure."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Field(Noun):
    """The deployments of a scenario that can be, each with the price of its device."""

    grid: Grid
    deployments: tuple[Deployment, ...]
    prices: tuple[float | None, ...]

    def cases(self, chosen: Sequence[Deployment]) -> dict[str, Deployment]:
        """Deployments by what tells them apart, few enough for one figure."""
        few = list(chosen)[:MOST_CASES]
        return dict(zip(text.telling_labels(few), few, strict=True))


def field_of(scenario: Scenario) -> Field:
    """The deployments that a scenario names and that can be.

    Raises
    ------
    RooflinesimError : with the reason of the last, if none can be.
    """
    question, _ = step_question(dataclasses.replace(scenario, question=None, speculation=None))
    nouns = named(scenario)
    grid = grid_of(scenario, nouns, question)
    found: list[tuple[Deployment, float | None]] = []
    problem: RooflinesimError | None = None
    for place in range(grid.deployments):
        try:
            asked = deployment_at(grid, place)
            memory(asked)
        except RooflinesimError as error:
            problem = error
            continue
        found.append((asked, (scenario.price or {}).get(values_at(grid, place)["hardware"])))
    if not found:
        raise problem or DomainError(f"{scenario.name}: names no deployment")
    deployments, prices = zip(*found, strict=True)
    return Field(grid=grid, deployments=deployments, prices=prices)


def target_of(scenario: Scenario) -> float | None:
    """The shortest time per token that a scenario asks for [s]; None where it asks for none."""
    asked = scenario.objective
    if asked is None:
        return None
    given = [value for name in ("tpot_mean", "tpot_p50", "tpot_p95", "tpot_p99") for value in getattr(asked, name)]
    return min(given, default=None)


def all_points(part: Part) -> Section:
    """Everything that the question's own answer shows."""
    return Section(title="All numbers of the answer", views=part.views, is_detail=True)


def steps_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """Tokens of decoding: which deployment, how fast over load, what it costs and holds."""
    field = field_of(scenario)
    batches = [float(one) for one in scenario.batch or parse_range(DEFAULT_BATCHES)]
    lengths = [float(one) for one in contexts(scenario)]
    longest, target = max(lengths), target_of(scenario)
    found = standings(field.deployments, field.prices, batch=batches, context=longest, target=target)
    best = found[0]
    asked = best.deployment
    held = max_batch(asked, int(longest))
    why = explain(asked, batch=best.batch, context=longest)
    cases = field.cases([one.deployment for one in found])
    low, high = float(best.row.step_time_low[0]), float(best.row.step_time_high[0])
    sections = [
        Section(
            title="Recommended deployment" if len(found) > 1 else "Deployment",
            views=[report.deployment_view(best), *([report.standings_view(found, target)] if len(found) > 1 else [])],
        ),
        load_section(pen, cases, batches=batches, context=longest, target=target, held=held),
        time_section(pen, asked, batch=best.batch, context=longest),
        memory_section(pen, cases, batch=int(best.batch), context=int(longest)),
        cost_section(pen, asked, best.price, batches=batches, context=longest),
        crossover_section(pen, asked, contexts=lengths, context=longest),
        sensitivity_section(pen, why, batch=best.batch, context=longest, band=text.span(low, high, "s")),
        *([_against(found[0], found[1])] if len(found) > 1 else []),
        all_points(part),
    ]
    return Chapter(
        title=scenario.name,
        question=f"How long does a decoded token take, at which load, and on what? ({_asked_words(field, part)})",
        answer=list(report.best_sentences(found, target, held, why)),
        facts=report.best_facts(best, target, held),
        sections=sections,
    )


def _asked_words(field: Field, part: Part) -> str:
    axes = part.inputs.get("axes", {})
    words = [f"{len(values)} x {name.removesuffix('_tokens').replace('_', ' ')}" for name, values in axes.items()]
    return ", ".join(words) if words else f"{len(field.deployments)} deployment"


def _against(best: Standing, other: Standing) -> Section:
    """Why the best is ahead of the next, term by term, at the same load."""
    first, second = (
        Case(deployment=one.deployment, batch=best.batch, context=best.context, price=one.price)
        for one in (best, other)
    )
    names = text.telling_labels([best.deployment, other.deployment])
    result = compare(first, second)
    return Section(
        title="Against the next best",
        words=[
            f"A is {names[0]}, B is {names[1]}, both at batch {best.batch:,.0f}; the terms add up to the difference."
        ],
        views=compare_report.compare_views(result, names)[:-1],
    )


def prefill_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """First tokens: how long a prompt takes on each deployment."""
    field = field_of(scenario)
    grid = field.grid
    axes = grid.asked.axes
    prompts, cached = [float(one) for one in axes["prompt"]], float(max(axes["context"]))
    batch = float(min(axes["batch"]))
    points = curve(prompts, 128.0, 8192.0)
    longest = max(prompts)
    rows = [prefill(one, prompt=longest, batch=batch, context=cached) for one in field.deployments]
    order = np.argsort([float(row.ttft[0]) for row in rows])
    ordered = [field.deployments[int(place)] for place in order]
    best, row = ordered[0], rows[int(order[0])]
    cases = field.cases(ordered)
    lines = {}
    for label, one in cases.items():
        times = prefill(one, prompt=points, batch=batch, context=cached)
        pale = None if times.fits is None else ~times.fits
        lines[label] = Line(x=points, y=times.ttft, low=times.ttft_low, high=times.ttft_high, is_pale=pale)
    figure = draw_lines(
        lines,
        across=Axis(label="prompt [tokens]", scale="count"),
        along=Axis(label="time to first token [s]", unit="s", scale="log"),
    )
    time = format_quantity(float(row.ttft[0]), "s", 3)
    band = text.span(float(row.ttft_low[0]), float(row.ttft_high[0]), "s")
    words = text.deployment_words(best)
    behind = f" behind {cached:,.0f} cached tokens" if cached else ""
    first = f"{words}: the first token of a prompt of {longest:,.0f} tokens{behind} comes after {time}"
    why = explain(best, batch=batch, context=cached, new_tokens=longest)
    strongest = max(why.sensitivities, key=lambda one: one.saved)
    resource = RESOURCE_NAMES[strongest.resource]
    return Chapter(
        title=scenario.name,
        question="How long does a prompt take until its first token, without queueing?",
        answer=[
            f"{'Fastest is ' if len(ordered) > 1 else ''}{first}{f' (band {band})' if band else ''}.",
            f"It reads {text.short(float(row.prompt_tokens_per_s[0]))} prompt tokens/s, bound by {row.bound[0]}; 10 %"
            f" more {resource} would save {text.percent(strongest.saved)}.",
            _prompt_memory(row.fits, best, float(row.resident_bytes[0])),
        ],
        facts=[
            Fact(what="Time to first token", value=time, beside=f"band {band}" if band else "no band"),
            Fact(what="Prompt", value=f"{longest:,.0f} tokens", beside=f"{cached:,.0f} cached before"),
            Fact(
                what="Reads",
                value=f"{text.short(float(row.prompt_tokens_per_s[0]))} tok/s",
                beside=f"MFU {text.share(row.mfu[0])}",
            ),
        ],
        sections=[
            Section(
                title="Time to first token over the prompt",
                drawings=[pen.drawing(figure, f"Batch {batch:,.0f}, {cached:,.0f} tokens cached before")],
                views=part.views,
            ),
            memory_section(pen, cases, batch=int(batch), context=int(cached + longest)),
            sensitivity_section(pen, why, batch=batch, context=cached, band=band),
        ],
    )


def _prompt_memory(fits: np.ndarray | None, asked: Deployment, taken: float) -> str:
    size = format_quantity(taken, "B", 3)
    if fits is None:
        return f"It takes {size} of each device, whose capacity the profile does not state."
    return f"It takes {size} of each device and {'fits' if fits[0] else 'does not fit'} into {text.usable_line(asked)}."


def memory_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """Bytes: what lies in memory, what fits, and what a step streams."""
    field = field_of(scenario)
    batch, context = max(scenario.batch or (1,)), max(contexts(scenario))
    ledgers = [memory(one, batch=batch, context=context) for one in field.deployments]
    order = sorted(
        range(len(ledgers)), key=lambda place: (ledgers[place].fits is False, field.deployments[place].devices)
    )
    best, ledger = field.deployments[order[0]], ledgers[order[0]]
    cases = field.cases([field.deployments[place] for place in order])
    fit_lines = memory_report.fit_lines(best, ledger)
    facts = [
        Fact(what="Taken of one device", value=format_quantity(ledger.resident, "B", 3), beside=f"batch {batch:,}"),
        Fact(what="Streamed per step", value=format_quantity(ledger.streamed, "B", 3), beside=f"context {context:,}"),
    ]
    if ledger.max_batch is not None:
        facts.append(Fact(what="Largest batch", value=f"{ledger.max_batch:,}", beside=f"context {context:,}"))
    if ledger.max_context is not None:
        facts.append(Fact(what="Longest context", value=f"{ledger.max_context:,}", beside=f"batch {batch:,}"))
    why = explain(best, batch=batch, context=context)
    return Chapter(
        title=scenario.name,
        question=f"What takes memory at batch {batch:,} and {context:,} tokens of context, and what fits?",
        answer=[
            f"{text.deployment_words(best)} takes {format_quantity(ledger.resident, 'B', 3)} of each"
            f" device's memory and {'fits' if ledger.fits else 'does not fit' if ledger.fits is False else 'may fit'}.",
            *(f"{line[0].upper()}{line[1:]}." for line in fit_lines[:2]),
        ],
        facts=facts,
        sections=[
            memory_section(pen, cases, batch=batch, context=context),
            load_section(
                pen, cases, batches=[1.0, float(batch)], context=float(context), target=None, held=ledger.max_batch
            ),
            sensitivity_section(pen, why, batch=batch, context=context, band=""),
            all_points(part),
        ],
    )


def crossover_chapter(pen: Pen, scenario: Scenario, part: Part) -> Chapter:
    """Flips: from which batch on decoding is compute-bound, by every meaning of it."""
    field = field_of(scenario)
    lengths = [float(one) for one in contexts(scenario)]
    asked = field.deployments[0]
    result = crossover(asked, context=lengths[0])
    rows: Mapping[str, str] = {
        row.scope: crossover_report.reason_of(row, result) for row in result.rows if row.scope != "op"
    }
    step, gemms, fits = result.row("step"), result.row("weight_gemms"), result.row("fits")
    words = text.deployment_words(asked)
    held = None if fits.batch is None else int(fits.batch)
    return Chapter(
        title=scenario.name,
        question=f"From which batch on is decoding compute-bound at {lengths[0]:,.0f} tokens of context?",
        answer=[
            f"{words}: the whole step flips at batch {_flip(step.batch)}, its weight products alone at"
            f" {_flip(gemms.batch)}.",
            f"Of the whole step: {rows['step'].removeprefix('never: ')}.",
            "Memory holds an unknown number of sequences."
            if held is None
            else f"Memory holds {held:,} sequences of this length, {_beside_flip(held, step.batch)}.",
        ],
        facts=[
            Fact(what="Whole step flips", value=_flip(step.batch), beside=f"context {lengths[0]:,.0f}"),
            Fact(what="Weight products flip", value=_flip(gemms.batch), beside=f"ridge {result.ridge:,.0f} FLOP/B"),
            Fact(what="Memory holds", value="?" if held is None else f"{held:,}", beside="sequences"),
        ],
        sections=[
            crossover_section(pen, asked, contexts=lengths, context=lengths[0]),
            load_section(
                pen,
                field.cases(field.deployments),
                batches=[float(one) for one in scenario.batch or parse_range(DEFAULT_BATCHES)],
                context=lengths[0],
                target=None,
                held=held,
            ),
            time_section(pen, asked, batch=float((scenario.batch or (64,))[0]), context=lengths[0]),
            all_points(part),
        ],
    )


def _flip(batch: float | None) -> str:
    return "never" if batch is None else text.short(batch) if batch < 10 else text.whole(batch)


def _beside_flip(held: int, flip: float | None) -> str:
    if flip is None:
        return "and a step stays memory-bound whatever the batch"
    return "fewer than the flip takes" if held < flip else "more than the flip takes"
