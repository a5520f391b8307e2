"""Measured kernels beside what the shipped profiles predict for them, by the laws that time a step."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from rooflinesim.api.attention_rows import attention_rows
from rooflinesim.api.collective_rows import collective_rows
from rooflinesim.api.expert_rows import expert_rows
from rooflinesim.api.gemm_rows import gemm_rows, projection_rows
from rooflinesim.api.kernel_rows import KernelGroup, KernelRows, group_time, machine_of_group, roofline_time
from rooflinesim.api.measured import known_stack
from rooflinesim.errors import RooflinesimError, UnsupportedError
from rooflinesim.specs.stack import Band, Stack
from rooflinesim.validation.comparison import Comparison, sampled
from rooflinesim.validation.tables import Skipped, Table, TableKind

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
    roofline = np.full(rows.time.size, np.nan)
    low, high = np.ones(rows.time.size), np.ones(rows.time.size)
    evidence = np.full(rows.time.size, "", dtype=object)
    skipped: list[Skipped] = []
    for done, group in enumerate(rows.groups, start=1):
        used = stack or known_stack(group.stack)
        try:
            predicted[group.members] = group_time(group, machine_of_group(group, used))
            roofline[group.members] = roofline_time(group)
        except RooflinesimError as error:
            skipped.extend(Skipped(id=str(rows.ids[index]), reason=str(error)) for index in group.members)
            continue
        fitted = is_fitted(group, used)
        evidence[group.members] = "fitted" if fitted else "transferred"
        low[group.members], high[group.members] = band_factors(rows.bands[group.members], used, is_fitted=fitted)
        if report:
            report(done, len(rows.groups))
    kept = np.isfinite(predicted)
    labels = {**rows.labels, "stack": _stacks(rows, stack), "evidence": evidence}
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


def is_fitted(group: KernelGroup, stack: Stack) -> bool:
    """Whether the constants of a stack's kernels were fitted on the group's own device."""
    return group.hardware.name in stack.kernels_fitted_on


def band_factors(keys: np.ndarray, stack: Stack, *, is_fitted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Factors on predicted times between which 80 % of measured kernels are meant to lie, by the rows' bands."""
    bands = stack.kernel_bands if is_fitted else {**stack.kernel_bands, **stack.transfer_kernel_bands}
    none = Band(low=1.0, high=1.0, source="none")
    low = {key: bands.get(key, none).low for key in set(keys)}
    high = {key: bands.get(key, none).high for key in set(keys)}
    return np.array([low[key] for key in keys]), np.array([high[key] for key in keys])
