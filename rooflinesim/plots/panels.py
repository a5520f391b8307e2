"""Figures of a report: small, without title or caption, which stand beside them in the page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rooflinesim.nouns import Noun
from rooflinesim.plots.canvas import (
    COLOURS,
    GREY,
    LOOKS,
    PART_COLOURS,
    Sheet,
    count_axis,
    house_style,
    key,
    log_axis,
    number_scale,
    plain_words,
)

Scale = Literal["count", "log", "plain"]

_WIDTH = 4.4
_HEIGHT = 2.7
_SMALL: Any = {
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}
_MOST_BANDS = 3
"""Bands that may lie over each other."""
_LEGEND_LETTERS = 60
STACK_COLOURS = {
    **PART_COLOURS,
    **dict(zip(("weight reads", "math", "activations"), (COLOURS[0], COLOURS[1], COLOURS[2]), strict=True)),
    "KV reads": COLOURS[5],
    "network": COLOURS[4],
    "kernel overhead": "#BBBBBB",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Axis(Noun):
    """What an axis shows: its words, unit and scale; `count` doubles from tick to tick."""

    label: str
    unit: str = "1"
    scale: Scale = "plain"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Line(Noun):
    """A curve with, where it is known, its band; where `is_pale` it does not fit in memory, or is not reached."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_pale: np.ndarray | None = None


def draw_lines(
    lines: Mapping[str, Line],
    *,
    across: Axis,
    along: Axis,
    levels: Mapping[str, float] | None = None,
    places: Mapping[str, float] | None = None,
) -> Sheet:
    """Curves over one axis, each in its look.

    Parameters
    ----------
    lines : curves by label; as many as there are LOOKS
    across, along : the horizontal axis, and the vertical one
    levels : targets, as broken lines across, by label
    places : marks on the horizontal axis, as thin lines up, by label
    """
    with house_style(), mpl.rc_context(_SMALL):
        words = [*lines, *(levels or {}), *(places or {})]
        figure, axes = _panel(_HEIGHT + 0.17 * _legend_rows(words))
        handles: list[Artist] = []
        has_band = is_pale = is_cut = False
        heights = np.concatenate(
            [*(line.y[np.isfinite(line.y)] for line in lines.values()), [*(levels or {}).values()]]
        )
        top = float(heights.max(initial=0.0))
        for index, ((label, line), look) in enumerate(zip(lines.items(), LOOKS, strict=False)):
            low, high = (line.y if end is None else end for end in (line.low, line.high))
            # A band that ends far above every curve leaves the figure.
            is_cut = is_cut or bool(np.any(high > 4.0 * top))
            high = np.minimum(high, 1.6 * top) if is_cut else high
            if np.any(low != high) and (index == 0 or len(lines) <= _MOST_BANDS):
                axes.fill_between(line.x, low, high, color=look.colour, alpha=0.16, linewidth=0)
                has_band = True
            pale = np.zeros(line.x.shape, dtype=bool) if line.is_pale is None else line.is_pale
            is_pale = is_pale or bool(pale.any())
            beyond = pale | np.append(pale[1:], False)
            for chosen, alpha in ((~pale, 1.0), (beyond, 0.4)):
                height = np.where(chosen, line.y, np.nan)
                axes.plot(line.x, height, color=look.colour, linestyle=look.dash, alpha=alpha)
            handles.append(key(plain_words(label), color=look.colour, linestyle=look.dash))
        for label, value in (levels or {}).items():
            axes.axhline(value, color=COLOURS[1], linewidth=1.3, linestyle=(0, (4, 2)))
            handles.append(key(plain_words(label), color=COLOURS[1], linestyle=(0, (4, 2)), linewidth=1.3))
        for index, (label, value) in enumerate((places or {}).items()):
            dash = (":", "-.", (0, (1, 3)))[index % 3]
            axes.axvline(value, color=GREY, linewidth=1.1, linestyle=dash)
            handles.append(key(plain_words(label), color=GREY, linestyle=dash, linewidth=1.1))
        if has_band:
            whose = "band" if len(lines) <= _MOST_BANDS else "band of the first"
            handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label=whose))
        if is_pale:
            handles.append(key("does not fit in memory", color=GREY, alpha=0.45, linestyle="-"))
        _scaled(axes.xaxis, across, np.concatenate([line.x for line in lines.values()]))
        _scaled(axes.yaxis, along, heights)
        if is_cut:
            axes.set_ylim(None, 1.6 * top)
        if len(handles) > 1:
            _legend(figure, handles)
    return figure


def draw_stack(x: np.ndarray, stack: Mapping[str, np.ndarray], *, across: Axis, along: Axis) -> Sheet:
    """Parts of a whole over one axis, stacked; names are those of the parts and causes of a step."""
    with house_style(), mpl.rc_context(_SMALL):
        figure, axes = _panel(_HEIGHT + 0.17 * _legend_rows(stack))
        colours = [STACK_COLOURS.get(name, GREY) for name in stack]
        axes.stackplot(x, list(stack.values()), colors=colours, edgecolor="white", linewidth=0.4)
        _scaled(axes.xaxis, across, x)
        axes.set_ylim(0, None)
        _scaled(axes.yaxis, along, np.array([1.0]))
        _legend(figure, [Patch(color=colour, label=name) for name, colour in zip(stack, colours, strict=True)])
    return figure


def draw_bars(
    rows: Mapping[str, Mapping[str, float]],
    *,
    along: Axis,
    colours: Mapping[str, str] | None = None,
    ends: Mapping[str, Sequence[float | None]] | None = None,
) -> Sheet:
    """Horizontal bars, one per row, stacked of named parts.

    Parameters
    ----------
    rows : sizes of the parts by name, by the row's label
    colours : of the parts, by name
    ends : what each row is not to exceed, as marks, by what they mean; None is unknown
    """
    with house_style(), mpl.rc_context(_SMALL):
        names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
        has_names = len(names) > 1
        words = [*(names if has_names else []), *(ends or {})]
        figure, axes = _panel(0.7 + 0.36 * len(rows) + (0.17 * _legend_rows(words) if words else 0.0))
        looks = {name: (colours or {}).get(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)}
        places = np.arange(len(rows))
        start = np.zeros(len(rows))
        for name in names:
            sizes = np.array([parts.get(name, 0.0) for parts in rows.values()])
            axes.barh(places, sizes, left=start, color=looks[name], edgecolor="white", linewidth=0.4, height=0.62)
            start = start + sizes
        handles: list[Artist] = (
            [Patch(color=looks[name], label=plain_words(name)) for name in names] if has_names else []
        )
        for (label, values), dash in zip((ends or {}).items(), ("-", (0, (2, 1.5)), ":"), strict=False):
            look: dict[str, Any] = {"color": "black", "linewidth": 1.6, "linestyle": dash}
            for place, value in zip(places, values, strict=True):
                if value is not None:
                    axes.plot([value, value], [place - 0.42, place + 0.42], solid_capstyle="butt", **look)
            handles.append(key(plain_words(label), **look))
        axes.set_yticks(places, [plain_words(_wrapped(label)) for label in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(min(0.0, 1.08 * float(start.min(initial=0.0))), None)
        _scaled(axes.xaxis, along, start)
        if handles:
            _legend(figure, handles)
    return figure


def draw_points(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    frontier: tuple[np.ndarray, np.ndarray] | None,
    chosen: tuple[float, float] | None,
    *,
    across: Axis,
    along: Axis,
) -> Sheet:
    """Candidates as points in groups, the best of them joined, the chosen one ringed."""
    with house_style(), mpl.rc_context(_SMALL):
        figure, axes = _panel(_HEIGHT + 0.17 * _legend_rows([*groups, "best", "chosen"]))
        handles: list[Artist] = []
        for (label, (x, y)), look in zip(groups.items(), LOOKS, strict=False):
            axes.plot(x, y, color=look.colour, marker=look.marker, linestyle="none", markersize=4.5, alpha=0.8)
            handles.append(key(plain_words(label), color=look.colour, marker=look.marker))
        if frontier is not None:
            axes.plot(*frontier, color=GREY, linewidth=1.4, zorder=1.5)
            handles.append(key("none is better in both", color=GREY, linestyle="-"))
        if chosen is not None:
            ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.8}
            axes.plot([chosen[0]], [chosen[1]], color="black", linestyle="none", **ring)
            handles.append(key("chosen", color="black", **{**ring, "markersize": 8}))
        _scaled(axes.xaxis, across, np.concatenate([x for x, _ in groups.values()]))
        _scaled(axes.yaxis, along, np.concatenate([y for _, y in groups.values()]))
        _legend(figure, handles)
    return figure


def _panel(height: float) -> tuple[Sheet, Axes]:
    """An empty figure of one axes without a background of its own."""
    figure = Sheet(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04))
    FigureCanvasAgg(figure)
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _scaled(axis: Any, meant: Axis, values: np.ndarray) -> None:
    """An axis in its scale, with its words."""
    if meant.scale == "count":
        count_axis(axis, values, meant.label)
        return
    if meant.scale == "log":
        log_axis(axis, meant.unit)
    else:
        number_scale(axis, meant.unit)
    axis.set_label_text(meant.label)


def _legend_rows(labels: Sequence[str] | Mapping[str, Any]) -> int:
    """Lines that a legend of these labels takes, about."""
    longest = max((len(label) for label in labels), default=0)
    return -(-len(labels) // _columns(longest))


def _columns(longest: int) -> int:
    return max(1, min(3, _LEGEND_LETTERS // (longest + 6)))


def _legend(figure: Sheet, handles: Sequence[Artist]) -> None:
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.legend(handles=list(handles), loc="outside lower left", ncols=_columns(longest), borderaxespad=0.2)


def _wrapped(label: str, most: int = 26) -> str:
    """A label on two lines where it is long."""
    if len(label) <= most:
        return label
    middle = min(
        (at for at, letter in enumerate(label) if letter == " "), key=lambda at: abs(at - len(label) // 2), default=0
    )
    return label if middle == 0 else f"{label[:middle]}\n{label[middle + 1 :]}"
