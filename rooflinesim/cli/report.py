"""The command that writes a report of scenarios."""

from pathlib import Path
from typing import Annotated

import typer

from rooflinesim.cli import options, plots
from rooflinesim.cli.output import write_out
from rooflinesim.cli.scenarios import ScenarioFile


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
    from rooflinesim.api.report import capacity_report
    from rooflinesim.config.scenarios import load_scenarios
    from rooflinesim.report.files import write_text

    command = ("rooflinesim", "report", scenario.name, "-o", output.name)
    page = capacity_report(scenarios=load_scenarios(scenario), form=form, command=command)  # type: ignore[arg-type]
    write_text(output, page)
    if not quiet:
        write_out(f"{output}: {len(page.encode()) / 1e3:,.0f} kB\n")
