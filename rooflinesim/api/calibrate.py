"""Stacks and devices fitted to measurements, and how well they predict what was left out."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rooflinesim.analysis.bands import kind_of
from rooflinesim.analysis.requests import request_time
from rooflinesim.api.measured import known_hardware, known_stack, regime, timed_runs
from rooflinesim.config.files import parse_yaml, profile_folder, read_text
from rooflinesim.config.labels import device_reading
from rooflinesim.errors import FileError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.validation.comparison import Comparison, joined
from rooflinesim.validation.published import MeasuredRun, measured_runs
from rooflinesim.validation.stack_fit import NAMES, RunTable, StackFit, fit_stacks
from rooflinesim.validation.stack_profiles import bands, class_values, engine_values, stack_data
from rooflinesim.validation.step_table import TimedRun
from rooflinesim.validation.tables import Skipped, Table, read_table

LeaveOut = Literal["model", "gpu", "source", "engine"]
LEAVE_OUTS: tuple[LeaveOut, ...] = ("model", "gpu", "source", "engine")
"""What can be left out of a fit, one value at a time; a model leaves together with its engine."""

FITTED_KEYS = (
    "memory_efficiency", "memory_share", "weight_efficiency", "unpack_operations", "gemm_flop_efficiency",
    "flop_share", "step_time", "sequence_time", "stage_time", "prompt_efficiency", "routing", "elementwise",
)  # fmt: skip
"""Keys of a stack file that hold fitted numbers only; in others, design facts stand beside them."""


WEAK = 1.9
"""Measured time of a single user over the roofline from which derived runs say nothing about kernels [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunData(Noun):
    """Measured runs laid out for fitting, with the weight of each; rows that cannot be used are counted."""

    table: RunTable
    runs: tuple[MeasuredRun, ...]
    weights: np.ndarray
    skipped: tuple[Skipped, ...]


def run_data(tables: Sequence[Table], *, keeps_only_fitted: bool = False) -> RunData:
    """Deployments of measurement files, ready to fit; without those of no weight if so asked.

    A run weighs less the more runs share its engine, model, device, format and source; derived numbers (prompts
    inside, first tokens) weigh half. Requests that queue for memory and waits of busy servers have no weight, nor
    have derived runs of an engine that takes more than `WEAK` times the roofline for one user on that device.
    """
    runs: list[MeasuredRun] = []
    skipped: list[Skipped] = []
    for table in tables:
        if table.kind != "deployments":
            continue
        found, bad = measured_runs(table)
        runs.extend(found)
        skipped.extend(bad)
    base = known_stack("generic")
    timed, kept, missing = timed_runs(runs, base)
    fitting = [index for index, weight in enumerate(_weights(timed, kept)) if weight > 0 or not keeps_only_fitted]
    timed, kept = [timed[index] for index in fitting], [kept[index] for index in fitting]
    if not timed:
        raise UnsupportedError("no row of the files can be fitted: " + _reasons([*skipped, *missing]))
    return RunData(
        table=RunTable(timed, base),
        runs=tuple(kept),
        weights=_weights(timed, kept),
        skipped=(*skipped, *missing),
    )


def _reasons(skipped: Sequence[Skipped]) -> str:
    counted = Counter(one.reason for one in skipped).most_common(3)
    return "; ".join(f"{count} x {reason}" for reason, count in counted)


def _weights(timed: Sequence[TimedRun], runs: Sequence[MeasuredRun]) -> np.ndarray:
    cluster = [
        (one.engine, run.model, run.device, run.weights, run.labels["source"][:60])
        for one, run in zip(timed, runs, strict=True)
    ]
    counted = Counter(cluster)
    weak = _weak(timed, runs)
    weights = []
    for key, one, run in zip(cluster, timed, runs, strict=True):
        is_derived = run.serving == "first_token" or "derived" in run.labels.get("notes", "")
        is_busy = run.serving == "first_token" and run.labels["kind"] == "serving"
        is_queued = "derived" in run.labels.get("notes", "") and float(one.parts[0].times) > 1.0
        is_weak = is_derived and (one.engine, run.device) in weak
        weights.append(0.0 if is_busy or is_queued or is_weak else (0.5 if is_derived else 1.0) / np.sqrt(counted[key]))
    return np.array(weights)


def _weak(timed: Sequence[TimedRun], runs: Sequence[MeasuredRun]) -> set[tuple[str, str]]:
    """Engines and devices whose derived single-user runs on one device are far from any roofline."""
    ideal = known_stack("ideal")
    ratios: dict[tuple[str, str], list[float]] = {}
    for one, run in zip(timed, runs, strict=True):
        if "derived" in run.labels.get("notes", "") and run.batch == 1 and one.deployment.devices == 1:
            asked = dataclasses.replace(one.deployment, stack=ideal)
            bound = request_time(
                asked, serving=run.serving, batch=1.0, prompt=run.prompt, output=run.output, context=run.context
            )[0]
            ratios.setdefault((one.engine, run.device), []).append(run.time / float(bound))
    return {key for key, found in ratios.items() if np.median(found) > WEAK}


def group_names(data: RunData, leave_out: LeaveOut) -> np.ndarray:
    """What each run is left out with, one name per run."""
    match leave_out:
        case "model":
            names = [f"{one.engine}, {run.model}" for one, run in zip(data.table.runs, data.runs, strict=True)]
        case "gpu":
            names = [_family(known_hardware(device_reading(run.device).name).name) for run in data.runs]
        case "source":
            names = [run.labels["source_id"] for run in data.runs]
        case "engine":
            names = [one.engine for one in data.table.runs]
    return np.array(names)


def _family(name: str) -> str:
    """Devices that differ in memory size alone leave together."""
    return "A100" if name.upper().startswith("A100") else name


def left_out_times(data: RunData, leave_out: LeaveOut, report: Callable[[int, int], None] | None = None) -> np.ndarray:
    """Time of each run by fits in which everything of its group was left out [s].

    A device that is left out loses its own measured constants too. Runs without weight are predicted, not fitted.
    """
    names = group_names(data, leave_out)
    predicted = np.full(names.size, np.nan)
    groups = sorted(set(names))
    for done, name in enumerate(groups):
        out = names == name
        known = ~out if leave_out == "gpu" else None
        fitted = fit_stacks(data.table, np.where(out, 0.0, data.weights), known=known)
        predicted[out] = data.table.predicted(fitted.logarithms(data.table.engines), known)[out]
        if report:
            report(done + 1, len(groups))
    return predicted


def band_kinds(data: RunData) -> list[str]:
    """Kind of step of each run by which bands are told apart."""
    return [
        kind_of(one.deployment, is_single=run.batch <= 1, is_prompt=run.serving == "first_token")
        for one, run in zip(data.table.runs, data.runs, strict=True)
    ]


def stack_files(
    data: RunData, fitted: StackFit, transferred: Mapping[LeaveOut, np.ndarray], source: str
) -> dict[str, dict[str, Any]]:
    """Plain data of every fitted stack's file: design facts as they stand, numbers from the fit.

    `transferred` holds predictions with devices and with engines left out, from which the bands of other
    devices and of unknown engines come.
    """
    kinds = band_kinds(data)
    table = data.table
    used = data.weights > 0
    inside = table.measured / table.predicted(fitted.logarithms(table.engines))
    files: dict[str, dict[str, Any]] = {}
    base = known_stack("generic")
    for engine in ("generic", *fitted.engines):
        is_class = engine == "generic"
        own = parse_yaml(read_text(profile_folder("stack") / f"{engine}.yaml"), engine, is_shipped=True)
        if not isinstance(own, dict):
            raise FileError(f"{engine}.yaml: holds no stack")
        numbers = stack_data(class_values(fitted) if is_class else engine_values(fitted, engine), base)
        kept = own if is_class else {key: value for key, value in own.items() if key not in FITTED_KEYS}
        whole = _over(kept, numbers)
        mine = used if is_class else used & (table.engines == engine)
        devices = sorted(
            {known_hardware(device_reading(run.device).name).name for run, m in zip(data.runs, mine, strict=True) if m}
        )
        count = int(mine.sum())
        whole["source"] = own["source"] if is_class else _source(engine, count, numbers, source)
        if not is_class:
            whole["fitted_on"] = devices
        if is_class:
            left = table.measured / transferred["engine"]
            whole["bands"] = bands(left[used], np.array(kinds)[used], "of engines left out of the fit")
        elif count >= 20:
            whole["bands"] = bands(inside[mine], np.array(kinds)[mine], "it was fitted on")
        if not is_class and "gpu" in transferred:
            left = table.measured / transferred["gpu"]
            pool = mine if count >= 40 else used
            whole["transfer_bands"] = bands(left[pool], np.array(kinds)[pool], "of devices left out of the fit")
        files[engine] = whole
    return files


def _source(engine: str, rows: int, numbers: Mapping[str, Any], source: str) -> str:
    moved = _leaves(numbers)
    return f"{rows} published runs of {engine} ({source}); {moved} constants differ from generic"


def _leaves(data: Mapping[str, Any]) -> int:
    return sum(_leaves(value) if isinstance(value, Mapping) else 1 for value in data.values())


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(base)
    for key, value in own.items():
        under = whole.get(key)
        whole[key] = _over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return whole


def comparison_of(data: RunData, predicted: np.ndarray) -> Comparison:
    """Runs beside given predictions, for scoring; without bands."""
    from rooflinesim.api.measured import compared

    whole = compared(data.runs, known_stack("ideal"))
    order = {name: index for index, name in enumerate(run.id for run in data.runs)}
    taken = np.array([order[name] for name in whole.ids])
    return dataclasses.replace(whole, predicted=predicted[taken], low=predicted[taken], high=predicted[taken])


def read_all(paths: Sequence[Path]) -> list[Table]:
    """Tables of files of measurements."""
    return [read_table(path) for path in paths]


__all__ = [
    "LEAVE_OUTS", "NAMES", "LeaveOut", "RunData", "comparison_of", "joined", "left_out_times", "read_all", "regime",
    "run_data", "stack_files",
]  # fmt: skip
