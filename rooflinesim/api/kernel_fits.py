"""Constants of kernel laws from tables of measured kernels, by the laws that time a step."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.comparison import SEED
from rooflinesim.api.kernel_rows import KernelGroup, KernelRows, group_time, machine_of_group
from rooflinesim.cost.machine import Machine
from rooflinesim.nouns import Noun
from rooflinesim.validation.fitting import Fit, Parameter, fit

MOST_ROWS = 1000
"""Rows of one table's group that a fit looks at; more say little more and take long."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sample(Noun):
    """Rows of one kernel group that a fit looks at, with measured times [s] and weights [1] of shape (members,)."""

    group: KernelGroup
    time: np.ndarray
    weights: np.ndarray


def sample_of(
    rows: KernelRows, group: KernelGroup, shares: Mapping[str, float], *, most: int = MOST_ROWS
) -> Sample | None:
    """Rows of a group whose regimes have a share of the weight; None where there are none.

    Regimes are told by the start of their label. Each has its share together, however many rows it has; the weights
    sum to the shares.
    """
    regimes = rows.labels["regime"][group.members].astype(str)
    index = np.full(group.members.size, -1)
    for place, name in enumerate(shares):
        index[np.char.startswith(regimes, name)] = place
    random = np.random.default_rng(SEED)
    taken: list[np.ndarray] = []
    for place in range(len(shares)):
        mine = np.flatnonzero(index == place)
        room = max(most // len(shares), 1)
        taken.append(mine if mine.size <= room else np.sort(random.choice(mine, room, replace=False)))
    chosen = np.concatenate(taken)
    if not chosen.size:
        return None
    sizes = np.bincount(index[chosen], minlength=len(shares))
    return Sample(
        group=chosen_rows(group, chosen),
        time=rows.time[group.members[chosen]],
        weights=np.array(list(shares.values()))[index[chosen]] / sizes[index[chosen]],
    )


def chosen_rows(group: KernelGroup, places: np.ndarray) -> KernelGroup:
    """A group with some of its rows."""
    size = group.members.size

    def cut(noun: Any) -> Any:
        values = {
            field.name: (
                value[places]
                if isinstance(value := getattr(noun, field.name), np.ndarray) and value.shape == (size,)
                else cut(value)
                if field.name == "shape" and value is not None
                else value
            )
            for field in dataclasses.fields(noun)
        }
        return type(noun)(**values)

    return dataclasses.replace(
        group,
        ops=tuple(cut(op) for op in group.ops),
        members=group.members[places],
        on_chip=group.on_chip[places],
    )


Change = Callable[[Machine, Mapping[str, float]], Machine]
"""A machine with constants replaced."""


def fit_samples(samples: Sequence[Sample], parameters: Sequence[Parameter], change: Change) -> Fit:
    """Constants that bring the laws closest to all samples, each device of which weighs the same.

    Raises
    ------
    UnsupportedError : if scipy is missing, or there are fewer rows than constants.
    """
    bases = [machine_of_group(one.group) for one in samples]
    measured = np.concatenate([one.time for one in samples])
    devices = [one.group.hardware.name for one in samples]
    total = {name: sum(one.weights.sum() for one in samples if one.group.hardware.name == name) for name in devices}
    each = measured.size / len(total)
    weights = np.concatenate([one.weights * each / total[one.group.hardware.name] for one in samples])

    def predict(values: Mapping[str, float]) -> np.ndarray:
        return np.concatenate(
            [group_time(one.group, change(base, values)) for one, base in zip(samples, bases, strict=True)]
        )

    return fit(parameters, predict, measured, weights=weights)


def distance(samples: Sequence[Sample], change: Change, values: Mapping[str, float]) -> float:
    """Weighted mean of the absolute logarithm of predicted over measured times [1]."""
    apart = [
        one.weights * np.abs(np.log(group_time(one.group, change(machine_of_group(one.group), values)) / one.time))
        for one in samples
    ]
    return float(sum(part.sum() for part in apart) / sum(one.weights.sum() for one in samples))
