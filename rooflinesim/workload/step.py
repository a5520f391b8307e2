"""One forward pass, whatever its phase: decode, prefill, a chunk and a verification differ only in numbers."""

import dataclasses

import numpy as np

from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun

Array = np.ndarray | float
"""A quantity for one point or for aligned points; functions take and return either."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Step(Noun):
    """What one forward pass works on; scalars or aligned arrays of float64.

    `context` counts the tokens of a sequence that are cached before the step. `logit_tokens` of a
    sequence are scored by the head: None scores every new token (decode, verify); prefill scores 1.
    """

    batch: Array = 1.0
    new_tokens: Array = 1.0
    context: Array = 0.0
    logit_tokens: Array | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch", 0.0), ("new_tokens", 1.0), ("context", 0.0), ("logit_tokens", 0.0)):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64)
            if array.size and not (np.isfinite(array).all() and array.min() >= least):
                bad = array[~(np.isfinite(array) & (array >= least))].flat[0]
                raise DomainError(f"{name} is {bad:g}: it must be finite and at least {least:g}")
            object.__setattr__(self, name, float(array) if array.ndim == 0 else array)

    @property
    def tokens(self) -> Array:
        """Rows of every GEMM: new tokens of all sequences [tokens]."""
        return self.batch * self.new_tokens

    @property
    def logit_rows(self) -> Array:
        """Rows of the head: scored tokens of all sequences [tokens]."""
        return self.tokens if self.logit_tokens is None else self.batch * self.logit_tokens
