"""Flip batches over context, beside the batch that memory holds."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist

from rooflinesim.analysis.flips import BATCHES, FlipsResult
from rooflinesim.plots.canvas import (
    COLOURS,
    GREY,
    LOOKS,
    Sheet,
    count_axis,
    house_style,
    key,
    legend_below,
    sheet,
)

_LINES = {
    "step": ("whole step flips", "-"),
    "weight_gemms": ("weight GEMMs flip", ":"),
    "half_elasticity": ("1 % more batch costs 0.5 % more time", "--"),
    "fits": ("largest batch that fits in memory", "-."),
}


def draw_crossover(results: Mapping[str, FlipsResult], *, caption: str) -> Sheet:
    """Batches of the flips over context; where a curve is missing there is no such batch.

    The shade is what does not fit in memory; a vertical line ends the contexts at which the whole step can flip.

    Parameters
    ----------
    results : flip batches over context, by label; as many as there are LOOKS
    caption : what the figure rests on; it is wrapped
    """
    is_alone = len(results) == 1
    with house_style():
        figure, body = sheet(5.2, title="Batch at which decoding flips, over context", caption=caption)
        axes = body.subplots()
        shown = np.concatenate([getattr(one, name) for one in results.values() for name in _LINES])
        top = np.clip(2 * shown[np.isfinite(shown)].max(initial=1.0), 16.0, BATCHES[-1])
        for (label, result), look in zip(results.items(), LOOKS, strict=False):
            for colour, (name, (meaning, dash)) in zip(COLOURS, _LINES.items(), strict=False):
                own = colour if is_alone else look.colour
                axes.plot(
                    result.context,
                    getattr(result, name),
                    color=own,
                    linestyle=dash,
                    linewidth=2.2 if name == "step" else 1.6,
                    label=meaning if is_alone else f"{label}: {meaning}",
                )
            if is_alone:
                axes.fill_between(result.context, result.fits, top, color=GREY, alpha=0.12, linewidth=0)
            limit = result.context_limit
            if limit and result.context.min() < limit < result.context.max():
                axes.axvline(limit, color=COLOURS[0] if is_alone else look.colour, linewidth=0.9, alpha=0.7)
        count_axis(axes.xaxis, np.concatenate([one.context for one in results.values()]), "context [tokens]")
        count_axis(axes.yaxis, (1.0, top), "batch [sequences]")
        words = {name: text for name, (text, _) in _LINES.items()}
        if is_alone:
            words["step"] += _beyond(*results.values())
        meanings: list[Artist] = [
            key(words[name], color=colour if is_alone else GREY, linestyle=dash)
            for colour, (name, (_, dash)) in zip(COLOURS, _LINES.items(), strict=False)
        ]
        cases = [
            key(label + _beyond(one), color=look.colour, linestyle="-")
            for (label, one), look in zip(results.items(), LOOKS, strict=False)
        ]
        legend_below(body, meanings if is_alone else [*cases, *meanings], columns=2)
    return figure


def _beyond(result: FlipsResult) -> str:
    """Words on the contexts at which the whole step never flips."""
    limit = result.context_limit
    return "" if limit is None else f" (never beyond {limit:,.0f} tokens)" if limit else " (never)"
