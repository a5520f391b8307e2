"""Medusa heads: each guesses one further token from the target's last hidden state, within the verification step."""

import dataclasses

from rooflinesim import units
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op, gemm
from rooflinesim.workload.step import Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MedusaHeads(Noun):
    """As many heads as drafted positions, each a residual block d x d and an output head V x d of its own."""

    heads: int = quantity("1", default=5, minimum=1, maximum=64)

    def __post_init__(self) -> None:
        units.check(self)


def medusa_ops(target: Deployment, step: Step, heads: int) -> tuple[Op, ...]:
    """Operations of the heads for the last accepted token of each sequence; head weights are 16 bits wide.

    Vocabulary and blocks are split over the target's devices. What shares no heads with the target's own output is
    neglected: one more all-gather.

    References
    ----------
    .. [1] Cai et al. Medusa. 2024, arXiv 2401.10774, and its released code.
    """
    model, precision = target.model, target.precision
    width, ranks = float(model.hidden_size), target.tensor_parallel
    rows = step.batch / target.data_parallel
    block = gemm(
        "medusa.block",
        rows=rows,
        inputs=width,
        outputs=width / ranks,
        weights=precision.vectors,
        activations=precision.activations,
        count=heads,
        part="other",
    )
    head = gemm(
        "medusa.head",
        rows=rows,
        inputs=width,
        outputs=model.vocabulary / ranks,
        weights=precision.vectors,
        activations=precision.activations,
        count=heads,
        part="other",
    )
    return block, head


def medusa_bytes(target: Deployment, heads: int) -> float:
    """Bytes of the heads' weights on one device [B]."""
    model = target.model
    parameters = heads * model.hidden_size * (model.hidden_size + model.vocabulary)
    return target.precision.vectors.bytes * parameters / target.tensor_parallel
