"""What kernels took on a device when they were measured one by one: a law, and by what factor each sample departs."""

import dataclasses
from collections.abc import Mapping

from rooflinesim import units
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RoofLaw(Noun):
    """Constants of time = fixed + the smooth maximum of memory and compute time, as shares of the device's rates.

    `overlap_exponent` 1 adds the two, as a core does that first streams a matrix and then computes; large ones let
    the longer hide the shorter. `memory_efficiency` is above 1 where bytes come from a cache.
    """

    fixed_time: float = quantity("s")
    memory_efficiency: float = quantity("1", positive=True, maximum=100.0)
    flop_efficiency: float = quantity("1", positive=True, maximum=10.0)
    overlap_exponent: float = quantity("1", minimum=1.0, maximum=64.0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GemmSamples(Noun):
    """Products with one shape of weight matrix: measured over law, one factor per number of rows."""

    inputs: int = quantity("1", minimum=1)
    outputs: int = quantity("1", minimum=1)
    factors: tuple[float, ...] = quantity("1", positive=True)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredGemm(Noun):
    """Products with weights of one number format, over rows and shapes; `rows` rise."""

    law: RoofLaw
    rows: tuple[float, ...] = quantity("tokens", minimum=1.0)
    shapes: tuple[GemmSamples, ...]

    def __post_init__(self) -> None:
        units.check(self)
        if not self.shapes or not self.rows:
            raise DomainError("rows and shapes are empty; a measured product has at least one of each")
        if any(first >= second for first, second in zip(self.rows, self.rows[1:], strict=False)):
            raise DomainError(f"rows must rise: {', '.join(f'{rows:g}' for rows in self.rows)}")
        for shape in self.shapes:
            if len(shape.factors) != len(self.rows):
                raise DomainError(
                    f"shapes: {shape.inputs} x {shape.outputs} has {len(shape.factors)} factors for"
                    f" {len(self.rows)} rows; give one for each"
                )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttentionSample(Noun):
    """One measured attention: `sequences` of `kv_heads` each, `new_tokens` queries of each head of a group."""

    sequences: float = quantity("1", positive=True)
    kv_heads: float = quantity("1", positive=True)
    group: float = quantity("1", positive=True)
    head_size: float = quantity("1", positive=True)
    new_tokens: float = quantity("tokens", positive=True)
    read_tokens: float = quantity("tokens", positive=True)
    factor: float = quantity("1", positive=True)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredAttention(Noun):
    """Attention to a cache of one number format; `head_time` is paid for every KV head of every sequence."""

    law: RoofLaw
    head_time: float = quantity("s")
    samples: tuple[AttentionSample, ...]

    def __post_init__(self) -> None:
        units.check(self)
        if not self.samples:
            raise DomainError("samples is empty; measured attention has at least one")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredSmall(Noun):
    """A small operation, measured in place between others: measured over law, by the bytes moved, which rise."""

    law: RoofLaw
    moved_bytes: tuple[float, ...] = quantity("B", positive=True)
    factors: tuple[float, ...] = quantity("1", positive=True)

    def __post_init__(self) -> None:
        units.check(self)
        if len(self.moved_bytes) != len(self.factors) or not self.factors:
            raise DomainError(
                f"{len(self.moved_bytes)} moved_bytes, but {len(self.factors)} factors; give one for each"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredKernels(Noun):
    """Kernels of one number format. `small` holds operations by the last word of their name, such as norm.

    `expert_time` is what a layer pays for every awake expert beside its products, `routing_time` once.
    """

    gemm: MeasuredGemm
    attention: MeasuredAttention | None = None
    small: Mapping[str, MeasuredSmall] = dataclasses.field(default_factory=dict)
    expert_time: float | None = quantity("s", default=None)
    routing_time: float | None = quantity("s", default=None)

    def __post_init__(self) -> None:
        units.check(self)
