"""What running speculation shows beside its speed-ups: the side of 1 that was predicted, and what was emitted."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculationVerdict(Noun):
    """Whether speculation does what it should: output, and which side of 1 predictions see.

    `right_side` is the share of the cells measured outside 0.95 to 1.05 that are predicted on the same side of 1;
    None where there is none. `differences` are output tokens other than plain decoding's, of which `near_ties` lie
    within the rounding of 16 bits. `sampling_probability` is that of samples as far from the target's own
    distribution as those drawn.
    """

    judged_sides: int
    right_side: float | None = quantity("1", default=None)
    compared_tokens: Mapping[str, int]
    differences: Mapping[str, int]
    near_ties: Mapping[str, int]
    sampling_probability: Mapping[str, float]
