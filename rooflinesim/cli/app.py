"""The command line: `rooflinesim COMMAND`; mistakes of the user end in one line and exit code 2."""

import sys

import typer

from rooflinesim import __version__
from rooflinesim.cli import (
    catalogue,
    compare,
    planning,
    plots,
    questions,
    report,
    scenarios,
    solve,
    speculation,
    validation,
)

_EPILOG = (
    "Times are predictions with a band that is meant to hold 80 % of measurements; `--stack ideal` gives the pure"
    " roofline. Start with: rooflinesim decode llama3-70b --gpu h100 --tp 4"
)

app = typer.Typer(
    name="rooflinesim",
    help="Decode latency, its flip batch and what binds it, for large language models on real hardware.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rooflinesim {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for _question in (
    questions.decode,
    questions.prefill,
    questions.crossover,
    speculation.speculate,
    questions.memory,
    planning.plan,
    solve.solve,
):
    app.command(rich_help_panel="Questions")(_question)
app.command(rich_help_panel="Questions")(plots.plot)
for _check in (validation.validate, validation.calibrate):
    app.command(rich_help_panel="How wrong are we?")(_check)
for _command in (scenarios.run, compare.compare, report.report, scenarios.simulate, scenarios.sweep):
    app.command(rich_help_panel="Scenarios")(_command)
app.command("list", rich_help_panel="Catalogue")(catalogue.list_entries)
app.command("show", rich_help_panel="Catalogue")(catalogue.show)
app.command("check", rich_help_panel="Catalogue")(catalogue.check)
app.command("schema", rich_help_panel="Catalogue")(catalogue.schema)


def main() -> None:
    """Run the command line and exit with its code: 0 answered, 1 check failed, 2 user's mistake, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Exit code of one command line; errors of the user become one line each on stderr."""
    from rooflinesim.errors import RooflinesimError

    try:
        code = app(arguments, prog_name="rooflinesim", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except RooflinesimError as error:
        for line in str(error).splitlines() or ["unknown error"]:
            sys.stderr.write(f"error: {line}\n")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        # The usage errors of the argument parser; whatever else is a bug and keeps its traceback.
        if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
            raise
        message = error.format_message()
        if not message:
            return 2
        where = getattr(getattr(error, "ctx", None), "command_path", "rooflinesim")
        sys.stderr.write(f"error: {message} (see `{where} --help`)\n")
        return 2
