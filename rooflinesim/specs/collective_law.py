"""How long devices take to exchange messages: constants of the algorithms that a communication library has."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Exchange(Noun):
    """Constants of one algorithm: time = latencies + bytes on the link, and beside it, over what it reaches.

    `latency` is that of two ranks; each further one adds `rank_latency`. `bandwidth_efficiency` is the share of
    the link's bandwidth in one direction that large messages reach; a switch that reduces can lift it above one.
    `copies` counts passes over the message beside those on the link, at the same bandwidth. `limit` is the
    largest message that the library gives to the algorithm, `gathered_limit` that times the ranks; pairs ignore
    the latter, since for them all algorithms send the same.
    """

    latency: float = quantity("s")
    rank_latency: float = quantity("s", default=0.0)
    bandwidth_efficiency: float = quantity("1", positive=True, maximum=2.5)
    copies: float = quantity("1", default=0.0)
    limit: float | None = quantity("B", default=None)
    gathered_limit: float | None = quantity("B", default=None)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CollectiveLaw(Noun):
    """Exchanges that a library has on one kind of link; an absent one is not tried.

    An all-reduce takes the fastest of those that allow its size: `one_shot` (every rank reads all others),
    `two_shot` (reduce-scatter, then all-gather) and `bulk` (the same for messages of any size). `gather` is that
    of all-gather and reduce-scatter, `all_to_all` that of exchanging tokens. `sharing` is the power of ranks - 1
    by which bandwidth per rank falls: 0 behind a switch, about 1 where all messages pass one host.
    """

    bulk: Exchange
    one_shot: Exchange | None = None
    two_shot: Exchange | None = None
    gather: Exchange
    all_to_all: Exchange
    sharing: float = quantity("1", default=0.0, maximum=2.0)

    def __post_init__(self) -> None:
        units.check(self)
