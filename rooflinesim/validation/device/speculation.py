"""Rounds of speculation run for real: a draft proposes a chain or a tree, the target verifies it in one step."""

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from rooflinesim.errors import DomainError
from rooflinesim.validation.device.decoder import Cache, Decoder, Mark, placed


@dataclasses.dataclass(frozen=True)
class DraftTree:
    """Tokens of a draft by their parents: node 0 is the last emitted token, and levels stand one after another.

    Raises
    ------
    DomainError : if a node stands before its parent, or before a node of an earlier level.
    """

    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        wrong = [
            node for node, parent in enumerate(self.parents) if not (-1 if node == 0 else 0) <= parent < max(node, 0)
        ]
        depths = [] if wrong else self.depths
        if len(self.parents) < 2 or wrong or list(depths) != sorted(depths):
            raise DomainError(f"tree {self.parents}: give -1, then each node's parent, level by level")

    @property
    def depths(self) -> tuple[int, ...]:
        """Depth of each node, the root's 0."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Nodes of each level, the root's first; the last level is drafted, but runs in no draft pass."""
        depths = self.depths
        return tuple(depths.count(level) for level in range(depths[-1] + 1))

    def children(self, node: int) -> tuple[int, ...]:
        """Nodes below a node, the likeliest first."""
        return tuple(child for child, parent in enumerate(self.parents) if parent == node)

    def level(self, depth: int) -> tuple[list[int], list[int]]:
        """Of each node of a level: the place of its parent in the level above, and its rank among its siblings."""
        first = sum(self.widths[: depth - 1])
        nodes = [node for node, own in enumerate(self.depths) if own == depth]
        places = [self.parents[node] - first for node in nodes]
        return places, [self.children(self.parents[node]).index(node) for node in nodes]


def chain(draft_length: int) -> DraftTree:
    """A draft without branches."""
    return DraftTree(tuple(range(-1, draft_length)))


@dataclasses.dataclass(kw_only=True, eq=False)
class Rows:
    """Sequences of a batch while they are decoded: tokens cached of each, and its last token, which is not."""

    lengths: list[int]
    last: Tensor
    cache: Cache
    draft_cache: Cache
    emitted: list[list[int]]


def begin(target: Decoder, cache: Cache, draft_cache: Cache, context: int) -> Rows:
    """Rows after `context` tokens, as they lie in the caches; every row begins with a token of its own."""
    batch = int(cache.keys.shape[1])
    last = (torch.arange(batch) * 7 + 1) % target.model.vocabulary
    return Rows(
        lengths=[context] * batch,
        last=last.to(target.device),
        cache=cache,
        draft_cache=draft_cache,
        emitted=[[] for _ in range(batch)],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What a verification keeps of each row's draft, nodes in order, and the token that it adds."""

    paths: list[list[int]]
    tokens: list[int]


class Rule(Protocol):
    """How tokens are proposed and judged."""

    def propose(self, scores: Tensor, tree: DraftTree, depth: int) -> Tensor:
        """Tokens of a level from the draft's scores of the level above, shape (batch, width)."""

    def judge(self, scores: Tensor, proposed: Tensor, tree: DraftTree) -> Verdict:
        """What is kept, by the target's scores of every node, shape (batch, nodes, vocabulary)."""


def run_round(target: Decoder, draft: Decoder, rows: Rows, tree: DraftTree, rule: Rule, mark: Mark) -> Verdict:
    """One round: draft passes, verification, judgement, caches settled. The rows advance, each by its own tokens.

    After a draft that is kept whole its last token is not in the draft's cache: one more pass fills it, for all rows
    where one needs it.
    """
    starts, device, widths = rows.lengths, target.device, tree.widths
    levels = [rows.last[:, None]]
    for depth, width in enumerate(widths[:-1]):
        known = tree.parents[: sum(widths[: depth + 1])]
        placement = placed(starts, width, form=draft.form, parents=known, device=device)
        scores = draft.step(levels[-1], placement, rows.draft_cache)
        levels.append(rule.propose(scores, tree, depth + 1))
    mark("draft")
    proposed = torch.cat(levels, 1)
    placement = placed(starts, len(tree.parents), form=target.form, parents=tree.parents, device=device)
    scores = target.step(proposed, placement, rows.cache)
    mark("verify")
    verdict = rule.judge(scores, proposed, tree)
    _settle(rows, verdict)
    mark("judge")
    if any(len(path) == len(widths) - 1 for path in verdict.paths):
        ends = torch.tensor([path[-1] if path else 0 for path in verdict.paths], device=device)
        filled = placed([start + len(widths) - 1 for start in starts], 1, form=draft.form, device=device)
        draft.step(proposed.gather(1, ends[:, None]), filled, rows.draft_cache, scored=1)
        mark("refill")
    kept = proposed.tolist()
    for row, (path, token) in enumerate(zip(verdict.paths, verdict.tokens, strict=True)):
        rows.emitted[row].extend([*(kept[row][node] for node in path), token])
    rows.lengths = [start + len(path) + 1 for start, path in zip(starts, verdict.paths, strict=True)]
    rows.last = torch.tensor(verdict.tokens, device=device)
    return verdict


def _settle(rows: Rows, verdict: Verdict) -> None:
    """Move the cached tokens of kept paths together; those of chains lie so already."""
    moves = [
        (row, rows.lengths[row] + node, rows.lengths[row] + depth)
        for row, path in enumerate(verdict.paths)
        for depth, node in enumerate(path, start=1)
        if node != depth
    ]
    if moves:
        columns = [list(column) for column in zip(*moves, strict=True)]
        rows.cache.move(*columns)
        rows.draft_cache.move(*columns)
