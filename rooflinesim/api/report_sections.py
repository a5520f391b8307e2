"""Sections of a report that several questions share: each asks one question of a deployment, and draws it."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rooflinesim.analysis.breakdown import breakdown
from rooflinesim.analysis.crossover import crossover
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.explain import Explanation
from rooflinesim.analysis.flips import flips
from rooflinesim.analysis.memory import memory
from rooflinesim.analysis.recommend import Cost, decode_cost
from rooflinesim.nouns import Noun
from rooflinesim.plots.inline import inline_svg
from rooflinesim.plots.memory import OTHER_LOOK, PART_LOOKS
from rooflinesim.plots.panels import Axis, Line, draw_bars, draw_lines, draw_stack
from rooflinesim.report import crossover as crossover_report
from rooflinesim.report import decode as decode_report
from rooflinesim.report import memory as memory_report
from rooflinesim.report import standings as standings_report
from rooflinesim.report.document import Drawing, Section
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import format_quantity

BATCH = Axis(label="batch [sequences]", scale="count")
_CURVE_POINTS = 80
_SHOWN_OPS = 12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pen(Noun):
    """What draws the figures of a page, each under a name of its own; one that `is_dry` leaves them empty."""

    is_dry: bool = False
    names: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def drawing(self, figure: object, title: str, words: str = "") -> Drawing:
        """A figure for the page."""
        if self.is_dry:
            return Drawing(svg="", title=title, words=words)
        svg = inline_svg(figure, label=title, prefix=f"f{next(self.names)}")  # type: ignore[arg-type]
        return Drawing(svg=svg, title=title, words=words)


def curve(values: Sequence[float], least: float, most: float) -> np.ndarray:
    """Values between two ends, close enough for a smooth curve, those asked about among them."""
    low, high = min([least, *values]), max([most, *values])
    return np.unique(
        np.concatenate([np.asarray(values, dtype=float), np.round(np.geomspace(low, high, _CURVE_POINTS))])
    )


def load_section(
    pen: Pen,
    cases: Mapping[str, Deployment],
    *,
    batches: Sequence[float],
    context: float,
    target: float | None,
    held: int | None,
) -> Section:
    """Time per token and throughput over batch, with bands, the target and what memory holds."""
    points = curve(batches, 1.0, 256.0)
    found = {label: decode(one, batch=points, context=context) for label, one in cases.items()}
    levels = {} if target is None else {f"target {format_quantity(target, 's', 3)}": target}
    places = {"memory is full": float(held)} if held and len(cases) == 1 and held < 2 * points[-1] else {}

    def lines(name: str) -> dict[str, Line]:
        return {
            label: Line(
                x=one.batch,
                y=getattr(one, name),
                low=one.step_time_low if name == "step_time" else None,
                high=one.step_time_high if name == "step_time" else None,
                is_pale=None if one.fits is None else ~one.fits,
            )
            for label, one in found.items()
        }

    time = draw_lines(
        lines("step_time"),
        across=BATCH,
        along=Axis(label="time per token [s]", unit="s", scale="log"),
        levels=levels,
        places=places,
    )
    rate = draw_lines(
        lines("tokens_per_s"), across=BATCH, along=Axis(label="tokens/s in all", scale="log"), places=places
    )
    first_label, first = next(iter(cases.items()))
    shown = decode(first, batch=np.asarray(batches, dtype=np.float64), context=context)
    view = dataclasses.replace(
        decode_report.decode_view(first, shown), lines=[f"{first_label}, at the batches asked about:"]
    )
    return Section(
        title="Latency and throughput over load",
        drawings=[
            pen.drawing(time, f"Time per token at {context:,.0f} tokens of context"),
            pen.drawing(rate, "Throughput"),
        ],
        views=[view],
    )


def time_section(pen: Pen, asked: Deployment, *, batch: float, context: float) -> Section:
    """Where a step's time goes, by cause and by operation."""
    found = breakdown(asked, batch=curve([batch], 1.0, 256.0), context=context)
    across = {"across": BATCH, "along": Axis(label="time per step [s]", unit="s")}
    here = breakdown(asked, batch=batch, context=context)
    return Section(
        title="Where the time goes",
        words=[f"At batch {batch:,.0f} a step takes {format_quantity(float(here.step_time[0]), 's', 3)}."],
        drawings=[
            pen.drawing(draw_stack(found.batch, found.causes, **across), "Time of a step by cause"),
            pen.drawing(draw_stack(found.batch, found.parts, **across), "Time of a step by part of the model"),
        ],
        views=[standings_report.operations_view(here, _SHOWN_OPS)],
    )


def memory_section(pen: Pen, cases: Mapping[str, Deployment], *, batch: int, context: int) -> Section:
    """What lies in memory beside what there is."""
    found = {label: memory(one, batch=batch, context=context) for label, one in cases.items()}
    bars: dict[str, dict[str, float]] = {}
    for label, one in found.items():
        parts: dict[str, float] = {}
        for row in one.rows:
            name = PART_LOOKS.get(row.part, OTHER_LOOK)[0]
            parts[name] = parts.get(name, 0.0) + row.resident_bytes
        bars[label] = {name: size for name, size in parts.items() if size > 0}
    label, first = next(iter(found.items()))
    ends = {
        "what the software takes": [one.usable for one in found.values()],
        "capacity": [one.capacity for one in found.values()],
    }
    figure = draw_bars(
        bars,
        along=Axis(label="bytes of one device [B]", unit="B"),
        colours=dict([*PART_LOOKS.values(), OTHER_LOOK]),
        ends=ends if any(one.capacity is not None for one in found.values()) else None,
    )
    view = memory_report.memory_view(cases[label], first)
    return Section(
        title="Memory",
        drawings=[pen.drawing(figure, f"In one device's memory at batch {batch:,} and context {context:,}")],
        views=[dataclasses.replace(view, lines=[f"{label}, one device:"])],
    )


def cost_section(
    pen: Pen, asked: Deployment, price: float | None, *, batches: Sequence[float], context: float
) -> Section:
    """What the tokens of decode steps cost over batch, in money and energy."""
    points = decode(asked, batch=np.asarray(batches, dtype=np.float64), context=context)
    result = decode(asked, batch=curve(batches, 1.0, 256.0), context=context)
    pale = None if result.fits is None else ~result.fits
    return Section(
        title="Cost and energy",
        words=cost_words(price),
        drawings=cost_drawings(pen, BATCH, result.batch, decode_cost(asked, price, result), pale),
        views=[standings_report.cost_view(points, decode_cost(asked, price, points))],
    )


def cost_words(price: float | None) -> list[str]:
    """What cost and energy rest on."""
    words = [
        "Energy is assumed, not measured: of moved bytes, of math, and of devices that wait; no hosts, no cooling."
    ]
    return words if price is not None else ["The scenario names no price, so nothing is said about money.", *words]


def cost_drawings(
    pen: Pen, across: Axis, points: np.ndarray, cost: Cost, pale: np.ndarray | None = None, with_what: str = ""
) -> list[Drawing]:
    """Cost and energy of output tokens over load; `with_what` says what they pay for besides themselves."""
    energy = Axis(label="energy of an output token [J]", unit="J", scale="log")
    shown = [(f"Energy of an output token{with_what}", cost.joules_per_token, energy)]
    if cost.usd_per_mtok is not None:
        money = Axis(label="USD per million tokens", scale="log")
        shown.insert(0, (f"Cost of a million output tokens{with_what}", cost.usd_per_mtok, money))
    return [
        pen.drawing(draw_lines({title: Line(x=points, y=values, is_pale=pale)}, across=across, along=along), title)
        for title, values, along in shown
    ]


def crossover_section(pen: Pen, asked: Deployment, *, contexts: Sequence[float], context: float) -> Section:
    """Batches at which decoding turns compute-bound, over context."""
    points = curve(contexts, 128.0, 131072.0)
    found = flips(asked, context=points)
    names = {
        "weight_gemms": "weight GEMMs flip",
        "step": "whole step flips",
        "half_elasticity": "1 % more batch costs 0.5 % more time",
        "fits": "largest batch that fits",
    }
    lines = {
        words: Line(x=points, y=np.where(np.isfinite(getattr(found, name)), getattr(found, name), np.nan))
        for name, words in names.items()
        if np.isfinite(getattr(found, name)).any()
    }
    result = crossover(asked, context=context)
    view = crossover_report.crossover_view(asked, result)
    rows = [row for row, kind in zip(view.rows, result.rows, strict=True) if kind.scope != "op"]
    drawings = []
    if lines:
        figure = draw_lines(
            lines,
            across=Axis(label="context [tokens]", scale="count"),
            along=Axis(label="batch [sequences]", scale="log"),
        )
        words = (
            ""
            if found.context_limit is None
            else f"The whole step never flips beyond {found.context_limit:,.0f} tokens."
        )
        drawings.append(pen.drawing(figure, "Batch at which decoding flips, over context", words))
    return Section(
        title="When decoding turns compute-bound",
        drawings=drawings,
        views=[dataclasses.replace(view, lines=view.lines[1:], rows=rows)],
    )


def sensitivity_section(pen: Pen, why: Explanation, *, batch: float, context: float, band: str) -> Section:
    """What more of each resource would buy, and how far off the prediction may be."""
    view = decode_report.explanation_view(why, batch=batch, context=context)
    bars = {
        decode_report.RESOURCE_NAMES[one.resource]: {"saved": 100.0 * one.saved}
        for one in why.sensitivities
        if one.saved > 5e-4
    }
    drawings = []
    if bars:
        figure = draw_bars(bars, along=Axis(label="share of the time that 10 % more saves [%]"))
        drawings.append(pen.drawing(figure, "What 10 % more of a resource saves"))
    words = [f"{line.strip()[0].upper()}{line.strip()[1:]}." for line in view.lines[1:]]
    if band:
        words.append(f"The prediction itself may be off by its band, {band}: what saves less than that is hard to see.")
    return Section(
        title="What would change the answer",
        words=words,
        drawings=drawings,
        views=[dataclasses.replace(view, lines=[])],
    )
