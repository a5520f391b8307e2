"""Predicted against measured, and how far apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rooflinesim.nouns import Noun
from rooflinesim.plots.canvas import (
    COLOURS,
    GREY,
    MARKERS,
    PALE,
    Sheet,
    house_style,
    key,
    legend_below,
    log_axis,
    number_scale,
    sheet,
)

_MANY = 2000
"""Points from which on marks are small, mixed, and an image inside vector files."""
_REACHES = {1.25: (0.8, 0.9, 1.0, 1.1, 1.25), 1.5: (0.7, 0.8, 1.0, 1.2, 1.5), 2.0: (0.5, 0.7, 1.0, 1.4, 2.0)}
"""Ratios at which the lower axes may end, with the numbers on them."""
_LARGEST_REACH = 4.0
"""Ratio at which they end at the latest, so that a few gross errors do not flatten the rest."""
_WITHIN = 0.98
"""Share of the ratios that lie within the ends."""
_MARGIN = 1.05
"""Room between the last of them and the end."""

_BAND_ENDS: dict[str, Any] = {"color": "black", "marker": ".", "markersize": 2.5, "markeredgewidth": 0.0}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredPoints(Noun):
    """Measurements and their predictions with the band's two ends, each of shape (points,); `group` colours them.

    All are in `unit`: "s", "tokens/s", or "1" for ratios.
    """

    measured: np.ndarray
    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    group: np.ndarray
    unit: str = "s"


def draw_validation(points: MeasuredPoints, *, caption: str, labels: Mapping[str, str] | None = None) -> Sheet:
    """Predicted over measured with the line of equality; below, predicted / measured with each prediction's band.

    Hollow marks are measurements outside the prediction's band. The largest groups have a colour each, the rest share
    grey. Marks on the upper and lower edges of the ratios lie beyond.

    Parameters
    ----------
    caption : what the figure rests on; it is wrapped
    labels : text of a group in the legend, such as its name with its errors; the bare name where there is none
    """
    groups = _groups(points, labels or {})
    reach = _reach_of(points)
    ratio = np.clip(points.predicted / points.measured, 1 / reach, reach)
    with house_style():
        figure, body = sheet(8.0, title="Predicted against measured", caption=caption)
        upper, lower = body.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _equality(upper, points)
        _bands(lower, points, reach)
        draw = _cloud if points.measured.size >= _MANY else _marks
        handles = draw(upper, points, points.predicted, groups)
        draw(lower, points, ratio, groups)
        legend_below(body, handles, columns=2)
        lower.set_xlabel(f"measured {_quantity(points.unit)}")
        upper.set_ylabel(f"predicted {_quantity(points.unit)}")
        lower.set_ylabel("predicted / measured")
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Group(Noun):
    """Points that look alike."""

    members: np.ndarray
    label: str
    colour: str
    marker: str


def _groups(points: MeasuredPoints, labels: Mapping[str, str]) -> list[_Group]:
    """Groups, the largest first; those beyond the colours are one."""
    names, counts = np.unique(points.group.astype(str), return_counts=True)
    ordered = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    own = ordered if len(ordered) <= len(COLOURS) else ordered[: len(COLOURS) - 1]
    found = [
        _Group(members=points.group.astype(str) == name, label=labels.get(name, name), colour=colour, marker=marker)
        for name, colour, marker in zip(own, COLOURS, MARKERS, strict=False)
    ]
    if len(own) < len(ordered):
        rest = ~np.isin(points.group.astype(str), own)
        words = f"{len(ordered) - len(own)} smaller groups"
        found.append(_Group(members=rest, label=words, colour=GREY, marker="."))
    return found


def _marks(axes: Axes, points: MeasuredPoints, heights: np.ndarray, groups: Sequence[_Group]) -> list[Line2D]:
    """Marks of every point, hollow where the measurement lies outside the band; what a legend says of them."""
    inside = (points.measured >= points.low) & (points.measured <= points.high)
    handles = []
    for group in groups:
        for chosen, face in ((group.members & ~inside, "none"), (group.members & inside, group.colour)):
            if not chosen.any():
                continue  # the extent of an unclipped line without points is infinite, and leaves the axes no room
            axes.plot(
                points.measured[chosen],
                heights[chosen],
                linestyle="none",
                marker=group.marker,
                markerfacecolor=face,
                markeredgecolor=group.colour,
                markeredgewidth=0.8,
                alpha=0.8,
                clip_on=False,
            )
        handles.append(key(group.label, color=group.colour, marker=group.marker))
    return [*handles, key("outside its band", color=GREY, marker="o", markerfacecolor="none")]


def _cloud(axes: Axes, points: MeasuredPoints, heights: np.ndarray, groups: Sequence[_Group]) -> list[Line2D]:
    """Small marks of many points in mixed order, so that no group hides another; what a legend says of them."""
    colours = np.empty(points.measured.size, dtype=object)
    for group in groups:
        colours[group.members] = group.colour
    mixed = np.random.default_rng(0).permutation(points.measured.size)
    axes.scatter(
        points.measured[mixed],
        heights[mixed],
        c=list(colours[mixed]),
        s=4,
        alpha=max(0.1, min(0.35, 5000 / points.measured.size)),
        linewidths=0,
        rasterized=True,
        zorder=2,
    )
    handles = [key(one.label, color=one.colour, marker="o") for one in groups]
    return [*handles, key("ends of bands", **_BAND_ENDS)]


def _quantity(unit: str) -> str:
    return {"s": "time [s]", "tokens/s": "rate [tokens/s]", "1": "ratio [1]"}.get(unit, f"[{unit}]")


def _equality(axes: Axes, points: MeasuredPoints) -> None:
    """Axes of equal scales with the line on which predictions are right."""
    both = np.concatenate([points.measured, points.predicted])
    middle = np.sqrt(both.min() * both.max())
    reach = max(
        1.3 * both.max() / middle, np.sqrt(10.0)
    )  # a decade at least: a log axis of less has no room for labels
    ends = (middle / reach, middle * reach)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.plot(ends, ends, color="black", linewidth=1.0, label="predicted = measured")
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis, points.unit)


def _reach_of(points: MeasuredPoints) -> float:
    """The nearest end of the lower axes that holds nearly all ratios and the bands around one."""
    apart = np.exp(np.abs(np.log(points.predicted / points.measured)))
    bands = np.maximum(points.high / points.predicted, points.predicted / points.low)
    needed = _MARGIN * max(np.quantile(apart, _WITHIN), np.quantile(bands, 0.5))
    return next((reach for reach in _REACHES if needed <= reach), _LARGEST_REACH)


def _bands(axes: Axes, points: MeasuredPoints, reach: float) -> None:
    """Axes of ratios with every prediction's band: a mark lies between its ends where it is inside."""
    axes.set_yscale("log", base=2)
    axes.set_ylim(1 / reach, reach)
    if reach in _REACHES:
        axes.yaxis.set_major_locator(FixedLocator(_REACHES[reach]))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1.0, color="black", linewidth=1.0)
    ends = [np.stack([points.measured, points.predicted / end], axis=-1) for end in (points.high, points.low)]
    if points.measured.size < _MANY:
        lines = LineCollection(list(np.stack(ends, axis=1)), colors=PALE, linewidths=0.9, alpha=0.6, zorder=0.5)
        axes.add_collection(lines)
    else:
        for end in ends:
            axes.plot(*end[:: -(-len(end) // _MANY)].T, linestyle="none", zorder=3, **_BAND_ENDS)
    number_scale(axes.yaxis)
