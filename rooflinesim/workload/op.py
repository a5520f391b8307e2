"""One operation of a forward pass on one device, counted: FLOPs, and bytes by kind."""

import dataclasses
from typing import Literal

from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.model import PartName
from rooflinesim.workload.step import Array

OpKind = Literal["gemm", "experts", "attention", "recurrent", "elementwise", "all_reduce", "all_gather", "all_to_all"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GemmShape(Noun):
    """A product of `rows` tokens with an `inputs` x `outputs` weight."""

    rows: Array
    inputs: float
    outputs: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExpertShape(Noun):
    """Products of a step's tokens with the weights of the experts of one device.

    `rows` are pairs of a token and an expert of this device, `remote_rows` those whose expert another device
    holds, `awake` the expected experts among the former; `tokens` are those of all devices, of `sequences`. Each
    token takes `active` of `experts`, dealt over `ranks` devices; one expert's weight is `inputs` x `outputs`.
    """

    rows: Array
    remote_rows: Array
    awake: Array
    tokens: Array
    sequences: Array
    experts: float
    active: float
    ranks: float
    inputs: float
    outputs: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttentionShape(Noun):
    """Queries of `new_tokens` per sequence against `read_tokens` of each sequence's cache.

    `group` query heads share each of the `kv_heads`; a latent cache is one KV head that all heads share. Each
    query token with each cached token takes `pair_flops`, all heads together. A cached value has `value_bytes`.
    """

    batch: Array
    new_tokens: Array
    read_tokens: Array
    kv_heads: float
    group: float
    pair_flops: float
    value_bytes: float = 2.0


Shape = GemmShape | ExpertShape | AttentionShape


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Op(Noun):
    """One kernel's work on one device, `count` times in a step; counts below are those of one time.

    `form` is the number format whose math the FLOPs run in, `shape` what decides how well they fill a device.
    `kv_bytes` are cache and recurrent-state traffic, `network_bytes` the message of a collective over `ranks`
    devices.
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
    shape: Shape | None = None

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
        shape=GemmShape(rows=rows, inputs=inputs, outputs=outputs),
    )
