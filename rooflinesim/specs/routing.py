"""How tokens choose experts in a mixture-of-experts layer."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Routing(Noun):
    """Popularity of experts, and how alike neighbouring tokens choose.

    `zipf_exponent` 0 is uniform. `frequencies` gives every expert's probability to be among a token's
    choices instead; they sum to the experts per token. `overlap` is the share by which neighbouring tokens of
    one sequence repeat each other's choice; `correlation` c makes b sequences choose like b^(1 - c) independent ones.
    """

    zipf_exponent: float = quantity("1", default=0.0)
    overlap: float = quantity("1", default=0.0, maximum=1.0)
    correlation: float = quantity("1", default=0.0, maximum=1.0)
    frequencies: tuple[float, ...] = quantity("1", default=(), maximum=1.0)

    def __post_init__(self) -> None:
        units.check(self)


UNIFORM = Routing()
"""Every expert equally likely, every token on its own."""
