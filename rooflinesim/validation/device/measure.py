"""One measurement of a device: kernels alone, or kernels and whole steps in one random order."""

import dataclasses
import datetime
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.model import Model
from rooflinesim.validation.device.cells import Cell, cell_task, decoders
from rooflinesim.validation.device.clock import Marked, Sample
from rooflinesim.validation.device.decoder import DTYPES, CachePool, Decoder, Mark, WeightPool, placed
from rooflinesim.validation.device.kernels import Benchmark, benchmark_task, benchmarks, cache_in
from rooflinesim.validation.device.machinery import Machinery, pools, within_memory
from rooflinesim.validation.device.noise import (
    CpuTimes,
    Noise,
    cpu_times,
    even_odd_difference,
    noise_between,
    quiet_test,
)
from rooflinesim.validation.device.rounds import Record, Task, run_round, run_rounds
from rooflinesim.validation.measured_fit import TimedOp

Told = Callable[[float, float, str], None]
"""Told how many seconds of how many are spent, and with what."""

READ_BYTES = (4e6, 16e6, 64e6, 256e6)
"""Sizes of the reads by which bandwidth is told [B]; the last is that of memory."""

PROBE_ROWS = 16
"""Rows of the product by which the cost of a benchmark is foretold [tokens]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured: times of kernels by operation and of cells, marked steps, and how quiet the machine was."""

    machinery: Machinery
    kernels: tuple[TimedOp, ...]
    experts: tuple[tuple[Benchmark, tuple[tuple[int, float], ...]], ...]
    reads: Mapping[float, tuple[float, ...]]
    launch_times: tuple[float, ...]
    cells: tuple[tuple[Cell, tuple[tuple[int, float], ...]], ...]
    marked: tuple[tuple[Cell, Mapping[str, float]], ...]
    skipped: tuple[Skipped, ...]
    noise: Noise
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


def read_task(size: float, pool: WeightPool) -> Task:
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

    return Task(id=f"read/{size:.0f}", make=make)


def marked_task(cell: Cell, decoder: Decoder, caches: CachePool) -> Task:
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

    return Task(id=f"shares/{cell.id}", make=make)


def probe_rates(own: Machinery) -> tuple[dict[str, float], float]:
    """FLOPs per second of a small product in each number format, and bytes per second of a read, for foretelling."""
    rates = {}
    for form in own.forms:
        first = torch.ones(PROBE_ROWS, 1024, dtype=DTYPES[form], device=own.device)
        second = torch.ones(1024, 1024, dtype=DTYPES[form], device=own.device)

        def product(_mark: Mark, first: torch.Tensor = first, second: torch.Tensor = second) -> None:
            torch.nn.functional.linear(first, second)

        own.clock.timed(product)
        rates[form] = 2.0 * PROBE_ROWS * 1024**2 / min(own.clock.timed(product).wall_time for _ in range(5))
    values = torch.ones(16_000_000, device=own.device)
    took = min(own.clock.timed(lambda _mark: values.sum()).wall_time for _ in range(3))
    return rates, 64e6 / took


def foretold_cost(benchmark: Benchmark, rates: Mapping[str, float], bandwidth: float) -> float:
    """Roughly the wall time of one run of a benchmark [s]; it decides only which ones a budget allows."""
    ops = benchmark.ops().values()
    flops = sum(op.count * float(op.flops) for op in ops)
    moved = sum(op.count * float(op.memory_bytes) for op in ops)
    return 2e-3 + flops / rates[benchmark.form] + 3.0 * moved / bandwidth


def affordable_benchmarks(own: Machinery, seconds: float) -> tuple[list[Benchmark], list[Benchmark]]:
    """Benchmarks of which two runs each fit in a time, and those that are left out: the longest first.

    Raises
    ------
    UnsupportedError : if the time is too short for the fewest that fix the laws.
    """
    rates, bandwidth = probe_rates(own)
    costs = {one.id: (one, foretold_cost(one, rates, bandwidth)) for one in benchmarks(own.forms)}
    kept = sorted(costs.values(), key=lambda pair: pair[1])
    left: list[Benchmark] = []
    whole = 2.0 * sum(cost for _, cost in kept)
    while kept and whole > seconds:
        longest, cost = kept.pop()
        left.append(longest)
        whole -= 2.0 * cost
    for form in own.forms:
        products = [one for one, _ in kept if one.form == form and not one.is_attention]
        if len(products) < FEWEST_BENCHMARKS:
            fewest = sorted(cost for one, cost in costs.values() if one.form == form and not one.is_attention)
            needed = 4.0 * len(own.forms) * sum(fewest[: 2 * FEWEST_BENCHMARKS]) / KERNEL_SHARE + SETUP_SECONDS
            raise UnsupportedError(
                f"--budget is too short: {len(products)} benchmarks of {form} fit, and {FEWEST_BENCHMARKS} are the"
                f" fewest; about {needed:.0f}s would do"
            )
    return [one for one, _ in kept], left


FEWEST_BENCHMARKS = 6
"""Benchmarks of products that are the fewest by which a law can be told."""

KERNEL_SHARE = 0.6
"""Share of a calibration's budget that two runs of every benchmark may take; the rest repeats the short ones."""

SETUP_SECONDS = 1.5
"""What filling pools and probing takes at least [s]."""

CELL_RUNS = 2
"""Runs of each cell that a budget must have room for."""

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
    left out and said. Then kernels and cells run in one random order, round after round.

    Parameters
    ----------
    seconds : budget. [s] > 0
    models, asked : decoders, and the cells of them
    has_kernels : whether kernels are measured too; without them `foretell` is given none
    foretell : times of cells from the first round's kernels
    told : of progress
    """
    begun = time.perf_counter()
    before = cpu_times()

    def spent() -> float:
        return time.perf_counter() - begun

    def tell(what: str) -> Callable[[float], None]:
        return lambda _one: told(min(spent(), seconds), seconds, what) if told else None

    tell("a quiet-machine test")(0.0)
    first_noise = quiet_test(min(1.0, 0.05 * seconds))
    skipped: list[Skipped] = []
    share = KERNEL_SHARE if not asked else 0.3
    kept, left = affordable_benchmarks(own, share * (seconds - spent())) if has_kernels else ([], [])
    skipped.extend(Skipped(id=one.id, reason="takes longer than the budget allows") for one in left)
    asked, models, reasons = within_memory(own, kept, models, asked)
    skipped.extend(reasons)
    weights, caches = pools(own, kept, models, asked)
    by_id = {one.id: one for one in kept}
    kernel_tasks = [benchmark_task(one, weights[one.form], caches[one.form]) for one in kept]
    largest = weights[own.forms[0]]
    room = largest.values.numel() * largest.values.element_size()
    if has_kernels:
        kernel_tasks.extend(read_task(size, largest) for size in READ_BYTES if size <= 0.6 * room)
    record = Record()
    interrupted = False
    cell_by_id: dict[str, Cell] = {}
    try:
        run_round(kernel_tasks, own.clock, record, seed=0, told=tell("kernels"))
        tasks = list(kernel_tasks)
        costs = {task.id: record.cost(task.id) for task in tasks if task.id in record.samples}
        asked = [cell for cell in asked if cell.runner == "eager" or cell.model.layers[0].moe is None]
        if asked and foretell is not None:
            kernels, _, _ = timed_ops(record, by_id)
            times = dict(zip([one.id for one in asked], foretell(kernels, tuple(asked)), strict=True))
            # What CPU time leaves out passes on the wall all the same.
            slowed = _wall_ratio(record)
            allowed = seconds - spent() - sum(costs.values())
            chosen, dropped = _affordable_cells(asked, {i: slowed * t for i, t in times.items()}, allowed)
            skipped.extend(dropped)
            built = decoders(models, weights)
            for cell in chosen:
                cell_by_id[cell.id] = cell
                tasks.append(cell_task(cell, built[cell.model.name, cell.form], caches[cell.form]))
                costs[cell.id] = slowed * times[cell.id]
            for cell in shares_of(chosen):
                task = marked_task(cell, built[cell.model.name, cell.form], caches[cell.form])
                tasks.append(task)
                costs[task.id] = slowed * times[cell.id]
                cell_by_id[task.id] = cell
        run_rounds(
            tasks,
            own.clock,
            record,
            seconds=seconds - spent(),
            costs={task.id: costs.get(task.id, 0.0) for task in tasks},
            told=tell("kernels and steps" if asked else "kernels"),
        )
    except KeyboardInterrupt:
        interrupted = True
    kernels, experts, launches = timed_ops(record, by_id)
    if not kernels and has_kernels:
        raise KeyboardInterrupt
    skipped.extend(Skipped(id=id_, reason=reason) for id_, reason in record.skipped.items())
    return Measured(
        machinery=own,
        kernels=kernels,
        experts=experts,
        reads={
            float(id_.partition("/")[2]): tuple(sample.time for _, sample in samples)
            for id_, samples in record.samples.items()
            if id_.startswith("read/")
        },
        launch_times=launches,
        cells=tuple(
            (cell, tuple((number, sample.time) for number, sample in record.samples[id_]))
            for id_, cell in cell_by_id.items()
            if id_ in record.samples and not id_.startswith("shares/")
        ),
        marked=tuple(
            (cell, _shares(record.samples[id_]))
            for id_, cell in cell_by_id.items()
            if id_ in record.samples and id_.startswith("shares/")
        ),
        skipped=tuple(skipped),
        noise=_noise(own, first_noise, before, record),
        date=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        rounds=record.rounds,
        seconds=spent(),
        is_interrupted=interrupted or record.is_interrupted,
    )


def _wall_ratio(record: Record) -> float:
    samples = [sample for all_ in record.samples.values() for _, sample in all_]
    spent = sum(sample.time for sample in samples)
    return sum(sample.wall_time for sample in samples) / spent if spent else 1.0


def _noise(own: Machinery, first: Noise, before: CpuTimes | None, record: Record) -> Noise:
    """Noise of the whole measurement; the probe's stands in for what a device's own clock cannot tell."""
    samples = [sample for all_ in record.samples.values() for _, sample in all_] if own.device == "cpu" else []
    apart = even_odd_difference([[(n, s.time) for n, s in all_] for all_ in record.samples.values() if len(all_) > 3])
    found = noise_between(before, cpu_times(), samples if own.threads == 1 else (), apart)
    return dataclasses.replace(found, wall_ratio=first.wall_ratio if found.wall_ratio is None else found.wall_ratio)


def _affordable_cells(
    asked: Sequence[Cell], costs: Mapping[str, float], seconds: float
) -> tuple[list[Cell], list[Skipped]]:
    """Cells that can be run often enough within a time, and the longest ones, which are left out."""
    kept = sorted(asked, key=lambda cell: costs[cell.id])
    skipped = []
    while kept and CELL_RUNS * sum(costs[cell.id] for cell in kept) > seconds:
        cell = kept.pop()
        skipped.append(Skipped(id=cell.id, reason=f"takes about {costs[cell.id]:.2g} s, longer than the budget allows"))
    return kept, skipped


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


def timed_ops(
    record: Record, by_id: Mapping[str, Benchmark]
) -> tuple[tuple[TimedOp, ...], tuple[tuple[Benchmark, tuple[tuple[int, float], ...]], ...], tuple[float, ...]]:
    """Operations of benchmarks with their times, those of experts as a whole, and host time per operation."""
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
            is_first = True
            for name, seconds in sample.marks:
                if name == "attention.norm" and is_first:
                    is_first = False
                    continue
                times[name].append((number, seconds))
        if any(group.moe for group in benchmark.model.layers):
            experts.append((benchmark, tuple(times["moe.experts"])))
        else:
            wanted = ("attention.core",) if benchmark.is_attention else tuple(ops)
            found.extend(
                TimedOp(form=benchmark.form, op=ops[name], times=tuple(times[name])) for name in wanted if name in times
            )
    return tuple(found), tuple(experts), tuple(launches)
