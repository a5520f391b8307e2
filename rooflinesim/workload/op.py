"""One operation of a forward pass on one device, counted: FLOPs, and bytes by kind."""

import dataclasses
from typing import Literal

from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.model import PartName
from rooflinesim.workload.step import Array

OpKind = Literal["gemm", "attention", "recurrent", "elementwise", "all_reduce", "all_gather"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Op(Noun):
    """One kernel's work on one device, `count` times in a step; counts below are those of one time.

    `form` is the number format whose math the FLOPs run in. `kv_bytes` are cache and recurrent-state
    traffic, `network_bytes` the message of a collective over `ranks` devices.
    """

    name: str
    kind: OpKind
    count: float
    form: NumberFormat
    part: PartName | None = None
    flops: Array = 0.0
    weight_bytes: Array = 0.0
    kv_bytes: Array = 0.0
    activation_bytes: Array = 0.0
    network_bytes: Array = 0.0
    ranks: int = 1

    @property
    def memory_bytes(self) -> Array:
        """Bytes that pass through device memory, all kinds [B]."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes


def gemm(
    name: str,
    *,
    rows: Array,
    inputs: float,
    outputs: float,
    weights: NumberFormat,
    activations: NumberFormat,
    count: float = 1.0,
    part: PartName | None = None,
) -> Op:
    r"""A matrix product of `rows` tokens with an inputs x outputs weight.

    .. math:: F = 2 n k m, \qquad Q = w k m + a n (k + m)

    References
    ----------
    .. [1] Austin et al. How to Scale Your Model. 2025, chapter "All About Rooflines", eq. for matmul.
    """
    return Op(
        name=name,
        kind="gemm",
        count=count,
        form=weights,
        part=part,
        flops=2.0 * rows * inputs * outputs,
        weight_bytes=weights.bytes * inputs * outputs,
        activation_bytes=activations.bytes * rows * (inputs + outputs),
    )
