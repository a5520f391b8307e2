"""What lies in a device's memory, what a step streams of it, and how much there is."""

from collections.abc import Mapping

import numpy as np
from matplotlib.patches import Patch

from rooflinesim.analysis.memory import MemoryResult
from rooflinesim.plots.canvas import (
    PALE,
    YELLOW,
    Sheet,
    house_style,
    key,
    legend_below,
    number_scale,
    sheet,
)

PART_LOOKS = {
    "attention": ("attention", "#E69F00"),
    "mlp": ("MLP", "#0072B2"),
    "experts": ("experts", "#009E73"),
    "shared_experts": ("shared experts", "#56B4E9"),
    "embedding": ("embedding", PALE),
    "head": ("head", "#000000"),
    "kv_cache": ("KV cache and states", "#D55E00"),
    "activations": ("activations", YELLOW),
    "draft": ("draft (MTP) layers", "#882255"),
    "vision": ("vision and audio towers", "#999933"),
}
"""Names and colours of the parts of a memory ledger."""
OTHER_LOOK = ("other weights", "#CC79A7")


def draw_memory(results: Mapping[str, MemoryResult], *, caption: str) -> Sheet:
    """Bytes of one device by part: kept in memory, with its capacity, and streamed by one decode step.

    The broken line is the capacity, the full one the share of it that the software takes.

    Parameters
    ----------
    results : ledgers, by label
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(2.6 + 0.9 * len(results), title="Memory of one device", caption=caption)
        axes = body.subplots()
        rows = [(label, what) for label in results for what in ("resident", "streamed")]
        places = np.array([index + 0.35 * (index // 2) for index in range(len(rows))])
        start = np.zeros(len(rows))
        shown = []
        for name, colour, bytes_ in _columns(results):
            axes.barh(
                places, bytes_, left=start, color=colour, edgecolor="white", linewidth=0.4, height=0.8, label=name
            )
            shown.append(Patch(color=colour, label=name))
            start = start + bytes_
        for index, one in enumerate(results.values()):
            for value, dash in ((one.capacity, "--"), (one.usable, "-")):
                if value is not None:
                    axes.plot([value] * 2, places[2 * index] + np.array([-0.5, 0.5]), color="black", linestyle=dash)
        lines = [
            key("capacity", color="black", linestyle="--"),
            key("what the software takes", color="black", linestyle="-"),
        ]
        is_alone = len(results) == 1
        names = [
            {"resident": "in memory", "streamed": "streamed per step"}[what]
            if is_alone
            else (f"{label}\nin memory" if what == "resident" else "streamed per step")
            for label, what in rows
        ]
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, None)
        number_scale(axes.xaxis, "B")
        axes.set_xlabel("bytes of one device [B]")
        has_capacity = any(one.capacity is not None for one in results.values())
        legend_below(body, [*shown, *(lines if has_capacity else [])], columns=4)
    return figure


def _columns(results: Mapping[str, MemoryResult]) -> list[tuple[str, str, np.ndarray]]:
    """Names, colours and bytes of the parts that any ledger has; resident and streamed take turns."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for index, one in enumerate(results.values()):
        for row in one.rows:
            own = found.setdefault(PART_LOOKS.get(row.part, OTHER_LOOK), np.zeros(2 * len(results)))
            own[2 * index] += row.resident_bytes
            own[2 * index + 1] += row.streamed_bytes
    order = [*PART_LOOKS.values(), OTHER_LOOK]
    return [(name, colour, found[name, colour]) for name, colour in order if (name, colour) in found]
