"""What a plan is asked: a load, its targets, and which fleets may be taken."""

import dataclasses

import numpy as np

from rooflinesim import units
from rooflinesim.analysis.capacity.objectives import Targets, strictest
from rooflinesim.analysis.serving.load import Load
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array

CHUNKS = (512, 2048)
"""Tokens of a step with a part of a prompt that are tried where none are given, beside whole prompts [tokens]."""

LIGHTEST = 4096
"""Replicas, for each one that could do at least, up to which a load is thinned: more of them would change little."""

MEDIAN_SLACK = 1.5
"""Of a mean over the median of an exponential law: 1 / ln 2, rounded up [1]."""

_EACH = 8
_SPREAD = 24
"""Numbers of replicas that are solved one by one from the least on, and those that are spread over all others."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Demand(Noun):
    """One load of one point, the longest times that users may see, and what may be chosen.

    Without `batch_limits` those are tried that the targets suggest, without `chunks` whole prompts and two usual ones
    (a chunk of 0 is whole prompts);
    `replicas` are counts of engines that may be taken (all). `is_disaggregated` None looks at both ways.
    """

    load: Load
    targets: Targets
    batch_limits: tuple[int, ...] = quantity("1", default=(), minimum=1)
    chunks: tuple[int, ...] = quantity("tokens", default=())
    replicas: tuple[int, ...] = quantity("1", default=(), minimum=1)
    maximum_devices: int | None = quantity("1", default=None, minimum=1)
    is_disaggregated: bool | None = None

    def __post_init__(self) -> None:
        units.check(self)
        if self.load.points.size != 1:
            raise DomainError(f"the load has {self.load.points.size} points: a plan is for one")

    @property
    def is_closed(self) -> bool:
        """Whether a number of users asks again and again, not a rate of requests."""
        return self.load.users is not None

    @property
    def amount(self) -> float:
        """Users, or requests per second [1/s]."""
        return float(self.load.points[0])

    @property
    def slack(self) -> float:
        """Factor on targets beyond which means cannot lie where these are met: a median may be below its mean [1]."""
        return MEDIAN_SLACK if any(metric.endswith("p50") for metric in self.targets) else 1.02

    @property
    def least_rate(self) -> float:
        """Requests per second that a fleet serves at least if it meets the targets [1/s].

        Of a closed loop by Little's law: users over the longest time of a request that both targets allow.
        """
        if not self.is_closed:
            return self.amount
        tpot, ttft = (strictest(self.targets, kind) for kind in ("tpot", "ttft"))
        return self.amount / (self.slack * (ttft + self.load.decoded_tokens * tpot))

    @property
    def chunk_sizes(self) -> tuple[int | None, ...]:
        """Chunks that are tried; None is whole prompts."""
        if self.chunks:
            return tuple(chunk or None for chunk in self.chunks)
        return (None, *(chunk for chunk in CHUNKS if chunk == CHUNKS[0] or chunk < 2 * self.load.new_tokens))

    def shared(self, replicas: np.ndarray) -> Load:
        """The load of one of several numbers of replicas: at least one user."""
        amounts = self.amount / replicas
        if self.is_closed:
            return dataclasses.replace(self.load, users=np.maximum(amounts, 1.0))
        return dataclasses.replace(self.load, requests_per_s=amounts)

    def scaled(self, multiples: Array) -> Load:
        """The load so many times as large: at least one user."""
        return self.shared(1.0 / np.atleast_1d(np.asarray(multiples, dtype=np.float64)))

    def counts(self, least: int, devices: int, *, beside: int = 0, is_named: bool = True) -> np.ndarray:
        """Numbers of engines that may be taken, from the least that could do; spread out where there are many.

        Parameters
        ----------
        devices : of one engine; `beside` are those of other engines of the fleet. [1]
        is_named : whether the numbers that the demand names count
        """
        most = LIGHTEST * least
        if self.maximum_devices is not None:
            most = min(most, (self.maximum_devices - beside) // devices)
        if is_named and self.replicas:
            return np.array([one for one in sorted(self.replicas) if least <= one <= most], dtype=np.int64)
        if self.is_closed:
            most = min(most, max(least, int(np.ceil(self.amount))))
        if most < least:
            return np.zeros(0, dtype=np.int64)
        each = np.arange(least, min(least + _EACH, most + 1))
        return np.unique(np.concatenate([each, np.geomspace(least, most, _SPREAD).astype(np.int64), [most]]))
