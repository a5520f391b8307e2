"""Draft trees as people ask for them: one tree, an engine's budget, or a search for the best."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.speculation import acceptance as accepted
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.options import DraftOptions, best_tree_options, tree_options
from rooflinesim.analysis.speculation.tokens import rank_probabilities
from rooflinesim.analysis.speculation.trees import Tree, TreeBudget, budget_tree, parse_tree, tree_tokens
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun

ASSUMED_RANKS = 8
"""Candidates per node whose probabilities are assumed where only the best one's is known."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TreeSearch(Noun):
    """Look for the best tree per batch, within so many nodes (root included) and draft passes."""

    nodes: int = 64
    depth: int = 8


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


def deepest_level(tree: Tree | TreeBudget | TreeSearch) -> int:
    """Most tokens in a row that a tree drafts [tokens]."""
    return tree.steps if isinstance(tree, TreeBudget) else tree.depth


def options_of_tree(
    tree: Tree | TreeBudget | TreeSearch, keeps: Acceptance, ranks: Sequence[float] | None
) -> tuple[DraftOptions, list[str]]:
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
        return best_tree_options(ranks, nodes=tree.nodes, depth=tree.depth, is_sampled=is_sampled), notes
    nodes = tree.nodes
    depth = deepest_level(tree)
    if ranks is not None:
        own = budget_tree(tree, np.asarray(ranks)) if isinstance(tree, TreeBudget) else tree
        emitted, rate = float(np.max(tree_tokens(own, np.asarray(ranks)))), float(ranks[0])
    else:
        emitted, rate = _emitted_by(keeps, nodes, depth)
    options = tree_options([nodes], [depth], [emitted], rate, width=width, is_sampled=is_sampled)
    return options, notes


def _emitted_by(keeps: Acceptance, nodes: int, depth: int) -> tuple[float, float]:
    """Tokens that one tree emits by what was measured with it, and the acceptance of a chain that emits as many."""
    if keeps.kind == "curve":
        return float(accepted.tokens_per_round(keeps, depth)), keeps.curve[0]
    value = float(np.ravel(np.asarray(keeps.value))[0])
    emitted = {"drafted": 1.0 + value * (nodes - 1), "length": 1.0 + value}.get(keeps.kind, value)
    if emitted > depth + 1.0:
        raise DomainError(
            f"{keeps.kind} acceptance gives {emitted:g} tokens per round, but a tree of depth {depth} emits at most"
            f" {depth + 1}: give the depth it was measured with"
        )
    measured = Acceptance(kind="length-with-bonus", value=emitted, measured_length=float(depth))
    return emitted, float(accepted.acceptance_rate(measured, depth))
