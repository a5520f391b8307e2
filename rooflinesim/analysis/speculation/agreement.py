"""Rounds drawn at random beside what closed forms say of them, and the spread that no mean shows."""

import dataclasses

import numpy as np

from rooflinesim.analysis.speculation import closed_forms
from rooflinesim.analysis.speculation.simulation import Estimate, drawn_tokens, estimate, static_batch
from rooflinesim.analysis.speculation.tokens import survival_tokens
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

DRAWS = 50_000
"""Rounds drawn for a mean, and sequences drawn to their end."""

SEED = 20240229


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Agreement(Noun):
    """Simulated rounds beside closed forms, for requests of `output_tokens` in batches of `batch`.

    `tokens` of a round and `rounds` to a request's end stand beside their closed forms; `slowest_rounds` is the
    last of a batch that starts together, which no closed form gives.
    """

    batch: int
    output_tokens: int
    tokens: Estimate
    expected_tokens: float = quantity("tokens")
    rounds: Estimate
    expected_rounds: float = quantity("1")
    slowest_rounds: Estimate

    @property
    def agrees(self) -> bool:
        """Whether both closed forms lie within 4.5 standard errors of the simulation."""
        return self.tokens.agrees(self.expected_tokens) and self.rounds.agrees(self.expected_rounds)


def simulated_rounds(kept: np.ndarray, *, batch: int, output_tokens: int = 256, seed: int = SEED) -> Agreement:
    """Rounds of equal sequences drawn with a seed: the same seed draws the same rounds.

    Parameters
    ----------
    kept : probability that each position of the draft is kept, shape (k,). [1]
    batch : sequences that start together; those of very large batches are drawn in few trials. [1]
    """
    sequences = np.repeat(np.atleast_2d(kept), batch, axis=0)
    trials = max(8, DRAWS // batch)
    rounds = static_batch(sequences, output_tokens, trials, seed)
    return Agreement(
        batch=batch,
        output_tokens=output_tokens,
        tokens=estimate(drawn_tokens(np.atleast_2d(kept), DRAWS, np.random.default_rng(seed))),
        expected_tokens=float(survival_tokens(kept)),
        rounds=estimate(rounds),
        expected_rounds=float(closed_forms.rounds_to_finish(kept, output_tokens)),
        slowest_rounds=estimate(rounds.max(axis=1)),
    )
