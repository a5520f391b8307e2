"""Commands about profiles: list, show, check, schema."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import write_out


class Listing(StrEnum):
    """What can be listed."""

    models = "models"
    gpus = "gpus"
    stacks = "stacks"
    drafts = "drafts"


class Noun(StrEnum):
    """What can be shown."""

    model = "model"
    gpu = "gpu"
    stack = "stack"


class FileKind(StrEnum):
    """Files that have a schema."""

    hardware = "hardware"
    model = "model"
    stack = "stack"
    scenario = "scenario"
    draft = "draft"


_KINDS: dict[str, Any] = {
    "models": "model",
    "gpus": "hardware",
    "stacks": "stack",
    "drafts": "draft",
    "gpu": "hardware",
    "model": "model",
    "stack": "stack",
}


def list_entries(
    what: Annotated[Listing, typer.Argument(metavar="models|gpus|stacks|drafts", show_default=False)],
    form: options.Form = None,
    output: options.Output = None,
) -> None:
    """Names and aliases of the shipped models, devices, software stacks or draft heads."""
    from rooflinesim import config
    from rooflinesim.cli.output import write_plain
    from rooflinesim.report.catalogue import list_content

    found = config.entries(_KINDS[what.value])
    content = list_content([(entry.key, entry.name, entry.aliases) for entry in found])
    write_plain(*content, command="list", form=form, output=output)


def show(
    what: Annotated[Noun, typer.Argument(metavar="model|gpu|stack", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    form: options.Form = None,
    output: options.Output = None,
) -> None:
    """One model, device or stack: its numbers, with their sources."""
    from rooflinesim import config
    from rooflinesim.cli.output import say, write_plain
    from rooflinesim.report import catalogue as report

    kind = _KINDS[what.value]
    note = config.resolve(kind, name).note
    if what is Noun.model:
        from rooflinesim.analysis.shape import model_shape

        model = config.load_model(name)
        content = report.model_content(model, model_shape(model))
    elif what is Noun.gpu:
        content = report.hardware_content(config.load_hardware(name))
    else:
        content = report.stack_content(config.load_stack(name))
    write_plain(*content, command=f"show-{what.value}", form=form, output=output)
    say([note] if note else [])


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", show_default=False)],
) -> None:
    """Whether profiles and config.json files are valid; exits 1 when one is not, with every problem."""
    from rooflinesim.config.checking import check_file
    from rooflinesim.errors import FileError, RooflinesimError

    missing = [file for file in files if not file.exists()]
    if missing:
        raise FileError(f"{missing[0]}: no such file; give the path of a profile or config.json")
    failed = 0
    for file in files:
        try:
            write_out(f"ok: {file}: {check_file(file)}\n")
        except RooflinesimError as error:
            failed += 1
            for line in str(error).splitlines():
                sys.stderr.write(f"error: {line}\n")
    if failed:
        raise typer.Exit(1)


def schema(
    kind: Annotated[FileKind, typer.Argument(metavar="hardware|model|stack|draft|scenario", show_default=False)],
) -> None:
    """JSON Schema of a kind of profile, made from the same declarations that `check` uses."""
    from rooflinesim.config.declared import json_schema
    from rooflinesim.config.files import spec_of

    write_out(json.dumps(json_schema(spec_of(kind.value)), indent=2) + "\n")
