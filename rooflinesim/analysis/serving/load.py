"""What is served: the load of requests, the policy of the scheduler, and the fleet of engines."""

import dataclasses
import statistics

import numpy as np

from rooflinesim import units
from rooflinesim.analysis.serving.queueing import checked_rate
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import NETWORK, Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""Percentiles that answers name."""

_MIDPOINTS = (np.arange(16) + 0.5) / 16
_NORMAL = np.array([statistics.NormalDist().inv_cdf(share) for share in (*_MIDPOINTS, *QUANTILES.values())])


def length_law(mean: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of 16 equally likely kinds of requests, their mean kept, and the 50, 95 and 99 % points [tokens].

    A gamma law of a squared coefficient of variation, by the cube of a normal law, and at least one token.

    References
    ----------
    .. [1] Wilson, Hilferty. The distribution of chi-square. PNAS 17, 1931.
    """
    if spread == 0:
        return np.full(1, mean), np.full(len(QUANTILES), mean)
    lengths = mean * np.maximum(1.0 - spread / 9.0 + _NORMAL * np.sqrt(spread) / 3.0, 0.0) ** 3
    lengths *= mean / np.mean(lengths[: _MIDPOINTS.size])
    lengths = np.maximum(lengths, 1.0)
    return lengths[: _MIDPOINTS.size], lengths[_MIDPOINTS.size :]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Load(Noun):
    """Requests of one kind: an open loop of `requests_per_s`, or a closed loop of `users` who each ask again at once.

    Rate and users are of the whole fleet, one number or an array of points. `cached_share` of every prompt is found
    in a prefix cache. `prompt_spread` and `output_spread` are squared coefficients of variation of the lengths: 0 is
    equal lengths, 1 those of an exponential law; a trace gives them.
    """

    requests_per_s: Array | None = quantity("1", default=None)
    users: Array | None = quantity("1", default=None)
    prompt_tokens: float = quantity("tokens", minimum=1.0)
    output_tokens: float = quantity("tokens", minimum=1.0)
    cached_share: float = quantity("1", default=0.0, maximum=1.0)
    prompt_spread: float = quantity("1", default=0.0)
    output_spread: float = quantity("1", default=0.0)

    def __post_init__(self) -> None:
        if (self.requests_per_s is None) == (self.users is None):
            raise DomainError("a load is either requests_per_s or users: give one of them")
        for name in ("requests_per_s", "users"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_rate(getattr(self, name), name))
        for name in ("prompt_tokens", "output_tokens", "cached_share", "prompt_spread", "output_spread"):
            value = float(getattr(self, name))
            least = 1.0 if name.endswith("tokens") else 0.0
            if not (np.isfinite(value) and value >= least and (name != "cached_share" or value <= 1.0)):
                raise DomainError(f"{name} is {value:g}: give a finite number of at least {least:g}")

    @property
    def points(self) -> np.ndarray:
        """The rates or the numbers of users, shape (points,)."""
        given = self.users if self.requests_per_s is None else self.requests_per_s
        return np.asarray(given)

    @property
    def new_tokens(self) -> float:
        """Tokens of a prompt that are not cached: the last one is always computed [tokens]."""
        return max(1.0, self.prompt_tokens - self.cached_tokens)

    @property
    def cached_tokens(self) -> float:
        """Tokens of a prompt that a prefix cache holds [tokens]."""
        return min(self.prompt_tokens * self.cached_share, self.prompt_tokens - 1.0)

    @property
    def decoded_tokens(self) -> float:
        """Tokens that decode steps give: the prompt's own step gives the first one [tokens]."""
        return self.output_tokens - 1.0

    @property
    def mean_context(self) -> float:
        """Mean tokens that a decoding request has cached: long outputs are seen in proportion to their length."""
        return self.prompt_tokens + self.output_tokens * (1.0 + self.output_spread) / 2.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Policy(Noun):
    """How an engine's scheduler forms steps.

    At most `batch_limit` requests run at once (None: as many as fit into memory). With `chunk_tokens` a step takes at
    most so many tokens: those of running requests first, then a part of the next prompt. None runs whole prompts,
    one at a time, before any further decode step.
    """

    batch_limit: int | None = quantity("1", default=None, minimum=1)
    chunk_tokens: int | None = quantity("tokens", default=None, minimum=1)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drafts(Noun):
    """Speculation in the loop: what drafts, how far, and how much is kept."""

    speculation: Speculation
    acceptance: Acceptance
    draft_length: int = quantity("tokens", minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fleet(Noun):
    """Equal replicas that share the load evenly; with `prefill`, prompts run on engines of their own.

    The cache of a prompt then moves to the decode engine over `transfer_bandwidth` (None: one network port for each
    device of the smaller engine).
    """

    decode: Deployment
    replicas: int = quantity("1", default=1, minimum=1)
    prefill: Deployment | None = None
    prefill_replicas: int = quantity("1", default=1, minimum=1)
    transfer_bandwidth: float | None = quantity("B/s", default=None, positive=True)

    def __post_init__(self) -> None:
        units.check(self)
        if self.prefill is not None and self.prefill.model != self.decode.model:
            raise DomainError(
                f"prefill runs {self.prefill.model.name}, decode {self.decode.model.name}: give both the same model"
            )

    @property
    def is_disaggregated(self) -> bool:
        """Whether prompts run on engines of their own."""
        return self.prefill is not None

    @property
    def devices(self) -> int:
        """All devices of the fleet."""
        prompts = self.prefill.devices * self.prefill_replicas if self.prefill else 0
        return self.decode.devices * self.replicas + prompts

    @property
    def bandwidth(self) -> float:
        """Bandwidth over which the cache of a prompt moves [B/s]."""
        if self.transfer_bandwidth is not None:
            return self.transfer_bandwidth
        ports = min(self.decode.devices, self.prefill.devices if self.prefill else self.decode.devices)
        return NETWORK.bandwidth * ports
