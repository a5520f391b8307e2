"""What speculation gains over batch, at which acceptance, and with which draft length."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rooflinesim.analysis.speculation.speculate import SpeculateResult
from rooflinesim.plots.canvas import (
    GREY,
    LOOKS,
    Look,
    Sheet,
    count_axis,
    house_style,
    key,
    legend_below,
    sheet,
)

_LEVELS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Edges of the shades of speed-up; 1 lies between the brown of losses and the purple of gains."""
_SHOWN_LENGTHS = 8


def draw_speculation(chains: SpeculateResult, surface: SpeculateResult, *, caption: str) -> Sheet:
    """Speed-up over batch of each draft length and of the best with its band; the best draft's over acceptance.

    The line, and the contour, at 1 part gains from losses. Below, the best draft length; 0 is plain decoding.

    Parameters
    ----------
    chains : rounds over batch and draft length, 0 among them, at one context and acceptance
    surface : rounds over batch, acceptance and draft length, 0 not among them, at one context
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(8.4, title="Speed-up of speculation", caption=caption)
        curves, shades, lengths = body.subplots(3, 1, sharex=True, height_ratios=[3.2, 3.0, 1.3])
        drafted = [length for length in np.unique(chains.draft_length) if length > 0]
        every = -(-len(drafted) // _SHOWN_LENGTHS)
        shown = drafted[::-1][::every][::-1]
        colours = colormaps["cividis"](np.linspace(0.0, 0.95, len(shown)))
        for length, colour in zip(shown, colours, strict=True):
            own = chains.draft_length == length
            curves.plot(chains.batch[own], chains.speedup[own], color=colour, linewidth=1.1, label=f"{length:g}")
        _best(curves, lengths, chains, Look(colour="black", dash="-", marker="o"), "best")
        _part(curves)
        curves.set_ylabel("speed-up [1]")
        _shade(shades, surface, figure=body)
        lengths.set_ylabel("best draft\n[tokens]")
        count_axis(lengths.xaxis, chains.batch, "batch [sequences]")
        handles: list[Artist] = [
            key("best, or plain", color="black", linestyle="-"),
            Patch(color=GREY, alpha=0.25, linewidth=0, label="its band"),
            *(
                key(f"length {length:g}", color=colour, linestyle="-", linewidth=1.1)
                for length, colour in zip(shown, colours, strict=True)
            ),
        ]
        legend_below(body, handles, columns=5)
    return figure


def draw_speculations(results: Mapping[str, SpeculateResult], *, caption: str) -> Sheet:
    """Speed-up of the best draft over batch with its band, and its length, of several targets.

    Parameters
    ----------
    results : rounds over batch and draft length, 0 among them, by label; as many as there are LOOKS
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(5.6, title="Speed-up of speculation with the best draft", caption=caption)
        curves, lengths = body.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
        for (label, result), look in zip(results.items(), LOOKS, strict=False):
            _best(curves, lengths, result, look, label)
        _part(curves)
        curves.set_ylabel("speed-up [1]")
        lengths.set_ylabel("best draft\n[tokens]")
        count_axis(lengths.xaxis, np.concatenate([one.batch for one in results.values()]), "batch [sequences]")
        cases: list[Artist] = [
            key(label, color=look.colour, linestyle=look.dash) for label, look in zip(results, LOOKS, strict=False)
        ]
        legend_below(body, [*cases, Patch(color=GREY, alpha=0.25, linewidth=0, label="band")], columns=3)
    return figure


def _best(curves: Axes, lengths: Axes, result: SpeculateResult, look: Look, label: str) -> None:
    """The best draft of each batch: its speed-up with the band, and its length."""
    best = np.flatnonzero(result.is_best)
    best = best[np.argsort(result.batch[best])]
    batch = result.batch[best]
    low, high = result.speedup_low[best], result.speedup_high[best]
    curves.fill_between(batch, low, high, color=look.colour, alpha=0.13, linewidth=0)
    curves.plot(batch, result.speedup[best], color=look.colour, linestyle=look.dash, linewidth=2.0, label=label)
    lengths.step(batch, result.draft_length[best], where="post", color=look.colour, linestyle=look.dash, label=label)
    lengths.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    lengths.set_ylim(-0.5, max(lengths.get_ylim()[1], result.draft_length.max() + 0.5))


def _part(curves: Axes) -> None:
    """The line between gain and loss."""
    curves.axhline(1.0, color="#D55E00", linewidth=1.2, linestyle="--", label="no gain")


def _shade(axes: Axes, surface: SpeculateResult, *, figure: SubFigure) -> None:
    """Speed-up of the best draft over batch and acceptance in shades, with the contour at 1."""
    best = np.flatnonzero(surface.is_best)
    batches, rates = np.unique(surface.batch[best]), np.unique(surface.acceptance_rate[best])
    gain = np.full((rates.size, batches.size), np.nan)
    rows, columns = np.searchsorted(rates, surface.acceptance_rate[best]), np.searchsorted(batches, surface.batch[best])
    gain[rows, columns] = surface.speedup[best]
    levels = _reached(gain)
    middle = levels.index(1.0) if 1.0 in levels else 0
    shades = colormaps["PuOr"](_around(middle, len(levels) - 1))
    drawn = axes.contourf(batches, rates, gain, levels=levels, colors=shades, extend="neither")
    if gain.min() < 1.0:
        axes.contourf(batches, rates, gain, levels=[0.0, 1.0], colors="none", hatches=["..."])
    if gain.min() < 1.0 < gain.max():
        line = axes.contour(batches, rates, gain, levels=[1.0], colors="black", linewidths=1.6)
        axes.clabel(line, fmt="no gain", fontsize=8.5)
    axes.set_ylabel("acceptance of a\ndraft token [1]")
    axes.grid(visible=False)
    bar = figure.colorbar(drawn, ax=axes, ticks=levels, pad=0.01, aspect=14)
    bar.ax.set_yticklabels([f"{level:g}" for level in levels])
    bar.ax.tick_params(labelsize=8.5)
    bar.set_label("speed-up [1]", fontsize=9)


def _reached(gain: np.ndarray) -> list[float]:
    """Levels that enclose all gains, two at least."""
    low = max([level for level in _LEVELS if level <= gain.min()], default=0.0)
    high = min([level for level in _LEVELS if level >= gain.max()], default=float(np.ceil(gain.max())))
    return [*dict.fromkeys([low, *(level for level in _LEVELS if low < level < high), high if high > low else low + 1])]


def _around(middle: int, count: int) -> Sequence[float]:
    """Places of shades in a colour map whose middle lies at an edge between them."""
    below = np.linspace(0.12, 0.45, middle) if middle else np.array([])
    return [*below, *np.linspace(0.55, 0.9, count - middle)]
