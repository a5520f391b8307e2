"""Constants of speculation fitted to published runs, and how well they predict tables that were left out.

Run: python benchmarks/speculation_fit.py [SPECDEC_CSV ...]
Prints the `speculation` sections of the stack files, the shares of tasks, and the errors of speed-ups: in sample, with
each table left out, and with each publication left out.
"""

import sys
from pathlib import Path

import numpy as np

from rooflinesim.api.speculation_fit import round_parts, source_names, speculation_sections, task_table
from rooflinesim.validation.published_speculation import speculative_runs
from rooflinesim.validation.speculation_fit import fitted_values, left_out_speedups, predicted_speedups
from rooflinesim.validation.tables import read_table


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    files = [Path(name) for name in sys.argv[1:]] or [here.parent / "shared" / "data" / "e2e" / "specdec.csv"]
    runs = [run for file in files for run in speculative_runs(read_table(file))[0]]
    parts, kept = round_parts(runs)
    values = fitted_values(parts)
    by_table = left_out_speedups(parts, source_names(kept))
    columns = {
        "in sample": predicted_speedups(parts, values),
        "table left out": by_table,
        "publication left out": left_out_speedups(parts, source_names(kept, is_whole_publication=True)),
    }
    for stack, section in speculation_sections(parts, values, by_table).items():
        print(f"{stack}: speculation: {section}")
    for family, shares in task_table(values).items():
        print(f"{family}: {shares}")
    for harness in ("all", "engine", "paper", "benchmark"):
        mine = ~parts.is_anchor & ((parts.harness == harness) | (harness == "all"))
        for name, predicted in columns.items():
            error = predicted[mine] / parts.measured[mine] - 1
            size = np.abs(error)
            print(
                f"{harness:10s} {name:21s} n {mine.sum():4d}  MAPE {size.mean():6.1%}  median {np.median(size):6.1%}"
                f"  bias {np.median(error):+6.1%}"
            )


if __name__ == "__main__":
    main()
