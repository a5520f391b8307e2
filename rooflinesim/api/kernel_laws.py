"""Laws of each kind of kernel from samples of measured rows: which constants, from where, in which variants."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.api.kernel_fits import Change, Sample, distance, fit_samples
from rooflinesim.api.kernel_rows import machine_of_group
from rooflinesim.api.measured import known_stack
from rooflinesim.cost.machine import Machine
from rooflinesim.nouns import Noun
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.gemm_law import QuantizationLaw
from rooflinesim.validation.collective_fit import CollectiveRows, fit_all_reduce, fit_exchange
from rooflinesim.validation.fitting import IDENTIFIABLE, Fit, Parameter

GEMM_SHARES = {"cold, m 1-64": 0.5, "cold, m 65-256": 0.25, "cold, m 257-2k": 0.125, "cold, m 2k-16k": 0.125}
"""Share of a fit's weight of each range of rows; what the cache serves is left out."""

ON_CHIP_SHARES = {"warm, m 1-64": 0.7, "warm, m 65-256": 0.3}
"""The same for what the cache serves, which tells the cache's bandwidth."""

DECODE_SHARES = {"KV beyond L2, grouped": 0.5, "KV beyond L2, single": 0.1, "KV in L2": 0.1}
CONTEXT_SHARES = {"q 1-63": 0.04, "q 64-512": 0.08, "q 513-2k": 0.09, "q above 2k": 0.09}
"""Share of a fit's weight of decode attention, which steps consist of, and of prompts and chunks."""

EXPERT_SHARES = {"tokens <= 256": 0.8, "tokens > 256": 0.2}

SHARES: Mapping[str, Mapping[str, float]] = {
    "gemm": GEMM_SHARES,
    "decode_attention": DECODE_SHARES,
    "context_attention": CONTEXT_SHARES,
    "moe": EXPERT_SHARES,
    "collectives": {"all_reduce": 1.0},
}
"""Share of a fit's weight by the start of a regime's label, for each kind of table."""

CALIBRATION = (
    Parameter(name="memory_efficiency", start=0.85, low=0.3, high=1.0),
    Parameter(name="flop_efficiency", start=0.75, low=0.2, high=1.0),
    Parameter(name="exposed_share", start=0.3, low=0.001, high=1.0),
)
"""What is fitted to a device's 16-bit products; all other constants of the law are those of the class."""

GEMM_CLASS = (
    *CALIBRATION,
    Parameter(name="fixed_time", start=2.9e-6, low=1e-7, high=2e-5),
    Parameter(name="split_time", start=2.7e-6, low=1e-8, high=1e-5),
    Parameter(name="idle_core_loss", start=0.09, low=0.001, high=1.0),
)

QUANTIZATION = (
    Parameter(name="fixed_time", start=4e-6, low=1e-7, high=2e-4),
    Parameter(name="value_bytes", start=5.0, low=0.01, high=100.0, prior=1.0),
    Parameter(name="input_time", start=0.6e-9, low=1e-11, high=1e-8, prior=1.0),
    Parameter(name="flop_efficiency", start=0.6, low=0.1, high=1.0, prior=0.5),
)

ATTENTION = (
    Parameter(name="fixed_time", start=8e-6, low=1e-6, high=5e-5),
    Parameter(name="ramp_time", start=4e-6, low=1e-7, high=3e-5, prior=1.0),
    Parameter(name="memory_efficiency", start=1.0, low=0.4, high=1.2, prior=0.3),
    Parameter(name="flop_efficiency", start=0.65, low=0.1, high=1.0, prior=0.5),
    Parameter(name="core_clock_bytes", start=30.0, low=3.0, high=100.0, prior=0.7),
    Parameter(name="start_tokens", start=100.0, low=1.0, high=2000.0, prior=1.0),
    Parameter(name="start_time", start=1e-6, low=1e-8, high=2e-5, prior=1.0),
    Parameter(name="part_tokens", start=300.0, low=32.0, high=4096.0, prior=1.0),
)

VECTOR = Parameter(name="vector_efficiency", start=0.175, low=0.01, high=1.0, prior=1.0)

TENSOR_GROUPS = tuple(range(1, 33))
"""Query heads per KV head that a kernel packs into one tile where larger groups take another path."""

EXPERTS = (
    Parameter(name="fixed_time", start=8e-6, low=1e-6, high=1e-4),
    Parameter(name="depth_time", start=1.5e-9, low=1e-11, high=3e-8, prior=1.0),
    Parameter(name="memory_efficiency", start=0.95, low=0.1, high=1.13, prior=0.5),
    Parameter(name="flop_efficiency", start=0.5, low=0.03, high=1.0, prior=0.7),
    Parameter(name="grouping_passes", start=1.5, low=0.05, high=30.0, prior=1.0),
    Parameter(name="batch_slowdown", start=1.1, low=1.0, high=3.0, prior=0.3),
)

TILES = (16.0, 64.0, 128.0)
"""Rows to which an expert's are padded, of which the best is taken [tokens]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FittedLaw(Noun):
    """A law, what its fit says, and the number of constants that were fitted."""

    law: Any
    fit: Fit
    constants: int


def fit_attention(samples: Sequence[Sample]) -> FittedLaw:
    """Attention law of one engine or kernel: constants fitted, the best of a few designs of the kernel."""
    base = known_stack("generic").attention

    def tried(**design: Any) -> tuple[float, FittedLaw]:
        shape = dataclasses.replace(base, **design)
        own = (*ATTENTION, VECTOR) if design.get("tensor_groups") else ATTENTION
        return _tried(samples, own, shape, attention_change(shape))

    tiles: list[dict[str, Any]] = [
        {"tile_rows": rows, "row_step": step} for rows, step in itertools.product((64, 128), (16, 64))
    ]
    found = [(*tried(**design), design) for design in tiles]
    best = min(found, key=lambda one: one[0])[2]
    changes: tuple[dict[str, Any], ...] = ({"divides_single_heads": False}, {"tensor_groups": TENSOR_GROUPS})
    found.extend((*tried(**{**best, **change}), best) for change in changes)
    return min(found, key=lambda one: one[0])[1]


def attention_change(base: AttentionLaw) -> Change:
    """Replace the attention of a machine by a law with other constants."""

    def change(machine: Machine, values: Mapping[str, float]) -> Machine:
        law = dataclasses.replace(base, **_floats(values))
        return dataclasses.replace(machine, attention=law, narrow_attention=None, attention_kernels={})

    return change


def fit_experts(samples: Sequence[Sample]) -> FittedLaw:
    """Law of the experts of one engine and format, the best of a few tiles."""
    base = known_stack("generic").experts
    found = [
        _tried(samples, EXPERTS, shape := dataclasses.replace(base, tile=tile), expert_change(shape)) for tile in TILES
    ]
    return min(found, key=lambda one: one[0])[1]


def expert_change(base: ExpertLaw) -> Change:
    """Replace the experts of a machine by a law with other constants."""

    def change(machine: Machine, values: Mapping[str, float]) -> Machine:
        return dataclasses.replace(machine, experts=dataclasses.replace(base, **_floats(values)), expert_formats={})

    return change


def fit_quantization(samples: Sequence[Sample]) -> FittedLaw:
    """Constants of an engine's products in a narrow format."""
    return _tried(samples, QUANTIZATION, QuantizationLaw(fixed_time=0.0), quantization_change)[1]


def quantization_change(machine: Machine, values: Mapping[str, float]) -> Machine:
    """Replace the kernels of all narrow formats of a machine; the pace of one core is at the device's clock."""
    clock = machine.clock_rate or known_stack("generic").gemm.reference_clock_rate
    scale = known_stack("generic").gemm.reference_clock_rate / clock
    law = QuantizationLaw(**{**values, "input_time": values["input_time"] * scale})
    families = ("fp8", "fp8-block", "nvfp4")
    return dataclasses.replace(machine, quantization=dict.fromkeys(families, law))


def fit_calibration(samples: Sequence[Sample]) -> FittedLaw:
    """Achievable shares of one device and its exposed share, from 16-bit products."""
    fitted = fit_samples(samples, CALIBRATION, gemm_change)
    return FittedLaw(law=fitted.values, fit=fitted, constants=len(CALIBRATION))


def fit_on_chip(samples: Sequence[Sample]) -> FittedLaw:
    """Bandwidth of one device's last shared cache, from 16-bit products whose operands stay there."""
    start = max(machine_of_group(one.group).peak_bandwidth for one in samples)
    cache = Parameter(
        name="on_chip_bandwidth", start=2.0 * float(start), low=0.5 * float(start), high=20.0 * float(start)
    )
    fitted = fit_samples(samples, (cache,), on_chip_change)
    return FittedLaw(law=fitted.values, fit=fitted, constants=1)


def on_chip_change(machine: Machine, values: Mapping[str, float]) -> Machine:
    """Replace the bandwidth of the last shared cache."""
    return dataclasses.replace(machine, on_chip_bandwidth=values["on_chip_bandwidth"])


def fit_gemm_class(samples: Sequence[Sample]) -> FittedLaw:
    """All constants of 16-bit products that hold for several devices at once."""
    fitted = fit_samples(samples, GEMM_CLASS, gemm_change)
    return FittedLaw(law=fitted.values, fit=fitted, constants=len(GEMM_CLASS))


def gemm_change(machine: Machine, values: Mapping[str, float]) -> Machine:
    """Replace constants of 16-bit products; times are those of the reference clock."""
    reference = known_stack("generic").gemm.reference_clock_rate
    scale = reference / (machine.clock_rate or reference)
    own: dict[str, Any] = {n: values[n] * scale for n in ("fixed_time", "split_time") if n in values}
    own.update({n: values[n] for n in ("exposed_share", "idle_core_loss") if n in values})
    return dataclasses.replace(
        machine,
        bandwidth=machine.peak_bandwidth * values["memory_efficiency"],
        gemm=dataclasses.replace(machine.gemm, **own),
        gemm_flop_efficiency={
            **machine.gemm_flop_efficiency,
            "bf16": values["flop_efficiency"],
            "fp16": values["flop_efficiency"],
        },
    )


def fit_collectives(samples: Mapping[str, Sequence[Sample]], link: str, *, has_one_shot: bool) -> FittedLaw:
    """Law of a library's collectives on one kind of link, from samples by operation."""
    base = known_stack("generic").collectives
    class_law = base.get(link, base["default"])
    is_shared = link == "PCIe"
    rows = _collective_rows(samples["all_reduce"])
    law, fitted = fit_all_reduce(rows, has_one_shot=has_one_shot, is_shared=is_shared)
    sharing = law.sharing
    own: dict[str, Any] = {"gather": class_law.gather, "all_to_all": class_law.all_to_all}
    constants = len(fitted.values)
    for name in own:
        if samples.get(name):
            own[name], exchange = fit_exchange(
                _collective_rows(samples[name]), is_gather=name == "gather", sharing=sharing
            )
            constants += len(exchange.values)
    return FittedLaw(law=dataclasses.replace(law, **own), fit=fitted, constants=constants)


def _collective_rows(samples: Sequence[Sample]) -> CollectiveRows:
    """Rows of samples with whole messages, as the fits of collectives take them."""
    from rooflinesim.specs.deployment import link_of

    ranks, message, bandwidth = [], [], []
    for one in samples:
        count = one.group.devices
        link = link_of(one.group.hardware, count)
        op = one.group.ops[0]
        scale = {"all_reduce": 1.0, "all_gather": float(count), "all_to_all": count / (count - 1.0)}[op.kind]
        ranks.append(np.full(one.time.size, float(count)))
        message.append(np.asarray(op.network_bytes) * scale)
        bandwidth.append(np.full(one.time.size, link.bandwidth if link else np.nan))
    return CollectiveRows(
        ranks=np.concatenate(ranks),
        message_bytes=np.concatenate(message),
        bandwidth=np.concatenate(bandwidth),
        time=np.concatenate([one.time for one in samples]),
    )


def _tried(
    samples: Sequence[Sample], parameters: Sequence[Parameter], base: Any, change: Change
) -> tuple[float, FittedLaw]:
    """A fit from one starting shape, with its distance from the rows.

    A constant that is uncertain by more than half keeps its class value, and the others are fitted again.
    """
    fitted = fit_samples(samples, parameters, change)
    weak = [one for one in parameters if fitted.standard_errors[one.name] > IDENTIFIABLE]
    values = dict(fitted.values)
    if weak and len(weak) < len(parameters):
        kept = {one.name: one.start for one in weak}
        rest = [one for one in parameters if one not in weak]
        again = fit_samples(samples, rest, lambda machine, own: change(machine, {**kept, **own}))
        values = {**kept, **again.values}
        fitted = dataclasses.replace(again, unidentified=(*(one.name for one in weak), *again.unidentified))
    law = dataclasses.replace(base, **_floats(values))
    return distance(samples, change, values), FittedLaw(law=law, fit=fitted, constants=len(parameters) - len(weak))


def _floats(values: Mapping[str, float]) -> dict[str, Any]:
    return dict(values)
