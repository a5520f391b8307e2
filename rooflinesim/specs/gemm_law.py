"""Constants of the time that software needs to multiply activations by a weight matrix."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GemmLaw(Noun):
    """Constants of a matrix multiplication beyond its achievable bandwidth and rate.

    `fixed_time` is what a kernel takes at no size at all; `split_time` what summing split inputs adds where one
    row of tiles leaves nearly all cores idle. Both hold at `reference_clock_rate` and pass in clock cycles.
    `exposed_share` of the shorter of memory and compute time is not hidden behind the longer one.
    `idle_core_loss` is the share of the weights' streaming time lost per share of idle over busy cores.
    `input_time` is what one core needs per input of a matrix, at the reference clock, in kernels that never split
    inputs: they are then as slow as one core goes through all of them. Zero means that kernels split.
    A tile has `tile_rows` by `tile_outputs`; a kernel of a single row of tiles computes rows in steps of
    `row_step`, one of up to `vector_rows` those that there are. Inputs are split into parts of at least `split_inputs`.
    """

    fixed_time: float = quantity("s")
    split_time: float = quantity("s", default=0.0)
    exposed_share: float = quantity("1", default=0.0, maximum=1.0)
    idle_core_loss: float = quantity("1", default=0.0)
    input_time: float = quantity("s", default=0.0)
    reference_clock_rate: float = quantity("Hz", default=1.8e9, positive=True)
    tile_rows: int = quantity("tokens", default=64, minimum=1)
    row_step: int = quantity("tokens", default=16, minimum=1)
    vector_rows: int = quantity("tokens", default=1)
    tile_outputs: int = quantity("1", default=64, minimum=1)
    split_inputs: int = quantity("1", default=512, minimum=1)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class QuantizationLaw(Noun):
    """Constants of the kernels that narrow activations before one matrix multiplication: a property of an engine.

    `value_bytes` is what they move per activation value, reads and writes together; `input_time` that of the
    `GemmLaw` of the narrow products, `flop_efficiency` the share of the dense rate that they reach (None: that of
    the device).
    """

    fixed_time: float = quantity("s")
    value_bytes: float = quantity("B", default=0.0)
    input_time: float = quantity("s", default=0.0)
    flop_efficiency: float | None = quantity("1", default=None, positive=True, maximum=1.0)

    def __post_init__(self) -> None:
        units.check(self)
