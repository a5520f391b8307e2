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
    from rooflinesim.analysis.speculation.drafting import Drafting
    from rooflinesim.plots.canvas import FigureFormat, Sheet
    from rooflinesim.specs.deployment import Deployment


class FigureKind(StrEnum):
    """What can be drawn."""

    roofline = "roofline"
    latency = "latency"
    prefill = "prefill"
    crossover = "crossover"
    breakdown = "breakdown"
    memory = "memory"
    pareto = "pareto"
    speculation = "speculation"
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
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="RANGE", help="New tokens of a prefill, drawn between the ends.")
    ] = None,
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: Annotated[
        str | None,
        typer.Option("--tp", metavar="RANGE", help="Tensor parallelism; several lie over each other; pareto: 1:8."),
    ] = None,
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    method: options.Method = options.MethodChoice.draft_model,
    draft: options.Draft = None,
    draft_tp: options.DraftTp = None,
    draft_cost: options.DraftCost = None,
    draft_length: options.DraftLength = "0:8:+1",
    acceptance: options.AcceptanceText = None,
    acceptance_kind: options.AcceptanceKindName = options.AcceptanceChoice.conditional,
    acceptance_at: options.AcceptanceAt = None,
    decay: options.Decay = 1.0,
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
        is_open = kind is FigureKind.pareto and tp is None
        ranks = options.whole_range("1:8" if is_open else tp or "1", "--tp", minimum=1)
        rest: dict[str, Any] = {"weights": weights, "kv": kv, "pp": pp, "ep": ep, "dp": dp}
        splits, notes = _splits(names, gpu, stack, memory, routing, ranks, is_open=is_open, **rest)
        asked = [one for case in splits for one in case]
        more: dict[str, Any] = _prompts(kind, prompt)
        if kind is FigureKind.speculation:
            keeps = {"kind": acceptance_kind.value, "measured_length": acceptance_at, "decay": decay}
            more = _drafts(acceptance, keeps, draft_length)
            more["drafting"] = _drafting(asked, method.value, draft, draft_tp, draft_cost)
        figure = _figure(kind, splits, batch=batch, context=context, **more)
    write_figure(figure, form, output)
    if not quiet:
        say(dict.fromkeys(notes))


def _splits(
    names: list[str],
    gpus: list[str] | None,
    stack: str,
    memory: str | None,
    routing: str | None,
    ranks: Sequence[int],
    *,
    is_open: bool,
    **rest: Any,
) -> tuple[list[list["Deployment"]], list[str]]:
    """Every model on every device, spread over each of so many ranks, and what to say about the choice.

    Where the choice of ranks is open, those that are not possible are left out.
    """
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
    cases = [
        {"model": model, "hardware": one, "stack": software, **rest}
        for model in map(config.load_model, names)
        for one in hardware
    ]
    splits = [
        plots.possible_splits(ranks, **case) if is_open else [deployment(tp=one, **case) for one in ranks]
        for case in cases
    ]
    notes = plots.remarks([one for case in splits for one in case])
    return splits, [*(one.note for one in found if one.note), *notes]


def _figure(
    kind: FigureKind, splits: list[list["Deployment"]], *, batch: str | None, context: str | None, **given: Any
) -> "Sheet":
    """The figure of a kind, with the kind's own defaults for what is not given."""
    from rooflinesim.api import plots
    from rooflinesim.errors import UnitError

    if kind is FigureKind.crossover and batch is not None:
        raise UnitError("--batch: crossover looks for the batch; give --context, the range that it is drawn over")
    if batch is not None:
        given["batch"] = options.whole_range(batch, "--batch", minimum=1)
        if kind in (FigureKind.memory, FigureKind.prefill):
            given["batch"] = options.one_count(batch, "--batch")
    if context is not None:
        if kind in (FigureKind.crossover, FigureKind.latency):
            given["context"] = options.whole_range(context, "--context", minimum=0)
        else:
            given["context"] = options.one_count(context, "--context")
    if kind is FigureKind.pareto:
        return plots.plot_pareto(splits, **given)
    asked = [one for case in splits for one in case]
    match kind:
        case FigureKind.roofline:
            return plots.plot_roofline(asked, **given)
        case FigureKind.latency:
            return plots.plot_latency(asked, **given)
        case FigureKind.prefill:
            return plots.plot_prefill(asked, **given)
        case FigureKind.crossover:
            return plots.plot_crossover(asked, **given)
        case FigureKind.breakdown:
            return plots.plot_breakdown(asked, **given)
        case FigureKind.speculation:
            return plots.plot_speculation(asked, **given)
        case _:
            return plots.plot_memory(asked, **given)


def _prompts(kind: FigureKind, prompt: str | None) -> dict[str, Any]:
    """Prompts of a prefill; a mistake for what is drawn of decoding."""
    from rooflinesim.errors import UnitError

    if prompt is None:
        return {}
    if kind is not FigureKind.prefill:
        raise UnitError(f"--prompt: {kind.value} draws decoding; give --context, or draw prefill")
    return {"prompt": options.whole_range(prompt, "--prompt", minimum=1)}


def _drafting(
    asked: list["Deployment"], method: str, draft: str | None, ranks: int | None, cost: str | None
) -> "Drafting":
    """How tokens are drafted, by one draft for all targets."""
    from rooflinesim.analysis.speculation.drafting import Drafting
    from rooflinesim.cli.speculation import draft_of
    from rooflinesim.errors import UnsupportedError

    if method == "eagle" and len({one.model.name for one in asked}) > 1:
        raise UnsupportedError("--method eagle: a head belongs to one model; draw one model at a time")
    ratio, time = options.ratio_or_time(cost, "--draft-cost")
    return Drafting(
        method=method,  # type: ignore[arg-type]
        draft=draft_of(method, draft, asked[0].model),
        tensor_parallel=ranks,
        cost_ratio=ratio,
        pass_time=time,
    )


def _drafts(acceptance: str | None, keeps: dict[str, Any], lengths: str) -> dict[str, Any]:
    """How much of a draft is kept, and which lengths there are to choose from."""
    from rooflinesim.api.speculate import acceptance_of_text
    from rooflinesim.errors import UnitError

    if acceptance is None:
        raise UnitError("--acceptance is missing: give what was measured, such as 0.8 per token")
    kept, ranks = acceptance_of_text(acceptance, **keeps)
    if ranks is not None:
        raise UnitError(
            f"--acceptance: {acceptance!r} has several numbers; chains take one, or --acceptance-kind curve"
        )
    return {"acceptance": kept, "draft_length": options.whole_range(lengths, "--draft-length", minimum=0)}


def quiet_drawing() -> None:
    """Make what draws ready for files.

    A backend that opens windows, or that there is none of, has no say in what goes into a file; and the news of font
    caches and settings is none here.
    """
    import logging
    import os

    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def figure_form(path: Path) -> "FigureFormat":
    """Format of a figure's file, asked for before anything is computed; what draws is made ready for files."""
    quiet_drawing()
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
