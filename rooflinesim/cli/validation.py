"""Commands that hold predictions against measurements: validate, calibrate."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rooflinesim.cli import options, plots
from rooflinesim.cli.output import present, write_out


class LeftOut(StrEnum):
    """What leaves a fit together."""

    model = "model"
    gpu = "gpu"
    source = "source"
    engine = "engine"


@contextmanager
def _bar(title: str, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar with the time left on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _name, _done, _whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, Any] = {}

        def progress(name: str, done: int, whole: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(f"{title} {name}".strip(), total=whole)
            shown.update(tasks[name], completed=done)

        yield progress


def validate(
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="A file of measurements (CSV, gzipped or not), several with several --against; or `published`, the"
            " table that comes with the package.",
        ),
    ] = None,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="More files of measurements.", show_default=False)
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="COLUMN[,COLUMN]", help="Columns whose values are scored apart.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Rows of each file at most, drawn with a fixed seed.")
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", help="Predict every row with this stack, not with that of its engine.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw predicted against measured: png, svg or pdf.")
    ] = None,
    fail_above: Annotated[
        str | None, typer.Option("--fail-above", metavar="SHARE", help="Exit 1 if the MAPE is above, such as 12%.")
    ] = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """How far predictions are from recorded measurements: errors by group, bands, and the rows furthest off."""
    from rooflinesim.errors import UnsupportedError

    wanted = [*(against or []), *(files or [])]
    if not wanted:
        raise UnsupportedError("validate: nothing to compare with; give --against FILE or --against published")
    limit_share = None if fail_above is None else options.one_share(fail_above, "--fail-above")
    columns = tuple(filter(None, (by or "").split(",")))
    figure_form = None if plot is None else plots.figure_form(plot)
    from rooflinesim.api import validate as api
    from rooflinesim.config import load_stack

    with _bar("reading", quiet) as progress:
        answer = api.validate(
            against=wanted,
            by=columns,
            limit=limit,
            stack=load_stack(stack) if stack else None,
            progress=lambda done, whole: progress("files", done, whole),
        )
    if plot is not None and figure_form is not None:
        figure = plots.comparison_figure(answer.result, wanted, columns[0] if columns else "regime")
        plots.write_figure(figure, figure_form, plot)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)
    if limit_share is not None and answer.summary["mape"] > limit_share:
        sys.stderr.write(f"failed: MAPE {answer.summary['mape']:.1%} is above {limit_share:.1%}\n")
        raise typer.Exit(1)


def calibrate(
    measured: Annotated[
        list[str],
        typer.Option("--from", metavar="FILE", help="A file of measured runs or kernels; several may follow."),
    ],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="More files of measurements.", show_default=False)
    ] = None,
    leave_out: Annotated[
        LeftOut | None,
        typer.Option("--leave-out", help="Write nothing; score each of these by fits that never saw it."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="COLUMN[,COLUMN]", help="Columns scored apart, with --leave-out.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write profiles to; . renews a checkout's."),
    ] = None,
    bands: Annotated[
        bool, typer.Option("--bands/--no-bands", help="Make error bands anew, which takes some fifty more fits.")
    ] = True,
    form: options.Form = None,
    quiet: options.Quiet = False,
) -> None:
    """Fit profiles to measurements, with standard errors and what they leave open."""
    from rooflinesim.api import calibration as api

    wanted = [*measured, *(files or [])]
    with _bar("fits without each", quiet) as progress:
        if leave_out is not None:
            columns = tuple(filter(None, (by or "").split(",")))
            answer = api.transfer(measured=wanted, leave_out=leave_out.value, by=columns, progress=progress)
            present(answer, form=form, output=output, quiet=quiet, verbose=False)
            return
        found = api.calibrate(measured=wanted, has_bands=bands and output is not None, progress=progress)
    present(found.answer, form=form, output=None, quiet=quiet, verbose=False)
    if output is not None:
        _write(output, found.files)


def _write(folder: Path, files: Any) -> None:
    from rooflinesim.errors import FileError
    from rooflinesim.report.files import write_text

    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; make it, or name another")
    for name, text in files.items():
        path = folder / name if (folder / name).parent.is_dir() else folder / Path(name).name
        write_text(path, text)
    write_out(f"wrote {len(files)} profiles to {folder}\n")
