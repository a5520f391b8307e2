"""Speculation results as answers."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim.analysis.speculation.plan import SLACK
from rooflinesim.report import text
from rooflinesim.report.columns import columns_of, columns_of_rows, records
from rooflinesim.report.tables import View
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.speculation.acceptance import Acceptance
    from rooflinesim.analysis.speculation.memory import DraftMemory
    from rooflinesim.analysis.speculation.methods import Speculation
    from rooflinesim.analysis.speculation.options import DraftOptions
    from rooflinesim.analysis.speculation.plan import BreakEven, Goodput, ScheduleRow, SpeculationPlan
    from rooflinesim.analysis.speculation.speculate import SpeculateResult

METHOD_NAMES = {
    "DraftModel": "a draft model",
    "EagleHead": "an EAGLE head",
    "MedusaHeads": "Medusa heads",
    "MtpModules": "multi-token prediction",
    "EarlyExit": "its own first layers",
    "PromptLookup": "prompt lookup",
    "Lookahead": "lookahead",
}
_LONGEST_MATRIX = 12


def draft_name(speculation: "Speculation") -> str:
    """The draft in words."""
    method = speculation.method
    draft = getattr(method, "draft", None)
    kind = METHOD_NAMES[type(method).__name__]
    if getattr(method, "is_target", False):
        return f"itself behind a cache of {text.whole(getattr(method, 'cache_tokens', None))} tokens"
    return f"{kind}, {draft.model.name}" if isinstance(draft, Deployment) else kind


def speculate_content(
    result: "SpeculateResult",
    found: Sequence["SpeculationPlan"],
    memories: Sequence["DraftMemory"],
    goodputs: Sequence["Goodput | None"],
) -> dict[str, Any]:
    """Columns and summary of rounds; the named answers of the summary are those of the first context."""
    columns = columns_of(result)
    if result.tree_nodes is None:
        columns = {name: values for name, values in columns.items() if not name.startswith("tree_")}
    summary: dict[str, Any] = {"schedule": {}, "break_even_acceptance_rate": {}, "losing_from_batch": None}
    if found:
        first = found[0]
        summary = {
            "schedule": _ranges(first.schedule),
            "short_schedule": _ranges(first.short_schedule),
            "break_even_acceptance_rate": {f"{one.batch:g}": one.acceptance_rate for one in first.break_even or ()},
            "losing_from_batch": first.losing_from,
            "losing_reason": losing_line(first),
        }
        if first.break_even is None:
            summary["break_even_reason"] = "trees have a probability per rank, not one acceptance"
    summary["contexts"] = [_plan_record(one) for one in found]
    summary["memory"] = records(columns_of_rows(memories))
    summary["goodput"] = records(columns_of_rows(one for one in goodputs if one))
    return {"columns": columns, "summary": summary}


def _ranges(rows: Sequence["ScheduleRow"]) -> dict[str, Any]:
    """Ranges of batches, both ends included, as engines are configured with them, each with its draft."""
    return {f"{row.batch_from}:{row.batch_to}": _choice(row) for row in rows}


def _choice(row: "ScheduleRow") -> Any:
    if row.tree_nodes is None:
        return row.draft_length
    return {"tree_nodes": row.tree_nodes, "tree_depth": row.tree_depth}


def _plan_record(one: "SpeculationPlan") -> dict[str, Any]:
    return {
        "context_tokens": one.context,
        "acceptance_rate": one.acceptance_rate,
        "schedule": records(columns_of_rows(one.schedule)),
        "short_schedule": records(columns_of_rows(one.short_schedule)),
        "break_even": records(columns_of_rows(one.break_even or ())),
        "losing_from_batch": one.losing_from,
        "losing_reason": losing_line(one),
        "speedup_at_largest_batch": one.final_speedup,
    }


def losing_line(one: "SpeculationPlan") -> str:
    """From which batch on speculation loses, in words."""
    match one.reason:
        case "loses":
            return f"loses from batch {text.whole(one.losing_from)} on, whatever draft of those offered is used"
        case "always_loses":
            return "loses at every batch: these drafts cost more than they save"
        case "never_memory_bound":
            return (
                f"never loses: at {one.context:,.0f} tokens of context reading caches keeps steps memory-bound at any"
                f" batch; {one.final_speedup:.2f} x remain"
            )
        case "never":
            return f"never loses: {one.final_speedup:.2f} x remain at the largest batch"


def speculate_views(
    speculation: "Speculation",
    result: "SpeculateResult",
    found: Sequence["SpeculationPlan"],
    memories: Sequence["DraftMemory"],
    goodputs: Sequence["Goodput | None"],
) -> list[View]:
    """Tables of the best draft of each batch, of speed-ups by draft length, and of the schedule."""
    views = [_best_view(speculation, result)]
    matrix = _matrix_view(result, found)
    if matrix:
        views.append(matrix)
    for one, memory, goodput in zip(found, memories, goodputs, strict=True):
        views.append(_schedule_view(one, memory, goodput))
    return views


def _best_view(speculation: "Speculation", result: "SpeculateResult") -> View:
    """What the best draft of each batch costs and gains."""
    is_tree = result.tree_nodes is not None
    contexts = _contexts(result)
    rows = [
        [
            text.whole(result.batch[i]),
            *([text.whole(result.context[i])] if len(contexts) > 1 else []),
            _draft_word(result, i),
            f"{result.tokens_per_round[i]:.2f}",
            text.milliseconds(result.plain_step_time[i]),
            text.milliseconds(result.draft_time[i]) if result.draft_time[i] else "-",
            text.milliseconds(result.verify_time[i]),
            text.milliseconds(result.round_overhead_time[i]) if result.round_overhead_time[i] else "-",
            f"{result.speedup[i]:.2f}",
            _band(result, i),
            text.milliseconds(result.tpot[i]),
        ]
        for i in np.flatnonzero(result.is_best).tolist()
    ]
    where = f" at context {contexts[0]:,.0f}" if len(contexts) == 1 else ""
    return View(
        lines=[
            text.deployment_line(speculation.target),
            f"Speculation with {draft_name(speculation)}{where}.",
            "The best draft of each batch, times in ms; a round's tokens come in one burst, TPOT is their mean.",
        ],
        headers=[
            "batch",
            *(["context"] if len(contexts) > 1 else []),
            "tree" if is_tree else "draft",
            "tokens",
            "plain",
            "drafts",
            "verify",
            "rest",
            "speed-up",
            "band",
            "TPOT",
        ],
        rows=rows,
    )


def _contexts(result: "SpeculateResult") -> list[float]:
    return list(dict.fromkeys(result.context.tolist()))


def _draft_word(result: "SpeculateResult", index: int) -> str:
    if result.draft_length[index] == 0:
        return "off"
    if result.tree_nodes is not None and result.tree_depth is not None:
        return f"{result.tree_nodes[index]:.0f}/{result.tree_depth[index]:.0f}"
    return f"{result.draft_length[index]:.0f}"


def _band(result: "SpeculateResult", index: int) -> str:
    low, high = float(result.speedup_low[index]), float(result.speedup_high[index])
    return "-" if low == high else f"{low:.2f}-{high:.2f}"


def _matrix_view(result: "SpeculateResult", found: Sequence["SpeculationPlan"]) -> View | None:
    """Speed-up of every draft at every batch, and the acceptance that pays; None where there is nothing to tell."""
    sizes = result.draft_length if result.tree_nodes is None else result.tree_nodes
    columns = [one for one in dict.fromkeys(sizes.tolist()) if result.tree_nodes is None or one > 1]
    columns = [one for one in columns if one > 0][:_LONGEST_MATRIX]
    even = {(one.context, row.batch): row for one in found for row in one.break_even or ()}
    if not columns or (len(columns) == 1 and not even):
        return None
    cells: dict[tuple[float, float], dict[float, float]] = {}
    for batch, context, size, gain in zip(
        result.batch.tolist(), result.context.tolist(), sizes.tolist(), result.speedup.tolist(), strict=True
    ):
        cells.setdefault((batch, context), {})[size] = gain
    several = len(_contexts(result)) > 1
    what = "draft length" if result.tree_nodes is None else "nodes of the tree"
    pays = ["pays from"] if even else []
    return View(
        lines=[f"Speed-up by {what}{', and the acceptance per token from which some length pays' if even else ''}:"],
        headers=["batch", *(["context"] if several else []), *(f"{one:.0f}" for one in columns), *pays],
        rows=[
            [
                text.whole(batch),
                *([text.whole(context)] if several else []),
                *(_gain(own.get(one)) for one in columns),
                *([_even_word(even.get((context, batch)))] if even else []),
            ]
            for (batch, context), own in cells.items()
        ],
    )


def _even_word(row: "BreakEven | None") -> str:
    if row is None:
        return "-"
    return "never" if row.acceptance_rate is None else f"{row.acceptance_rate:.2f}"


def _gain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _schedule_view(one: "SpeculationPlan", memory: "DraftMemory", goodput: "Goodput | None") -> View:
    """Which draft to configure for which batches, and what else to know at this context."""
    rows = [
        [
            f"{row.batch_from:,}" if row.batch_from == row.batch_to else f"{row.batch_from:,} to {row.batch_to:,}",
            "off" if not row.draft_length else _schedule_word(row),
            f"{row.speedup_from:.2f}"
            if row.batch_from == row.batch_to
            else f"{row.speedup_from:.2f} to {row.speedup_to:.2f}",
        ]
        for row in one.short_schedule
    ]
    footer = ["", f"It {losing_line(one)}."]
    footer.extend(memory_lines(memory, goodput))
    return View(
        lines=[
            f"Schedule at context {one.context:,.0f} and acceptance {one.acceptance_rate:.3g}, within"
            f" {SLACK:.0%} of the best (JSON has the exact one too):"
        ],
        headers=["batch", "draft" if rows and one.schedule[0].tree_nodes is None else "tree", "speed-up"],
        rows=rows,
        left=(0,),
        footer=footer,
    )


def _schedule_word(row: "ScheduleRow") -> str:
    return f"{row.draft_length}" if row.tree_nodes is None else f"{row.tree_nodes} nodes, depth {row.tree_depth}"


def memory_lines(memory: "DraftMemory", goodput: "Goodput | None") -> Iterator[str]:
    """What a draft takes of memory and of the wait for the first token."""
    where = "its own devices" if memory.has_own_devices else "each device"
    if not memory.weight_bytes and not memory.sequence_bytes:
        yield "It keeps no draft in memory."
    else:
        yield (
            f"The draft takes {format_quantity(memory.weight_bytes, 'B')} of {where} and"
            f" {format_quantity(memory.sequence_bytes, 'B')} per sequence;"
            f" it adds {format_quantity(memory.prefill_time, 's', 3)} to a prompt of that length."
        )
    if memory.max_batch is None or memory.plain_max_batch is None:
        return
    yield f"Memory holds {memory.max_batch:,} sequences with it, {memory.plain_max_batch:,} without."
    if goodput:
        yield (
            f"Full, it emits {text.short(goodput.speculating)} tok/s with the draft, {text.short(goodput.plain)}"
            f" without; plainly at the smaller batch {text.short(goodput.plain_equal_batch)}."
        )


def shortage_line(memory: "DraftMemory", batch: float) -> str:
    """That a draft leaves room for fewer sequences than were asked about."""
    if memory.max_batch == 0:
        return (
            f"the draft leaves no memory for a sequence of {memory.context:,.0f} tokens:"
            f" {format_quantity(memory.missing_bytes, 'B')} too little ({format_quantity(memory.weight_bytes, 'B')} of"
            " draft weights); more devices (--tp), a smaller draft or --draft-gpu would make room"
        )
    return (
        f"batch {batch:,.0f} at context {memory.context:,.0f} does not fit beside the draft: at most"
        f" {memory.max_batch:,} sequences do"
    )


def acceptance_notes(keeps: "Acceptance", options: "DraftOptions", *, is_tree: bool) -> Iterator[str]:
    """The acceptance by its other names at the largest draft, and whether the output is the target's own."""
    tokens, drafted = float(options.tokens[-1]), float(np.asarray(options.shape.tokens)[-1])
    if drafted:
        what = f"tree of {drafted + 1:.0f} nodes" if is_tree else f"draft length {drafted:.0f}"
        yield (
            f"acceptance ({keeps.kind}) at {what}: {float(options.rate[-1]):.4g} of first tokens given all before,"
            f" {(tokens - 1.0) / drafted:.3g} of drafted tokens, {tokens - 1.0:.3g} kept per round,"
            f" {tokens:.3g} emitted"
        )
    if keeps.temperature is None:
        yield "acceptance depends on the workload and its temperature: use what was measured with yours"
    if not keeps.is_exact:
        yield "a relaxed acceptance rule: the output is not exactly the target's"
