"""What a budget has room for: the cost of benchmarks and steps foretold, and the longest left out."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.errors import UnsupportedError
from rooflinesim.validation.device.cells import Cell
from rooflinesim.validation.device.decoder import DTYPES, Mark
from rooflinesim.validation.device.kernels import Benchmark, benchmarks
from rooflinesim.validation.device.machinery import Machinery

PROBE_ROWS = 16
"""Rows of the product by which the cost of a benchmark is foretold [tokens]."""


CELL_RUNS = (2.0, 1.2)
"""Runs of each cell that a budget must have room for; the fewer where the more would leave many out."""

DEAREST = 0.04
"""Share of a budget that one run of one cell may take at most: a dearer one costs many others their repetition."""

MOST_LEFT_OUT = 0.1
"""Share of the cells that may be left out for more runs of the others."""


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


def affordable_benchmarks(
    own: Machinery, seconds: float, *, largest: float = math.inf, most_rows: float = math.inf
) -> tuple[list[Benchmark], list[Benchmark]]:
    """Benchmarks of which two runs each fit in a time, and those that are left out: the longest first.

    Shapes of more than `largest` elements per layer are not asked for, nor products of more than `most_rows` rows.

    Raises
    ------
    UnsupportedError : if the time is too short for the fewest that fix the laws.
    """
    rates, bandwidth = probe_rates(own)
    costs = {
        one.id: (one, foretold_cost(one, rates, bandwidth))
        for one in benchmarks(own.forms, largest=largest, most_rows=most_rows)
    }
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
            needed = 4.0 * len(own.forms) * sum(fewest[: 2 * FEWEST_BENCHMARKS])
            times = math.ceil(needed / max(seconds, needed / 100.0))
            raise UnsupportedError(
                f"--budget is too short: {len(products)} benchmarks of {form} fit, and {FEWEST_BENCHMARKS} are the"
                f" fewest; about {max(2, times)} times as long would do"
            )
    return [one for one, _ in kept], left


FEWEST_BENCHMARKS = 6
"""Benchmarks of products that are the fewest by which a law can be told."""

KERNEL_SHARE = 0.6
"""Share of a calibration's budget that two runs of every benchmark may take; the rest repeats the short ones."""

CELLS_KERNEL_SHARE = 0.2
"""The same where steps are run beside kernels."""

CELLS_KERNEL_RUNS = 9
"""Runs of each benchmark at most where steps are run beside them: laws draw on many kernels, a step on its own runs."""


def affordable_cells(
    asked: Sequence[Cell], costs: Mapping[str, float], seconds: float
) -> tuple[list[Cell], list[Skipped]]:
    """Cells that can be run often enough within a time, and the longest ones, which are left out."""
    ordered = sorted(asked, key=lambda cell: costs[cell.id])
    whole = np.cumsum([costs[cell.id] if costs[cell.id] <= DEAREST * seconds else np.inf for cell in ordered])
    many, few = (int(np.searchsorted(whole * runs, seconds, side="right")) for runs in CELL_RUNS)
    fitting = many if many >= (1.0 - MOST_LEFT_OUT) * len(ordered) else few
    skipped = [
        Skipped(id=cell.id, reason=f"takes about {costs[cell.id]:.2g} s, longer than the budget allows")
        for cell in ordered[fitting:]
    ]
    return ordered[:fitting], skipped
