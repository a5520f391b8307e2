"""Speed for each user against work per device, over batch and split."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from rooflinesim.analysis.pareto import ParetoResult
from rooflinesim.plots.canvas import (
    GREY,
    LOOKS,
    MARKERS,
    Sheet,
    house_style,
    key,
    legend_below,
    log_axis,
    sheet,
)


def draw_pareto(results: Mapping[str, ParetoResult], *, caption: str) -> Sheet:
    """Tokens per second and device over tokens per second and user; the thick line is the best of what fits.

    Parameters
    ----------
    results : rates over batch and tensor parallelism, by label; as many as there are LOOKS
    caption : what the figure rests on; it is wrapped
    """
    is_alone = len(results) == 1
    splits = sorted({int(ranks) for one in results.values() for ranks in one.tensor_parallel})
    with house_style():
        figure, body = sheet(5.4, title="Speed for each user against work per device", caption=caption)
        axes = body.subplots()
        for result, look in zip(results.values(), LOOKS, strict=False):
            for index, ranks in enumerate(splits):
                colour = LOOKS[index % len(LOOKS)].colour if is_alone else look.colour
                _split(axes, result, ranks, colour, MARKERS[index % len(MARKERS)])
            best = np.flatnonzero(result.is_best)
            best = best[np.argsort(result.tokens_per_s_per_user[best])]
            axes.plot(
                result.tokens_per_s_per_user[best],
                result.tokens_per_s_per_device[best],
                color="black" if is_alone else look.colour,
                linewidth=5.0 if is_alone else 2.4,
                alpha=0.25 if is_alone else 0.9,
                solid_capstyle="round",
                zorder=1.5,
                label="best",
            )
            if is_alone:
                _batches(axes, result, best)
        log_axis(axes.xaxis)
        log_axis(axes.yaxis)
        axes.set_xlabel("speed for each user [tokens/s]")
        axes.set_ylabel("work per device [tokens/s]")
        marks = [
            key(
                f"TP {ranks}",
                color=LOOKS[index % len(LOOKS)].colour if is_alone else GREY,
                marker=MARKERS[index % len(MARKERS)],
            )
            for index, ranks in enumerate(splits)
        ]
        cases = [key(label, color=look.colour, linestyle="-") for label, look in zip(results, LOOKS, strict=False)]
        best_key = key("best of what fits", color="black" if is_alone else GREY, linestyle="-", linewidth=4, alpha=0.4)
        hollow = key("does not fit in memory", color=GREY, marker="o", markerfacecolor="none")
        some_unfit = not all(one.fits.all() for one in results.values())
        extras = [best_key, *([hollow] if some_unfit else [])]
        legend_below(body, [*([] if is_alone else cases), *marks, *extras], columns=4)
    return figure


def _split(axes: Axes, result: ParetoResult, ranks: int, colour: str, marker: str) -> None:
    """Points of one split over batch, hollow where they do not fit."""
    own = result.tensor_parallel == ranks
    for chosen, face, alpha in ((own & result.fits, colour, 1.0), (own & ~result.fits, "none", 0.5)):
        axes.plot(
            result.tokens_per_s_per_user[chosen],
            result.tokens_per_s_per_device[chosen],
            color=colour,
            marker=marker,
            markerfacecolor=face,
            markersize=4.5,
            linewidth=0.8,
            alpha=alpha,
            label=f"TP {ranks}",
        )


def _batches(axes: Axes, result: ParetoResult, best: np.ndarray) -> None:
    """The batch beside every best point."""
    for index in best:
        axes.annotate(
            f"{result.batch[index]:,.0f}",
            (result.tokens_per_s_per_user[index], result.tokens_per_s_per_device[index]),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8.5,
            color=GREY,
        )
