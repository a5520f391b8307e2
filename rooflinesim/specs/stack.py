"""How software runs a model: what its kernels reach of a device's peaks, and what it adds to a step."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.specs.routing import UNIFORM, Routing
from rooflinesim.units import quantity

Launch = Literal["graphs", "eager"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelLaw(Noun):
    """Constants of one kind of kernel: time = fixed_time + smooth maximum of its roofs.

    `flop_efficiency` is the share of the dense rate that large problems reach; `ramp_time` the time a
    kernel needs to fill the memory pipeline, by which its bandwidth saturates with bytes.
    """

    fixed_time: float = quantity("s")
    flop_efficiency: float = quantity("1", positive=True, maximum=1.0)
    ramp_time: float = quantity("s", default=0.0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Collectives(Noun):
    """Constants of the all-reduce algorithms that the software has; an absent algorithm is not tried.

    A latency is that of one stage: a ring takes 2 (ranks - 1) stages, one-shot one, two-shot two.
    """

    bandwidth_efficiency: float = quantity("1", positive=True, maximum=1.0)
    ring_latency: float | None = quantity("s", default=None)
    one_shot_latency: float | None = quantity("s", default=None)
    two_shot_latency: float | None = quantity("s", default=None)
    in_switch_latency: float | None = quantity("s", default=None)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Band(Noun):
    """Range that is meant to hold 80 % of measurements, as factors on a predicted time."""

    low: float = quantity("1", positive=True, maximum=1.0)
    high: float = quantity("1", minimum=1.0)
    source: str

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stack(Noun):
    """A way to run models: an engine and its version, or a class of engines.

    `memory_efficiency` maps a memory class (HBM, GDDR, LPDDR, DDR, SRAM) to the share of its bandwidth
    that streaming reaches. `overlap_exponent` is the order of the smooth maximum of compute and memory
    time; None is the sharp maximum of the roofline. `launch` eager makes the host a floor:
    `launch_time` per kernel. `uses_calibration` lets a device's measured values replace these constants.
    `routing` is how the tokens of its workloads choose experts.
    `memory_utilization` is the share of device memory that the engine takes for weights and cache.
    `on_chip_share` of the last shared cache can hold a step's working set; its bandwidth is the
    profile's, else cores x clock x `on_chip_bandwidth_per_core_clock`, else on-chip reuse is left out.
    `single_user_band` holds for one sequence on one device, `band` elsewhere; an ideal stack has none.
    """

    name: str
    source: str
    aliases: tuple[str, ...] = ()
    memory_efficiency: Mapping[str, float] = quantity("1", positive=True, maximum=1.0)
    on_chip_efficiency: float = quantity("1", positive=True, maximum=1.0)
    on_chip_share: float = quantity("1", maximum=1.0)
    on_chip_bandwidth_per_core_clock: float | None = quantity("B", default=None, positive=True)
    overlap_exponent: float | None = quantity("1", default=None, minimum=1.0)
    gemm: KernelLaw
    attention: KernelLaw
    recurrent: KernelLaw
    elementwise: KernelLaw
    collectives: Collectives
    launch: Launch = "graphs"
    launch_time: float = quantity("s", default=0.0)
    step_time: float = quantity("s", default=0.0)
    sequence_time: float = quantity("s", default=0.0)
    layer_time: float = quantity("s", default=0.0)
    memory_utilization: float = quantity("1", positive=True, maximum=1.0)
    cache_block: int = quantity("tokens", default=1, minimum=1)
    has_rolling_window_cache: bool = True
    uses_calibration: bool = True
    routing: Routing = UNIFORM
    band: Band | None = None
    single_user_band: Band | None = None
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kinds: Mapping[str, Literal["fitted", "assumed", "measured"]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        units.check(self)

    def source_of(self, field: str) -> str:
        """Where the value of a field comes from."""
        return self.sources.get(field, self.source)
