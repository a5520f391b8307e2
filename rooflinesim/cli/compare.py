"""The command that puts two deployments side by side."""

from pathlib import Path
from typing import Annotated

import typer

from rooflinesim.cli import options, plots
from rooflinesim.cli.output import present


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
