"""Lookahead decoding: n-grams gathered by guessing ahead in the same step are verified beside the next token."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Lookahead(Noun):
    """A window of guesses, and n-grams from it that are verified; both ride in every step.

    `window` columns are guessed ahead and `candidates` n-grams are verified, each of draft length + 1 tokens.
    """

    window: int = quantity("1", default=7, minimum=1, maximum=4096)
    candidates: int = quantity("1", default=7, minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        units.check(self)


def lookahead_rows(method: Lookahead, draft_length: Array) -> Array:
    """Tokens of one sequence in a step, :math:`1 + (W + G)(N - 1)` with N - 1 the draft length [tokens].

    References
    ----------
    .. [1] Fu et al. Lookahead decoding. 2024, arXiv 2402.02057.
    """
    return 1.0 + (method.window + method.candidates) * draft_length
