"""Where the new tokens of a step stand in their sequences and in the cache, and which others they see."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rooflinesim.errors import DomainError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats in which the decoders run, by the names of the formats of predictions."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where the new tokens of a step stand, and what each of them sees.

    `positions` and `slots` (of the cache) have shape (batch, new_tokens); slots below `read` are read. `mask` is added
    to the scores, shape (batch, 1, new_tokens, read); None lets every token see all that is read, or all before it
    where `is_prompt`. `first` is the slot of the first new token where all rows stand alike, which slices can then
    write.
    """

    positions: Tensor
    slots: Tensor
    read: int
    mask: Tensor | None = None
    first: int | None = None
    is_prompt: bool = False


def placed(
    starts: Sequence[int],
    new_tokens: int,
    *,
    form: str,
    parents: Sequence[int] | None = None,
    device: str = "cpu",
    read: int | None = None,
) -> Placement:
    """Placement of new tokens after `starts` cached ones, one number per row; rows may have advanced unevenly.

    Parameters
    ----------
    new_tokens : of each row: 1 decodes, more verify a chain, or a tree where `parents` are given
    parents : index of the parent of each node of a tree, itself earlier; -1 is the root's. Where there are more nodes
        than new tokens, the first ones are cached already
    read : slots that are read in any case, such as the fixed context of a captured graph; those beyond are masked
    """
    nodes = new_tokens if parents is None else len(parents)
    is_even = len(set(starts)) == 1
    longest = max(starts) + nodes
    reads = longest if read is None else read
    is_prompt = parents is None and longest == new_tokens == reads and new_tokens > 1
    start = torch.tensor(list(starts), dtype=torch.int64)[:, None]
    order = torch.arange(nodes)
    depth, sees = (order, order[:, None] >= order) if parents is None else _tree(parents)
    slots = start + order
    mask = None
    if not is_prompt and not (new_tokens == 1 and is_even and reads == longest and bool(sees[-1].all())):
        seen = (torch.arange(reads) < start)[:, None, :].repeat(1, new_tokens, 1)
        seen.scatter_(2, slots[:, None, :].expand(-1, new_tokens, -1), sees[-new_tokens:].expand(len(starts), -1, -1))
        mask = torch.zeros(seen.shape, dtype=DTYPES[form]).masked_fill_(~seen, -math.inf)[:, None].to(device)
    return Placement(
        positions=(start + depth)[:, -new_tokens:].to(device),
        slots=slots[:, -new_tokens:].to(device),
        read=reads,
        mask=mask,
        first=starts[0] + nodes - new_tokens if is_even and read is None else None,
        is_prompt=is_prompt,
    )


def _tree(parents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Depth of each node of a tree, and which nodes it sees: itself and its ancestors."""
    depth = torch.zeros(len(parents), dtype=torch.int64)
    sees = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if not -1 <= parent < node:
            raise DomainError(f"node {node} of a tree has parent {parent}: parents come before their children")
        if parent >= 0:
            depth[node] = depth[parent] + 1
            sees[node] |= sees[parent]
    return depth, sees
