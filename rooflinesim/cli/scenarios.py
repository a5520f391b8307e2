"""Commands about scenario files: run, simulate and sweep."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import present, say, write_out

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="A scenario file; see `schema scenario` and the folder scenarios/.")
]


def run(
    scenario: ScenarioFile,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """The answer to a scenario's question; to each of them where the file holds several."""
    from rooflinesim.api import run as api
    from rooflinesim.config.scenarios import load_scenarios

    answer = api.run(scenarios=load_scenarios(scenario))
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def simulate(
    scenario: ScenarioFile,
    rate_scale: Annotated[
        float | None,
        typer.Option("--rate-scale", metavar="X", help="All arrivals X times as fast; default: as the scenario says."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of all draws.")] = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """A scenario's traffic or trace, request by request; -o requests.csv writes what each request saw."""
    from rooflinesim.api.serving import simulated, simulated_requests
    from rooflinesim.config.scenarios import load_one_scenario
    from rooflinesim.report.progress import progress_bar

    asked = load_one_scenario(scenario)
    with progress_bar(asked.name, simulated_requests(asked), quiet=quiet) as advanced:
        answer = simulated(scenario=asked, seed=seed, rate_scale=rate_scale, progress=advanced)
    if output is not None and not quiet:
        say([answer.summary["verdict"]])
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def sweep(
    scenario: ScenarioFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file, written whole or resumed.")
    ],
    admits: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPR", help="Rows to keep, such as 'fits and step_time_s < 0.05'."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="Keep the N best rows by --by.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="Column of --top: smallest times and bytes, largest rates; +FIELD smallest, -FIELD largest.",
        ),
    ] = None,
    fields: Annotated[
        str | None, typer.Option("--fields", metavar="FIELD,...", help="Columns to keep; default: all.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=4096, help="Processes on this machine; default: one per core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="ADDRESS|local", help="A Dask cluster; .parquet becomes a folder of parts."
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Every combination of what a scenario names, as one row each; interrupted, the same command goes on."""
    from rooflinesim.api.sweep import sweep_plan, written
    from rooflinesim.config.scenarios import load_one_scenario
    from rooflinesim.report.progress import progress_bar

    planned = sweep_plan(
        scenario=load_one_scenario(scenario),
        output=output,
        admits=admits,
        top=top,
        by=by,
        fields=None if fields is None else [one.strip() for one in fields.split(",") if one.strip()],
        scheduler=scheduler,
    )
    if not quiet:
        say([*planned.notes, planned.line(workers)])
    try:
        with progress_bar(output.name, planned.sweep.grid.points, quiet=quiet) as advanced:
            made = written(planned, workers=workers, scheduler=scheduler, advanced=advanced)
    except KeyboardInterrupt:
        sys.stderr.write(f"note: what is done stays in {planned.parts.folder}; the same command goes on\n")
        raise
    if not quiet:
        say(made.notes)
    write_out(made.line + "\n")
