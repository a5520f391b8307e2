"""Latency and throughput over batch, where decoding flips, and what memory holds."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rooflinesim.analysis.decode import DecodeResult
from rooflinesim.analysis.flips import FlipsResult
from rooflinesim.plots.canvas import (
    GREY,
    LOOKS,
    Look,
    Sheet,
    count_axis,
    house_style,
    key,
    legend_below,
    log_axis,
    sheet,
)

_MARKS = {
    "half_elasticity": ("1 % more batch costs 0.5 % more time", "^"),
    "weight_gemms": ("weight GEMMs flip", "D"),
    "step": ("whole step flips", "o"),
    "fits": ("largest batch that fits in memory", "|"),
}


def draw_latency(results: Mapping[str, DecodeResult], flips: Mapping[str, FlipsResult], *, caption: str) -> Sheet:
    """Step time with its band and throughput over batch, pale beyond memory; below them the batches of the flips.

    Parameters
    ----------
    results : decode steps over batch at one context, by label; as many as there are LOOKS
    flips : flip batches at that context, by the same labels
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(6.9 + 0.25 * len(results), title="Latency and throughput of decoding", caption=caption)
        heights = [3.0, 3.0, 0.35 + 0.22 * len(results)]
        latency, throughput, strip = body.subplots(3, 1, sharex=True, height_ratios=heights)
        for (label, result), look in zip(results.items(), LOOKS, strict=False):
            latency.fill_between(
                result.batch, result.step_time_low, result.step_time_high, color=look.colour, alpha=0.15, linewidth=0
            )
            _curve(latency, result, result.step_time, look, label)
            _curve(throughput, result, result.tokens_per_s, look, label)
        _strip(strip, flips, (latency, throughput))
        log_axis(latency.yaxis, "s")
        log_axis(throughput.yaxis)
        latency.set_ylabel("time per step and token [s]")
        throughput.set_ylabel("throughput [tokens/s]")
        count_axis(strip.xaxis, np.concatenate([one.batch for one in results.values()]), "batch [sequences]")
        marks = [
            key(words, color=GREY, marker=marker, markersize=9 if marker == "|" else 5, markeredgewidth=1.6)
            for words, marker in _MARKS.values()
        ]
        legend_below(body, [*_cases(results), *marks], columns=3)
    return figure


def _curve(axes: Axes, result: DecodeResult, height: np.ndarray, look: Look, label: str) -> None:
    """One curve over batch, thin and pale where it does not fit into memory."""
    fits = np.ones(result.batch.shape, dtype=bool) if result.fits is None else result.fits
    # The pale part starts where the other ends.
    beyond = ~fits | np.append(~fits[1:], False)
    for chosen, alpha, width in ((fits, 1.0, 1.8), (beyond, 0.45, 1.0)):
        axes.plot(
            np.where(chosen, result.batch, np.nan),
            height,
            color=look.colour,
            linestyle=look.dash,
            alpha=alpha,
            linewidth=width,
            label=label if alpha == 1.0 else "_beyond",
        )


def _strip(axes: Axes, flips: Mapping[str, FlipsResult], above: tuple[Axes, ...]) -> None:
    """A row of marks for each case; with one case alone, lines lead up through the curves."""
    for row, ((label, found), look) in enumerate(zip(flips.items(), LOOKS, strict=False)):
        for name, (_, marker) in _MARKS.items():
            batch = float(getattr(found, name)[0])
            size = 11 if marker == "|" else 6
            axes.plot(
                [batch], [-row], color=look.colour, marker=marker, markersize=size, markeredgewidth=1.6, label=label
            )
            if len(flips) == 1 and np.isfinite(batch):
                for one in above:
                    one.axvline(batch, color=GREY, linewidth=0.8, linestyle="-" if name == "fits" else ":", zorder=1)
    axes.set_ylim(-len(flips) + 0.4, 0.6)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _cases(results: Mapping[str, DecodeResult]) -> list[Artist]:
    handles = [key(label, color=look.colour, linestyle=look.dash) for label, look in zip(results, LOOKS, strict=False)]
    has_band = any((one.step_time_low != one.step_time_high).any() for one in results.values())
    band = [Patch(color=GREY, alpha=0.2, linewidth=0, label="band")] if has_band else []
    pale = [key("does not fit in memory", color=GREY, alpha=0.5, linewidth=1.0, linestyle="-")]
    some_unfit = any(one.fits is not None and not one.fits.all() for one in results.values())
    return [*handles, *band, *(pale if some_unfit else [])]
