"""Stacks and devices fitted to measurements, and how well they predict what was left out."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped
from rooflinesim.analysis.requests import LOOPED, request_time
from rooflinesim.api.measured import compared, known_hardware, known_stack, model_name, timed_runs
from rooflinesim.api.served_throughput import with_throughput
from rooflinesim.config.labels import device_reading
from rooflinesim.errors import UnsupportedError
from rooflinesim.validation.published import MeasuredRun, measured_runs
from rooflinesim.validation.published_serving import serving_runs
from rooflinesim.validation.stack_fit import RunTable, StackFit, fit_stacks
from rooflinesim.validation.step_table import TimedRun
from rooflinesim.validation.tables import Table, read_table
from rooflinesim.validation.waiting_fit import Waiting, Waits, fitted_waitings, waited_times

LeaveOut = Literal["model", "gpu", "source", "engine"]
LEAVE_OUTS: tuple[LeaveOut, ...] = ("model", "gpu", "source", "engine")
"""What can be left out of a fit, one value at a time; a model leaves together with its engine."""

WEAK = 1.9
"""Measured time of a single user over the roofline from which derived runs say nothing about kernels [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunData:
    """Measured runs laid out for fitting, with the weight of each; rows that cannot be used are counted."""

    table: RunTable
    runs: tuple[MeasuredRun, ...]
    weights: np.ndarray
    skipped: tuple[Skipped, ...]

    @functools.cached_property
    def fitting_table(self) -> RunTable:
        """The runs that have a weight."""
        return RunTable(
            [run for run, weight in zip(self.table.runs, self.weights, strict=True) if weight > 0], self.table.base
        )

    def fitted(self) -> StackFit:
        """Constants that all runs with a weight give."""
        return fit_stacks(self.fitting_table, self.weights[self.weights > 0])

    @functools.cached_property
    def queued(self) -> np.ndarray:
        """Whether each run is a first token of a closed loop on devices that decode too; shape (runs,)."""
        return np.array([run.serving == "queued_first_token" for run in self.runs])

    @functools.cached_property
    def looped(self) -> np.ndarray:
        """Whether each run is a first token that waits for those of others; shape (runs,)."""
        return np.array([run.serving in LOOPED for run in self.runs])

    def first_token_times(
        self, fitted: StackFit, used: np.ndarray, known: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, Waiting]]:
        """Times to first tokens that wait for others [s] shape (looped runs,), and the constants behind them.

        Those are fitted to the queued runs among the used, each engine's own where it has enough, with the constants
        of steps as given.
        """
        logarithms, mine = fitted.logarithms(self.table.engines), self.looped
        # Memory bounds how many run beside each other; the decode step of a first token is one of all of them.
        running = [
            float(one.parts[1].step.batch) if is_queued else run.batch
            for one, run, is_queued in zip(self.table.runs, self.runs, self.queued, strict=True)
            if run.serving in LOOPED
        ]
        waits = Waits(
            measured=self.table.measured[mine],
            alone=self.table.predicted(logarithms, known)[mine],
            prompt=self.table.prompt_time(logarithms, known)[mine],
            others=np.maximum(np.array(running) - 1.0, 0.0),
        )
        engines = self.table.engines[mine]
        waitings = fitted_waitings(waits, engines, (used & self.queued)[mine])
        return waited_times(waits, engines, waitings), waitings


def run_data(tables: Sequence[Table]) -> RunData:
    """Deployments of measurement files, ready to fit.

    A run weighs less the more runs share its engine, model, device, format and source; derived numbers (prompts
    inside, first tokens) weigh half. No weight have requests that queue for memory, waits of busy servers, and
    derived runs of an engine that takes more than `WEAK` times the roofline for one user on that device.
    """
    runs: list[MeasuredRun] = []
    skipped: list[Skipped] = []
    for table in tables:
        if table.kind == "deployments":
            found, bad = measured_runs(table)
        elif table.kind == "serving":
            found, bad = serving_runs(table, model_name)
        else:
            continue
        runs.extend(found)
        skipped.extend(bad)
    base = known_stack("generic")
    timed, kept, missing = timed_runs(runs, base)
    if not timed:
        why = _reasons([*skipped, *missing]) or "none holds deployments, serving benchmarks or kernels"
        raise UnsupportedError(f"no row of the files can be fitted: {why}")
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
        is_busy = run.serving in LOOPED
        is_queued = "derived" in run.labels.get("notes", "") and float(one.parts[0].times) > 1.0
        is_weak = is_derived and (one.engine, run.device) in weak
        unused = is_busy or is_queued or is_weak
        weights.append(0.0 if unused else (0.5 if is_derived else 1.0) / np.sqrt(counted[key]))
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
            ).time
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
    used = data.weights > 0
    table = data.fitting_table
    for done, name in enumerate(groups):
        out = names == name
        known = ~out if leave_out == "gpu" else None
        weights = np.where(out, 0.0, data.weights)[used]
        fitted = fit_stacks(table, weights, known=None if known is None else known[used])
        times = data.table.predicted(fitted.logarithms(data.table.engines), known)
        times[data.looped], _ = data.first_token_times(fitted, ~out, known)
        predicted[out] = times[out]
        if report:
            report(done + 1, len(groups))
    return predicted


def comparison_of(data: RunData, predicted: np.ndarray) -> Comparison:
    """Runs beside given predictions, for scoring, and the throughput that they make; without bands."""
    whole = compared(data.runs, known_stack("ideal"))
    order = {name: index for index, name in enumerate(run.id for run in data.runs)}
    taken = np.array([order[name] for name in whole.ids])
    times = dataclasses.replace(whole, predicted=predicted[taken], low=predicted[taken], high=predicted[taken])
    return with_throughput(times, data.runs)


def read_all(paths: Sequence[Path]) -> list[Table]:
    """Tables of files of measurements."""
    return [read_table(path) for path in paths]
