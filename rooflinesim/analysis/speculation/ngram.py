"""Prompt lookup: tokens that followed the same words before are the draft; it costs no pass."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PromptLookup(Noun):
    """Drafts found in the prompt or what was generated; in a share of the rounds, `hit_rate`, there is one.

    In the others the step is a plain one. The whole batch is taken to hit or to miss together: single sequences
    that hit alone take between the two.
    """

    hit_rate: float = quantity("1", default=1.0, maximum=1.0)

    def __post_init__(self) -> None:
        units.check(self)
