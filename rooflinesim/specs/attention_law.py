"""Constants of the time that software needs to attend to a cache."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttentionLaw(Noun):
    """Constants of an attention kernel: what it reaches of a device's rates, and what it adds.

    `fixed_time` is what a kernel takes at no size at all, `ramp_time` what filling the memory pipeline adds to
    streaming, `start_time` what a core waits at the start of a tile of queries; all hold at `reference_clock_rate`
    and pass in clock cycles. A core pulls `core_clock_bytes` of cache and does `core_clock_exponentials` per clock.
    A tile has `tile_rows`, computed in steps of `row_step`; its start costs, besides, as much as `start_tokens` more
    cached ones. A cache is cut into parts of no less than `part_tokens`, one per core; from `divided_limit` KV heads
    per core on it is not cut (None: always), and a KV head with a single query head only if `divides_single_heads`.
    `overlap_exponent` is the order of the smooth maximum of memory and core time. Decode runs on the tensor cores for
    the groups of query heads per KV head that are among `tensor_groups` (None: all), else on the vector units, at
    `vector_efficiency` of their rate. `memory_efficiency` is the share of the bandwidth that the law is given, which
    in a step is what streaming weights reaches.
    """

    fixed_time: float = quantity("s")
    ramp_time: float = quantity("s", default=0.0)
    memory_efficiency: float = quantity("1", positive=True, maximum=1.2)
    flop_efficiency: float = quantity("1", positive=True, maximum=1.0)
    start_time: float = quantity("s", default=2e-6)
    start_tokens: float = quantity("tokens", default=150.0)
    core_clock_bytes: float = quantity("B", default=45.0, positive=True)
    core_clock_exponentials: float = quantity("1", default=20.0, positive=True)
    part_tokens: float = quantity("tokens", default=300.0, positive=True)
    tile_rows: int = quantity("1", default=64, minimum=1)
    row_step: int = quantity("1", default=64, minimum=1)
    divided_limit: float | None = quantity("1", default=None)
    divides_single_heads: bool = True
    tensor_groups: tuple[int, ...] | None = quantity("1", default=None, minimum=1)
    vector_efficiency: float = quantity("1", default=0.2, positive=True, maximum=1.0)
    overlap_exponent: float | None = quantity("1", default=3.0, minimum=1.0)
    reference_clock_rate: float = quantity("Hz", default=1.8e9, positive=True)

    def __post_init__(self) -> None:
        units.check(self)
