"""How software runs a model: what its kernels reach of a device's peaks, and what it adds to a step."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw
from rooflinesim.specs.routing import UNIFORM, Routing
from rooflinesim.specs.speculation_law import SpeculationLaw
from rooflinesim.units import quantity

Launch = Literal["graphs", "eager"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelLaw(Noun):
    """Constants of a small kernel: time = fixed_time + the larger of its roofs.

    `flop_efficiency` is the share of the dense rate that large problems reach.
    """

    fixed_time: float = quantity("s")
    flop_efficiency: float = quantity("1", positive=True, maximum=1.0)

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
class IsolatedKernels(Noun):
    """Constants of the kernels of one architecture of devices as benchmarks time them: alone, in a loop.

    Inside a model an engine fuses some of their work into others (narrowing activations into norms, additions into
    all-reduces), so whole steps take the stack's own constants, which are fitted to whole steps.
    `weight_efficiency` is as in a stack; `narrow_attention` is that of caches of less than 16 bits per value.
    `expert_formats` are those of experts by number format or its family, `quantization` those of products. Where the
    software has several kernels, `expert_formats` has format/kernel and `attention_kernels` the kernel, or
    kernel/narrow, for those that are not the main ones.
    """

    weight_efficiency: Mapping[str, float] = quantity("1", default=None, positive=True, maximum=1.5)
    attention: AttentionLaw | None = None
    narrow_attention: AttentionLaw | None = None
    attention_kernels: Mapping[str, AttentionLaw] = dataclasses.field(default_factory=dict)
    experts: ExpertLaw | None = None
    expert_formats: Mapping[str, ExpertLaw] = dataclasses.field(default_factory=dict)
    quantization: Mapping[str, QuantizationLaw] = dataclasses.field(default_factory=dict)
    collectives: Mapping[str, CollectiveLaw] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stack(Noun):
    """A way to run models: an engine and its version, or a class of engines.

    `memory_efficiency` maps a memory class (HBM, GDDR, LPDDR, Apple, DDR, SRAM; AMD HBM where a vendor's differs) to
    the share of its bandwidth that good kernels reach when they stream 16-bit weights, `memory_share` what the
    stack's reach of that, and `weight_efficiency` what other weight formats reach of 16-bit ones, by family.
    Weight-only formats are unpacked on the vector units, `unpack_operations` per weight. Formats whose math is
    narrower than activations pay a
    `quantization` kernel per product. `gemm_flop_efficiency` maps a math format to the share of its dense rate that
    good large products reach, `flop_share` is what the stack's reach of that. `launch` eager makes the host a
    floor: `launch_time` per kernel. `uses_calibration` lets a device's measured values replace these constants,
    `runs_measured_kernels` its measured kernels too, which are those of plain PyTorch; `uses_cores` lets work divide
    unevenly over a device's cores.

    `step_time` is added to every step, `sequence_time` for every sequence, `layer_time` for every layer and
    `stage_time` for every stage of a pipeline after the first. A prompt takes 1 / `prompt_efficiency` of what its
    operations do. In a closed loop of b requests its first token comes `admission_time` later (reading, tokenising
    and scheduling the request, streaming the token) and waits for the prompts of `waiting_share` (b - 1) others.
    With `shards_head` false every tensor-parallel device computes the whole output head. `routing`
    is how the tokens of its workloads choose experts. `isolated_kernels` holds kernels by architecture tag, such as
    sm_90, and `collectives` constants by kind of link.

    `speculation` holds what rounds of speculation add.

    `memory_utilization` is the share of device memory that the engine takes for weights and cache. `on_chip_share`
    of the last shared cache can hold a step's working set; its bandwidth is the profile's, else cores x clock x
    `on_chip_bandwidth_per_core_clock`, else on-chip reuse is left out. `bands` holds the error band of each kind of
    step on the devices it was `fitted_on`, `transfer_bands` that on others; beyond `largest_batch` and
    `longest_context` both widen. An ideal stack has none. `kernel_bands` and `transfer_kernel_bands` are those of
    single kernels, by kind, on the devices `kernels_fitted_on` and on others.
    """

    name: str
    source: str
    aliases: tuple[str, ...] = ()
    based_on: str = ""
    fitted_on: tuple[str, ...] = ()
    largest_batch: float = quantity("1", default=1024.0)
    longest_context: float = quantity("tokens", default=32768.0)
    memory_efficiency: Mapping[str, float] = quantity("1", positive=True, maximum=1.0)
    memory_share: float = quantity("1", default=1.0, positive=True, maximum=1.3)
    weight_efficiency: Mapping[str, float] = quantity("1", default=None, positive=True, maximum=1.5)
    unpack_operations: float = quantity("1", default=0.0)
    quantization: Mapping[str, QuantizationLaw] = dataclasses.field(default_factory=dict)
    on_chip_efficiency: float = quantity("1", positive=True, maximum=1.0)
    on_chip_share: float = quantity("1", maximum=1.0)
    on_chip_bandwidth_per_core_clock: float | None = quantity("B", default=None, positive=True)
    gemm: GemmLaw
    gemm_flop_efficiency: Mapping[str, float] = quantity("1", positive=True, maximum=1.0)
    flop_share: float = quantity("1", default=1.0, positive=True, maximum=1.5)
    attention: AttentionLaw
    experts: ExpertLaw
    recurrent: KernelLaw
    elementwise: KernelLaw
    collectives: Mapping[str, CollectiveLaw]
    isolated_kernels: Mapping[str, IsolatedKernels] = dataclasses.field(default_factory=dict)
    launch: Launch = "graphs"
    launch_time: float = quantity("s", default=0.0)
    step_time: float = quantity("s", default=0.0)
    sequence_time: float = quantity("s", default=0.0)
    layer_time: float = quantity("s", default=0.0)
    stage_time: float = quantity("s", default=0.0)
    prompt_efficiency: float = quantity("1", default=1.0, positive=True, maximum=2.0)
    admission_time: float = quantity("s", default=0.0)
    waiting_share: float = quantity("1", default=0.0, maximum=1.0)
    shards_head: bool = True
    memory_utilization: float = quantity("1", positive=True, maximum=1.0)
    cache_block: int = quantity("tokens", default=1, minimum=1)
    has_rolling_window_cache: bool = True
    uses_calibration: bool = True
    runs_measured_kernels: bool = False
    uses_cores: bool = True
    routing: Routing = UNIFORM
    speculation: SpeculationLaw = SpeculationLaw()
    bands: Mapping[str, Band] = dataclasses.field(default_factory=dict)
    transfer_bands: Mapping[str, Band] = dataclasses.field(default_factory=dict)
    kernels_fitted_on: tuple[str, ...] = ()
    kernel_bands: Mapping[str, Band] = dataclasses.field(default_factory=dict)
    transfer_kernel_bands: Mapping[str, Band] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kinds: Mapping[str, Literal["fitted", "assumed", "measured"]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        units.check(self)

    def source_of(self, field: str) -> str:
        """Where the value of a field comes from."""
        return self.sources.get(field, self.source)
