"""The command that draws: `plot KIND MODEL... --gpu GPU... -o FILE`."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import say

if TYPE_CHECKING:
    from rooflinesim.analysis.comparison import Comparison
    from rooflinesim.plots.canvas import FigureFormat, Sheet
    from rooflinesim.specs.deployment import Deployment


class FigureKind(StrEnum):
    """What can be drawn."""

    roofline = "roofline"
    latency = "latency"
    crossover = "crossover"
    breakdown = "breakdown"
    memory = "memory"
    pareto = "pareto"
    validation = "validation"


def plot(
    kind: Annotated[
        FigureKind, typer.Argument(metavar="KIND", help=f"What to draw: {', '.join(FigureKind)}.", show_default=False)
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Models, drawn over each other; for validation, files of measurements.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .png, .svg or .pdf.", show_default=False)
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="GPU", help="As elsewhere; several, with commas or again, lie over each other."),
    ] = None,
    stack: options.StackName = "generic",
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="RANGE", help="Sequences; curves are drawn between the ends.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="RANGE", help="Tokens cached per sequence; crossover draws over a range."),
    ] = None,
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: Annotated[
        str | None,
        typer.Option("--tp", metavar="RANGE", help="Tensor parallelism; several lie over each other; pareto: 1:8."),
    ] = None,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="COLUMN", help="Column of the measurements that colours them.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw a figure: operations under the roofs, curves over batch or context, what the time goes to, what fits."""
    form = figure_form(output)
    if kind is FigureKind.validation:
        from rooflinesim.api.validate import validate

        figure = comparison_figure(validate(against=names).result, names, by)
        notes = list[str]()
    else:
        asked, notes = _deployments(names, gpu, stack, memory, routing, weights=weights, kv=kv)
        figure = _figure(kind, asked, batch=batch, context=context, tp=tp)
    write_figure(figure, form, output)
    if not quiet:
        say(dict.fromkeys(notes))


def _deployments(
    names: list[str], gpus: list[str] | None, stack: str, memory: str | None, routing: str | None, **formats: Any
) -> tuple[list["Deployment"], list[str]]:
    """Every model on every device, on one device each, and what to say about the choice."""
    from rooflinesim import config
    from rooflinesim.api import plots
    from rooflinesim.api.answers import deployment
    from rooflinesim.errors import UnknownNameError

    devices = [part for name in gpus or () for part in ([name] if Path(name).is_file() else name.split(",")) if part]
    if not devices:
        raise UnknownNameError("--gpu is missing; give a device, see `rooflinesim list gpus`")
    found = [
        *(config.resolve("model", name) for name in names),
        *(config.resolve("hardware", name) for name in devices),
        config.resolve("stack", stack),
    ]
    software = config.with_routing(config.load_stack(stack), routing)
    hardware = [options.with_memory(config.load_hardware(name), memory) for name in devices]
    asked = [
        deployment(model=model, hardware=one, stack=software, **formats)
        for model in map(config.load_model, names)
        for one in hardware
    ]
    return asked, [*(one.note for one in found if one.note), *plots.remarks(asked)]


def _figure(
    kind: FigureKind, asked: list["Deployment"], *, batch: str | None, context: str | None, tp: str | None
) -> "Sheet":
    """The figure of a kind, with the kind's own defaults for what is not given."""
    import dataclasses

    from rooflinesim.api import plots
    from rooflinesim.errors import UnitError

    if kind is FigureKind.crossover and batch is not None:
        raise UnitError("--batch: crossover looks for the batch; give --context, the range that it is drawn over")
    given: dict[str, Any] = {}
    if batch is not None:
        given["batch"] = options.whole_range(batch, "--batch", minimum=1)
        if kind is FigureKind.memory:
            given["batch"] = options.one_count(batch, "--batch")
    if context is not None:
        if kind in (FigureKind.crossover, FigureKind.latency):
            given["context"] = options.whole_range(context, "--context", minimum=0)
        else:
            given["context"] = options.one_count(context, "--context")
    ranks = options.whole_range("1:8" if tp is None else tp, "--tp", minimum=1)
    if kind is FigureKind.pareto:
        splits = [[dataclasses.replace(one, tensor_parallel=n) for n in ranks if _reaches(one, n, tp)] for one in asked]
        return plots.plot_pareto([plots.possible_splits(case) for case in splits], **given)
    if tp is not None:
        asked = [dataclasses.replace(one, tensor_parallel=n) for one in asked for n in ranks]
    match kind:
        case FigureKind.roofline:
            return plots.plot_roofline(asked, **given)
        case FigureKind.latency:
            return plots.plot_latency(asked, **given)
        case FigureKind.crossover:
            return plots.plot_crossover(asked, **given)
        case FigureKind.breakdown:
            return plots.plot_breakdown(asked, **given)
        case _:
            return plots.plot_memory(asked, **given)


def _reaches(one: "Deployment", ranks: int, tp: str | None) -> bool:
    """Whether a split is wanted: those asked for are, else those that the device's links reach."""
    from rooflinesim.specs.deployment import reach_of

    return tp is not None or ranks <= reach_of(one.hardware)


def figure_form(path: Path) -> "FigureFormat":
    """Format of a figure's file, asked for before anything is computed; what draws is made ready for files."""
    import logging
    import os

    # A backend that opens windows, or that there is none of, has no say in what goes into a file; and the news of
    # font caches and settings is none here.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from rooflinesim.plots.canvas import form_of

    return form_of(path)


def comparison_figure(found: "Comparison", files: Sequence[str], by: str | None) -> "Sheet":
    """Predicted against measured, with the files that hold the measurements in the caption."""
    from rooflinesim.api import plots

    skipped = f", {len(found.skipped):,} skipped" if found.skipped else ""
    names = ", ".join(Path(file).name for file in files)
    return plots.plot_validation(found, by=by, caption=f"{names}: {found.ids.size:,} rows{skipped}.")


def write_figure(figure: "Sheet", form: "FigureFormat", output: Path) -> None:
    """Put a figure into a file, and say what its letters lack."""
    from rooflinesim.plots.canvas import missing_letters, rendered
    from rooflinesim.report.files import write_bytes

    write_bytes(output, rendered(figure, form))
    missing = missing_letters(figure)
    if missing:
        say([f"the figure's font has no {' '.join(missing)}: a box stands for each"])
