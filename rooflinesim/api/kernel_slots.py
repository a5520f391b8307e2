"""Which law of which stack and device the rows of a kernel table decide."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rooflinesim.api.kernel_fits import Sample, sample_of
from rooflinesim.api.kernel_laws import (
    ON_CHIP_SHARES,
    SHARES,
    FittedLaw,
    attention_change,
    expert_change,
    fit_attention,
    fit_calibration,
    fit_collectives,
    fit_experts,
    fit_gemm_class,
    fit_on_chip,
    fit_quantization,
    gemm_change,
    on_chip_change,
    quantization_change,
)
from rooflinesim.api.kernel_rows import KernelGroup, KernelRows
from rooflinesim.api.measured import known_stack
from rooflinesim.cost.machine import Machine
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.deployment import link_of
from rooflinesim.workload.op import AttentionShape


class Slot(NamedTuple):
    """Place of a law: a stack, the field of its architecture's kernels, and the key in a field that has several."""

    stack: str
    field: str
    key: str = ""


GEMM = Slot("generic", "calibration")
"""Place of the constants of 16-bit products, which are a device's and the class's, not an engine's."""

ON_CHIP = Slot("generic", "on_chip")
"""Place of the bandwidth of a device's last shared cache."""

FEWEST_ROWS = 40
"""Rows from which a law is fitted; below, that of the class stays [1]."""

Samples = Mapping[Slot, Mapping[str, Sequence[Sample]]]
"""Samples by place of the law and by device."""


def slot_of(group: KernelGroup) -> Slot | None:
    """Place of the law that a group's rows are timed by; None where it is that of no stack."""
    op = group.ops[0]
    if op.kind == "gemm":
        is_wide = op.form.family == "16-bit" or op.form.is_weight_only
        return GEMM if is_wide else Slot(group.stack, "quantization", op.form.name)
    if op.kind == "experts":
        name = op.form.name.partition("/")[0]
        return Slot(group.stack, "experts") if op.form.family == "16-bit" else Slot(group.stack, "expert_formats", name)
    if isinstance(op.shape, AttentionShape):
        is_narrow = float(np.mean(op.shape.value_bytes)) < 2.0
        return Slot(group.stack, "narrow_attention" if is_narrow else "attention")
    link = link_of(group.hardware, group.devices)
    return Slot(group.stack, "collectives", link_word(link.name)) if link else None


def link_word(name: str) -> str:
    """Kind of a link by which stacks keep collectives: the first word without its generation."""
    return name.split(" ")[0].rstrip("0123456789")


def kernel_slot_of(group: KernelGroup) -> Slot | None:
    """Place of a law of the group's very kernel, where it is not the main one of its engine and format."""
    op, kernel = group.ops[0], group.ops[0].form.name.partition("/")[2]
    slot = slot_of(group)
    if not kernel or slot is None:
        return None
    if op.kind == "experts":
        return Slot(group.stack, "expert_formats", op.form.name)
    return Slot(group.stack, "attention_kernels", f"{kernel}/narrow" if slot.field == "narrow_attention" else kernel)


def decides(group: KernelGroup, slot: Slot) -> bool:
    """Whether a law is fitted to the rows: not to weight-only products, nor to attention that multiplies in 8 bits."""
    form = group.ops[0].form
    return form.family == "16-bit" if slot == GEMM or slot.field.endswith("attention") else True


def samples_of(tables: Sequence[KernelRows]) -> Samples:
    """Samples of all tables by the place of the law that they decide, and by device."""
    found: dict[Slot, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    sizes: dict[tuple[Slot, str, object], list[int]] = defaultdict(list)
    for rows in tables:
        for group in rows.groups:
            if slot := slot_of(group):
                sizes[slot, group.hardware.name, rows.labels["kind"][group.members[0]]].append(group.members.size)
    for rows in tables:
        for group in rows.groups:
            slot = slot_of(group)
            kind = rows.labels["kind"][group.members[0]]
            shares = SHARES.get(str(kind))
            if slot is None or shares is None or not decides(group, slot):
                continue
            own = kernel_slot_of(group)
            if own and group.members.size < max(sizes[slot, group.hardware.name, kind]):
                slot = own
            shares = {"": 1.0} if slot.field == "collectives" else shares
            places = [(slot, shares), *([(ON_CHIP, ON_CHIP_SHARES)] if slot == GEMM else [])]
            for place, wanted in places:
                sample = sample_of(rows, group, wanted)
                if sample is not None:
                    found[place][group.hardware.name].append(sample)
    return found


def fit_slot(slot: Slot, samples: Sequence[Sample], *, is_class: bool = False) -> FittedLaw:
    """Law at a place from samples of one device, or of several as a class.

    Raises
    ------
    UnsupportedError : if there are too few rows, or scipy is missing.
    """
    rows = sum(one.time.size for one in samples)
    if rows < FEWEST_ROWS:
        raise UnsupportedError(f"{rows} rows are too few for the constants of {slot.field}; the class values stay")
    match slot.field:
        case "calibration":
            return fit_gemm_class(samples) if is_class else fit_calibration(samples)
        case "on_chip":
            return fit_on_chip(samples)
        case "quantization":
            return fit_quantization(samples)
        case "experts" | "expert_formats":
            return fit_experts(samples)
        case "collectives":
            by_kind: dict[str, list[Sample]] = defaultdict(list)
            for one in samples:
                name = "gather" if one.group.ops[0].kind == "all_gather" else one.group.ops[0].kind
                by_kind[name].append(one)
            if not by_kind["all_reduce"]:
                raise UnsupportedError("no all-reduce among the rows of collectives; the class values stay")
            return fit_collectives(by_kind, slot.key, has_one_shot=slot.key != "PCIe")
        case _:
            if not any(np.all(np.asarray(one.group.ops[0].shape.new_tokens) == 1.0) for one in samples):  # type: ignore[union-attr]
                raise UnsupportedError("no decode attention among the rows; the class values stay")
            return fit_attention(samples)


def changed(slot: Slot, machine: Machine, law: Any) -> Machine:
    """A machine with the law of a place replaced."""
    match slot.field:
        case "calibration":
            return gemm_change(machine, law)
        case "on_chip":
            return on_chip_change(machine, law)
        case "quantization":
            return quantization_change(machine, {f.name: getattr(law, f.name) for f in dataclasses.fields(law)})
        case "experts" | "expert_formats":
            return expert_change(law)(machine, {})
        case "collectives":
            return dataclasses.replace(machine, collectives=law)
        case _:
            return attention_change(law)(machine, {})  # also of a kernel: the group's rows have no other


def class_law(slot: Slot) -> Any:
    """Law that the generic stack has at a place."""
    stack = known_stack("generic")
    match slot.field:
        case "experts" | "expert_formats":
            return stack.experts
        case "collectives":
            return stack.collectives.get(slot.key, stack.collectives["default"])
        case _:
            return stack.attention
