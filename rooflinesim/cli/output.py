"""Presentation of an answer: results to stdout or a whole file, notes to stderr."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflinesim.cli.options import OutputFormat

if TYPE_CHECKING:
    from rooflinesim.report.answer import Answer
    from rooflinesim.report.columns import Columns
    from rooflinesim.report.tables import View

_SUFFIXES = {
    ".json": OutputFormat.json,
    ".csv": OutputFormat.csv,
    ".md": OutputFormat.md,
    ".txt": OutputFormat.table,
}
_WIDTH_OF_A_FILE = 120


def present(answer: "Answer", *, form: OutputFormat | None, output: Path | None, quiet: bool, verbose: bool) -> None:
    """Show an answer in a format, and say what it rests on."""
    if form is None:
        form = _SUFFIXES.get(output.suffix.lower(), OutputFormat.table) if output else OutputFormat.table
    if output is None:
        is_terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size((_WIDTH_OF_A_FILE, 24)).columns if is_terminal else _WIDTH_OF_A_FILE
        colour = is_terminal and not os.environ.get("NO_COLOR")
        write_out(answer.to_text(form.value, width=width, colour=colour))
    else:
        from rooflinesim.report.files import write_text

        write_text(output, answer.to_text(form.value, width=_WIDTH_OF_A_FILE))
    if not quiet:
        say(_notes(answer, verbose=verbose))


def _notes(answer: "Answer", *, verbose: bool) -> Iterable[str]:
    from rooflinesim.units import format_quantity

    yield from answer.notes
    if verbose:
        for one in answer.provenance:
            yield f"{one.what} = {format_quantity(one.value, one.unit)} ({one.kind}: {one.source})"
        return
    kinds: dict[str, int] = {}
    for one in answer.provenance:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    if kinds:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield f"rests on {counted} numbers; --verbose lists them with their sources"


def write_out(text: str) -> None:
    """Write to stdout; a reader that went away, as `head` does, is no failure."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(notes: Iterable[str]) -> None:
    """Write notes to stderr, one line each."""
    for note in notes:
        sys.stderr.write(f"note: {note}\n")


def write_plain(
    view: "View",
    columns: "Columns",
    summary: Mapping[str, Any],
    *,
    command: str,
    form: OutputFormat | None,
    output: Path | None,
) -> None:
    """Present something that was looked up, not asked of a deployment."""
    from rooflinesim import __version__
    from rooflinesim.report.answer import Answer

    answer = Answer(
        command=command,
        version=__version__,
        result=None,
        columns=columns,
        describe_inputs=dict,
        provenance=(),
        summary=summary,
        notes=(),
        views=[view],
    )
    present(answer, form=form, output=output, quiet=True, verbose=False)
