"""How long the routed experts of a layer take: constants of a kernel that multiplies tokens by many small matrices."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExpertLaw(Noun):
    """Constants of one product of tokens with their experts' matrices; a gated layer has two such products.

    `fixed_time` is paid per product; `depth_time` per input feature, which a tile works through one after another
    however many cores wait. `memory_efficiency` is the share of the bandwidth that the law is given (in a step,
    what streaming weights reaches) that awake experts reach, `flop_efficiency` that of the dense rate. Rows of an
    expert are padded to `tile`. Sorting, scattering and activating pass `grouping_passes` times over the rows, and
    over `remote_share` of the rows whose experts other ranks hold. Steps of more than one token stream weights
    `batch_slowdown` times slower, where the kernel for a single token is another one. Times hold at
    `reference_clock_rate` and pass in clock cycles.
    """

    fixed_time: float = quantity("s")
    depth_time: float = quantity("s", default=0.0)
    memory_efficiency: float = quantity("1", positive=True, maximum=1.5)
    flop_efficiency: float = quantity("1", positive=True, maximum=1.0)
    tile: float = quantity("tokens", default=64.0)
    overlap_exponent: float | None = quantity("1", default=2.0, minimum=1.0)
    grouping_passes: float = quantity("1", default=0.0)
    remote_share: float = quantity("1", default=0.0, maximum=1.0)
    batch_slowdown: float = quantity("1", default=1.0, minimum=1.0)
    reference_clock_rate: float = quantity("Hz", default=1.8e9, positive=True)

    def __post_init__(self) -> None:
        units.check(self)
