"""Trees of candidates: what a round of them emits, the best within a budget, and how they are written.

The root is the last token that is known; every other node is a drafted candidate. A child's rank is its place among
its siblings, best first: of the candidates of one parent at most one is the right token.
"""

import dataclasses
import functools
import heapq
import re
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.speculation.tokens import checked_share
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.workload.step import Array

MOST_NODES = 4096
"""Most nodes of a tree, the root included."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tree(Noun):
    """A tree by the parent of each drafted node: `parents[i]` is the parent of node i + 1, and node 0 is the root.

    Raises
    ------
    DomainError : if a parent does not come before its child, or there are too many nodes.
    """

    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.parents) >= MOST_NODES:
            raise DomainError(f"tree has {len(self.parents) + 1} nodes: give at most {MOST_NODES}")
        for node, parent in enumerate(self.parents, start=1):
            if not 0 <= parent < node:
                raise DomainError(
                    f"tree: the parent of node {node} is {parent}: give a node before it, 0 to {node - 1}"
                )

    @property
    def nodes(self) -> int:
        """Nodes with the root: tokens of each sequence that a verification computes."""
        return len(self.parents) + 1

    @property
    def depth(self) -> int:
        """Longest path from the root: sequential draft steps, and the most draft tokens that a round keeps."""
        return int(node_depths(self).max(initial=0))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TreeBudget(Noun):
    """A tree that the engine re-ranks every round, by what it may take: draft steps, candidates per step, nodes.

    As SGLang's steps, topk and draft tokens, or EAGLE's depth, top_k and total tokens: nodes count the root.
    """

    steps: int
    topk: int
    nodes: int

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("topk", 1), ("nodes", 1)):
            value = getattr(self, name)
            if not least <= value <= MOST_NODES:
                raise DomainError(f"tree {name} is {value}: give {least} to {MOST_NODES}")


@functools.lru_cache(maxsize=256)
def node_depths(tree: Tree) -> np.ndarray:
    """Depth of each node, the root's 0, shape (nodes,)."""
    depths = [0]
    for parent in tree.parents:
        depths.append(depths[parent] + 1)
    return np.array(depths)


@functools.lru_cache(maxsize=256)
def node_ranks(tree: Tree) -> np.ndarray:
    """Rank of each node among its siblings, from 0, shape (nodes,); the root's is 0."""
    children: dict[int, int] = {}
    ranks = [0]
    for parent in tree.parents:
        ranks.append(children.get(parent, 0))
        children[parent] = ranks[-1] + 1
    return np.array(ranks)


def chain(draft_length: int) -> Tree:
    """The tree of width 1."""
    return Tree(parents=tuple(range(draft_length)))


def full_tree(widths: Sequence[int]) -> Tree:
    """The tree whose nodes of each level have so many children.

    Raises
    ------
    DomainError : if a width is below 1 or the nodes are too many.
    """
    parents: list[int] = []
    level = [0]
    for width in widths:
        if width < 1:
            raise DomainError(f"tree width is {width}: give at least 1 child per node")
        if len(parents) + len(level) * width >= MOST_NODES:
            raise DomainError(f"tree of widths {'x'.join(map(str, widths))} has over {MOST_NODES} nodes: give fewer")
        first = len(parents) + 1
        parents.extend(node for node in level for _ in range(width))
        level = list(range(first, len(parents) + 1))
    return Tree(parents=tuple(parents))


def tree_of_paths(paths: Sequence[Sequence[int]]) -> Tree:
    """The tree whose nodes are named by the ranks on their paths, as Medusa writes them: [[0], [1], [0, 0]].

    Raises
    ------
    DomainError : if a path is there twice, has no parent, or leaves out a better sibling.
    """
    known: dict[tuple[int, ...], int] = {(): 0}
    parents: list[int] = []
    for path in sorted(map(tuple, paths), key=lambda path: (len(path), path)):
        better = (*path[:-1], path[-1] - 1) if path and path[-1] else path[:-1]
        if not path or path in known:
            raise DomainError(f"tree path {list(path)} is empty or stands twice: give each node once, without the root")
        if path[:-1] not in known or better not in known:
            missing = path[:-1] if path[:-1] not in known else better
            raise DomainError(f"tree path {list(path)} stands without {list(missing)}: give that node too")
        known[path] = len(known)
        parents.append(known[path[:-1]])
    return Tree(parents=tuple(parents))


def parse_tree(text: str) -> Tree | TreeBudget:
    """A tree as people write it.

    `3/4/16` is a budget of steps, topk and nodes, as is `steps=3 topk=4 draft_tokens=16`; `4x2x1` gives the children
    per node of each level; `0,0,1` names the parent of each drafted node.

    Raises
    ------
    DomainError : if the text is none of these, or what it says is no tree.
    """
    plain = text.strip().lower()
    budget = re.fullmatch(r"(\d{1,6})\s*/\s*(\d{1,6})\s*/\s*(\d{1,6})", plain) or re.fullmatch(
        r"steps=(\d{1,6})[\s,]+topk=(\d{1,6})[\s,]+(?:draft_tokens|nodes)=(\d{1,6})", plain
    )
    if budget:
        steps, topk, nodes = map(int, budget.groups())
        return TreeBudget(steps=steps, topk=topk, nodes=nodes)
    if re.fullmatch(r"\d{1,6}(x\d{1,6})*", plain):
        return full_tree(tuple(map(int, plain.split("x"))))
    if re.fullmatch(r"\d{1,6}(\s*,\s*\d{1,6})+", plain):
        return Tree(parents=tuple(map(int, plain.split(","))))
    raise DomainError(
        f"tree {text!r} is not understood: write steps/topk/nodes like 3/4/16, widths like 4x2x1, or parents like 0,0,1"
    )


def checked_ranks(probabilities: Array) -> np.ndarray:
    """Rank probabilities as float64, shape (..., ranks).

    Raises
    ------
    DomainError : if one lies outside [0, 1], a worse rank has a higher one, or they sum to more than 1.
    """
    ranks = checked_share(probabilities, "rank probability")
    if np.any(np.diff(ranks, axis=-1) > 1e-12):
        raise DomainError("rank probabilities rise: give them best first")
    most = float(np.max(ranks.sum(axis=-1), initial=0.0))
    if most > 1.0 + 1e-9:
        raise DomainError(f"rank probabilities sum to {most:g}: one candidate at most is right; give at most 1 in all")
    return ranks


def _by_depth(probabilities: Array, depth: int) -> np.ndarray:
    """Rank probabilities of every depth, shape (..., depth, ranks), from those of each or of all depths."""
    ranks = checked_ranks(probabilities)
    return np.broadcast_to(ranks[..., np.newaxis, :], (*ranks.shape[:-1], max(depth, 1), ranks.shape[-1]))


def node_probabilities(tree: Tree, by_depth: Array) -> np.ndarray:
    """Probability that each node lies on the accepted path, shape (..., nodes) [1].

    Parameters
    ----------
    by_depth : probability that the child of each rank is right, at each depth, shape (..., depths, ranks)
    """
    table = checked_ranks(by_depth)
    if tree.depth > table.shape[-2]:
        raise DomainError(f"tree has depth {tree.depth}: rank probabilities are given for {table.shape[-2]} depths")
    depths, ranks = node_depths(tree), node_ranks(tree)
    path = np.ones((*table.shape[:-2], tree.nodes))
    for node, parent in enumerate(tree.parents, start=1):
        # A rank that has no probability is never right.
        own = table[..., depths[node] - 1, ranks[node]] if ranks[node] < table.shape[-1] else 0.0
        path[..., node] = path[..., parent] * own
    return path


def tree_survival(tree: Tree, probabilities: Array) -> np.ndarray:
    """Probability that a round keeps at least 1, 2, ... draft tokens, shape (..., depth) [1].

    It is what :func:`tokens.survival_variance` and :func:`tokens.accepted_distribution` take.
    """
    path = node_probabilities(tree, _by_depth(probabilities, tree.depth))
    depths = node_depths(tree)
    levels = [path[..., depths == level].sum(axis=-1) for level in range(1, tree.depth + 1)]
    return np.stack(levels, axis=-1) if levels else np.zeros((*path.shape[:-1], 0))


def tree_tokens(tree: Tree, probabilities: Array) -> Array:
    r"""Tokens that a round with a tree emits, the corrected or bonus token included (3.20) [tokens].

    .. math:: \omega = \sum_v \prod_{c \in path(v)} p_c

    Parameters
    ----------
    probabilities : probability that the child of each rank is the right one, best first, shape (..., ranks)

    References
    ----------
    .. [1] Chen, May et al. Sequoia. 2024, arXiv 2402.12374, proposition 3.4.
    """
    total: Array = node_probabilities(tree, _by_depth(probabilities, tree.depth)).sum(axis=-1)
    return total


def tree_tokens_by_depth(tree: Tree, probabilities: Array) -> Array:
    """Tokens of a round when each depth has its own rank probabilities, as Medusa's heads do (3.21) [tokens].

    Parameters
    ----------
    probabilities : shape (..., depths, ranks)

    References
    ----------
    .. [1] Cai et al. Medusa. 2024, released code of the tree search.
    """
    total: Array = node_probabilities(tree, probabilities).sum(axis=-1)
    return total


def full_tree_tokens(probabilities: Array, width: int, depth: int) -> Array:
    """Tokens of a full tree of so many children per node, sum of P^i with P = p_1 + ... + p_width (3.22) [tokens].

    It stays below 1 / (1 - P) at any depth.

    References
    ----------
    .. [1] Chen, May et al. Sequoia. 2024, section 3.1.2 (the bound).
    """
    share = checked_ranks(probabilities)[..., :width].sum(axis=-1)
    total: Array = np.sum(share[..., np.newaxis] ** np.arange(depth + 1), axis=-1)
    return total


def best_tree(probabilities: Array, nodes: int, depth: int | None = None, topk: int | None = None) -> Tree:
    """The tree of so many nodes, root included, that emits most (3.23); smaller where fewer nodes have any chance.

    Nodes are added by their probability, best first. With ranks in order a node is never likelier than its parent or
    its better siblings, so that the best nodes form a tree: the optimum of Sequoia's dynamic programme. The best tree
    of fewer nodes is the beginning of a larger one.

    Parameters
    ----------
    probabilities : of each rank, best first, shape (ranks,). [1]
    nodes : budget, the root included. >= 1
    depth : longest path; None sets no bound
    topk : most children per node, and most nodes of a level that have children (a beam, as EAGLE-2 drafts); None
        sets no bound

    References
    ----------
    .. [1] Chen, May et al. Sequoia. 2024, arXiv 2402.12374, equation 1, algorithms 1 and 4.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise DomainError(f"tree nodes is {nodes}: give 1 to {MOST_NODES}")
    ranks = [float(p) for p in checked_ranks(probabilities)][:topk]
    deepest = nodes if depth is None else depth
    beam = nodes if topk is None else topk
    parents: list[int] = []
    expanded: dict[int, int] = {}
    # Of equally likely nodes the shallower is added: it asks for fewer draft steps.
    heap: list[tuple[float, int, int, int, float]] = []

    def offer(parent: int, level: int, rank: int, path: float) -> None:
        if rank < len(ranks) and level <= deepest and path * ranks[rank] > 0:
            heapq.heappush(heap, (-path * ranks[rank], level, parent, rank, path))

    offer(0, 1, 0, 1.0)
    while heap and len(parents) + 1 < nodes:
        probability, level, parent, rank, path = heapq.heappop(heap)
        parents.append(parent)
        offer(parent, level, rank + 1, path)
        # Nodes of a level come in the order of their probability, so that the first ones are the beam.
        if expanded.get(level, 0) < beam:
            expanded[level] = expanded.get(level, 0) + 1
            offer(len(parents), level + 1, 0, -probability)
    return Tree(parents=tuple(parents))


def best_tokens(probabilities: Array, nodes: int, depth: int) -> np.ndarray:
    """Tokens of the best tree for each depth bound and node budget, shape (depth + 1, nodes) [tokens].

    Entry [d, n - 1] is that of at most n nodes, root included, none deeper than d; it falls in neither.
    """
    table = np.ones((depth + 1, nodes))
    for bound in range(1, depth + 1):
        tree = best_tree(probabilities, nodes, bound)
        gains = node_probabilities(tree, _by_depth(probabilities, tree.depth))
        table[bound, : tree.nodes] = np.cumsum(gains)
        table[bound, tree.nodes :] = table[bound, tree.nodes - 1]
    return table


def budget_tree(budget: TreeBudget, probabilities: Array) -> Tree:
    """The tree that an engine's budget leads to on average: re-ranked with the probabilities of each rank."""
    return best_tree(probabilities, budget.nodes, budget.steps, budget.topk)


def attention_pairs(tree: Tree, context: Array) -> Array:
    """Query and key pairs of one sequence whose kernel masks the tree: nodes x context + own paths (root included)."""
    pairs: Array = tree.nodes * np.asarray(context, dtype=np.float64) + float(np.sum(node_depths(tree) + 1))
    return pairs
