"""Figures of deployments: the questions' results, drawn; several deployments lie over each other."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim.api.answers import Counts, deployment, numbers
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.report import text
from rooflinesim.specs.deployment import Deployment, reach_of

if TYPE_CHECKING:
    from rooflinesim.analysis.compare import CompareResult
    from rooflinesim.analysis.comparison import Comparison
    from rooflinesim.analysis.speculation.acceptance import Acceptance
    from rooflinesim.analysis.speculation.drafting import Drafting
    from rooflinesim.plots.canvas import Sheet

MOST_CASES = 7
"""Cases of one figure that colours, dashes and marks tell apart."""

_CURVE_POINTS = 120
_NAME_CHARACTERS = 64
_SURFACE_POINTS = 40
_RATES = np.linspace(0.2, 0.98, 40)
_BAND = "The band is meant to hold 80 % of measurements."
_CAUSES = (
    "An operation's time counts as that of its reads or its math, whichever take longer; what it takes beyond is"
    " kernel overhead."
)


def plot_latency(deployments: Sequence[Deployment], *, batch: Counts = (1, 1024), context: Counts = 2048) -> "Sheet":
    """Latency and throughput over batch, from the least to the greatest given, at each of the contexts."""
    from rooflinesim.analysis.decode import decode
    from rooflinesim.analysis.flips import flips
    from rooflinesim.plots.latency import draw_latency

    batches = _curve(batch, "batch")
    contexts = _distinct(context)
    cases = {
        label if len(contexts) == 1 else (f"{label}, " if len(deployments) > 1 else "") + f"context {at:,.0f}": (
            one,
            at,
        )
        for label, one in _labelled(deployments).items()
        for at in contexts
    }
    _few(cases)
    has_bands = any(one.stack.bands for one in deployments)
    return draw_latency(
        {label: decode(one, batch=batches, context=at) for label, (one, at) in cases.items()},
        {label: flips(one, context=at) for label, (one, at) in cases.items()},
        caption=_caption(deployments, _at(context=contexts), _BAND if has_bands else "A bound without a band."),
    )


def plot_prefill(
    deployments: Sequence[Deployment], *, prompt: Counts = (128, 32768), batch: float = 1, context: float = 0
) -> "Sheet":
    """Time to first token over the prompt, from the least to the greatest given, behind `context` cached tokens."""
    from rooflinesim.analysis.prefill import prefill
    from rooflinesim.plots.prefill import draw_prefill

    prompts = _curve(prompt, "prompt")
    behind = f" behind {context:,.0f} cached tokens" if context else ""
    several = f" for {batch:,.0f} prompts at once" if batch > 1 else ""
    return draw_prefill(
        {
            label: prefill(one, prompt=prompts, batch=float(batch), context=float(context))
            for label, one in _labelled(deployments).items()
        },
        caption=_caption(deployments, f"One step{several}{behind}, no queueing.", _BAND),
    )


def plot_crossover(deployments: Sequence[Deployment], *, context: Counts = (128, 131072)) -> "Sheet":
    """Flip batches over context, from the least to the greatest given."""
    from rooflinesim.analysis.flips import flips
    from rooflinesim.plots.crossover import draw_crossover

    contexts = _curve(context, "context")
    return draw_crossover(
        {label: flips(one, context=contexts) for label, one in _labelled(deployments).items()},
        caption=_caption(
            deployments,
            "A vertical line marks the context from which on the whole step never flips; what lies above the largest"
            " batch that fits cannot be run.",
        ),
    )


def plot_roofline(
    deployments: Sequence[Deployment], *, batch: Counts = (1, 8, 64, 256), context: float = 2048
) -> "Sheet":
    """Each operation at each batch under both roofs of its device."""
    from rooflinesim.analysis.roofline import roofline
    from rooflinesim.plots.roofline import draw_roofline

    batches = _distinct(batch)
    shown = ", ".join(f"{one:,.0f}" for one in batches)
    order = f"; batches {shown}, joined, from left to right" if len(batches) > 1 else f", batch {shown}"
    return draw_roofline(
        {label: roofline(one, batch=batches, context=context) for label, one in _labelled(deployments).items()},
        caption=_caption(
            deployments,
            _at(context=[context], more=order),
            "The area of a mark grows with its operation's share of the step; what lies below a roof is lost to fixed"
            " times, splits and rounding.",
        ),
    )


def plot_breakdown(deployments: Sequence[Deployment], *, batch: Counts | None = None, context: float = 2048) -> "Sheet":
    """Time of a step by part and by cause: over batch for one deployment, else at the first batch.

    Two deployments are drawn as the way from the first to the second.
    """
    from rooflinesim.analysis.breakdown import breakdown, difference
    from rooflinesim.plots.breakdown import draw_breakdown, draw_breakdowns, draw_waterfall

    if len(deployments) == 1:
        batches = _curve((1, 256) if batch is None else batch, "batch")
        found = breakdown(deployments[0], batch=batches, context=context)
        return draw_breakdown(found, caption=_caption(deployments, _at(context=[context]), _CAUSES))
    first = _distinct(1 if batch is None else batch)[0]
    results = {label: breakdown(one, batch=first, context=context) for label, one in _labelled(deployments).items()}
    caption = _caption(deployments, _at(context=[context], more=f", batch {first:,.0f}"), _CAUSES)
    if len(results) > 2:
        return draw_breakdowns(results, caption=caption)
    (one, its), (other, others) = results.items()
    return draw_waterfall(difference(its, others), labels=(one, other), caption=caption)


def plot_difference(result: "CompareResult", names: Sequence[str]) -> "Sheet":
    """The way from the first case of a comparison to the second, by part and by cause."""
    from rooflinesim.plots.breakdown import draw_waterfall

    cases = (result.first, result.second)
    lines = [f"{name}: {text.deployment_line(one.deployment)}" for name, one in zip(names, cases, strict=True)]
    labels = _brief(names[0]), _brief(names[1])
    return draw_waterfall(result.difference, labels=labels, caption="\n".join([*lines, _CAUSES]))


def plot_memory(deployments: Sequence[Deployment], *, batch: int = 1, context: int = 2048) -> "Sheet":
    """Byte ledger of one device beside its capacity."""
    from rooflinesim.analysis.memory import memory
    from rooflinesim.plots.memory import draw_memory

    return draw_memory(
        {label: memory(one, batch=batch, context=context) for label, one in _labelled(deployments).items()},
        caption=_caption(deployments, _at(context=[context], more=f", batch {batch:,}")),
    )


def plot_pareto(
    splits: Sequence[Sequence[Deployment]],
    *,
    batch: Counts = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    context: float = 2048,
) -> "Sheet":
    """Tokens per second and user against tokens per second and device, over batch and split.

    Parameters
    ----------
    splits : for each case its deployments, which differ in how they are spread over devices
    """
    from rooflinesim.analysis.pareto import pareto
    from rooflinesim.plots.pareto import draw_pareto

    firsts = [
        dataclasses.replace(case[0], tensor_parallel=1, pipeline_parallel=1, expert_parallel=1, data_parallel=1)
        for case in splits
    ]
    one = splits[0][0]
    ways = {"PP": one.pipeline_parallel, "EP": one.expert_parallel, "DP": one.data_parallel}
    beside = "".join(f", {way} {count}" for way, count in ways.items() if count > 1)
    batches = _distinct(batch)
    at = _at(context=[context], more=f", batches {batches[0]:,.0f} to {batches[-1]:,.0f}{beside}")
    note = "Numbers are batches of one replica." if len(splits) == 1 else "Marks of one line differ in batch."
    return draw_pareto(
        {
            label: pareto(case, batch=batches, context=context)
            for (label, _), case in zip(_labelled(firsts).items(), splits, strict=True)
        },
        caption=_caption(firsts, at, note),
    )


def plot_speculation(
    deployments: Sequence[Deployment],
    *,
    drafting: "Drafting",
    acceptance: "Acceptance | float",
    draft_length: Counts = (1, 2, 3, 4, 5, 6, 7, 8),
    batch: Counts = (1, 256),
    context: float = 2048,
) -> "Sheet":
    """Speed-up of speculation over batch, from the least to the greatest given; over acceptance too for one target.

    Parameters
    ----------
    drafting : the method, and its draft
    acceptance : a number is the conditional acceptance of each draft token
    draft_length : chains to choose from, plain decoding beside them. [tokens]
    """
    from rooflinesim.analysis.speculation.acceptance import Acceptance
    from rooflinesim.analysis.speculation.drafting import speculation_of
    from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
    from rooflinesim.plots.speculation import draw_speculation, draw_speculations

    batches = _curve(batch, "batch")
    lengths = _distinct(draft_length)
    lengths = lengths[lengths > 0]
    if not lengths.size:
        raise DomainError("draft_length offers no draft; give lengths of at least 1, such as 1:8:+1")
    keeps = acceptance if isinstance(acceptance, Acceptance) else Acceptance(value=acceptance)
    if keeps.kind in ("drafted", "length", "length-with-bonus") and keeps.measured_length is None:
        keeps = dataclasses.replace(keeps, measured_length=float(lengths[-1]))

    def gains(
        target: Deployment, batches: np.ndarray, lengths: np.ndarray, rates: np.ndarray | None = None
    ) -> SpeculateResult:
        asked = speculation_of(target, drafting, batch=float(batches[0]), context=context)
        points = [part.ravel() for part in np.meshgrid(batches, lengths, [0.0] if rates is None else rates)]
        own = keeps if rates is None else Acceptance(value=points[2], decay=keeps.decay)
        return speculate(asked, batch=points[0], context=context, draft_length=points[1], acceptance=own)

    choices = np.concatenate([[0.0], lengths])
    chains = {label: gains(one, batches, choices) for label, one in _labelled(deployments).items()}
    first = next(iter(chains.values()))
    draft = getattr(drafting.draft, "name", "")
    caption = _caption(
        deployments,
        _at(context=[context]),
        f"Drafts by {drafting.method}{f', {draft}' if draft else ''}; acceptance of the first draft token"
        f" {first.acceptance_rate.max():.3g}.",
        _BAND,
    )
    if len(chains) > 1:
        return draw_speculations(chains, caption=caption)
    some = _distinct(np.round(np.geomspace(batches[0], batches[-1], _SURFACE_POINTS)))
    return draw_speculation(first, gains(deployments[0], some, lengths, _RATES), caption=caption)


def plot_validation(found: "Comparison", *, by: str | None = None, caption: str) -> "Sheet":
    """Predicted against measured times, coloured by a label.

    Raises
    ------
    DomainError : if there is no such label, or nothing to draw.
    """
    from rooflinesim.analysis.comparison import scores
    from rooflinesim.plots.validation import MeasuredPoints, draw_validation

    if not found.measured.size:
        raise DomainError("no row could be predicted, so there is nothing to draw")
    if by is not None and by not in found.labels:
        raise DomainError(f"no column {by!r} to group by; there are {', '.join(found.labels)}")
    group = np.full(found.measured.size, "all") if by is None else found.labels[by].astype(str)
    units = sorted({str(one) or "s" for one in found.labels.get("unit", ("s",))})
    if len(units) > 1:
        raise DomainError(f"the measurements are in {' and '.join(units)}; draw files of one kind at a time")
    columns = {name: getattr(found, name) for name in ("measured", "predicted", "low", "high")}
    points = MeasuredPoints(**columns, group=group, unit=units[0])
    labels = {
        one.group: f"{_brief(one.group)} ({one.n:,}; MAPE {text.percent(one.mape)},"
        f" {text.percent(one.inside_band)} inside)"
        for one in scores(found, [] if by is None else [by])
    }
    reading = "Bands are meant to hold 80 % of measurements; marks on the edges of the lower axes lie beyond them."
    return draw_validation(points, caption=f"{caption} {reading}", labels=labels)


def remarks(deployments: Sequence[Deployment]) -> list[str]:
    """What a reader must know about deployments before trusting their figure, each thing once."""
    return list(dict.fromkeys(note for one in deployments for note in text.deployment_notes(one)))


def possible_splits(ranks: Sequence[int], **asked: Any) -> list[Deployment]:
    """Deployments over those of the ranks of tensor parallelism that model and links allow.

    Parameters
    ----------
    ranks : devices that share every layer, to choose from. [1] >= 1
    asked : what else `deployment` takes

    Raises
    ------
    RooflinesimError : if none is possible, with the reason of the last.
    """
    from rooflinesim.analysis.timing import step_ops
    from rooflinesim.workload.step import Step

    found = []
    problem: RooflinesimError | None = None
    for tp in ranks:
        try:
            one = deployment(tp=tp, **asked)
            if one.group_devices > reach_of(one.hardware):
                continue
            step_ops(one, Step())
            found.append(one)
        except RooflinesimError as error:
            problem = error
    if not found:
        raise problem or DomainError("no split stays within one host; give --tp")
    return found


def _labelled(deployments: Sequence[Deployment]) -> dict[str, Deployment]:
    """Deployments by what tells them apart.

    Raises
    ------
    DomainError : if there is none, or more than can be told apart.
    """
    if not deployments:
        raise DomainError("nothing to draw; give at least one deployment")
    labels = text.telling_labels(deployments)
    found = dict(zip(labels, deployments, strict=True))
    if len(found) < len(deployments):
        raise DomainError("two of the deployments are the same; give each once")
    _few(found)
    return found


def _few(cases: dict[str, Any]) -> None:
    if len(cases) > MOST_CASES:
        raise DomainError(f"{len(cases)} cases in one figure cannot be told apart; give at most {MOST_CASES}")


def _distinct(counts: Counts) -> np.ndarray:
    """Values of an axis in rising order."""
    return np.unique(np.asarray(numbers(counts), dtype=np.float64))


def _curve(counts: Counts, name: str) -> np.ndarray:
    """The values given, and between the least and the greatest so many that a smooth curve results.

    Raises
    ------
    DomainError : if there is only one, or one below 1.
    """
    given = np.unique(np.asarray(numbers(counts), dtype=np.float64))
    if given.size < 2 or given[0] < 1:
        raise DomainError(f"{name}: a curve needs at least two values from 1 on; give a range, like 1:256")
    between = np.round(np.geomspace(given[0], given[-1], _CURVE_POINTS))
    return np.unique(np.concatenate([given, between]))


def _brief(name: str) -> str:
    """A name that leaves room in its line."""
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"


def _at(*, context: Iterable[float], more: str = "") -> str:
    values = ", ".join(f"{one:,.0f}" for one in context)
    return f"Context {values} tokens{more}."


def _caption(deployments: Sequence[Deployment], *sentences: str) -> str:
    """What a figure rests on: every deployment in a line of its own, and how to read it."""
    return "\n".join([*map(text.deployment_line, deployments), " ".join(sentences)])
