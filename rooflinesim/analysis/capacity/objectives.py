"""What a fleet is held to, and whether a steady state meets it: surely, probably, or not."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from rooflinesim.analysis.serving.steady import SteadyState

Verdict = Literal["surely", "probably", "no"]

Targets = Mapping[str, float]
"""Longest times by metric, such as {"tpot_p95": 0.05}: the mean or a percentile of tpot and ttft [s]."""


def strictest(targets: Targets, kind: Literal["tpot", "ttft"]) -> float:
    """Least target of a kind [s]; infinite where there is none."""
    return min((value for metric, value in targets.items() if metric.startswith(kind)), default=np.inf)


def excess(state: SteadyState, targets: Targets, *, is_sure: bool = False) -> dict[str, np.ndarray]:
    """Each time over its target [1], shape (points,): at most 1 meets it, infinite where queues grow without end.

    With `is_sure` the high end of the band counts, for saturation too.
    """
    end = "_high" if is_sure else ""
    stable = state.is_stable
    if is_sure:
        stable = stable & (state.requests_per_s <= state.saturating_requests_per_s_low)
    return {
        metric: np.where(stable, getattr(state, f"{metric}{end}") / target, np.inf)
        for metric, target in targets.items()
    } or {"stable": np.where(stable, 0.0, np.inf)}


def worst(excesses: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The largest excess of each point [1], and the metric that it is of; shape (points,)."""
    names = np.array(list(excesses))
    values = np.array([np.asarray(one) for one in excesses.values()])
    place = np.argmax(values, axis=0)
    return np.take_along_axis(values, place[np.newaxis], axis=0)[0], names[place]
