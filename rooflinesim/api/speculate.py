"""What speculation gains, and what to configure."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.analysis.residency import usable_memory
from rooflinesim.analysis.speculation import acceptance as accepted
from rooflinesim.analysis.speculation import plan as plans
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.agreement import simulated_rounds
from rooflinesim.analysis.speculation.explain import explain_round
from rooflinesim.analysis.speculation.memory import DraftMemory, draft_memory
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate_trees
from rooflinesim.analysis.speculation.speculate import speculate as analyse
from rooflinesim.analysis.speculation.tokens import rank_probabilities
from rooflinesim.analysis.speculation.trees import Tree, TreeBudget, budget_tree, parse_tree, tree_tokens
from rooflinesim.api.answers import Counts, answer, deployment, grid, numbers
from rooflinesim.api.drafting import Drafting, drafting_notes, speculation_of
from rooflinesim.errors import DomainError, UnitError
from rooflinesim.nouns import Noun
from rooflinesim.report import speculate as report
from rooflinesim.report.answer import Answer
from rooflinesim.report.provenance import speculation_provenance
from rooflinesim.report.simulation import simulation_summary, simulation_view
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack

LARGEST_SIMULATED = 1024
"""Sequences that are drawn together at most."""

ASSUMED_RANKS = 8
"""Candidates per node whose probabilities are assumed where only the best one's is known."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TreeSearch(Noun):
    """Look for the best tree per batch, within so many nodes (root included) and draft passes."""

    nodes: int = 64
    depth: int = 8


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
    batches, contexts = np.atleast_1d(numbers(batch)), np.atleast_1d(numbers(context))
    speculation = speculation_of(asked, drafting, batch=float(batches.min()), context=float(contexts[0]))
    searched = tree_of_text(tree) if isinstance(tree, str) else tree
    said = [*notes, *drafting_notes(speculation, drafting)]
    if searched is None:
        lengths = np.atleast_1d(numbers(draft_length))
        longest = int(lengths.max(initial=0))
        if keeps.kind in ("drafted", "length", "length-with-bonus") and keeps.measured_length is None and longest:
            keeps = dataclasses.replace(keeps, measured_length=float(longest))
            if np.unique(lengths[lengths > 0]).size > 1:
                said.append(f"acceptance is taken as measured at draft length {longest}; --acceptance-at says another")
        result = analyse(
            speculation, batch=numbers(batch), context=numbers(context), draft_length=lengths, acceptance=keeps
        )
        single = keeps if keeps.value is None else dataclasses.replace(keeps, value=float(np.ravel(keeps.value)[0]))
        options = plans.chain_options(speculation, single, [int(one) for one in np.unique(lengths)])
    else:
        options, more = _tree_options(searched, keeps, ranks)
        said.extend(more)
        result = _tree_rows(speculation, options, batches, contexts)
    found = _plans(speculation, result, options, keeps.decay)
    memories = [
        draft_memory(speculation, context=one.context, draft_length=float(np.max(options.shape.tokens)))
        for one in found
    ]
    goodput = [plans.goodput(speculation, options, one) for one in memories]
    content = report.speculate_content(result, found, memories, goodput)
    views = report.speculate_views(speculation, result, found, memories, goodput)
    if explained:
        explanation = explain_round(speculation, result, _explained_row(result))
        content["summary"]["explanation"] = report.explanation_summary(explanation)
        views.append(report.explanation_view(explanation))
        if searched is None:
            row = _explained_row(result)
            kept = accepted.survival(single, result.draft_length[row : row + 1])[0]
            simulated = simulated_rounds(kept, batch=max(1, min(int(result.batch[row]), LARGEST_SIMULATED)))
            content["summary"]["simulation"] = simulation_summary(simulated)
            views.append(simulation_view(simulated, float(result.round_time[row])))
    said.extend(report.acceptance_notes(keeps, options, is_tree=searched is not None))
    said.extend(_unfit(speculation, result, memories))
    inputs = {**grid(result), **_inputs(drafting, keeps, result, ranks)}
    whole = answer("speculate", asked, paths, result, content, views, inputs, said)
    given = speculation_provenance(speculation, keeps)
    return dataclasses.replace(whole, provenance=[*whole.provenance, *given])


def tree_of_text(text: str) -> Tree | TreeBudget | TreeSearch:
    """A tree, a budget or a search, as people write them.

    Raises
    ------
    DomainError : if the text is none of these.
    """
    match = re.fullmatch(r"best(?::(\d{1,6}))?(?::(\d{1,6}))?", text.strip().lower())
    if match is None:
        return parse_tree(text)
    nodes, depth = int(match[1] or 64), int(match[2] or 8)
    if not 2 <= nodes <= 256 or not 1 <= depth <= 32:
        raise DomainError(f"tree {text!r}: best trees are searched up to 2 to 256 nodes and 1 to 32 draft passes")
    return TreeSearch(nodes=nodes, depth=depth)


def _tree_options(
    tree: Tree | TreeBudget | TreeSearch, keeps: Acceptance, ranks: Sequence[float] | None
) -> tuple[plans.DraftOptions, list[str]]:
    """The trees to choose from, each with what it emits, and what was assumed."""
    notes = []
    is_sampled = bool(keeps.temperature)
    width = None if not isinstance(tree, TreeBudget) else [float(tree.topk)]
    if ranks is None and keeps.kind == "conditional":
        value = float(np.ravel(np.asarray(keeps.value))[0])
        ranks = [float(one) for one in rank_probabilities(value, ASSUMED_RANKS)]
        shown = ", ".join(f"{one:.3g}" for one in ranks[:4])
        notes.append(
            f"candidates beyond the best are assumed to be right with {shown} ... by rank; give measured ones as"
            " --acceptance P1,P2,..."
        )
    if isinstance(tree, TreeSearch):
        if ranks is None:
            raise DomainError(
                f"acceptance of kind {keeps.kind} belongs to one tree: the best tree needs kind conditional, with the"
                " probability of each rank as --acceptance P1,P2,..."
            )
        return plans.best_tree_options(ranks, nodes=tree.nodes, depth=tree.depth, is_sampled=is_sampled), notes
    nodes = tree.nodes
    depth = tree.steps if isinstance(tree, TreeBudget) else tree.depth
    if ranks is not None:
        own = budget_tree(tree, np.asarray(ranks)) if isinstance(tree, TreeBudget) else tree
        emitted, rate = float(np.max(tree_tokens(own, np.asarray(ranks)))), float(ranks[0])
    else:
        emitted, rate = _emitted_by(keeps, nodes, depth)
    options = plans.tree_options([nodes], [depth], [emitted], rate, width=width, is_sampled=is_sampled)
    return options, notes


def _emitted_by(keeps: Acceptance, nodes: int, depth: int) -> tuple[float, float]:
    """Tokens that one tree emits by what was measured with it, and the acceptance of a chain that emits as many."""
    if keeps.kind == "curve":
        emitted = float(accepted.tokens_per_round(keeps, depth))
    else:
        value = float(np.ravel(np.asarray(keeps.value))[0])
        emitted = {"drafted": 1.0 + value * (nodes - 1), "length": 1.0 + value}.get(keeps.kind, value)
    if emitted > depth + 1.0:
        raise DomainError(
            f"{keeps.kind} acceptance gives {emitted:g} tokens per round, but a tree of depth {depth} emits at most"
            f" {depth + 1}: give the depth it was measured with"
        )
    measured = Acceptance(kind="length-with-bonus", value=emitted, measured_length=float(depth))
    return emitted, float(accepted.acceptance_rate(measured, depth))


def _tree_rows(
    speculation: Speculation, options: plans.DraftOptions, batches: np.ndarray, contexts: np.ndarray
) -> SpeculateResult:
    """Rows of plain decoding and of trees: at each point the best depth for each number of nodes that doubles."""
    batch, context = np.broadcast_arrays(batches.astype(np.float64), contexts.astype(np.float64))
    sizes = np.asarray(options.shape.tokens) + 1.0
    budgets = np.unique([sizes[-1], *[size for size in sizes if np.log2(size) % 1 == 0]])
    parts = []
    for b, s in zip(batch, context, strict=True):
        rounds = plans.option_rounds(speculation, np.array([b]), float(s), options)
        picked = [
            int(np.argmin(np.where(sizes == size, rounds.tpot, np.inf))) for size in budgets if (sizes == size).any()
        ]
        parts.append([(b, s, index) for index in picked])
    rows = [row for part in parts for row in part]
    index = np.array([row[2] for row in rows])
    return speculate_trees(
        speculation,
        batch=np.array([row[0] for row in rows]),
        context=np.array([row[1] for row in rows]),
        nodes=sizes[index],
        depth=np.asarray(options.shape.passes)[index],
        width=np.asarray(options.shape.width)[index],
        tokens=options.tokens[index],
        acceptance_rate=options.rate[index],
        is_sampled=options.is_sampled,
    )


def _explained_row(result: SpeculateResult) -> int:
    """The best draft of the first batch and context, plain decoding apart where there is another."""
    own = (result.batch == result.batch[0]) & (result.context == result.context[0])
    drafting = own & (result.draft_length > 0)
    return int(np.argmin(np.where(drafting if drafting.any() else own, result.tpot, np.inf)))


def _plans(
    speculation: Speculation, result: SpeculateResult, options: plans.DraftOptions, decay: float
) -> list[plans.SpeculationPlan]:
    """Answers at every context; none where no draft is offered."""
    if not np.any(np.asarray(options.shape.tokens) > 0):
        return []
    found = []
    for context in dict.fromkeys(result.context.tolist()):
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
        "exit_layer": drafting.exit_layer,
        "draft_length": [int(one) for one in dict.fromkeys(result.draft_length.tolist())][:1000],
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
