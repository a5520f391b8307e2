"""What one device reaches under one software stack: datasheet rates times achievable shares."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment, link_of
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.hardware import Hardware, math_format
from rooflinesim.specs.stack import Collectives, KernelLaw, Stack
from rooflinesim.workload.op import OpKind

ON_CHIP_MARGIN = 0.15
"""Share of the usable cache over which a growing working set turns from resident to streamed."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Machine(Noun):
    """Constants of one device as kernels see them.

    `bandwidth` [B/s] and the rates of `flop_rate` [FLOP/s] are achievable ones. `on_chip_bandwidth` None
    means that nothing is served from on-chip memory; `cache_bytes` is the room there [B]. `flop_scale`
    asks what another rate of all math would do.
    """

    hardware: Hardware
    bandwidth: float
    on_chip_bandwidth: float | None
    cache_bytes: float
    laws: Mapping[OpKind, KernelLaw]
    overlap_exponent: float | None
    link_bandwidth: float
    collectives: Collectives
    flop_scale: float = 1.0

    def flop_rate(self, form: NumberFormat, kind: OpKind) -> float:
        """Achievable rate of the math that values of a number format are multiplied in [FLOP/s]."""
        math = math_format(form, self.hardware)
        return self.flop_scale * self.hardware.dense_flop_rate[math] * self.flop_efficiency(math, kind)

    def flop_efficiency(self, math: str, kind: OpKind) -> float:
        """Share of the dense rate that large problems reach: measured on the device, else the stack's [1]."""
        calibration = self.hardware.calibration
        if kind == "gemm" and calibration and calibration.flop_efficiency and math in calibration.flop_efficiency:
            return calibration.flop_efficiency[math]
        return self.laws[kind].flop_efficiency


def machine_of(deployment: Deployment) -> Machine:
    """Constants of a deployment's devices: measured ones where the stack uses them, else its class constants."""
    hardware, stack = deployment.hardware, deployment.stack
    if not stack.uses_calibration:
        hardware = dataclasses.replace(hardware, calibration=None)
    measured = hardware.calibration
    link = link_of(deployment)
    gemm = stack.gemm
    overlap = stack.overlap_exponent
    if measured:
        gemm = dataclasses.replace(
            gemm,
            fixed_time=gemm.fixed_time if measured.kernel_time is None else measured.kernel_time,
            ramp_time=gemm.ramp_time if measured.ramp_time is None else measured.ramp_time,
        )
        overlap = overlap if measured.overlap_exponent is None else measured.overlap_exponent
    return Machine(
        hardware=hardware,
        bandwidth=hardware.memory_bandwidth * memory_efficiency(hardware, stack),
        on_chip_bandwidth=on_chip_bandwidth(hardware, stack),
        cache_bytes=hardware.on_chip.cache_capacity * stack.on_chip_share,
        laws={
            "gemm": gemm,
            "attention": stack.attention,
            "recurrent": stack.recurrent,
            "elementwise": stack.elementwise,
        },
        overlap_exponent=overlap,
        link_bandwidth=link.bandwidth if link else 1.0,
        collectives=stack.collectives,
    )


def memory_efficiency(hardware: Hardware, stack: Stack) -> float:
    """Share of the memory bandwidth that streaming reaches: measured, else the stack's for the memory class [1].

    Raises
    ------
    UnsupportedError : if the stack says nothing about the device's kind of memory.
    """
    measured = hardware.calibration if stack.uses_calibration else None
    if measured and measured.memory_efficiency is not None:
        return measured.memory_efficiency
    if hardware.memory_class not in stack.memory_efficiency:
        raise UnsupportedError(
            f"stack {stack.name}: memory_efficiency knows {', '.join(stack.memory_efficiency)}, but {hardware.name} has"
            f" {hardware.memory_class}; add it to the stack, or ask for --stack generic"
        )
    return stack.memory_efficiency[hardware.memory_class]


def on_chip_bandwidth(hardware: Hardware, stack: Stack) -> float | None:
    """Bandwidth of the last shared cache: the profile's, else cores x clock x the stack's bytes per clock [B/s].

    None where neither is known; it is never below that of device memory.
    """
    stated = hardware.on_chip.bandwidth
    if stated is None:
        if stack.on_chip_bandwidth_per_core_clock is None or not hardware.cores or not hardware.clock_rate:
            return None
        stated = hardware.cores * hardware.clock_rate * stack.on_chip_bandwidth_per_core_clock
    return max(stated * stack.on_chip_efficiency, hardware.memory_bandwidth * memory_efficiency(hardware, stack))
