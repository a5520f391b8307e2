"""One measurement of a device: kernels alone, or kernels and whole steps in one random order."""

import dataclasses
import datetime
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.specs.model import Model
from rooflinesim.validation.device.budget import (
    CELLS_KERNEL_RUNS,
    CELLS_KERNEL_SHARE,
    KERNEL_SHARE,
    affordable_benchmarks,
    affordable_cells,
)
from rooflinesim.validation.device.cells import Cell, cell_task, decoders
from rooflinesim.validation.device.clock import Clock, Marked, Sample
from rooflinesim.validation.device.collectives import exchange_times
from rooflinesim.validation.device.decoder import CachePool, Decoder, Mark, WeightPool, placed
from rooflinesim.validation.device.gpu import graph_launch_time, warm_up
from rooflinesim.validation.device.kernels import Benchmark, benchmark_task, cache_in, sweep_of
from rooflinesim.validation.device.machinery import Machinery, Pools, at_work, pools, within_memory
from rooflinesim.validation.device.noise import (
    CLOCK_LIMIT,
    CpuTimes,
    Noise,
    cpu_times,
    even_odd_difference,
    noise_between,
    quiet_test,
    steady_rounds,
)
from rooflinesim.validation.device.pace import pace_spread, with_one_pace
from rooflinesim.validation.device.rounds import MOST, Record, Task, run_round, run_rounds
from rooflinesim.validation.exchange_fit import ExchangeTime
from rooflinesim.validation.measured_fit import TimedOp
from rooflinesim.workload.parameters import total_parameters

Told = Callable[[float, float, str], None]
"""Told how many seconds of how many are spent, and with what."""

READ_BYTES = (4e6, 16e6, 64e6, 256e6)
"""Sizes of the reads by which bandwidth is told [B]; the last is that of memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured: times of kernels by operation and of cells, marked steps, and how quiet the machine was.

    Times are at one pace of the machine; `as_clocked` holds the median of each cell as the clock told it [s], and
    `pace_spread` the standard deviation of the logarithm of the pace. `scatter` is that of whole runs of a benchmark at
    one pace, the median over the longest benchmarks.
    """

    machinery: Machinery
    kernels: tuple[TimedOp, ...]
    experts: tuple[tuple[Benchmark, tuple[tuple[int, float], ...]], ...]
    reads: Mapping[float, tuple[float, ...]]
    launch_times: tuple[float, ...]
    graph_time: float
    exchanges: tuple[ExchangeTime, ...]
    cells: tuple[tuple[Cell, tuple[tuple[int, float], ...]], ...]
    as_clocked: tuple[float, ...]
    marked: tuple[tuple[Cell, Mapping[str, float]], ...]
    skipped: tuple[Skipped, ...]
    noise: Noise
    pace_spread: float
    scatter: float
    date: str
    rounds: int
    seconds: float
    is_interrupted: bool

    @property
    def spread(self) -> float:
        """Median over kernels of the interquartile range of their times over the median [1]."""
        found = []
        for one in self.kernels:
            times = np.array([time for _, time in one.times])
            if times.size >= 4:
                found.append(float(np.subtract(*np.quantile(times, (0.75, 0.25))) / np.median(times)))
        return float(np.median(found)) if found else 0.0


def read_task(size: float, pool: WeightPool, clock: Clock) -> Task:
    """Reading so many bytes once: the sum of a stretch of a pool, always another one."""
    count = int(size / pool.values.element_size())
    starts = iter(range(10**9))

    def make() -> Marked:
        room = max(1, pool.values.numel() - count)
        start = (next(starts) * 7919 * 1024) % room
        part = pool.values[start : start + count]

        def run(mark: Mark) -> None:
            part.sum()
            mark("read")

        return run

    return Task(id=f"read/{size:.0f}", make=make, clock=clock)


def marked_task(cell: Cell, decoder: Decoder, caches: CachePool, clock: Clock) -> Task:
    """A cell whose operations are timed one by one, for their shares."""
    placement = placed([cell.context] * cell.batch, cell.new_tokens, form=cell.form, device=decoder.device)
    tokens = torch.randint(0, cell.model.vocabulary, (cell.batch, cell.new_tokens)).to(decoder.device)
    drawn = random.Random(cell.id)

    def make() -> Marked:
        cache = cache_in(caches, cell.model, cell.batch, cell.context + cell.new_tokens, drawn)

        def run(mark: Mark) -> None:
            decoder.step(tokens, placement, cache, mark=mark).argmax(-1)
            mark("sampling")

        return run

    return Task(id=f"shares/{cell.id}", make=make, clock=clock)


Foretell = Callable[[tuple[TimedOp, ...], tuple[Cell, ...]], Sequence[float]]
"""Times of cells from the first round of kernels, which decide what a budget has room for [s]."""


def measure(
    own: Machinery,
    *,
    seconds: float,
    models: Sequence[Model] = (),
    asked: Sequence[Cell] = (),
    has_kernels: bool = True,
    foretell: Foretell | None = None,
    told: Told | None = None,
) -> Measured:
    """Kernels of the device and, where there are any, cells, within a time.

    A first round of kernels alone tells what cells will take, so that those that the budget has no room for are
    left out and said. Then kernels and cells run in one random order, round after round. On a GPU, rounds whose clock
    rate is not that of the others are left out.

    Parameters
    ----------
    seconds : budget. [s] > 0
    models, asked : decoders, and the cells of them
    has_kernels : whether kernels are measured too; without them `foretell` is given none
    foretell : times of cells from the first round's kernels
    told : of progress
    """
    with at_work(own):
        return _measure(own, seconds, models, asked, has_kernels, foretell, told)


def _measure(
    own: Machinery,
    seconds: float,
    models: Sequence[Model],
    asked: Sequence[Cell],
    has_kernels: bool,
    foretell: Foretell | None,
    told: Told | None,
) -> Measured:
    begun = time.perf_counter()
    before = cpu_times()

    def left() -> float:
        return seconds - (time.perf_counter() - begun)

    def tell(what: str) -> Callable[[float], None]:
        return lambda _one: told(min(seconds - left(), seconds), seconds, what) if told else None

    tell("a quiet-machine test")(0.0)
    first_noise = quiet_test(min(1.0, 0.05 * seconds))
    if own.is_gpu:
        warm_up(own.device)
    skipped: list[Skipped] = []
    kept: list[Benchmark] = []
    dear: list[Benchmark] = []
    if has_kernels:
        share = CELLS_KERNEL_SHARE if asked else KERNEL_SHARE
        kept, dear = affordable_benchmarks(own, share * left(), **beyond_use(models, asked))
    skipped.extend(Skipped(id=one.id, reason="takes longer than the budget allows") for one in dear)
    asked, models, reasons = within_memory(own, kept, models, asked)
    skipped.extend(reasons)
    pool = pools(own, kept, models, asked)
    by_id = {one.id: one for one in kept}
    tasks = kernel_tasks(own, kept, pool, CELLS_KERNEL_RUNS if asked else MOST) if has_kernels else []
    record = Record()
    cell_by_id: dict[str, Cell] = {}
    try:
        run_round(tasks, record, seed=0, told=tell("kernels"), rate=own.clock_rate)
        costs = {task.id: record.cost(task.id) for task in tasks if task.id in record.samples}
        if asked and foretell is not None:
            times = foretell(timed_ops(record, by_id).kernels, tuple(asked))
            # What CPU time leaves out passes on the wall all the same.
            slowed = _wall_ratio(record) if record.samples else first_noise.wall_ratio or 1.0
            dear_of = {cell.id: slowed * time_ for cell, time_ in zip(asked, times, strict=True)}
            chosen, dropped = affordable_cells(asked, dear_of, left() - sum(costs.values()))
            skipped.extend(dropped)
            for cell, task in cell_tasks(own, models, chosen, pool):
                cell_by_id[task.id] = cell
                costs[task.id] = dear_of[cell.id]
                tasks.append(task)
        run_rounds(
            [task for task in tasks if task.id in costs],
            record,
            seconds=left(),
            costs=costs,
            told=tell("kernels and steps" if asked else "kernels"),
            rate=own.clock_rate,
        )
    except KeyboardInterrupt:
        record.is_interrupted = True
    left_out = drop_unsteady(record)
    noise = _noise(own, first_noise, before, record)
    with_one_pace(record)
    found = timed_ops(record, by_id)
    if not found.kernels and has_kernels:
        raise KeyboardInterrupt
    skipped.extend(Skipped(id=id_, reason=reason) for id_, reason in record.skipped.items())
    skipped.extend(
        Skipped(id=f"round {number}", reason="its clock rate is not that of the others") for number in left_out
    )
    skipped.extend(
        Skipped(id=cell.id, reason="the budget was spent before its turn")
        for id_, cell in cell_by_id.items()
        if id_ not in record.samples and id_ not in record.skipped and not id_.startswith("shares/")
    )
    kept_cells = {id_: cell for id_, cell in cell_by_id.items() if id_ in record.samples}
    return Measured(
        machinery=own,
        kernels=found.kernels,
        experts=found.experts,
        reads={
            float(id_.partition("/")[2]): tuple(sample.time for _, sample in samples)
            for id_, samples in record.samples.items()
            if id_.startswith("read/")
        },
        launch_times=found.launch_times,
        graph_time=graph_launch_time(own.device) if own.is_gpu else 0.0,
        exchanges=exchange_times(own.devices) if has_kernels and not asked and own.devices > 1 else (),
        cells=tuple(
            (cell, tuple((number, sample.time) for number, sample in record.samples[id_]))
            for id_, cell in kept_cells.items()
            if not id_.startswith("shares/")
        ),
        as_clocked=tuple(
            float(np.median([sample.time * sample.pace for _, sample in record.samples[id_]]))
            for id_ in kept_cells
            if not id_.startswith("shares/")
        ),
        marked=tuple(
            (cell, _shares(record.samples[id_])) for id_, cell in kept_cells.items() if id_.startswith("shares/")
        ),
        skipped=tuple(skipped),
        noise=noise,
        pace_spread=pace_spread([sample for own_ in record.samples.values() for _, sample in own_]),
        scatter=run_scatter([record.samples[id_] for id_ in by_id if id_ in record.samples]),
        date=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        rounds=record.rounds,
        seconds=seconds - left(),
        is_interrupted=record.is_interrupted,
    )


LONGEST = 0.25
"""Share of the benchmarks that scatter as steps do, which take as long and longer: short runs scatter more [1]."""


def run_scatter(samples: Sequence[Sequence[tuple[int, Sample]]]) -> float:
    """Standard deviation of the logarithm of the times of a task's runs [1].

    The median over the longest tasks of those that ran thrice.
    """
    times = [np.array([sample.time for _, sample in own]) for own in samples if len(own) >= 3]
    longest = sorted(times, key=np.median)[int((1.0 - LONGEST) * len(times)) :]
    return float(np.median([np.std(np.log(own), ddof=1) for own in longest])) if longest else 0.0


def beyond_use(models: Sequence[Model], asked: Sequence[Cell]) -> dict[str, float]:
    """Where benchmarks say nothing more of some decoders' cells; nowhere without cells.

    That is beyond twice the weights of the largest layer, and beyond the rows of the largest step.
    """
    if not asked:
        return {}
    return {
        "largest": 2.0 * max(total_parameters(model) / model.layer_count for model in models),
        "most_rows": max(cell.batch * cell.new_tokens for cell in asked),
    }


def kernel_tasks(own: Machinery, kept: Sequence[Benchmark], pool: Pools, most: int) -> list[Task]:
    """Tasks of benchmarks, and of reads of several sizes where the pool of weights is large enough."""
    largest = pool.weights[own.forms[0]]
    room = largest.values.numel() * largest.values.element_size()
    sweep = sweep_of(largest, own.cache if own.is_gpu else None)
    tasks = [
        *(benchmark_task(one, pool.weights[one.form], pool.caches[one.form], own.clock, sweep) for one in kept),
        *(read_task(size, largest, own.clock) for size in READ_BYTES if size <= 0.6 * room),
    ]
    return [dataclasses.replace(task, most=most) for task in tasks]


def cell_tasks(
    own: Machinery, models: Sequence[Model], chosen: Sequence[Cell], pool: Pools
) -> Iterator[tuple[Cell, Task]]:
    """Tasks of cells, and of those whose operations are timed one by one."""
    built = decoders(models, pool.weights)
    for cell in chosen:
        yield cell, cell_task(cell, built[cell.model.name, cell.form], pool.caches[cell.form], own.step_clock)
    for cell in shares_of(chosen):
        yield cell, marked_task(cell, built[cell.model.name, cell.form], pool.caches[cell.form], own.clock)


def drop_unsteady(record: Record) -> tuple[int, ...]:
    """Take the samples of rounds out of a record whose clock rate is not that of the others; which these were."""
    steady = set(steady_rounds([0.5 * (first + last) for first, last in record.clock_rates]))
    moved = {
        number
        for number, (first, last) in enumerate(record.clock_rates)
        if number not in steady or abs(last / first - 1.0) > CLOCK_LIMIT
    }
    # A device whose clock never settles is measured as it is, and its spread says so.
    if len(moved) == len(record.clock_rates):
        return ()
    for id_, samples in record.samples.items():
        kept = [one for one in samples if one[0] not in moved]
        record.samples[id_] = kept or samples
    return tuple(sorted(moved))


def _wall_ratio(record: Record) -> float:
    samples = [sample for all_ in record.samples.values() for _, sample in all_]
    spent = sum(sample.time for sample in samples)
    return sum(sample.wall_time for sample in samples) / spent


def _noise(own: Machinery, first: Noise, before: CpuTimes | None, record: Record) -> Noise:
    """Noise of the whole measurement; the probe's stands in for what a device's own clock cannot tell."""
    samples = [sample for all_ in record.samples.values() for _, sample in all_] if own.device == "cpu" else []
    apart = even_odd_difference([[(n, s.time) for n, s in all_] for all_ in record.samples.values() if len(all_) > 3])
    found = noise_between(before, cpu_times(), samples if own.threads == 1 else (), apart)
    return dataclasses.replace(found, wall_ratio=first.wall_ratio if found.wall_ratio is None else found.wall_ratio)


def shares_of(chosen: Sequence[Cell]) -> list[Cell]:
    """Cells whose operations are timed one by one: of each decoder and format the one nearest 4 sequences."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in chosen:
        key = cell.model.name, cell.form
        if cell.kind == "decode" and not any(group.moe for group in cell.model.layers):
            best = found.get(key)
            if best is None or abs(np.log(cell.batch / 4)) < abs(np.log(best.batch / 4)):
                found[key] = cell
    return list(found.values())


def _shares(samples: Sequence[tuple[int, Sample]]) -> dict[str, float]:
    """Time of each operation in a marked step, all layers together, the median over runs [s]."""
    totals: dict[str, list[float]] = defaultdict(list)
    for _, sample in samples:
        own: dict[str, float] = defaultdict(float)
        for name, seconds in sample.marks:
            own[name] += seconds
        for name, seconds in own.items():
            totals[name].append(seconds)
    return {name: float(np.median(times)) for name, times in totals.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedKernels:
    """Operations of benchmarks with their times [s], those of experts as a whole, and host time per operation [s]."""

    kernels: tuple[TimedOp, ...]
    experts: tuple[tuple[Benchmark, tuple[tuple[int, float], ...]], ...]
    launch_times: tuple[float, ...]


def _led_in(marks: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float]]:
    """Marks without the first layer, which finds caches and code colder than those amid a model do."""
    layers = [place for place, (name, _) in enumerate(marks) if name == "attention.norm"]
    return [*marks[: layers[0]], *marks[layers[1] :]] if len(layers) > 1 else marks


def timed_ops(record: Record, by_id: Mapping[str, Benchmark]) -> TimedKernels:
    """What the samples of benchmarks say of their operations."""
    found: list[TimedOp] = []
    experts = []
    launches: list[float] = []
    for id_, benchmark in by_id.items():
        if id_ not in record.samples:
            continue
        ops = benchmark.ops()
        times: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, sample in record.samples[id_]:
            launches.append(sample.host_time / sum(op.count for op in ops.values()))
            for name, seconds in _led_in(sample.marks):
                times[name].append((number, seconds))
        if any(group.moe for group in benchmark.model.layers):
            experts.append((benchmark, tuple(times["moe.experts"])))
        else:
            wanted = ("attention.core",) if benchmark.is_attention else tuple(ops)
            found.extend(
                TimedOp(form=benchmark.form, op=ops[name], times=tuple(times[name])) for name in wanted if name in times
            )
    return TimedKernels(kernels=tuple(found), experts=tuple(experts), launch_times=tuple(launches))
