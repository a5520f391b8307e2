"""Time to the first token over the prompt, and how fast prompts are read."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.patches import Patch

from rooflinesim.analysis.prefill import PrefillResult
from rooflinesim.plots.canvas import GREY, LOOKS, Sheet, count_axis, house_style, key, legend_below, log_axis, sheet


def draw_prefill(results: Mapping[str, PrefillResult], *, caption: str) -> Sheet:
    """Time to first token with its band, and prompt tokens per second; hollow marks where a step turns compute-bound.

    Parameters
    ----------
    results : steps that read prompts of rising length, by label; as many as there are LOOKS
    caption : what the figure rests on; it is wrapped
    """
    with house_style():
        figure, body = sheet(6.2 + 0.2 * len(results), title="Time to first token", caption=caption)
        latency, throughput = body.subplots(2, 1, sharex=True)
        for (label, result), look in zip(results.items(), LOOKS, strict=False):
            latency.fill_between(
                result.prompt, result.ttft_low, result.ttft_high, color=look.colour, alpha=0.15, linewidth=0
            )
            flip = np.flatnonzero(result.bound == "compute")[:1]
            for axes, height in ((latency, result.ttft), (throughput, result.prompt_tokens_per_s)):
                axes.plot(result.prompt, height, color=look.colour, linestyle=look.dash, linewidth=1.8, label=label)
                if flip.size and flip[0] > 0:
                    axes.plot(result.prompt[flip], height[flip], color=look.colour, marker="o", markerfacecolor="none")
        log_axis(latency.yaxis, "s")
        log_axis(throughput.yaxis)
        latency.set_ylabel("time to first token [s]")
        throughput.set_ylabel("prompt tokens/s")
        prompts = np.concatenate([one.prompt for one in results.values()])
        count_axis(throughput.xaxis, prompts, "prompt [tokens]")
        legend_below(body, _handles(results), columns=3)
    return figure


def _handles(results: Mapping[str, PrefillResult]) -> list[Artist]:
    handles: list[Artist] = [
        key(label, color=look.colour, linestyle=look.dash) for label, look in zip(results, LOOKS, strict=False)
    ]
    if any((one.ttft_low != one.ttft_high).any() for one in results.values()):
        handles.append(Patch(color=GREY, alpha=0.2, linewidth=0, label="band"))
    if any((one.bound == "compute").any() and one.bound[0] != "compute" for one in results.values()):
        handles.append(key("compute-bound from here on", color=GREY, marker="o", markerfacecolor="none"))
    return handles
