"""What one device reaches under one software stack: datasheet rates times achievable shares."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from rooflinesim.cost.gemm import law_at_clock
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw
from rooflinesim.specs.deployment import NETWORK, Deployment, link_of, reach_of
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw
from rooflinesim.specs.hardware import Calibration, Hardware, math_format
from rooflinesim.specs.measured_kernels import MeasuredKernels
from rooflinesim.specs.stack import IsolatedKernels, KernelLaw, Stack
from rooflinesim.workload.step import Array

ON_CHIP_MARGIN = 0.15
"""Share of the usable cache over which a growing working set turns from resident to streamed."""

NO_CALIBRATION = Calibration(source="none")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Machine(Noun):
    """Constants of one device as kernels see them.

    `peak_bandwidth` and `dense_rate` are the datasheet's [B/s, FLOP/s], `bandwidth` and `flop_rate` what 16-bit
    products reach. `on_chip_bandwidth` None means that nothing is served from on-chip memory; `cache_bytes` is the
    room there [B]. `cores` and `clock_rate` are None where kernels are not held back by them. A group of devices
    beyond `host_devices` spans hosts. `flop_scale` asks what another rate of all math would do.
    """

    hardware: Hardware
    peak_bandwidth: Array
    bandwidth: Array
    weight_efficiency: Mapping[str, Array]
    unpack_operations: Array
    vector_rate: Array | None
    quantization: Mapping[str, QuantizationLaw]
    on_chip_bandwidth: float | None
    cache_bytes: Array
    cores: float | None
    clock_rate: float | None
    gemm: GemmLaw
    gemm_flop_efficiency: Mapping[str, Array]
    attention: AttentionLaw
    narrow_attention: AttentionLaw | None
    attention_kernels: Mapping[str, AttentionLaw]
    experts: ExpertLaw
    expert_formats: Mapping[str, ExpertLaw]
    recurrent: KernelLaw
    elementwise: KernelLaw
    collectives: CollectiveLaw
    network: CollectiveLaw
    link_bandwidth: Array
    network_bandwidth: float = NETWORK.bandwidth
    host_devices: int = 1
    measured: Mapping[str, MeasuredKernels] = dataclasses.field(default_factory=dict)
    flop_scale: Array = 1.0

    def gemm_law(self, form: NumberFormat) -> GemmLaw:
        """Constants of products with weights of a format, whose kernels may never split inputs."""
        quantization = self.quantization_law(form)
        return dataclasses.replace(self.gemm, input_time=quantization.input_time) if quantization else self.gemm

    def quantization_law(self, form: NumberFormat) -> QuantizationLaw | None:
        """Constants of the kernels that narrow activations for weights of a format: its own, else its family's."""
        return self.quantization.get(form.name, self.quantization.get(form.family))

    def expert_law(self, form: NumberFormat) -> ExpertLaw:
        """Constants of experts whose weights have a format: its own, else its family's, else those of all.

        A name such as nvfp4/cutlass asks for one of several kernels that the software has for the format.
        """
        names = (form.name, form.name.partition("/")[0], form.family)
        return next((self.expert_formats[name] for name in names if name in self.expert_formats), self.experts)

    def attention_law(self, form: NumberFormat, value_bytes: Array) -> AttentionLaw:
        """Constants of attention to a cache whose values have so many bytes.

        A format's name such as bf16/triton asks for one of several kernels that the software has.
        """
        kernel = form.name.partition("/")[2]
        is_narrow = bool(np.all(np.asarray(value_bytes) < 2.0))
        own = self.attention_kernels.get(f"{kernel}/narrow" if is_narrow else kernel) if kernel else None
        if own is not None:
            return own
        return self.narrow_attention if is_narrow and self.narrow_attention is not None else self.attention

    def dense_rate(self, form: NumberFormat) -> Array:
        """Dense rate of the math that values of a number format are multiplied in [FLOP/s]."""
        return self.flop_scale * self.hardware.dense_flop_rate[math_format(form, self.hardware)]

    def flop_rate(self, form: NumberFormat) -> Array:
        """Rate that large products of values of a number format reach [FLOP/s]."""
        kernels = self.quantization_law(form)
        own = kernels.flop_efficiency if kernels else None
        return self.dense_rate(form) * (self.flop_efficiency(math_format(form, self.hardware)) if own is None else own)

    def flop_efficiency(self, math: str) -> Array:
        """Share of the dense rate that large products reach [1]."""
        return self.gemm_flop_efficiency.get(math, self.gemm_flop_efficiency["bf16"])


def machine_of(deployment: Deployment) -> Machine:
    """Constants of a deployment's devices: measured ones where the stack uses them, else its class constants."""
    return _machine(deployment.hardware, deployment.stack, deployment.group_devices, IsolatedKernels())


def isolated_machine(hardware: Hardware, stack: Stack, devices: int = 1) -> Machine:
    """Constants of one of `devices` whose kernels are timed one by one, outside a model."""
    own = stack.isolated_kernels.get(architecture_tag(hardware), IsolatedKernels())
    formats = {**(stack.weight_efficiency or {}), **(own.weight_efficiency or {})}
    alone = dataclasses.replace(stack, memory_share=1.0, flop_share=1.0, weight_efficiency=formats)
    return _machine(hardware, alone, devices, own)


def _machine(hardware: Hardware, stack: Stack, devices: int, own: IsolatedKernels) -> Machine:
    measured = (hardware.calibration if stack.uses_calibration else None) or NO_CALIBRATION
    link = link_of(hardware, devices)
    clock = hardware.clock_rate if stack.uses_cores else None
    gemm = law_at_clock(stack.gemm, clock)
    gemm = dataclasses.replace(
        gemm,
        fixed_time=gemm.fixed_time if measured.kernel_time is None else measured.kernel_time,
        exposed_share=gemm.exposed_share if measured.exposed_share is None else measured.exposed_share,
    )
    return Machine(
        hardware=hardware,
        peak_bandwidth=hardware.memory_bandwidth,
        bandwidth=hardware.memory_bandwidth * memory_efficiency(hardware, stack),
        weight_efficiency=stack.weight_efficiency or {},
        unpack_operations=stack.unpack_operations,
        vector_rate=hardware.dense_flop_rate.get("fp32"),
        quantization=_quantization_at_clock(stack, own, clock),
        on_chip_bandwidth=on_chip_bandwidth(hardware, stack),
        cache_bytes=hardware.on_chip.cache_capacity * stack.on_chip_share,
        cores=float(hardware.cores) if hardware.cores and clock else None,
        clock_rate=clock if hardware.cores else None,
        gemm=gemm,
        gemm_flop_efficiency={
            math: min(1.0, share * stack.flop_share)
            for math, share in {**stack.gemm_flop_efficiency, **(measured.flop_efficiency or {})}.items()
        },
        attention=own.attention or stack.attention,
        narrow_attention=own.narrow_attention,
        attention_kernels=own.attention_kernels,
        experts=own.experts or stack.experts,
        expert_formats=own.expert_formats,
        recurrent=stack.recurrent,
        elementwise=stack.elementwise,
        collectives=measured.collectives or collectives_of(stack, own, link.name if link else ""),
        network=stack.collectives.get("network", stack.collectives["default"]),
        link_bandwidth=link.bandwidth if link else 1.0,
        host_devices=reach_of(hardware),
        measured=measured_kernels(hardware, stack),
    )


def measured_kernels(hardware: Hardware, stack: Stack) -> Mapping[str, MeasuredKernels]:
    """Kernels that were measured on a device, by number format; none where the stack runs others."""
    measured = hardware.calibration if stack.uses_calibration and stack.runs_measured_kernels else None
    return measured.kernels if measured else {}


def _quantization_at_clock(
    stack: Stack, own: IsolatedKernels, clock_rate: float | None
) -> Mapping[str, QuantizationLaw]:
    """Kernels of narrow formats, the architecture's before the stack's, the pace of one core that of the clock."""
    laws = {**stack.quantization, **own.quantization}
    if clock_rate is None:
        return laws
    scale = stack.gemm.reference_clock_rate / clock_rate
    return {name: dataclasses.replace(law, input_time=law.input_time * scale) for name, law in laws.items()}


def architecture_tag(hardware: Hardware) -> str:
    """Tag by which kernels are told apart, such as sm_90 or gfx942; else the architecture's name."""
    tag = re.search(r"\b(sm_\d+|gfx\w+)\b", hardware.architecture)
    return tag[1] if tag else hardware.architecture


def collectives_of(stack: Stack, own: IsolatedKernels, link: str) -> CollectiveLaw:
    """Constants of collectives over a link: the architecture's, else the stack's, by the kind of link."""
    for laws in (own.collectives, stack.collectives):
        for kind, law in laws.items():
            if link.lower().startswith(kind.lower()):
                return law
    return stack.collectives["default"]


def memory_kind(hardware: Hardware, stack: Stack) -> str:
    """Key of a stack's memory efficiencies for a device: its vendor's memory where the stack tells it apart."""
    own = f"{hardware.vendor} {hardware.memory_class}"
    return own if own in stack.memory_efficiency else hardware.memory_class


def memory_efficiency(hardware: Hardware, stack: Stack) -> float:
    """Share of the memory bandwidth that streaming reaches: measured, else the stack's for the memory class [1].

    Both are what good kernels reach; `memory_share` is what the stack's kernels reach of that.

    Raises
    ------
    UnsupportedError : if the stack says nothing about the device's kind of memory.
    """
    measured = hardware.calibration if stack.uses_calibration else None
    kind = memory_kind(hardware, stack)
    if kind not in stack.memory_efficiency:
        raise UnsupportedError(
            f"stack {stack.name}: memory_efficiency knows {', '.join(stack.memory_efficiency)}, but {hardware.name} has"
            f" {hardware.memory_class}; add it to the stack, or ask for --stack generic"
        )
    own = stack.memory_efficiency[kind]
    if measured and measured.memory_efficiency is not None:
        return min(1.0, measured.memory_efficiency * stack.memory_share)
    return min(1.0, own * stack.memory_share)


def on_chip_bandwidth(hardware: Hardware, stack: Stack) -> float | None:
    """Bandwidth of the last shared cache: measured, the profile's, else cores x clock x bytes per clock [B/s].

    None where nothing is known; it is never below that of device memory.
    """
    measured = hardware.calibration.on_chip_bandwidth if hardware.calibration and stack.uses_calibration else None
    if measured is not None:
        return max(measured, hardware.memory_bandwidth * memory_efficiency(hardware, stack))
    stated = hardware.on_chip.bandwidth
    if stated is None:
        if stack.on_chip_bandwidth_per_core_clock is None or not hardware.cores or not hardware.clock_rate:
            return None
        stated = hardware.cores * hardware.clock_rate * stack.on_chip_bandwidth_per_core_clock
    return max(stated * stack.on_chip_efficiency, hardware.memory_bandwidth * memory_efficiency(hardware, stack))


def bandwidth_at(reached: Array, machine: Machine, on_chip: Array) -> Array:
    """Bandwidth of bytes of which a share is served on chip [B/s]."""
    if machine.on_chip_bandwidth is None or not np.any(on_chip):
        return reached
    inside = np.maximum(machine.on_chip_bandwidth, reached)
    return 1.0 / ((1.0 - on_chip) / reached + on_chip / inside)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Software(Noun):
    """What the software adds to a step: per operation that the host launches, per layer and sequence, and once [s]."""

    launch_time: float
    layer_time: float
    sequence_time: float
    step_time: float


def software_of(deployment: Deployment) -> Software:
    """What the software adds to a step: as measured with the device's kernels, else the stack's constants."""
    stack = deployment.stack
    is_eager = stack.launch == "eager"
    measured = deployment.hardware.calibration
    if measured is None or not measured_kernels(deployment.hardware, stack):
        launch = stack.launch_time if is_eager else 0.0
        return Software(
            launch_time=launch,
            layer_time=stack.layer_time,
            sequence_time=stack.sequence_time,
            step_time=stack.step_time,
        )
    return Software(
        launch_time=measured.launch_time if is_eager else 0.0,
        layer_time=0.0,
        sequence_time=0.0,
        step_time=0.0 if is_eager else measured.graph_time,
    )
