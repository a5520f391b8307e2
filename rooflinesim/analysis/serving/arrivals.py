"""Requests in time: of a trace, or drawn from a load with a seed."""

import dataclasses

import numpy as np

from rooflinesim.analysis.serving.load import Load
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Requests(Noun):
    """Requests in order of arrival, arrays of shape (requests,); `cached` tokens of a prompt are in a prefix cache.

    Of a closed loop of `users` all but their first requests arrive when an earlier one is complete: `arrived` is then
    zero, not known in advance.
    """

    arrived: np.ndarray = quantity("s")
    prompt: np.ndarray = quantity("tokens")
    output: np.ndarray = quantity("tokens")
    cached: np.ndarray = quantity("tokens")
    users: int | None = None

    @property
    def size(self) -> int:
        """Number of requests."""
        return int(self.prompt.size)

    @property
    def rate(self) -> float:
        """Mean requests per second, from the first arrival to the last [1/s]; infinite if all come at once."""
        span = float(self.arrived[-1] - self.arrived[0])
        return (self.size - 1) / span if span > 0 else np.inf


def requests_of(arrived: np.ndarray, prompt: np.ndarray, output: np.ndarray, cached_share: float = 0.0) -> Requests:
    """Requests of a trace, the same share of each prompt cached."""
    prompt = np.asarray(prompt, dtype=np.float64)
    return Requests(
        arrived=np.asarray(arrived, dtype=np.float64),
        prompt=prompt,
        output=np.asarray(output, dtype=np.float64),
        cached=np.minimum(np.floor(cached_share * prompt), prompt - 1.0),
    )


def faster(requests: Requests, factor: float) -> Requests:
    """The same requests, arriving so many times as fast.

    Raises
    ------
    DomainError : if the factor is not finite and positive.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise DomainError(f"rate scale is {factor:g}: give a finite number above 0")
    return dataclasses.replace(requests, arrived=requests.arrived / factor)


def drawn_requests(load: Load, count: int, *, seed: int = 0, burstiness: float = 1.0) -> Requests:
    """Requests drawn from the first point of a load.

    Gaps follow a gamma law of squared coefficient of variation `burstiness` (1 is a Poisson process, 0 a clock), and
    lengths gamma laws of the load's spreads, rounded to whole tokens of at least one.
    """
    generator = np.random.default_rng(seed)
    users = None if load.users is None else int(load.points[0])
    gaps = np.zeros(count) if users else _gamma(generator, 1.0 / float(load.points[0]), burstiness, count)
    prompt = np.maximum(np.round(_gamma(generator, load.prompt_tokens, load.prompt_spread, count)), 1.0)
    output = np.maximum(np.round(_gamma(generator, load.output_tokens, load.output_spread, count)), 1.0)
    found = requests_of(np.cumsum(gaps), prompt, output, load.cached_share)
    return dataclasses.replace(found, users=users)


def _gamma(generator: np.random.Generator, mean: float, spread: float, count: int) -> np.ndarray:
    if spread == 0:
        return np.full(count, mean)
    return generator.gamma(1.0 / spread, mean * spread, count)


def load_of(requests: Requests) -> Load:
    """The load that requests are in the long run: their rate or users, mean lengths and spreads."""

    def spread(values: np.ndarray) -> float:
        return float(np.var(values) / np.mean(values) ** 2)

    prompt = float(np.mean(requests.prompt))
    return Load(
        requests_per_s=None if requests.users else requests.rate,
        users=requests.users,
        prompt_tokens=prompt,
        output_tokens=float(np.mean(requests.output)),
        cached_share=float(np.mean(requests.cached)) / prompt,
        prompt_spread=spread(requests.prompt),
        output_spread=spread(requests.output),
    )
