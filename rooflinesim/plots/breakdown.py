"""Where a step's time goes, over batch, and what makes two deployments differ."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rooflinesim.analysis.breakdown import Breakdown, Difference
from rooflinesim.plots.canvas import (
    GREY,
    PALE,
    PART_COLOURS,
    YELLOW,
    Sheet,
    count_axis,
    house_style,
    number_scale,
    sheet,
)
from rooflinesim.units import format_quantity

CAUSE_COLOURS = {
    "weight reads": "#0072B2",
    "KV reads": "#56B4E9",
    "activations": "#009E73",
    "math": "#D55E00",
    "network": YELLOW,
    "kernel overhead": PALE,
    "software": GREY,
}
_LONGER, _SHORTER = "#D55E00", "#0072B2"


def draw_breakdown(result: Breakdown, *, caption: str) -> Sheet:
    """Time of a step stacked over batch: above by part of the model, below by cause.

    Parameters
    ----------
    result : time by part and by cause over batch, at one context
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(6.8, title="Where the time of a decode step goes", caption=caption)
        upper, lower = body.subplots(2, 1, sharex=True)
        for axes, stack, colours, what in (
            (upper, result.parts, PART_COLOURS, "by part"),
            (lower, result.causes, CAUSE_COLOURS, "by cause"),
        ):
            axes.stackplot(
                result.batch,
                list(stack.values()),
                colors=[colours[name] for name in stack],
                edgecolor="white",
                linewidth=0.4,
            )
            axes.plot(result.batch, result.step_time, color="black", linewidth=1.0)
            axes.set_ylim(0, None)
            axes.set_ylabel(f"time per step [s], {what}")
            number_scale(axes.yaxis, "s")
            _legend(axes, stack, colours)
        count_axis(lower.xaxis, result.batch, "batch [sequences]")
    return figure


def draw_breakdowns(results: Mapping[str, Breakdown], *, caption: str) -> Sheet:
    """Time of one step of several deployments as stacked bars: above by part of the model, below by cause.

    Parameters
    ----------
    results : time by part and by cause, by label; the first point of each is drawn
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        height = 2.6 + 0.7 * len(results)
        figure, body = sheet(height, title="Where the time of a decode step goes", caption=caption)
        upper, lower = body.subplots(2, 1, sharex=True)
        for axes, kind, colours in ((upper, "parts", PART_COLOURS), (lower, "causes", CAUSE_COLOURS)):
            start = np.zeros(len(results))
            shown = {}
            for name, colour in colours.items():
                widths = np.array([float(getattr(one, kind).get(name, [0.0])[0]) for one in results.values()])
                if widths.any():
                    shown[name] = widths
                    axes.barh(list(results), widths, left=start, color=colour, edgecolor="white", linewidth=0.4)
                    start = start + widths
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            _legend(axes, shown, colours, is_stacked_up=False)
        number_scale(lower.xaxis, "s")
        lower.set_xlabel("time per step [s]")
    return figure


def _legend(
    axes: Axes, stack: Mapping[str, np.ndarray], colours: Mapping[str, str], *, is_stacked_up: bool = True
) -> None:
    """Names beside the axes, in the order of the stack."""
    handles = [Patch(color=colours[name], label=name) for name in stack]
    axes.legend(handles=handles[::-1] if is_stacked_up else handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_waterfall(found: Difference, *, labels: tuple[str, str], caption: str) -> Sheet:
    """From one deployment's step to another's, term by term: above by part of the model, below by cause.

    Parameters
    ----------
    found : what makes the second step longer or shorter than the first
    labels : names of the two
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        height = 2.4 + 0.26 * (len(found.parts) + len(found.causes) + 4)
        figure, body = sheet(height, title=f"From {labels[0]} to {labels[1]}", caption=caption)
        terms = (found.parts, found.causes)
        upper, lower = body.subplots(2, 1, sharex=True, height_ratios=[len(one) + 2 for one in terms])
        for axes, steps, what in zip((upper, lower), terms, ("by part", "by cause"), strict=True):
            _cascade(axes, found, steps, labels)
            axes.set_title(what)
        number_scale(lower.xaxis, "s")
        lower.set_xlabel("time per step [s]")
        longer, shorter = (Patch(color=colour) for colour in (_LONGER, _SHORTER))
        upper.legend([longer, shorter], ["longer", "shorter"], loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _cascade(axes: Axes, found: Difference, steps: Mapping[str, float], labels: tuple[str, str]) -> None:
    """Bars from the first whole to the second, each term starting where the last one ended."""
    ends = found.first + np.cumsum([0.0, *steps.values()])
    rows = [labels[0], *steps, labels[1]]
    lefts = np.array([0.0, *ends[:-1], 0.0])
    widths = np.array([found.first, *steps.values(), found.second])
    colours = [GREY, *(_LONGER if width > 0 else _SHORTER for width in steps.values()), GREY]
    places = np.arange(len(rows))
    axes.barh(places, widths, left=lefts, color=colours, height=0.7)
    for place, (width, left) in enumerate(zip(widths, lefts, strict=True)):
        is_whole = place in (0, len(rows) - 1)
        axes.annotate(
            format_quantity(float(width), "s", 3) if is_whole else _signed(float(width), found.first),
            (max(left, left + width), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.set_yticks(places, rows)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.15 * max(*ends, found.second))


def _signed(change: float, whole: float) -> str:
    """A change of a time with its sign; nothing where only rounding is left of it."""
    if abs(change) < 1e-9 * whole:
        return "0"
    return ("+" if change > 0 else "−") + format_quantity(abs(change), "s", 3)
