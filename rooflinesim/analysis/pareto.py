"""Which batches and splits are worth running: speed for each user against work per device?"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.decode import decode
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ParetoResult(Noun):
    """Decode steps of several splits of one model, each of shape (points,).

    `is_best` marks the points that fit and that none beats in both rates. Where the memory capacity is unknown all
    points count as fitting.
    """

    batch: np.ndarray = quantity("1")
    devices: np.ndarray = quantity("1")
    tensor_parallel: np.ndarray = quantity("1")
    tokens_per_s_per_user: np.ndarray = quantity("tokens/s", column="tokens_per_s_per_user")
    tokens_per_s_per_device: np.ndarray = quantity("tokens/s", column="tokens_per_s_per_device")
    fits: np.ndarray
    is_best: np.ndarray


def pareto(
    deployments: Sequence[Deployment],
    *,
    batch: Array | list[int] | tuple[int, ...],
    context: float = 2048,
    routing: Routing | None = None,
) -> ParetoResult:
    """Rates per user and per device of every batch on every deployment, and which of them are worth running.

    Parameters
    ----------
    deployments : splits of one model over devices, at least one
    batch : sequences of one replica. [1] >= 1, shape (batches,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    """
    steps = [decode(one, batch=batch, context=context, routing=routing) for one in deployments]
    devices = np.concatenate(
        [np.full(step.batch.shape, one.devices) for one, step in zip(deployments, steps, strict=True)]
    )
    per_user = np.concatenate([step.tokens_per_s_per_user for step in steps])
    per_device = np.concatenate([step.tokens_per_s for step in steps]) / devices
    fits = np.concatenate([np.ones(step.batch.shape, bool) if step.fits is None else step.fits for step in steps])
    return ParetoResult(
        batch=np.concatenate([step.batch for step in steps]),
        devices=devices,
        tensor_parallel=np.concatenate(
            [np.full(step.batch.shape, one.tensor_parallel) for one, step in zip(deployments, steps, strict=True)]
        ),
        tokens_per_s_per_user=per_user,
        tokens_per_s_per_device=per_device,
        fits=fits,
        is_best=unbeaten(per_user, np.where(fits, per_device, -np.inf)) & fits,
    )


def unbeaten(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Points that no other point beats in one value without losing in the other."""
    order = np.lexsort((-second, -first))
    ahead = np.concatenate([[-np.inf], np.maximum.accumulate(second[order])[:-1]])
    found = np.empty(first.shape, dtype=bool)
    found[order] = second[order] > ahead
    return found
