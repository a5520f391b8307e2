"""What software adds to a round of speculation, and how its draft passes are launched."""

import dataclasses
from typing import Literal

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculationLaw(Noun):
    """Constants of rounds of speculation; all zero is software that adds nothing.

    A round adds `round_time` and `sequence_time` for every sequence to its verification: rejection sampling, waiting
    for the host, rolling caches back. A draft pass takes `draft_step_time` in place of the time that the stack adds
    to a step, and `draft_rank_time` for every further device of its tensor-parallel group; `draft_launch` eager makes
    the host a floor there: `draft_launch_time` per kernel. Recurrent states of rejected tokens are `kept` (every
    verified token's state is written) or `replayed` (the accepted tokens update the state once more). Tokens of one
    draft choose the same experts with `expert_overlap`; every drafted token adds `verify_token_share` of a plain step
    to the verification, where trees are masked and scored by many small kernels. Measured speed-ups are meant to lie,
    80 % of them, between `speedup_low` and `speedup_high` times the predicted ones.
    """

    round_time: float = quantity("s", default=0.0)
    sequence_time: float = quantity("s", default=0.0)
    draft_step_time: float = quantity("s", default=0.0)
    draft_rank_time: float = quantity("s", default=0.0)
    draft_launch: Literal["graphs", "eager"] = "graphs"
    draft_launch_time: float = quantity("s", default=0.0)
    recurrent_state: Literal["kept", "replayed"] = "kept"
    expert_overlap: float = quantity("1", default=0.0, maximum=1.0)
    verify_token_share: float = quantity("1", default=0.0, maximum=1.0)
    speedup_low: float = quantity("1", default=1.0, positive=True, maximum=1.0)
    speedup_high: float = quantity("1", default=1.0, minimum=1.0)

    def __post_init__(self) -> None:
        units.check(self)
