"""A head that drafts for one target: how its shape departs from what the target's own shape implies."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.specs.model import _count


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DraftHead(Noun):
    """A trained draft head of the EAGLE family; what is None follows the target.

    `generation` 1 and 2 join one hidden state with the embedding and use the target's output head; 3 joins
    `target_states` hidden states, attends with inputs of twice its width, and has its own head of `vocabulary`
    entries. `targets` are the models, by preset, for which the head is taken when only its generation is named.
    """

    name: str
    source: str
    aliases: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    generation: int = _count(3)
    target_states: int = _count(3)
    layers: int = _count(1)
    hidden_size: int | None = _count(None)
    mlp_width: int | None = _count(None)
    heads: int | None = _count(None)
    kv_heads: int | None = _count(None)
    head_size: int | None = _count(None)
    vocabulary: int | None = _count(None)
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units.check(self)
