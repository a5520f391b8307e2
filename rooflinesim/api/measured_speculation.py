"""Measured speculative runs read as deployments of the catalogue, and their speed-ups predicted."""

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped, sampled
from rooflinesim.analysis.residency import resident_bytes
from rooflinesim.analysis.speculation.acceptance import tokens_per_round
from rooflinesim.analysis.speculation.closed_forms import constant_cost_speedup
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import eagle_method
from rooflinesim.analysis.speculation.medusa import MedusaHeads
from rooflinesim.analysis.speculation.methods import DraftShape, Method, Speculation, draft_of
from rooflinesim.analysis.speculation.mtp import mtp_method
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.rounds import RoundTimes, round_times
from rooflinesim.analysis.timing import step_time
from rooflinesim.api.measured import known_hardware, known_model, known_stack
from rooflinesim.config.drafts import load_draft
from rooflinesim.config.labels import device_reading, engine_reading, model_reading
from rooflinesim.errors import RooflinesimError, UnknownNameError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.published_speculation import SpeculativeRun, speculative_runs
from rooflinesim.validation.speedups import CONSTANT_SHARE, SpeedupComparison, as_comparison
from rooflinesim.validation.tables import Table
from rooflinesim.validation.task_acceptance import task_share
from rooflinesim.workload.parameters import streamed_parameters
from rooflinesim.workload.step import Step

known_draft = functools.cache(load_draft)

STREAMING_CACHE = 512.0
"""Cached tokens that a draft behind a StreamingLLM cache reads, where a row does not say: MagicDec's default."""

DEVICE_COUNTS = (1, 2, 4, 8)
"""Devices of one host that a run may have used where its row does not say."""

FEWEST_BATCHES = 3
"""Batches from which runs are a series."""

USABLE_SHARE = 0.92
"""Share of device memory that weights and caches may take [1]."""


class Layout(NamedTuple):
    """The device of a run, and how the target is spread over several: split by tensors or by layers."""

    device: str
    tensor: int
    pipeline: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LaidOutRun(Noun):
    """A measured run, and the speculation of the catalogue that it stands for.

    `emitted` tokens per round were published, else `anchor` is the run of the same series from which they follow.
    """

    run: SpeculativeRun
    speculation: Speculation
    emitted: float | None
    anchor: str | None


def laid_out(
    runs: Sequence[SpeculativeRun], stack: Callable[[SpeculativeRun], Stack] | None = None
) -> tuple[tuple[LaidOutRun, ...], tuple[Skipped, ...]]:
    """Runs as speculations, by their own engines' stacks or by those given; what cannot be described is skipped.

    Runs of one table, target and device that do not state a count of devices have used equally many: those on which
    the stated times of plain decoding are met best, else the fewest that hold the target. One device that does not
    hold it stands for the fewest that do.
    """
    found: list[LaidOutRun] = []
    skipped: list[Skipped] = []
    counts: dict[tuple[str, ...], list[SpeculativeRun]] = defaultdict(list)
    for run in runs:
        counts[_counted_together(run)].append(run)
    devices = {key: _device_count(members) for key, members in counts.items()}
    anchors = series_anchors(runs)
    for run in runs:
        try:
            if run.acceptance is None and run.id not in anchors:
                raise UnsupportedError("no acceptance is published for this row")
            layout = _layout(run, devices[_counted_together(run)])
            speculation = speculation_of(run, layout, (stack or stack_of)(run))
            emitted = None
            if run.acceptance is not None:
                emitted = float(tokens_per_round(run.acceptance, run.passes or run.drafted))
        except RooflinesimError as error:
            skipped.append(Skipped(id=run.id, reason=str(error)))
            continue
        found.append(LaidOutRun(run=run, speculation=speculation, emitted=emitted, anchor=anchors.get(run.id)))
    return tuple(found), tuple(skipped)


def series_anchors(runs: Sequence[SpeculativeRun]) -> dict[str, str]:
    """Runs without a published acceptance that differ in batch alone, each with the run of the smallest batch.

    All of a series keep equally many tokens per round, so that one row tells them for the others. A series has three
    batches or more.
    """
    series: dict[tuple[object, ...], list[SpeculativeRun]] = defaultdict(list)
    for run in runs:
        if run.acceptance is None and run.harness == "engine":
            task = run.labels.get("task", "")
            key = (*_counted_together(run), run.draft, run.drafted, run.passes, run.context, task)
            series[key].append(run)
    anchors: dict[str, str] = {}
    for members in series.values():
        if len({run.batch for run in members}) >= FEWEST_BATCHES:
            first = min(members, key=lambda run: run.batch)
            anchors.update((run.id, first.id) for run in members)
    return anchors


def _counted_together(run: SpeculativeRun) -> tuple[str, ...]:
    return run.labels["source_table"], run.target, run.device


def stack_of(run: SpeculativeRun) -> Stack:
    """The stack that a run's engine stands for; benchmarks run research code their own way."""
    if run.harness == "benchmark":
        return known_stack("spec-bench")
    return known_stack(engine_reading(run.engine, None).name)


def device_of(run: SpeculativeRun) -> tuple[str, int | None]:
    """Name of a run's device, and their count where it is stated.

    A label may name devices by the target's size, `A for 7B, B x4 for 70B`; other sizes ran on the last.

    Raises
    ------
    UnknownNameError : if the device is not stated.
    """
    otherwise = re.search(r"caption says ([\w-]+): AMBIGUOUS", run.device)
    if otherwise:
        # Two versions of a paper name two devices: the first version's, on which speed-ups over batch are possible.
        return device_reading(otherwise[1]).name, run.devices
    by_size = re.findall(r"(?:uses|,)\s*([^,()]+?) for (\d+)B", run.device)
    if not by_size:
        return device_reading(run.device).name, run.devices
    size = re.search(r"(\d+)b\b", run.target, re.I)
    named = next((label for label, billions in by_size if size and billions == size[1]), None)
    label, count = _with_count(named or by_size[-1][0])
    return device_reading(label).name, count if named else None


def _with_count(label: str) -> tuple[str, int]:
    found = re.search(r"\s*x(\d+)$", label)
    return (label[: found.start()], int(found[1])) if found else (label, 1)


def _device_count(runs: Sequence[SpeculativeRun]) -> int | str:
    """Devices of runs that used equally many, or why that cannot be said."""
    first = runs[0]
    try:
        device, stated = device_of(first)
        if stated is not None and stated > 1:
            return stated
        misses: dict[int, float] = {}
        for count in DEVICE_COUNTS:
            target = target_of(first, _spread(first, device, count), stack_of(first))
            if _fits(target, min(run.batch for run in runs), first.context):
                misses[count] = 0.0 if stated else _miss(target, runs)
    except RooflinesimError as error:
        return str(error)
    if not misses:
        return f"{first.target} does not fit on up to {DEVICE_COUNTS[-1]} x {device}"
    return min(misses, key=lambda count: (misses[count], count))


def _fits(target: Deployment, batch: float, context: float) -> bool:
    capacity = target.hardware.memory_capacity
    resident = float(resident_bytes(target, Step(batch=batch, context=context)))
    return capacity is None or resident <= USABLE_SHARE * capacity


def _miss(target: Deployment, runs: Sequence[SpeculativeRun]) -> float:
    """How far plain steps are from the stated ones, in logarithm; 0 where none is stated."""
    stated = [(run.batch, run.context, run.plain_time) for run in runs if run.plain_time]
    if not stated:
        return 0.0
    batch, context, time = np.array(stated).T
    predicted = step_time(target, Step(batch=batch, context=context)).time
    return float(np.median(np.abs(np.log(predicted / time))))


def _layout(run: SpeculativeRun, devices: int | str) -> Layout:
    if isinstance(devices, str):
        raise UnsupportedError(devices)
    return _spread(run, device_of(run)[0], devices)


def _spread(run: SpeculativeRun, device: str, devices: int) -> Layout:
    """Engines split tensors, research code splits layers."""
    tensor = run.tensor or (devices if run.harness == "engine" else 1)
    return Layout(device=device, tensor=tensor, pipeline=max(1, devices // tensor))


def target_of(run: SpeculativeRun, layout: Layout, stack: Stack) -> Deployment:
    """The target of a run.

    Raises
    ------
    RooflinesimError : if its device or model is not known, or cannot be laid out so.
    """
    hardware = known_hardware(layout.device)
    model = known_model(model_reading(run.target).name)
    return Deployment(
        model=model,
        hardware=hardware,
        stack=stack,
        precision=precision_of(model, weights=_possible(run.weights, hardware.dense_flop_rate)),
        tensor_parallel=layout.tensor,
        pipeline_parallel=layout.pipeline,
    )


def _possible(weights: str | None, rates: object) -> str | None:
    """A 16-bit format that the device multiplies."""
    return "fp16" if weights == "bf16" and isinstance(rates, dict) and "bf16" not in rates else weights


def speculation_of(run: SpeculativeRun, layout: Layout, stack: Stack) -> Speculation:
    """What a run speculates with.

    Raises
    ------
    RooflinesimError : if its target, draft or device is not known.
    """
    target = target_of(run, layout, stack)
    return Speculation(target=target, method=_method(run, target))


def _method(run: SpeculativeRun, target: Deployment) -> Method:
    match run.drafting:
        case "eagle" | "eagle3" | "hydra":
            # Hydra's heads read each other's guesses, as deep as one decoder layer each: timed as EAGLE-1's.
            name = "fr-spec" if "fr-spec" in run.draft.lower() else "eagle3" if run.drafting == "eagle3" else "eagle"
            return eagle_method(target, known_draft(name, target.model))
        case "mtp":
            return mtp_method(target)
        case "medusa":
            return MedusaHeads()
        case "lookup" | "lookahead":
            return PromptLookup()
        case "self":
            return DraftModel(draft=target, cache_tokens=STREAMING_CACHE, is_target=True)
        case "draft-model":
            return _draft_model(run, target)


def _draft_model(run: SpeculativeRun, target: Deployment) -> DraftModel:
    label = re.split(r",\s", run.draft)[0]
    if re.match(r"sps\b", label, re.I):
        # Spec-Bench drafts with this model for every target.
        label = "vicuna-68m"
    try:
        model = known_model(model_reading(label).name)
    except UnknownNameError:
        raise UnsupportedError(f"the draft {run.draft!r} has no preset") from None
    weights = re.search(r"\b(int4|int8|fp8|fp16|bf16)\b", label, re.I)
    form = _possible(weights[1].lower() if weights else "bf16", target.hardware.dense_flop_rate)
    draft = dataclasses.replace(target, model=model, precision=precision_of(model, weights=form), pipeline_parallel=1)
    return DraftModel(draft=draft, cache_tokens=STREAMING_CACHE if "streaming" in run.draft.lower() else None)


def timed_rounds(
    rows: Sequence[LaidOutRun],
) -> tuple[tuple[LaidOutRun, ...], RoundTimes, tuple[Skipped, ...]]:
    """Runs that can be timed, the times of their rounds, each of shape (rows,) [s], and the runs that cannot.

    Equal speculations are timed together.
    """
    groups: dict[Speculation, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.speculation].append(index)
    names = [field.name for field in dataclasses.fields(RoundTimes)]
    columns = {name: np.full(len(rows), np.nan) for name in names}
    skipped: list[Skipped] = []
    for speculation, members in groups.items():
        mine = [rows[index].run for index in members]
        points = {
            name: np.array([float(getattr(run, name)) for run in mine])
            for name in ("batch", "context", "drafted", "passes")
        }
        width = np.ceil(np.maximum(points["drafted"] / np.maximum(points["passes"], 1.0), 1.0))
        shape = DraftShape(tokens=points["drafted"], passes=points["passes"], width=width)
        try:
            found = round_times(speculation, points["batch"], points["context"], shape)
        except RooflinesimError as error:
            skipped.extend(Skipped(id=run.id, reason=str(error)) for run in mine)
            continue
        for name in names:
            columns[name][members] = getattr(found, name)
    kept = np.isfinite(columns["plain_step_time"])
    times = RoundTimes(**{name: values[kept] for name, values in columns.items()})
    return tuple(row for row, is_kept in zip(rows, kept, strict=True) if is_kept), times, tuple(skipped)


def round_ratio(times: RoundTimes) -> np.ndarray:
    """Time of a round over that of a plain step: tokens per round that break even, shape (rows,) [1]."""
    whole = times.draft_time + times.verify_time + times.round_overhead_time
    return np.asarray(whole / times.plain_step_time)


def emitted_tokens(rows: Sequence[LaidOutRun], ratios: np.ndarray) -> np.ndarray:
    """Tokens per round of runs, shape (rows,) [tokens].

    The published mean, moved to the row's task where it is one over all tasks; in a series those with which the
    anchor's round of so many plain steps gains what was measured.
    """
    place = {row.run.id: index for index, row in enumerate(rows)}
    emitted = np.zeros(len(rows))
    for index, row in enumerate(rows):
        if row.emitted is not None:
            kept = (row.emitted - 1.0) * task_share(row.run)
            emitted[index] = 1.0 + min(kept, row.run.passes or row.run.drafted)
        elif row.anchor is not None:
            anchor = place[row.anchor]
            emitted[index] = rows[anchor].run.speedup * ratios[anchor]
    return emitted


def compared_speedups(runs: Sequence[SpeculativeRun], stack: Stack | None = None) -> SpeedupComparison:
    """Measured speed-ups beside predicted ones, by the runs' own engines' stacks or by one given.

    Anchors of series are left out: they hold no prediction.
    """
    described, skipped = laid_out(runs, None if stack is None else lambda _: stack)
    laid, times, untimed = timed_rounds(described)
    ratios = round_ratio(times)
    speedups = emitted_tokens(laid, ratios) / ratios
    kept = np.array([row.anchor != row.run.id for row in laid], dtype=bool)
    said = "no acceptance is published for this row; those of its series are read from it"
    anchors = [Skipped(id=row.run.id, reason=said) for row in laid if row.anchor == row.run.id]
    rows = [row for row, is_kept in zip(laid, kept, strict=True) if is_kept]
    predicted = speedups[kept]
    laws = [row.speculation.target.stack.speculation for row in rows]
    measured = {run.id: run.speedup for run in runs}
    simple = [_simple_rules(row, measured) for row in rows]
    return SpeedupComparison(
        ids=np.array([row.run.id for row in rows], dtype=object),
        measured=np.array([row.run.speedup for row in rows]),
        predicted=predicted,
        low=predicted * np.array([law.speedup_low for law in laws]),
        high=predicted * np.array([law.speedup_high for law in laws]),
        leviathan=np.array([leviathan for leviathan, _ in simple]),
        constant=np.array([constant for _, constant in simple]),
        labels=_labels(rows),
        skipped=(*skipped, *untimed, *anchors),
    )


def compared_speculation(table: Table, *, limit: int | None = None, stack: Stack | None = None) -> Comparison:
    """Measured beside predicted speed-ups of a table; rows are drawn last, since those of a series need each other."""
    runs, bad = speculative_runs(table)
    found = as_comparison(compared_speedups(runs, stack))
    return found.rows(sampled(found.ids.size, limit)).with_skipped((*bad, *found.skipped))


def _simple_rules(row: LaidOutRun, measured: Mapping[str, float]) -> tuple[float, float]:
    """Leviathan's formula and the constant share; neither knows of batch, so that a series stays at its anchor."""
    if row.emitted is None:
        return measured[row.anchor or row.run.id], measured[row.anchor or row.run.id]
    ratio = constant_cost_speedup(row.emitted, row.run.passes, _cost_ratio(row))
    return float(ratio), CONSTANT_SHARE * row.emitted


def _cost_ratio(row: LaidOutRun) -> float:
    """Draft over target as Leviathan's formula takes it: given, else the ratio of streamed parameters."""
    if row.run.cost_ratio is not None:
        return row.run.cost_ratio
    draft = draft_of(row.speculation.method)
    return streamed_parameters(draft.model) / streamed_parameters(row.speculation.target.model) if draft else 0.0


def _labels(rows: Sequence[LaidOutRun]) -> dict[str, np.ndarray]:
    names = tuple(dict.fromkeys(name for row in rows for name in row.run.labels))
    found = {name: np.array([row.run.labels.get(name, "") for row in rows], dtype=object) for name in names}
    found["stack"] = np.array([row.speculation.target.stack.name for row in rows], dtype=object)
    found["drafting"] = np.array([row.run.drafting for row in rows], dtype=object)
    found["regime"] = np.array([speculation_regime(row) for row in rows], dtype=object)
    return found


def speculation_regime(row: LaidOutRun) -> str:
    """Kind of run by which accuracy is told apart."""
    if row.run.harness != "engine":
        return "research code, its authors" if row.run.harness == "paper" else "research code, a benchmark"
    if any(group.moe for group in row.speculation.target.model.layers):
        return "engine, experts"
    return "engine, dense, batch 1" if row.run.batch <= 1 else "engine, dense, batched"
