"""Measured kernels beside what the shipped profiles predict for them, by the laws that time a step."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped, sampled
from rooflinesim.api.attention_rows import attention_rows
from rooflinesim.api.collective_rows import collective_rows
from rooflinesim.api.expert_rows import expert_rows
from rooflinesim.api.gemm_rows import gemm_rows, projection_rows
from rooflinesim.api.kernel_rows import KernelGroup, KernelRows, group_time, machine_of_group, roofline_time
from rooflinesim.api.measured import known_hardware, known_stack
from rooflinesim.cost.machine import architecture_tag
from rooflinesim.errors import RooflinesimError, UnsupportedError
from rooflinesim.specs.stack import Band, Stack
from rooflinesim.validation.tables import Table, TableKind

Evidence = Literal["fitted", "same architecture", "transferred"]

SIBLING = 1.2
"""Power by which bands widen on another device of an architecture whose kernels were measured."""

READERS: Mapping[TableKind, Callable[[Table], KernelRows]] = {
    "gemm": gemm_rows,
    "mlp": projection_rows,
    "decode_attention": attention_rows,
    "context_attention": attention_rows,
    "moe": expert_rows,
    "collectives": collective_rows,
}


def kernel_rows(table: Table, *, limit: int | None = None) -> KernelRows:
    """Rows of a table of kernels as operations; at most `limit` rows of the file, drawn with a fixed seed.

    Raises
    ------
    UnsupportedError : if the table holds no kernels.
    """
    if table.kind not in READERS:
        raise UnsupportedError(f"{table.path.name}: holds {table.kind}, not kernels; known: {', '.join(READERS)}")
    taken = sampled(len(table.rows), limit)
    return READERS[table.kind](dataclasses.replace(table, rows=tuple(table.rows[index] for index in taken)))


def compared_kernels(
    table: Table,
    *,
    limit: int | None = None,
    stack: Stack | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measured rows of a table beside their predictions with bands.

    Parameters
    ----------
    limit : rows of the file that are taken at most, drawn with a fixed seed
    stack : by which all rows are predicted; None takes that of each row's framework
    report : called with the groups of rows done and their number

    Raises
    ------
    UnsupportedError : if the table holds no kernels.
    """
    rows = kernel_rows(table, limit=limit)
    predicted = np.full(rows.time.size, np.nan)
    skipped: list[Skipped] = []
    for done, group in enumerate(rows.groups, start=1):
        try:
            predicted[group.members] = group_time(group, machine_of_group(group, stack))
        except RooflinesimError as error:
            skipped.extend(Skipped(id=str(rows.ids[index]), reason=str(error)) for index in group.members)
        if report:
            report(done, len(rows.groups))
    return comparison(rows, predicted, stack=stack, skipped=skipped)


def comparison(
    rows: KernelRows, predicted: np.ndarray, *, stack: Stack | None = None, skipped: Sequence[Skipped] = ()
) -> Comparison:
    """Rows beside predicted times [s] with the bands of their stacks; those without a prediction (nan) are left out."""
    roofline = np.full(rows.time.size, np.nan)
    low, high = np.ones(rows.time.size), np.ones(rows.time.size)
    evidence = np.full(rows.time.size, "", dtype=object)
    for group in rows.groups:
        if not np.isfinite(predicted[group.members]).any():
            continue
        used = stack or known_stack(group.stack)
        roofline[group.members] = roofline_time(group)
        evidence[group.members] = evidence_of(group, used)
        low[group.members], high[group.members] = band_factors(group, rows.bands[group.members], used)
    kept = np.isfinite(predicted)
    labels = {**rows.labels, "stack": _stacks(rows, stack), "band": rows.bands, "evidence": evidence}
    return Comparison(
        ids=rows.ids[kept],
        measured=rows.time[kept],
        predicted=predicted[kept],
        low=(predicted * low)[kept],
        high=(predicted * high)[kept],
        roofline=roofline[kept],
        labels={name: values[kept] for name, values in labels.items()},
        skipped=(*rows.skipped, *skipped),
    )


def _stacks(rows: KernelRows, stack: Stack | None) -> np.ndarray:
    names = np.full(rows.time.size, "", dtype=object)
    for group in rows.groups:
        names[group.members] = stack.name if stack else group.stack
    return names


def evidence_of(group: KernelGroup, stack: Stack) -> Evidence:
    """What a prediction rests on: kernels measured on the device, on its architecture, or on others."""
    if group.hardware.name in stack.kernels_fitted_on:
        return "fitted"
    tags = {architecture_tag(known_hardware(name)) for name in stack.kernels_fitted_on}
    return "same architecture" if architecture_tag(group.hardware) in tags else "transferred"


def band_factors(group: KernelGroup, kinds: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Factors on predicted times between which 80 % of measured kernels are meant to lie, by the rows' kinds.

    Devices of an architecture that was measured are taken to be a little further off than the measured one.
    """
    evidence = evidence_of(group, stack)
    is_known = evidence != "transferred"
    bands = stack.kernel_bands if is_known else {**stack.kernel_bands, **stack.transfer_kernel_bands}
    power = SIBLING if evidence == "same architecture" else 1.0
    none = Band(low=1.0, high=1.0, source="none")
    low = {kind: bands.get(kind, none).low ** power for kind in set(kinds)}
    high = {kind: bands.get(kind, none).high ** power for kind in set(kinds)}
    return np.array([low[kind] for kind in kinds]), np.array([high[kind] for kind in kinds])
