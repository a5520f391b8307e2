"""A separate, smaller model that drafts: `draft_length` steps of its own, and its own weights and cache."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DraftModel(Noun):
    """A draft on the target's devices, on some of them, or on its own.

    After full acceptance the draft's cache lacks its own last token: one more pass fills it. `cache_tokens` bounds
    what a pass reads of the context, as a sparse or sliding cache does; None reads all. With `is_target` the draft
    is the target itself behind such a cache: its weights are there already, only the bounded cache is kept twice.
    Without `draft` its cost must be given, and it takes no memory.
    """

    draft: Deployment | None
    has_own_devices: bool = False
    cache_tokens: float | None = quantity("tokens", default=None, minimum=1.0)
    is_target: bool = False

    def __post_init__(self) -> None:
        units.check(self)
