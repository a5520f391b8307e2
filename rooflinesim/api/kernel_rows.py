"""Measured kernels as operations of a step: what all kinds of kernel tables share."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.api.measured import known_hardware, known_stack
from rooflinesim.config.labels import device_reading
from rooflinesim.cost.machine import Machine, device_machine
from rooflinesim.cost.step import op_cost
from rooflinesim.errors import RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.tables import Table, number
from rooflinesim.workload.op import Op

COLD = 1.2
"""Working set of a benchmark's loop, over the last shared cache, from which it streams from device memory [1]."""

RESIDENT = (0.95, 1.1)
"""The same ratio up to which it stays in the cache, and from which nothing of it does [1]."""

STACKS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "tensorrt-llm",
    "tensorrt-llm": "tensorrt-llm",
    "nccl": "torch-eager",
    "median": "generic",
}
"""Stack that stands for a framework or library of a table; frameworks that call NCCL alone are like eager PyTorch."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelGroup(Noun):
    """Measured rows of one device, stack and operation kind: arrays of shape (members,) in place of numbers.

    `ops` run one after another; `on_chip` is the share of their bytes that a benchmark's loop finds in the cache.
    `devices` work together, `members` are the places of the rows among all of a table.
    """

    hardware: Hardware
    stack: str
    ops: tuple[Op, ...]
    members: np.ndarray
    on_chip: np.ndarray
    devices: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelRows(Noun):
    """Rows of a table that can be predicted: measured time [s] and labels by name, each of shape (rows,).

    `bands` names the error band of each row, as the stacks key them.
    """

    ids: np.ndarray
    time: np.ndarray
    labels: Mapping[str, np.ndarray]
    bands: np.ndarray
    groups: tuple[KernelGroup, ...]
    skipped: tuple[Skipped, ...]


class Sheet:
    """Columns of a table, and for each row the reason why it cannot be used, if any."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ids = np.array([row["id"] for row in table.rows], dtype=object)
        self.reasons = np.full(self.ids.size, "", dtype=object)

    def words(self, name: str, default: str = "") -> np.ndarray:
        """A column as text, shape (rows,)."""
        return np.array([row.get(name, default).strip() for row in self.table.rows], dtype=object)

    def numbers(self, name: str) -> np.ndarray:
        """A column as numbers, nan where a cell holds none, shape (rows,)."""
        cells = [row.get(name, "") for row in self.table.rows]
        try:
            values = np.array(cells, dtype=np.float64) if all(cells) else np.array([])
        except ValueError:
            values = np.array([])
        if values.size != len(cells) or not np.isfinite(values).all():
            values = np.array([np.nan if (one := number(cell)) is None else one for cell in cells], dtype=np.float64)
        return values

    def counts(self, name: str, least: float = 1.0) -> np.ndarray:
        """A column of whole numbers; rows with another cell are dropped, shape (rows,)."""
        values = self.numbers(name)
        bad = ~(values >= least) | (values != np.floor(values))
        self.drop(bad, f"{name} is no whole number of at least {least:g}")
        return np.where(bad, np.maximum(least, 1.0), values)

    def drop(self, mask: np.ndarray, reason: str | Callable[[int], str]) -> None:
        """Give rows that have none yet a reason why they are left out."""
        for index in np.flatnonzero(mask & (self.reasons == "")):
            self.reasons[index] = reason if isinstance(reason, str) else reason(int(index))

    def devices(self, column: str = "gpu") -> dict[str, Hardware]:
        """Device of each label of a column; rows of labels that nobody knows are dropped."""
        labels = self.words(column)
        found: dict[str, Hardware] = {}
        for label in dict.fromkeys(labels):
            try:
                found[label] = known_hardware(device_reading(label).name)
            except RooflinesimError as error:
                self.drop(labels == label, str(error))
        return found

    @property
    def kept(self) -> np.ndarray:
        """Places of the rows that can be used."""
        return np.flatnonzero(self.reasons == "")

    def skipped(self) -> tuple[Skipped, ...]:
        """Rows that are left out, those that could not be read included."""
        own = np.flatnonzero(self.reasons != "")
        return (*self.table.skipped, *(Skipped(id=self.ids[i], reason=str(self.reasons[i])) for i in own))


def grouped(columns: Sequence[np.ndarray], places: np.ndarray) -> Iterator[tuple[tuple[Hashable, ...], np.ndarray]]:
    """Places of rows that have the same values in some columns, with these values."""
    found: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for place in places:
        found[tuple(column[place] for column in columns)].append(int(place))
    for key, members in found.items():
        yield key, np.array(members)


def resident_share(working_set: np.ndarray, hardware: Hardware) -> np.ndarray:
    """Share of a benchmark's working set that stays in the last shared cache between its repetitions [1]."""
    low, high = RESIDENT
    capacity = hardware.on_chip.cache_capacity
    if not capacity:
        return np.zeros(np.shape(working_set))
    return np.asarray(1.0 - np.clip((working_set / capacity - low) / (high - low), 0.0, 1.0))


def is_cold(working_set: np.ndarray, hardware: Hardware) -> np.ndarray:
    """Whether a benchmark streams from device memory, as a step of a served model does."""
    return np.asarray(working_set > COLD * hardware.on_chip.cache_capacity)


def in_ranges(values: np.ndarray, ranges: Sequence[tuple[float, str]]) -> np.ndarray:
    """Name of the first range whose end is not below each value, the last one for all above."""
    ends = np.array([end for end, _ in ranges[:-1]])
    names = np.array([name for _, name in ranges], dtype=object)
    return np.asarray(names[np.searchsorted(ends, values, side="left")])


def machine_of_group(group: KernelGroup, stack: Stack | None = None) -> Machine:
    """Constants of a group's devices under its own stack, or under another."""
    return device_machine(group.hardware, stack or known_stack(group.stack), group.devices)


def group_time(group: KernelGroup, machine: Machine) -> np.ndarray:
    """Time of each row of a group on a machine [s], shape (members,)."""
    time = sum(np.asarray(op.count * op_cost(op, machine, group.on_chip).time) for op in group.ops)
    return np.broadcast_to(np.asarray(time), group.members.shape)


def roofline_time(group: KernelGroup) -> np.ndarray:
    """Time of each row of a group at datasheet rates, nothing found on chip [s], shape (members,)."""
    machine = machine_of_group(group, known_stack("ideal"))
    time = sum(np.asarray(op.count * op_cost(op, machine).time) for op in group.ops)
    return np.broadcast_to(np.asarray(time), group.members.shape)
