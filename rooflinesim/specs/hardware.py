"""A device as its datasheet describes it, and, apart from that, what was measured on it."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from rooflinesim import units
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.collective_law import CollectiveLaw
from rooflinesim.specs.formats import MATH_FORMATS, NumberFormat
from rooflinesim.specs.measured_kernels import MeasuredKernels
from rooflinesim.specs.stack import Band
from rooflinesim.units import quantity

MemoryClass = Literal["HBM", "GDDR", "LPDDR", "Apple", "DDR", "SRAM"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OnChipMemory(Noun):
    """Memory on the die: what a working set must fit into to be read faster than from device memory."""

    l2_capacity: float | None = quantity("B", default=None)
    last_level_cache_capacity: float | None = quantity("B", default=None)
    shared_memory_per_core: float | None = quantity("B", default=None)
    register_file_per_core: float | None = quantity("B", default=None)
    total_capacity: float | None = quantity("B", default=None)
    bandwidth: float | None = quantity("B/s", default=None, positive=True)

    def __post_init__(self) -> None:
        units.check(self)

    @property
    def cache_capacity(self) -> float:
        """Largest memory that all cores share, where a whole working set can stay between steps [B]."""
        return max(self.l2_capacity or 0.0, self.last_level_cache_capacity or 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Link(Noun):
    """A connection of one device to its peers or its host; the bandwidth is that of one direction."""

    name: str
    bandwidth: float = quantity("B/s", positive=True)
    devices: int = quantity("1", default=2, minimum=2)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Interval(Noun):
    """Where a measured constant lies in 95 of 100 repetitions, in its own SI unit."""

    low: float = quantity("1")
    high: float = quantity("1")

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Measurement(Noun):
    """How a device was measured: on what, with what, when, and how quiet it was.

    `spread` is the median, over kernels, of the interquartile range of samples over their median.
    """

    device: str
    software: str
    clock: str
    date: str
    threads: int = quantity("1", default=1, minimum=1)
    rounds: int = quantity("1", minimum=1)
    spread: float = quantity("1")
    verdict: str

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Calibration(Noun):
    """What was measured on a device; each value replaces the software stack's class constant.

    `kernels` holds kernels by number format, which stacks use that run them; those take `launch_time` of the host for
    each operation that they launch one by one and `graph_time` for a step that is launched whole, and nothing else
    beside the operations. `collectives` are those among the devices of one machine. `bands` are those of steps whose
    kernels are all measured.
    """

    source: str
    memory_efficiency: float | None = quantity("1", default=None, positive=True, maximum=1.0)
    flop_efficiency: Mapping[str, float] = quantity("1", default=None, positive=True, maximum=1.0)
    kernel_time: float | None = quantity("s", default=None)
    exposed_share: float | None = quantity("1", default=None, maximum=1.0)
    on_chip_bandwidth: float | None = quantity("B/s", default=None, positive=True)
    kernels: Mapping[str, MeasuredKernels] = dataclasses.field(default_factory=dict)
    launch_time: float = quantity("s", default=0.0)
    graph_time: float = quantity("s", default=0.0)
    collectives: CollectiveLaw | None = None
    bands: Mapping[str, Band] = dataclasses.field(default_factory=dict)
    measurement: Measurement | None = None
    intervals: Mapping[str, Interval] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hardware(Noun):
    """One device as software sees it: datasheet facts, each with its source.

    `dense_flop_rate` maps a math format to a dense rate; sparse rates are refused where the
    architecture is known. `memory_capacity` is None where it depends on the modules fitted (CPU sockets).
    `cores` counts SMs, CUs, tensor cores or CPU cores, as the vendor does. `devices` above 1 marks a card
    that software sees as several devices, described whole.
    """

    name: str
    vendor: str
    architecture: str
    memory_type: str
    memory_bandwidth: float = quantity("B/s", positive=True)
    dense_flop_rate: Mapping[str, float] = quantity("FLOP/s", positive=True)
    source: str
    memory_capacity: float | None = quantity("B", default=None, positive=True)
    aliases: tuple[str, ...] = ()
    on_chip: OnChipMemory = OnChipMemory()
    cores: int | None = quantity("1", default=None, minimum=1)
    clock_rate: float | None = quantity("Hz", default=None, positive=True)
    link: Link | None = None
    host_link: Link | None = None
    thermal_design_power: float | None = quantity("W", default=None, positive=True)
    devices: int = quantity("1", default=1, minimum=1)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        units.check(self)
        if not self.dense_flop_rate:
            raise DomainError("dense_flop_rate is empty; give at least one, like {bf16: 989.4 TFLOP/s}")
        for math in self.dense_flop_rate:
            if math not in MATH_FORMATS:
                raise DomainError(f"dense_flop_rate.{math} is no math format; known: {', '.join(MATH_FORMATS)}")
        sparse = sparse_rates(self)
        if sparse:
            raise DomainError(sparse[0])

    def source_of(self, field: str) -> str:
        """Where the value of a field comes from."""
        return self.sources.get(field, self.source)

    @property
    def memory_class(self) -> MemoryClass:
        """Kind of memory that decides how much of its bandwidth software reaches."""
        if self.vendor == "Apple":
            return "Apple"
        kinds: tuple[MemoryClass, ...] = ("HBM", "GDDR", "LPDDR", "SRAM")
        return next((kind for kind in kinds if kind in self.memory_type.upper()), "DDR")


def math_format(form: NumberFormat, hardware: Hardware) -> str:
    """Math format in which the device multiplies values stored in a number format.

    Raises
    ------
    UnsupportedError : if the device has a rate for none of the format's math formats.
    """
    for math in form.math:
        if math in hardware.dense_flop_rate:
            return math
    raise UnsupportedError(
        f"{hardware.name} has no unit for {form.name} and no wider one among {', '.join(form.math)};"
        f" it multiplies in {', '.join(hardware.dense_flop_rate)}; ask for such a format with --weights"
    )


def is_converted(form: NumberFormat, hardware: Hardware) -> bool:
    """Whether the device lacks the format's own unit, so that values are dequantised to a wider one."""
    return math_format(form, hardware) != form.math[0]


# Dense multiply-add FLOPs per clock and SM or CU of the widest bf16/fp16 unit, by architecture tag.
# Worked back from the dense rates, core counts and boost clocks of the shipped profiles.
_FLOP_PER_CLOCK_AND_CORE = {
    "sm_70": 1024,
    "sm_75": 1024,
    "sm_80": 2048,
    "sm_86": 1024,
    "sm_87": 2048,
    "sm_89": 1024,
    "sm_90": 4096,
    "sm_100": 8192,
    "sm_103": 8192,
    "sm_110": 8192,
    "sm_120": 1024,
    "sm_121": 1024,
    "gfx908": 1024,
    "gfx90a": 1024,
    "gfx942": 2048,
    "gfx950": 4096,
    "gfx1100": 512,
    "gfx1151": 512,
    "gfx1201": 1024,
}
_INT8_AT_16_BIT_RATE = ("gfx908", "gfx90a", "gfx1100", "gfx1151")
_WIDTH_OVER_16_BIT = {"fp32": 1.0, "tf32": 1.0, "fp16": 1.0, "bf16": 1.0, "fp8": 2.0, "int8": 2.0, "fp4": 4.0}


def sparse_rates(hardware: Hardware) -> tuple[str, ...]:
    """Complaints about rates above the dense maximum of the device's math units; empty when there are none.

    The maximum is cores x clock x FLOPs per clock of the architecture's 16-bit unit, doubled for each
    halving of the width, with 15 % of room for another clock. Devices whose architecture, core count or
    clock is unknown are not judged. Fourth-width rates on Blackwell Ultra get half as much again.
    """
    tag = re.search(r"\b(sm_\d+|gfx\w+)\b", hardware.architecture)
    width = _FLOP_PER_CLOCK_AND_CORE.get(tag[1]) if tag else None
    if width is None or hardware.cores is None or hardware.clock_rate is None:
        return ()
    complaints = []
    for math, rate in hardware.dense_flop_rate.items():
        gain = 1.0 if math == "int8" and tag and tag[1] in _INT8_AT_16_BIT_RATE else _WIDTH_OVER_16_BIT[math]
        dense = width * hardware.cores * hardware.clock_rate * gain
        room = 1.8 if (tag and tag[1] == "sm_103" and math == "fp4") else 1.15
        if rate > room * dense:
            complaints.append(
                f"dense_flop_rate.{math} {units.format_quantity(rate, 'FLOP/s')} is above the dense maximum"
                f" {units.format_quantity(dense, 'FLOP/s')} of {hardware.architecture};"
                " give the dense rate (sparse ones are twice as high)"
            )
    return tuple(complaints)
