"""A step's operations under the roofs of their device."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rooflinesim.analysis.roofline import RooflineResult
from rooflinesim.plots.canvas import (
    GREY,
    LOOKS,
    MARKERS,
    PART_COLOURS,
    Sheet,
    house_style,
    key,
    legend_below,
    log_axis,
    sheet,
)

_PART_MARKERS = dict(zip(PART_COLOURS, (*MARKERS, "*", "h", "p", "<"), strict=True))


def draw_roofline(results: Mapping[str, RooflineResult], *, caption: str) -> Sheet:
    """Reached FLOP rate over intensity of each operation, joined over batches, under both roofs.

    Dashed roofs are the datasheet's, solid ones what the software reaches; the dotted slope is on-chip memory, and the
    ridge is marked on the axis of intensities. A mark's area grows with the operation's share of its step.

    Parameters
    ----------
    results : operations and roofs, by label; as many as there are LOOKS
    caption : what the figure rests on; it is wrapped
    """
    is_alone = len(results) == 1
    with house_style():
        figure, body = sheet(5.6, title="Roofline of a decode step, one device", caption=caption)
        axes = body.subplots()
        intensities = np.concatenate([op.intensity for one in results.values() for op in one.ops])
        rates = np.concatenate([op.flop_rate for one in results.values() for op in one.ops])
        peaks = [roof.peak_flop_rate for one in results.values() for roof in one.roofs]
        ridges = [roof.peak_ridge for one in results.values() for roof in one.roofs]
        ends = np.array([intensities.min() / 2, max(intensities.max(), *ridges) * 4])
        same = len({(one.peak_bandwidth, one.bandwidth, one.roofs) for one in results.values()}) == 1
        for index, (result, look) in enumerate(zip(results.values(), LOOKS, strict=False)):
            if not same or index == 0:
                _roofs(axes, result, ends, "black" if same else look.colour)
            for op in result.ops:
                colour = PART_COLOURS[op.part] if is_alone else look.colour
                axes.plot(op.intensity, op.flop_rate, color=colour, linewidth=0.8, alpha=0.6, label=op.op)
                axes.scatter(
                    op.intensity,
                    op.flop_rate,
                    s=14 + 220 * op.share,
                    color=colour,
                    marker=_PART_MARKERS[op.part],
                    alpha=0.85,
                    edgecolors="white",
                    linewidths=0.5,
                    zorder=3,
                )
        axes.set_xlim(*ends)
        axes.set_ylim(rates.min() / 3, max(peaks) * 2.5)
        log_axis(axes.xaxis)
        log_axis(axes.yaxis, "FLOP/s")
        axes.set_xlabel("intensity [FLOP/B]")
        axes.set_ylabel("reached rate [FLOP/s]")
        legend_below(body, _keys(results), columns=3)
    return figure


def _roofs(axes: Axes, result: RooflineResult, ends: np.ndarray, colour: str) -> None:
    """Both roofs of each math format, the slope of on-chip memory, and the ridge of the math of most FLOPs."""
    for index, roof in enumerate(result.roofs):
        for bandwidth, rate, ridge, dash in (
            (result.peak_bandwidth, roof.peak_flop_rate, roof.peak_ridge, (0, (5, 2))),
            (result.bandwidth, roof.flop_rate, roof.ridge, "-"),
        ):
            slope = [ends[0], ridge] if index == 0 else [ridge]
            corners = np.array([*slope, ends[1]])
            axes.plot(corners, np.minimum(bandwidth * corners, rate), color=colour, linestyle=dash, linewidth=1.2)
        axes.annotate(
            f"{roof.math}",
            (ends[1], roof.peak_flop_rate),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6},
        )
    first = result.roofs[0]
    if result.on_chip_bandwidth and result.on_chip_bandwidth > result.bandwidth:
        corners = np.array([ends[0], first.flop_rate / result.on_chip_bandwidth])
        axes.plot(corners, result.on_chip_bandwidth * corners, color=colour, linestyle=":", linewidth=1.4)
    axes.plot([first.ridge] * 2, [0, first.flop_rate], color=colour, linewidth=0.7, alpha=0.6)
    axes.annotate(
        f"ridge {first.ridge:,.0f} FLOP/B",
        (first.ridge, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        rotation=90,
        va="bottom",
        fontsize=8.5,
        color=colour,
    )


def _keys(results: Mapping[str, RooflineResult]) -> list[Artist]:
    parts = dict.fromkeys(op.part for one in results.values() for op in one.ops)
    is_alone = len(results) == 1
    marks = [
        key(part, color=colour if is_alone else GREY, marker=_PART_MARKERS[part])
        for part, colour in PART_COLOURS.items()
        if part in parts
    ]
    cases = [key(label, color=look.colour, linestyle="-") for label, look in zip(results, LOOKS, strict=False)]
    roofs = [
        key("datasheet", color=GREY, linestyle=(0, (5, 2)), linewidth=1.2),
        key("achievable", color=GREY, linestyle="-", linewidth=1.2),
    ]
    if any(one.on_chip_bandwidth and one.on_chip_bandwidth > one.bandwidth for one in results.values()):
        roofs.append(key("on-chip memory", color=GREY, linestyle=":", linewidth=1.4))
    return [*([] if is_alone else cases), *marks, *roofs]
