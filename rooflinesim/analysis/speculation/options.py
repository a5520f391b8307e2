"""Drafts to choose from: chains and trees, what each emits, and rounds of all of them at many batches."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.speculation import acceptance as accepted
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.methods import DraftShape, Speculation, chain, tree_shape
from rooflinesim.analysis.speculation.speculate import SpeculateResult, emitted_tokens, rounds_result
from rooflinesim.analysis.speculation.trees import best_tokens
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DraftOptions(Noun):
    """Drafts to choose from, plain decoding first, each with what a round of it emits; arrays of shape (options,)."""

    shape: DraftShape
    tokens: np.ndarray = quantity("tokens")
    kept_whole: np.ndarray = quantity("1")
    rate: np.ndarray = quantity("1")
    is_tree: bool = False
    is_sampled: bool = False


def chain_options(speculation: Speculation, acceptance: Acceptance, lengths: Sequence[int]) -> DraftOptions:
    """Chains of these lengths, and plain decoding."""
    several = np.array(sorted({0, *lengths}), dtype=np.float64)
    tokens, kept = emitted_tokens(speculation, acceptance, several)
    rate = np.broadcast_to(accepted.acceptance_rate(acceptance, several), several.shape)
    return DraftOptions(
        shape=chain(several),
        tokens=tokens,
        kept_whole=kept,
        rate=rate,
        is_sampled=bool(acceptance.temperature),
    )


def best_tree_options(
    probabilities: Sequence[float], *, nodes: int, depth: int, is_sampled: bool = False
) -> DraftOptions:
    """For every node and depth budget the tree that emits most, and plain decoding.

    What a round costs depends on nodes and depth, so that the best of these is the best of all trees. Budgets that
    no tree uses up are left out.

    Parameters
    ----------
    probabilities : that the candidate of each rank is the right one, best first. [1] shape (ranks,)
    nodes : most nodes, root included. >= 2
    depth : most draft passes. >= 1
    """
    table = best_tokens(np.asarray(probabilities), nodes, depth)
    found = [
        (float(size), float(level), float(table[level, size - 1]))
        for level in range(1, depth + 1)
        for size in range(level + 1, nodes + 1)
        if table[level, size - 1] > max(table[level, size - 2], table[level - 1, size - 1])
    ]
    if not found:
        raise DomainError("no tree emits more than plain decoding: every rank probability is 0")
    sizes, levels, tokens = zip(*sorted(found), strict=True)
    return tree_options(sizes, levels, tokens, float(probabilities[0]), is_sampled=is_sampled)


def tree_options(
    nodes: Sequence[float],
    depth: Sequence[float],
    tokens: Sequence[float],
    rate: float,
    *,
    width: Sequence[float] | None = None,
    is_sampled: bool = False,
) -> DraftOptions:
    """Trees of these sizes, root included, and plain decoding."""
    own = np.array([1.0, *nodes])
    return DraftOptions(
        shape=tree_shape(own, np.array([0.0, *depth]), None if width is None else np.array([1.0, *width])),
        tokens=np.array([1.0, *tokens]),
        kept_whole=np.zeros_like(own),
        rate=np.full_like(own, rate),
        is_tree=True,
        is_sampled=is_sampled,
    )


def option_rounds(
    speculation: Speculation,
    batches: np.ndarray,
    context: float,
    options: DraftOptions,
    routing: Routing | None = None,
) -> SpeculateResult:
    """Every option at every batch, options running fastest."""
    count, size = batches.size, options.tokens.size

    def tiled(values: np.ndarray) -> np.ndarray:
        return np.tile(np.broadcast_to(values, (size,)), count)

    batch = np.repeat(batches, size)
    shape = DraftShape(**{name: tiled(getattr(options.shape, name)) for name in ("tokens", "passes", "width")})
    result = rounds_result(
        speculation,
        batch=batch,
        context=np.full(batch.shape, float(context)),
        shape=shape,
        tokens=tiled(options.tokens),
        kept_whole=tiled(options.kept_whole),
        rate=tiled(options.rate),
        is_sampled=options.is_sampled,
        routing=routing,
    )
    if options.is_tree:
        return dataclasses.replace(
            result, tree_nodes=np.asarray(shape.tokens) + 1.0, tree_depth=np.asarray(shape.passes)
        )
    return result
