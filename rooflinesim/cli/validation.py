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


Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        help="Threads of the processor; the CPU time of one leaves out what others took of a shared machine.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:1; default: a GPU where there is one.")
]
Formats = Annotated[
    str | None, typer.Option("--formats", metavar="FORMAT[,FORMAT]", help="fp32, bf16, fp16; default: fp32,bf16.")
]


@contextmanager
def _clock_bar(title: str, quiet: bool) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar over a budget of seconds on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _spent, _whole, _what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]} left"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title, total=1.0, left="-")

        def told(spent: float, whole: float, what: str) -> None:
            left = f"{max(0.0, whole - spent):.0f} s"
            shown.update(task, description=f"{title}: {what}", completed=spent / whole, left=left)

        yield told


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
    speculation: Annotated[
        bool, typer.Option("--speculation", help="Run speculative decoding on this device and compare its speed-ups.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            help="Time that measuring this device takes: 60s, 3m, 10m.",
            show_default="3m, or 10m with --speculation",
        ),
    ] = None,
    threads: Threads = 1,
    device: Device = None,
    formats: Formats = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="SIZE[,SIZE]",
            help="Decoders that are run: 40M, 100M, 350M, 1B, moe; with --speculation the target and its draft.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="GPU", help="Predict from this profile; nothing is calibrated anew."),
    ] = None,
    other_device: Annotated[
        bool, typer.Option("--other-device", help="Allow a profile that was not measured on this device.")
    ] = False,
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
    """How far predictions are from measurements: of steps run on this device, or recorded ones with --against.

    Without files, decoders of several sizes are run with PyTorch and compared with predictions from a calibration that
    saw none of them; both are made in the same rounds.
    """
    wanted = [*(against or []), *(files or [])]
    limit_share = None if fail_above is None else options.one_share(fail_above, "--fail-above")
    columns = tuple(filter(None, (by or "").split(",")))
    figure_form = None if plot is None else plots.figure_form(plot)
    if not wanted:
        seconds = options.one_duration(budget or ("10m" if speculation else "3m"), "--budget")
        answer = _run(
            sizes,
            profile,
            output,
            quiet,
            speculation=speculation,
            seconds=seconds,
            threads=threads,
            device=device,
            forms=_listed(formats),
            is_other_device=other_device,
        )
    else:
        answer = _recorded(wanted, columns, limit, stack, quiet)
    if plot is not None and figure_form is not None:
        what = wanted or ["steps run on this device"]
        figure = plots.comparison_figure(answer.result, what, columns[0] if columns else "regime")
        plots.write_figure(figure, figure_form, plot)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)
    if output is not None and not wanted:
        present(answer, form=None, output=None, quiet=True, verbose=False)
    if limit_share is not None and answer.summary["mape"] > limit_share:
        sys.stderr.write(f"failed: MAPE {answer.summary['mape']:.1%} is above {limit_share:.1%}\n")
        raise typer.Exit(1)


def _recorded(wanted: list[str], columns: tuple[str, ...], limit: int | None, stack: str | None, quiet: bool) -> Any:
    """Predictions beside recorded measurements."""
    from rooflinesim.api import validate as api
    from rooflinesim.config import load_stack

    with _bar("reading", quiet) as progress:
        return api.validate(
            against=wanted,
            by=columns,
            limit=limit,
            stack=load_stack(stack) if stack else None,
            progress=lambda done, whole: progress("files", done, whole),
        )


def _run(
    sizes: str | None, profile: str | None, output: Path | None, quiet: bool, *, speculation: bool, **asked: Any
) -> Any:
    """Predictions beside what is run on this device; they are in the file before anything is compared."""
    from rooflinesim.api.device_speculation import validate_speculation
    from rooflinesim.api.device_validation import SIZES, validate_device
    from rooflinesim.config import load_hardware

    names = _listed(sizes)
    asked["profile"] = load_hardware(profile) if profile else None
    with _clock_bar("validate", quiet) as told:
        asked |= {"told": told, "keep": lambda times: _keep(times, output)}
        if speculation:
            return validate_speculation(pair=_pair(sizes, names), **asked)
        return validate_device(sizes=names or SIZES, **asked)


def _pair(sizes: str | None, names: list[str] | None) -> tuple[str, str] | None:
    """A target and its draft."""
    from rooflinesim.errors import UnsupportedError

    if names is None:
        return None
    if len(names) != 2:
        raise UnsupportedError(f"--sizes: {sizes!r} names no pair; give a target and its draft, such as 350M,40M")
    return names[0], names[1]


def _keep(predictions: Any, output: Path | None) -> None:
    """Put predictions into the file of a run before anything is compared."""
    from rooflinesim.report.files import write_text

    if output is not None:
        import json

        write_text(output, json.dumps({"predictions": predictions}, indent=2) + "\n")


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [one.strip() for one in text.split(",") if one.strip()]


def calibrate(
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Fit to a file of measured runs or kernels, several may follow; without it this device is measured.",
        ),
    ] = None,
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
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File of this device's profile; with --from the folder of profiles, . renews a checkout's.",
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="Time that measuring this device takes: 60s, 3m, 10m.")
    ] = "60s",
    threads: Threads = 1,
    device: Device = None,
    formats: Formats = None,
    bands: Annotated[
        bool, typer.Option("--bands/--no-bands", help="Make error bands anew, which takes some fifty more fits.")
    ] = True,
    form: options.Form = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure this device and write its hardware profile; or, with --from, fit profiles to measurements."""
    from rooflinesim.api import calibration as api

    wanted = [*(measured or []), *(files or [])]
    if not wanted:
        _calibrate_device(options.one_duration(budget, "--budget"), threads, device, formats, output, form, quiet)
        return
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


def _calibrate_device(
    seconds: float,
    threads: int,
    device: str | None,
    formats: str | None,
    output: Path | None,
    form: options.OutputFormat | None,
    quiet: bool,
) -> None:
    """Measure this device, show its constants and write its profile."""
    from rooflinesim.api.device_calibration import calibrate_device
    from rooflinesim.report.files import write_text

    with _clock_bar("calibrate", quiet) as told:
        found = calibrate_device(seconds=seconds, threads=threads, device=device, forms=_listed(formats), told=told)
    if output is not None:
        write_text(output, found.text)
    present(found.answer, form=form, output=None, quiet=quiet, verbose=False)
    if output is not None:
        write_out(f"wrote {output}\n")


def _write(folder: Path, files: Any) -> None:
    from rooflinesim.errors import FileError
    from rooflinesim.report.files import write_text

    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; make it, or name another")
    for name, text in files.items():
        path = folder / name if (folder / name).parent.is_dir() else folder / Path(name).name
        write_text(path, text)
    write_out(f"wrote {len(files)} profiles to {folder}\n")
