"""What speculation gains, and what to configure."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.residency import usable_memory
from rooflinesim.analysis.speculation import plan as plans
from rooflinesim.analysis.speculation.acceptance import Acceptance, survival
from rooflinesim.analysis.speculation.agreement import Agreement, simulated_rounds
from rooflinesim.analysis.speculation.drafting import Drafting, speculation_of
from rooflinesim.analysis.speculation.explain import explain_round
from rooflinesim.analysis.speculation.memory import DraftMemory, draft_memory
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.options import DraftOptions, chain_options, option_rounds
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate_trees
from rooflinesim.analysis.speculation.speculate import speculate as analyse
from rooflinesim.analysis.speculation.trees import Tree, TreeBudget
from rooflinesim.analysis.timing import aligned
from rooflinesim.api import plots
from rooflinesim.api.answers import Counts, answer, deployment, grid, listed, numbers
from rooflinesim.api.draft_trees import TreeSearch, deepest_level, options_of_tree, tree_of_text
from rooflinesim.api.drafting import drafting_notes
from rooflinesim.errors import DomainError, UnitError
from rooflinesim.report import speculate as report
from rooflinesim.report import speculation_round as round_report
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import speculation_provenance
from rooflinesim.report.simulation import simulation_summary, simulation_view
from rooflinesim.report.tables import DeferredViews, View
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack

LARGEST_SIMULATED = 1024
"""Sequences that are drawn together at most."""

MOST_CONTEXTS = 8
"""Contexts for which schedules are made."""

MOST_TREE_ROUNDS = 5_000_000
"""Rounds of trees that are looked through for the best ones."""


def speculate(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    drafting: Drafting,
    acceptance: Acceptance | float,
    draft_length: Counts = 5,
    tree: Tree | TreeBudget | TreeSearch | str | None = None,
    ranks: Sequence[float] | None = None,
    batch: Counts = 1,
    context: Counts = 2048,
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    explained: bool = False,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """Speed-up of speculation at aligned batches, contexts and draft lengths, and plans over their batches.

    Parameters
    ----------
    drafting : the method, and its draft
    acceptance : a number is the conditional acceptance of each draft token
    draft_length : tokens drafted per round; ignored with a tree. [tokens]
    tree : drafted in place of chains: one tree, a budget, or a search for the best; text as `parse_tree` reads it,
        or best, best:NODES, best:NODES:DEPTH
    ranks : with a tree, probability that each candidate of a node is the right one, best first; None assumes them
        from the acceptance of the best one. [1]
    """
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp)
    keeps = acceptance if isinstance(acceptance, Acceptance) else Acceptance(value=acceptance)
    columns = aligned(batch=numbers(batch), context=numbers(context), draft_length=numbers(draft_length))
    batches, contexts, lengths = (columns[name] for name in ("batch", "context", "draft_length"))
    searched = tree_of_text(tree) if isinstance(tree, str) else tree
    longest = int(lengths.max()) if searched is None else deepest_level(searched)
    speculation = speculation_of(
        asked, drafting, batch=float(batches.min()), context=float(contexts[0]), longest=longest
    )
    said = [*notes, *drafting_notes(speculation, drafting)]
    if searched is None:
        if keeps.kind in ("drafted", "length", "length-with-bonus") and keeps.measured_length is None and longest:
            keeps = dataclasses.replace(keeps, measured_length=float(longest))
            if np.unique(lengths[lengths > 0]).size > 1:
                said.append(f"acceptance is taken as measured at draft length {longest}; --acceptance-at says another")
        result = analyse(speculation, batch=batches, context=contexts, draft_length=lengths, acceptance=keeps)
        single = keeps if keeps.value is None else dataclasses.replace(keeps, value=float(np.ravel(keeps.value)[0]))
        options = chain_options(speculation, single, [int(one) for one in np.unique(lengths)])
    else:
        options, more = options_of_tree(searched, keeps, ranks)
        said.extend(more)
        result = _tree_rows(speculation, options, batches, contexts)
    found = _plans(speculation, result, options, keeps.decay)
    asked_contexts = np.unique(result.context).size
    if asked_contexts > MOST_CONTEXTS:
        said.append(f"schedules are made for the first {MOST_CONTEXTS} of {asked_contexts} contexts")
    memories = [
        draft_memory(speculation, context=one.context, draft_length=float(np.max(options.shape.tokens)))
        for one in found
    ]
    goodput = [plans.goodput(speculation, options, one) for one in memories]
    content = report.speculate_content(result, found, memories, goodput)
    explanation = explain_round(speculation, result, _explained_row(result)) if explained else None
    simulated = None
    if explanation:
        content["summary"]["explanation"] = round_report.explanation_summary(explanation)
        if searched is None:
            simulated = _simulated(single, result, _explained_row(result))
            content["summary"]["simulation"] = simulation_summary(simulated)

    def views() -> list[View]:
        tables = report.speculate_views(speculation, result, found, memories, goodput)
        if explanation:
            tables.append(round_report.explanation_view(explanation))
        if simulated:
            tables.append(simulation_view(simulated, float(result.round_time[_explained_row(result)])))
        return tables

    said.extend(report.acceptance_notes(keeps, options, is_tree=searched is not None))
    said.extend(_unfit(speculation, result, memories))
    inputs = {**grid(result), **_inputs(drafting, keeps, result, ranks), "tree": None if tree is None else str(tree)}

    def draw() -> Any:
        return plots.plot_speculation(
            [asked],
            drafting=drafting,
            acceptance=single,
            draft_length=np.unique(result.draft_length),
            batch=batches if np.ptp(batches) else (1, 256),
            context=float(contexts[0]),
        )

    drawn = draw if searched is None else None
    whole = answer("speculate", asked, paths, result, content, DeferredViews(views), inputs, said, drawn)
    given = speculation_provenance(speculation, keeps)
    return dataclasses.replace(whole, provenance=[*whole.provenance, *given])


def _tree_rows(
    speculation: Speculation, options: DraftOptions, batches: np.ndarray, contexts: np.ndarray
) -> SpeculateResult:
    """Rows of plain decoding and of trees: at each point the best depth for each number of nodes that doubles."""
    batch, context = np.broadcast_arrays(batches.astype(np.float64), contexts.astype(np.float64))
    sizes = np.asarray(options.shape.tokens) + 1.0
    budgets = np.unique([sizes[-1], *[size for size in sizes if np.log2(size) % 1 == 0]])
    if batch.size * sizes.size > MOST_TREE_ROUNDS:
        most = MOST_TREE_ROUNDS // sizes.size
        raise DomainError(f"{batch.size:,} points are too many for a search of trees: ask about at most {most:,}")
    points, chosen = [], []
    for length in dict.fromkeys(context.tolist()):
        own = np.flatnonzero(context == length)
        rounds = option_rounds(speculation, batch[own], length, options)
        tpot = rounds.tpot.reshape(own.size, -1)
        for size in budgets[np.isin(budgets, sizes)]:
            points.append(own)
            chosen.append(np.argmin(np.where(sizes == size, tpot, np.inf), axis=1))
    point, index = np.concatenate(points), np.concatenate(chosen)
    order = np.argsort(point, kind="stable")
    point, index = point[order], index[order]
    return speculate_trees(
        speculation,
        batch=batch[point],
        context=context[point],
        nodes=sizes[index],
        depth=np.asarray(options.shape.passes)[index],
        width=np.asarray(options.shape.width)[index],
        tokens=options.tokens[index],
        acceptance_rate=options.rate[index],
        is_sampled=options.is_sampled,
    )


def _simulated(acceptance: Acceptance, result: SpeculateResult, row: int) -> Agreement:
    """Rounds of one row drawn at random."""
    kept = survival(acceptance, result.draft_length[row : row + 1])[0]
    return simulated_rounds(kept, batch=max(1, min(int(result.batch[row]), LARGEST_SIMULATED)))


def _explained_row(result: SpeculateResult) -> int:
    """The best draft of the first batch and context, plain decoding apart where there is another."""
    own = (result.batch == result.batch[0]) & (result.context == result.context[0])
    drafting = own & (result.draft_length > 0)
    return int(np.argmin(np.where(drafting if drafting.any() else own, result.tpot, np.inf)))


def _plans(
    speculation: Speculation, result: SpeculateResult, options: DraftOptions, decay: float
) -> list[plans.SpeculationPlan]:
    """Answers at the first contexts; none where no draft is offered."""
    if not np.any(np.asarray(options.shape.tokens) > 0):
        return []
    found = []
    for context in list(dict.fromkeys(result.context.tolist()))[:MOST_CONTEXTS]:
        batches = sorted({int(one) for one in result.batch[result.context == context] if one >= 1})
        found.append(plans.plan(speculation, batches=batches or [1], context=context, options=options, decay=decay))
    return found


def _unfit(speculation: Speculation, result: SpeculateResult, memories: Sequence[DraftMemory]) -> Iterator[str]:
    """Say where the draft leaves too little memory."""
    if usable_memory(speculation.target) is None:
        yield f"{speculation.target.hardware.name} states no memory capacity, so nothing is said about what fits"
        return
    for memory in memories:
        largest = float(result.batch[result.context == memory.context].max())
        if memory.max_batch is not None and memory.max_batch < largest:
            yield report.shortage_line(memory, largest)


def _inputs(
    drafting: Drafting, keeps: Acceptance, result: SpeculateResult, ranks: Sequence[float] | None
) -> dict[str, Any]:
    """Everything about drafting that repeats the run."""
    draft = drafting.draft
    return {
        "method": drafting.method,
        "draft": None
        if draft is None
        else {"name": draft.name, "source": draft.source, "is_head": isinstance(draft, DraftHead)},
        "draft_gpu": drafting.hardware.name if drafting.hardware else None,
        "draft_tensor_parallel": drafting.tensor_parallel,
        "draft_cost_ratio": drafting.cost_ratio,
        "draft_pass_time_s": drafting.pass_time,
        "draft_context_tokens": drafting.cache_tokens,
        "draft_weights": drafting.weights,
        "exit_layer": drafting.exit_layer,
        "heads": drafting.heads,
        "hit_rate": drafting.hit_rate,
        "window": drafting.window,
        "candidates": drafting.candidates,
        "draft_length": listed(result.draft_length),
        "acceptance": {
            "kind": keeps.kind,
            "value": None if keeps.value is None else [float(one) for one in np.ravel(np.asarray(keeps.value))[:1000]],
            "curve": list(keeps.curve),
            "ranks": None if ranks is None else list(ranks),
            "measured_length": None if keeps.measured_length is None else float(np.ravel(keeps.measured_length)[0]),
            "decay": keeps.decay,
            "temperature": keeps.temperature,
            "is_exact": keeps.is_exact,
        },
    }


def acceptance_of_text(text: str, kind: str, **rest: Any) -> tuple[Acceptance, tuple[float, ...] | None]:
    """Acceptance as people write it, and the probabilities by rank where a conditional one has several numbers.

    Raises
    ------
    UnitError, DomainError : if a number is none, or means nothing.
    """
    try:
        values = tuple(float(one.rstrip("%")) / (100.0 if one.endswith("%") else 1.0) for one in text.split(","))
    except ValueError:
        raise UnitError(
            f"--acceptance: {text!r} is no number; write it like 0.8, or 0.8,0.62,0.5 for a curve"
        ) from None
    if kind == "curve":
        return Acceptance(kind="curve", curve=values, **rest), None
    if len(values) > 1 and kind != "conditional":
        raise UnitError(
            f"--acceptance: {text!r} has {len(values)} numbers, but kind {kind} takes one; several are a curve, or the"
            " conditional probabilities by rank of a tree"
        )
    ranks = values if len(values) > 1 else None
    return Acceptance(kind=kind, value=values[0], **rest), ranks  # type: ignore[arg-type]
