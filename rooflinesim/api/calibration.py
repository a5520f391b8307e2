"""Which constants do measurements give, and how well do they predict what was left out?"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.comparison import scores
from rooflinesim.api.calibrate import LeaveOut, RunData, comparison_of, left_out_times, read_all, run_data
from rooflinesim.api.stack_files import stack_files
from rooflinesim.config.writing import profile_text
from rooflinesim.report import calibration as report
from rooflinesim.report import validation as validation_report
from rooflinesim.report.answer import Answer
from rooflinesim.validation.stack_fit import StackFit
from rooflinesim.validation.stack_profiles import FEWEST_ROWS, fitted_constants

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated:
    """An answer about fitted constants, and the profiles that hold them, as YAML by file name."""

    answer: Answer
    files: Mapping[str, str]


def calibrate(
    *, measured: Sequence[str | Path], has_bands: bool = True, progress: Progress | None = None
) -> Calibrated:
    """Constants of software stacks fitted to published runs and serving benchmarks, and the profiles with them.

    Parameters
    ----------
    measured : files of deployments or serving benchmarks
    has_bands : whether error bands are made anew, from fits that leave each device and each engine out in turn
    progress : told which fits are made and how many of how many are done

    Raises
    ------
    FileError : if a file cannot be read or fits no kind of measurements.
    UnsupportedError : if no row can be fitted.
    """
    data = run_data(read_all([Path(one) for one in measured]))
    fitted = data.fitted()
    left: tuple[LeaveOut, ...] = ("gpu", "engine") if has_bands else ()
    transferred = {name: left_out_times(data, name, _named(progress, name)) for name in left}
    names = ", ".join(Path(one).name for one in measured)
    profiles = stack_files(data, fitted, transferred, names)
    content = report.constants_content(fitted_constants(fitted))
    answer = Answer(
        command="calibrate",
        version=__version__,
        result=fitted,
        columns=content["columns"],
        describe_inputs=lambda: {"measured": [str(one) for one in measured]},
        provenance=(),
        summary={"runs": int((data.weights > 0).sum()), "skipped": len(data.skipped), **_fit_summary(data, fitted)},
        notes=[*_scarce(fitted), *content["notes"]],
        views=content["views"],
        extra={"skipped": [{"id": one.id, "reason": one.reason} for one in data.skipped]},
    )
    return Calibrated(answer=answer, files={f"{name}.yaml": profile_text(one) for name, one in profiles.items()})


def transfer(
    *, measured: Sequence[str | Path], leave_out: LeaveOut, by: Sequence[str] = (), progress: Progress | None = None
) -> Answer:
    """Errors of predictions for runs whose model, device, source or engine was left out of every fit.

    Parameters
    ----------
    measured : files of deployments or serving benchmarks
    leave_out : what leaves the fit together: "model" (with its engine), "gpu", "source" or "engine"
    by : columns whose values tell groups apart; by default the kind of run
    """
    data = run_data(read_all([Path(one) for one in measured]))
    times = left_out_times(data, leave_out, _named(progress, leave_out))
    found = comparison_of(data, times)
    found = found.with_labels({**found.labels, "unit": np.full(found.ids.size, "s", dtype=object)})
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
