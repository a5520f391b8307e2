"""The command about capacity: plan."""

from typing import Annotated

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import present
from rooflinesim.cli.scenarios import ScenarioFile


def plan(
    scenario: ScenarioFile,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, max=100, help="Fleets to show, the cheapest first.")
    ] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every engine that is in no fleet, with what binds it and by how much.")
    ] = False,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """The cheapest fleet that serves a scenario's traffic within its objective: which GPUs, how many, which layout."""
    from rooflinesim.api.plan import plan as api_plan
    from rooflinesim.config.scenarios import load_one_scenario

    answer = api_plan(scenario=load_one_scenario(scenario), top=top, explain=explain)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)
