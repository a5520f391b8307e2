"""Profiles of devices and stacks from tables of measured kernels, and how well fits predict a device left out."""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped, joined
from rooflinesim.api.kernel_laws import FittedLaw
from rooflinesim.api.kernel_rows import KernelGroup, KernelRows, group_time, machine_of_group
from rooflinesim.api.kernel_slots import (
    GEMM,
    ON_CHIP,
    Samples,
    Slot,
    changed,
    fit_slot,
    kernel_slot_of,
    samples_of,
    slot_of,
)
from rooflinesim.api.measured import known_hardware
from rooflinesim.api.measured_kernels import comparison, kernel_rows
from rooflinesim.cost.machine import Machine, architecture_tag
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.units import format_quantity
from rooflinesim.validation.tables import Table

SOURCE = "ai-dynamo/aiconfigurator, commit 095f58a"

QUANTILES = (0.1, 0.9)
"""Shares of measured over predicted times between which 80 % lie."""

FEWEST_BAND_ROWS = 30
"""Rows below which a stack takes the band of all stacks together."""

NOTHING_LEFT = "no other device has such rows: nothing to transfer from"

Report = Callable[[int, int], None] | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelProfiles(Noun):
    """Plain data of profile sections by device and by stack, and what the fits say.

    `hardware` holds a `calibration` per device, `stacks` the `architectures` and bands of kernels; `notes` name what
    the rows do not fix, `constants` counts what was fitted and `laws` holds the laws themselves.
    """

    hardware: Mapping[str, Mapping[str, Any]]
    stacks: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    constants: int
    laws: Mapping[tuple[Slot, str], FittedLaw]


def kernel_profiles(
    tables: Sequence[Table], *, transferred: Comparison | None = None, source: str = SOURCE, report: Report = None
) -> KernelProfiles:
    """Sections that the kernel tables among the files decide; bands of other devices come from what was left out.

    Raises
    ------
    UnsupportedError : if scipy is missing.
    """
    rows = _rows(tables)
    samples = samples_of(rows)
    laws, notes = _fits(samples, report)
    fitted = joined([_compared(one, lambda group: fitted_machine(group, laws)) for one in rows])
    stacks: dict[str, dict[str, Any]] = defaultdict(dict)
    hardware: dict[str, dict[str, Any]] = {}
    for (slot, device), law in laws.items():
        if slot == GEMM:
            hardware.setdefault(device, {}).setdefault("calibration", {}).update(_calibration(law, device, source))
            continue
        if slot == ON_CHIP:
            cache = format_quantity(law.law["on_chip_bandwidth"], "B/s", 3)
            hardware.setdefault(device, {}).setdefault("calibration", {})["on_chip_bandwidth"] = cache
            continue
        tag = architecture_tag(known_hardware(device))
        place = stacks[slot.stack].setdefault("architectures", {}).setdefault(tag, {})
        data = noun_data(law.law)
        if slot.key:
            place.setdefault(slot.field, {})[slot.key] = data
        else:
            place[slot.field] = data
    for stack in {slot.stack for slot, _ in laws}:
        stacks[stack]["kernels_fitted_on"] = sorted({device for slot, device in laws if slot.stack == stack})
    for name, found in (("kernel_bands", fitted), ("transfer_kernel_bands", transferred)):
        if found is not None and found.ids.size:
            for stack, data in kernel_bands(found).items():
                stacks[stack][name] = data
    return KernelProfiles(
        hardware=hardware,
        stacks=stacks,
        notes=notes,
        constants=sum(law.constants for law in laws.values()),
        laws=laws,
    )


def kernels_left_out(tables: Sequence[Table], *, report: Report = None) -> Comparison:
    """Rows of each device beside predictions by fits of all the others, without bands.

    A row of which no other device has the like is skipped.
    """
    rows = _rows(tables)
    samples = samples_of(rows)
    devices = sorted({group.hardware.name for one in rows for group in one.groups})
    laws: dict[tuple[Slot, str], FittedLaw] = {}
    for done, device in enumerate(devices, start=1):
        for slot, by_device in samples.items():
            if slot == ON_CHIP:
                continue
            others = [one for name, found in by_device.items() if name != device for one in found]
            if others:
                with contextlib.suppress(UnsupportedError):
                    laws[slot, device] = fit_slot(slot, others, is_class=True)
        if report:
            report(done, len(devices))
    return joined([_compared(one, lambda group: left_out_machine(group, laws)) for one in rows])


def _rows(tables: Sequence[Table]) -> list[KernelRows]:
    from rooflinesim.validation.tables import KERNEL_KINDS

    found = [kernel_rows(table) for table in tables if table.kind in KERNEL_KINDS]
    if not found:
        raise UnsupportedError("none of the files is a table of kernels")
    return found


def _fits(samples: Samples, report: Report) -> tuple[dict[tuple[Slot, str], FittedLaw], tuple[str, ...]]:
    laws: dict[tuple[Slot, str], FittedLaw] = {}
    notes: list[str] = []
    for done, (slot, by_device) in enumerate(sorted(samples.items()), start=1):
        for device, found in by_device.items():
            place = f"{slot.stack} {slot.field} {slot.key}".strip() + f" on {device}"
            try:
                law = fit_slot(slot, found)
            except UnsupportedError as error:
                notes.append(f"{place}: {error}")
                continue
            laws[slot, device] = law
            if law.fit.unidentified:
                weak = ", ".join(dict.fromkeys(law.fit.unidentified))
                notes.append(f"{place}: the rows do not fix {weak}: class value or bound kept")
        if report:
            report(done, len(samples))
    return laws, tuple(notes)


def fitted_machine(group: KernelGroup, laws: Mapping[tuple[Slot, str], FittedLaw]) -> Machine:
    """Constants of a group's devices with what was fitted to them."""
    machine = machine_of_group(group)
    for one in (GEMM, ON_CHIP, slot_of(group), kernel_slot_of(group)):
        law = laws.get((one, group.hardware.name)) if one else None
        if one is not None and law is not None:
            machine = changed(one, machine, law.law)
    return machine


def left_out_machine(group: KernelGroup, laws: Mapping[tuple[Slot, str], FittedLaw]) -> Machine:
    """Constants of a group's devices with laws of other devices only.

    Raises
    ------
    UnsupportedError : if no other device has rows of the kind.
    """
    slot = slot_of(group)
    if slot is None or (slot, group.hardware.name) not in laws:
        raise UnsupportedError(NOTHING_LEFT)
    bare = dataclasses.replace(group, hardware=dataclasses.replace(group.hardware, calibration=None))
    machine = machine_of_group(bare)
    for one in (GEMM, slot, kernel_slot_of(group)):
        law = laws.get((one, group.hardware.name)) if one else None
        if one is not None and law is not None:
            machine = changed(one, machine, law.law)
    return machine


def _compared(rows: KernelRows, machine: Callable[[KernelGroup], Machine]) -> Comparison:
    """Rows beside predictions on given machines, without bands."""
    predicted = np.full(rows.time.size, np.nan)
    skipped: list[Skipped] = []
    for group in rows.groups:
        try:
            predicted[group.members] = group_time(group, machine(group))
        except UnsupportedError as error:
            skipped.extend(Skipped(id=str(rows.ids[index]), reason=str(error)) for index in group.members)
    return comparison(rows, predicted, skipped=skipped)


def kernel_bands(found: Comparison) -> dict[str, dict[str, Any]]:
    """Bands of each stack by kind of kernel, and of all stacks together as those of `generic`."""
    ratio = found.measured / found.predicted
    kinds, stacks = found.labels["band"], found.labels["stack"]
    bands: dict[str, dict[str, Any]] = {}
    for stack in ("generic", *sorted(set(stacks) - {"generic"})):
        for kind in sorted(set(kinds)):
            mine = (kinds == kind) & ((stacks == stack) | (stack == "generic"))
            if mine.sum() < FEWEST_BAND_ROWS:
                continue
            low, high = np.quantile(ratio[mine], QUANTILES)
            bands.setdefault(stack, {})[kind] = {
                "low": min(_rounded(float(low)), 0.99),
                "high": max(_rounded(float(high)), 1.01),
                "source": f"10 and 90 % quantiles of measured over predicted time, {int(mine.sum()):,} rows",
            }
    return bands


def _calibration(law: FittedLaw, device: str, source: str) -> dict[str, Any]:
    values = law.law
    return {
        "source": (
            f"fitted by calibrate on the bf16 GEMM tables of {source}, products whose operands exceed the L2, {device}"
        ),
        "memory_efficiency": _rounded(values["memory_efficiency"], 3),
        "flop_efficiency": dict.fromkeys(("bf16", "fp16"), _rounded(values["flop_efficiency"], 3)),
        "exposed_share": _rounded(values["exposed_share"], 3),
    }


def noun_data(noun: Any) -> dict[str, Any]:
    """Plain data of a law as profiles hold it: quantities with their units, defaults left out."""
    data: dict[str, Any] = {}
    for field in dataclasses.fields(noun):
        value = getattr(noun, field.name)
        if field.default is not dataclasses.MISSING and value == field.default:
            continue
        unit = field.metadata.get("unit", "")
        if dataclasses.is_dataclass(value):
            data[field.name] = noun_data(value)
        elif isinstance(value, float) and unit in ("s", "B", "Hz"):
            data[field.name] = format_quantity(value, unit, 3)
        elif isinstance(value, float):
            data[field.name] = _rounded(value, 3)
        elif value is not None:
            data[field.name] = list(value) if isinstance(value, tuple) else value
    return data


def _rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def with_sections(own: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data of a profile with fitted sections over its own, key by key; laws are replaced whole."""
    whole = dict(own)
    for key, value in sections.items():
        under = whole.get(key)
        is_law = isinstance(value, Mapping) and any(not isinstance(one, Mapping) for one in value.values())
        both = isinstance(value, Mapping) and isinstance(under, Mapping) and not is_law
        whole[key] = with_sections(under, value) if both and isinstance(under, Mapping) else value
    return whole
