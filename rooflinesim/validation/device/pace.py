"""The pace of a machine: what everything around a sample took over what it usually takes, and samples without it.

On a shared machine neighbours take bandwidth and parts of cores for fractions of a second. That lengthens all that runs
meanwhile, kernels and steps alike, by up to a quarter, and shows in how far other tasks depart from their own medians.
"""

import math
from collections.abc import Sequence

import numpy as np

from rooflinesim.validation.device.clock import Sample
from rooflinesim.validation.device.rounds import Record

REACH = 0.3
"""Time over which what a neighbouring sample tells of the pace falls by a factor of e [s]."""

HELD_BACK = 3.0
"""Samples that would have to agree before half of what they tell is believed [1]: one alone scatters by itself."""

FARTHEST = 0.4
"""Departure of one sample from its median that counts at most, in logarithms [1]."""

ITERATIONS = 5


def at_one_pace(samples: Sequence[Sequence[Sample]]) -> list[list[Sample]]:
    """Samples of tasks divided by the pace of the machine around each, whose median is 1.

    The pace of a sample is told by those of all others that ran near it, never by its own time, each by how far it lies
    from its task's median; a task that ran once tells nothing.

    Parameters
    ----------
    samples : of each task
    """
    paces = _paces(samples)
    return [
        [one.at_pace(pace) for one, pace in zip(own, row, strict=True)] for own, row in zip(samples, paces, strict=True)
    ]


def with_one_pace(record: Record) -> None:
    """Divide all samples of a record by the pace around them."""
    even = at_one_pace([[sample for _, sample in own] for own in record.samples.values()])
    for (id_, own), samples in zip(record.samples.items(), even, strict=True):
        record.samples[id_] = [(number, sample) for (number, _), sample in zip(own, samples, strict=True)]


def pace_spread(samples: Sequence[Sample]) -> float:
    """Standard deviation of the logarithm of the pace [1]."""
    return float(np.std(np.log([sample.pace for sample in samples]))) if samples else 0.0


def _paces(samples: Sequence[Sequence[Sample]]) -> list[list[float]]:
    tasks = np.repeat(np.arange(len(samples)), [len(own) for own in samples])
    flat = [one for own in samples for one in own]
    if not flat:
        return [[] for _ in samples]
    start = np.array([one.start for one in flat])
    end = start + np.array([one.wall_time for one in flat])
    times = np.log(np.maximum([one.time for one in flat], 1e-12))
    order = np.argsort(start, kind="stable")
    groups = [np.flatnonzero(tasks == task) for task in range(len(samples))]
    weights = np.array([1.0 - 1.0 / len(groups[task]) for task in tasks])
    near = _sums(start[order], end[order], weights[order])
    pace = np.zeros(len(flat))
    for _ in range(ITERATIONS):
        even = times - pace
        usual = np.array([np.median(even[own]) if own.size else 0.0 for own in groups])
        apart = np.clip(times - usual[tasks], -FARTHEST, FARTHEST)
        pace[order] = _sums(start[order], end[order], (weights * apart)[order]) / (near + HELD_BACK)
        pace -= np.median(pace)
    return [np.exp(pace[own]).tolist() for own in groups]


def _sums(start: np.ndarray, end: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each of samples in the order of time, the sum of the others' values, each by its nearness in time."""
    found = np.zeros(len(values))
    carried = 0.0
    for at in range(1, len(values)):
        carried = carried * math.exp(-max(end[at - 1] - end[at - 2], 0.0) / REACH if at > 1 else 0.0) + values[at - 1]
        found[at] += carried * math.exp(-max(start[at] - end[at - 1], 0.0) / REACH)
    carried = 0.0
    for at in range(len(values) - 2, -1, -1):
        step = max(start[at + 2] - start[at + 1], 0.0) if at + 2 < len(values) else 0.0
        carried = carried * math.exp(-step / REACH) + values[at + 1]
        found[at] += carried * math.exp(-max(start[at + 1] - end[at], 0.0) / REACH)
    return found
