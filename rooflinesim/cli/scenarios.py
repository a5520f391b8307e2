"""Commands about scenario files: run, compare and sweep."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rooflinesim.cli import options, plots
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


def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="A scenario file; alone, the file of both: two scenarios, or two values."),
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="A second scenario file.", show_default=False)
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(
            "--pick",
            metavar="AXIS=VALUE",
            help="What to take where a scenario names several, such as batch=64; for one side: b.hardware=h200.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the way from A to B: png, svg or pdf.")
    ] = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Two deployments side by side, with the cause of the difference term by term.

    Example: compare scenarios/llama3-70b-on-three-gpus.yaml --pick tp=4 --pick batch=64 --pick context=2k --pick
    a.hardware=h100 --pick b.hardware=h200
    """
    figure_form = None if plot is None else plots.figure_form(plot)
    from rooflinesim.api import compare as api
    from rooflinesim.config.scenarios import load_one_scenario, load_scenarios

    picks = options.picks_of(pick or [])
    if second is None:
        found = load_scenarios(first)
        if len(found) > 2:
            load_one_scenario(first)
        one, other = found[0], found[1] if len(found) == 2 else None
    else:
        one, other = load_one_scenario(first), load_one_scenario(second)
    answer = api.compare(first=one, second=other, picks=picks[""], first_picks=picks["a"], second_picks=picks["b"])
    if plot is not None and figure_form is not None:
        plots.write_figure(answer.plot(), figure_form, plot)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def report(
    scenario: ScenarioFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="An .html page with figures, or .md.", show_default=False),
    ],
    quiet: options.Quiet = False,
) -> None:
    """A self-contained report: the answer, the deployment, load, memory, cost, and what all of it rests on.

    Example: report scenarios/llama3-70b-on-three-gpus.yaml -o report.html
    """
    from rooflinesim.errors import FileError

    form = {".html": "html", ".htm": "html", ".md": "md"}.get(output.suffix.lower())
    if form is None:
        raise FileError(f"{output}: a report is a page or Markdown; end its name in .html or .md")
    plots.quiet_drawing()
    from rooflinesim.api.report import report as written
    from rooflinesim.config.scenarios import load_scenarios
    from rooflinesim.report.files import write_text

    command = ("rooflinesim", "report", scenario.name, "-o", output.name)
    page = written(scenarios=load_scenarios(scenario), form=form, command=command)  # type: ignore[arg-type]
    write_text(output, page)
    if not quiet:
        write_out(f"{output}: {len(page.encode()) / 1e3:,.0f} kB\n")


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
