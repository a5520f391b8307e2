"""Which constants do measurements give, and how well do they predict what was left out?"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.comparison import Skipped, joined, scores
from rooflinesim.api.calibrate import LeaveOut, RunData, comparison_of, left_out_times, read_all, run_data
from rooflinesim.api.kernel_profiles import KernelProfiles, kernel_profiles, kernels_left_out, with_sections
from rooflinesim.api.stack_files import shipped_profile, stack_files
from rooflinesim.config.catalogue import Kind, resolve
from rooflinesim.config.writing import profile_text
from rooflinesim.errors import UnsupportedError
from rooflinesim.report import calibration as report
from rooflinesim.report import validation as validation_report
from rooflinesim.report.answer import Answer
from rooflinesim.validation.stack_fit import StackFit
from rooflinesim.validation.stack_profiles import FEWEST_ROWS, FittedConstant, fitted_constants
from rooflinesim.validation.tables import KERNEL_KINDS

Progress = Callable[[str, int, int], None]

RUN_KINDS = ("deployments", "serving")
"""Tables of whole steps and requests; the rest are kernels or no data of fits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated:
    """An answer about fitted constants, and the profiles that hold them, as YAML by folder and file name."""

    answer: Answer
    files: Mapping[str, str]


def calibrate(
    *, measured: Sequence[str | Path], has_bands: bool = True, progress: Progress | None = None
) -> Calibrated:
    """Constants fitted to measurements, and the profiles with them.

    Published runs and serving benchmarks give software stacks, tables of kernels give the measured constants of
    devices and each engine's kernels as they are timed alone.

    Parameters
    ----------
    measured : files of deployments, serving benchmarks or kernels
    has_bands : whether error bands are made anew, from fits that leave each device and each engine out in turn
    progress : told which fits are made and how many of how many are done

    Raises
    ------
    FileError : if a file cannot be read or fits no kind of measurements.
    UnsupportedError : if no row can be fitted.
    """
    tables = read_all([Path(one) for one in measured])
    names = ", ".join(Path(one).name for one in measured)
    constants: list[FittedConstant] = []
    notes: list[str] = []
    summary: dict[str, Any] = {}
    skipped: tuple[Skipped, ...] = ()
    profiles: dict[tuple[Kind, str], dict[str, Any]] = {}
    if any(table.kind in RUN_KINDS for table in tables) or not any(table.kind in KERNEL_KINDS for table in tables):
        data = run_data(tables)
        fitted = data.fitted()
        left: tuple[LeaveOut, ...] = ("gpu", "engine") if has_bands else ()
        transferred = {name: left_out_times(data, name, _named(progress, name)) for name in left}
        profiles.update({("stack", key): one for key, one in stack_files(data, fitted, transferred, names).items()})
        constants.extend(fitted_constants(fitted))
        notes.extend(_scarce(fitted))
        skipped = data.skipped
        summary.update(runs=int((data.weights > 0).sum()), **_fit_summary(data, fitted))
    if any(table.kind in KERNEL_KINDS for table in tables):
        other = kernels_left_out(tables, report=_named(progress, "device")) if has_bands else None
        kernels = kernel_profiles(tables, transferred=other, report=_named(progress, "kernel"))
        found: tuple[tuple[Kind, Mapping[str, Mapping[str, Any]]], ...]
        found = (("hardware", kernels.hardware), ("stack", kernels.stacks))
        for kind, named in found:
            for name, sections in named.items():
                key = resolve(kind, name).path.stem
                own = profiles.get((kind, key)) or shipped_profile(kind, key)
                profiles[kind, key] = with_sections(own, sections)
        constants.extend(kernel_constants(kernels))
        notes.extend(kernels.notes)
        summary.update(kernel_constants=kernels.constants)
    content = report.constants_content(constants)
    answer = Answer(
        command="calibrate",
        version=__version__,
        result=constants,
        columns=content["columns"],
        describe_inputs=lambda: {"measured": [str(one) for one in measured]},
        provenance=(),
        summary={**summary, "skipped": len(skipped)},
        notes=[*notes, *content["notes"]],
        views=content["views"],
        extra={"skipped": [{"id": one.id, "reason": one.reason} for one in skipped]},
    )
    files = {f"{kind}_profiles/{key}.yaml": profile_text(one) for (kind, key), one in profiles.items()}
    return Calibrated(answer=answer, files=files)


def kernel_constants(kernels: KernelProfiles) -> list[FittedConstant]:
    """Fitted constants of kernels, one row each; the stack's name is followed by the device they were fitted on."""
    return [
        FittedConstant(
            stack=f"{slot.stack} on {device}",
            constant=".".join(filter(None, (slot.field, slot.key, name))),
            value=value,
            relative_error=law.fit.standard_errors[name],
            runs=law.fit.rows,
            is_identified=name not in law.fit.unidentified,
        )
        for (slot, device), law in sorted(kernels.laws.items())
        for name, value in law.fit.values.items()
    ]


def transfer(
    *, measured: Sequence[str | Path], leave_out: LeaveOut, by: Sequence[str] = (), progress: Progress | None = None
) -> Answer:
    """Errors of predictions for runs whose model, device, source or engine was left out of every fit.

    Parameters
    ----------
    measured : files of deployments, serving benchmarks or (devices only) kernels
    leave_out : what leaves the fit together: "model" (with its engine), "gpu", "source" or "engine"
    by : columns whose values tell groups apart; by default the kind of run
    """
    tables = read_all([Path(one) for one in measured])
    parts = []
    if any(table.kind in KERNEL_KINDS for table in tables):
        if leave_out != "gpu":
            raise UnsupportedError(f"--leave-out {leave_out}: of kernels only the gpu can be left out")
        parts.append(kernels_left_out(tables, report=_named(progress, "device")))
    if any(table.kind in RUN_KINDS for table in tables) or not parts:
        data = run_data(tables)
        parts.append(comparison_of(data, left_out_times(data, leave_out, _named(progress, leave_out))))
    found = joined(parts)
    units = found.labels.get("unit", np.full(found.ids.size, "", dtype=object))
    found = found.with_labels({**found.labels, "unit": np.where(units == "", "s", units)})
    columns = tuple(by) or ("regime",)
    found_scores = scores(found, columns)
    content = validation_report.validation_content(found, found_scores, columns)
    return Answer(
        command="calibrate",
        version=__version__,
        result=found,
        columns=content["columns"],
        describe_inputs=lambda: {"measured": [str(one) for one in measured], "leave_out": leave_out},
        provenance=(),
        summary=content["summary"],
        notes=[f"each {leave_out} was left out of the fit that predicts it; bands are not made", *content["notes"]],
        views=validation_report.validation_views(found, found_scores),
        extra={"skipped": content["skipped"]},
    )


def _scarce(fitted: StackFit) -> list[str]:
    """Say which engines have too few runs for constants of their own."""
    return [
        f"{engine}: {count} run{'s' if count > 1 else ''}, fewer than {FEWEST_ROWS}: the class values stay"
        for engine, count in sorted(fitted.rows.items())
        if count < FEWEST_ROWS
    ]


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, whole: progress(name, done, whole)


def _fit_summary(data: RunData, fitted: StackFit) -> dict[str, Any]:
    used = data.weights > 0
    apart = np.abs(data.table.predicted(fitted.logarithms(data.table.engines)) / data.table.measured - 1.0)[used]
    return {"mape": float(apart.mean()), "median_ape": float(np.median(apart))}
