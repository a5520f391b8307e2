"""How much of a device's memory a deployment takes, for one point or for many."""

import dataclasses
import math

import numpy as np

from rooflinesim.analysis.timing import step_ops
from rooflinesim.specs.deployment import Deployment, reach_of
from rooflinesim.workload.footprint import (
    Storage,
    activation_bytes,
    cache_bytes,
    resident_weight_bytes,
    state_bytes,
)
from rooflinesim.workload.step import Array, Step


def usable_memory(deployment: Deployment) -> float | None:
    """Bytes of one device that the software takes for weights, cache and activations [B]; None if unknown."""
    capacity = deployment.hardware.memory_capacity
    return None if capacity is None else capacity * deployment.stack.memory_utilization


def storage_of(deployment: Deployment) -> Storage:
    """Memory layout of a deployment."""
    return Storage(
        ranks=deployment.tensor_parallel,
        experts_over=deployment.group_devices,
        head_over=deployment.tensor_parallel if deployment.stack.shards_head else 1,
        stage_share=math.ceil(deployment.model.layer_count / deployment.pipeline_parallel)
        / deployment.model.layer_count,
        block=deployment.stack.cache_block,
        has_rolling_window=deployment.stack.has_rolling_window_cache,
    )


def resident_bytes(deployment: Deployment, step: Step) -> Array:
    """Bytes in one device's memory while a step runs: weights, cache with the new tokens, states, activations [B].

    Of a pipeline, the stage with the most layers; embedding and head are spread like layers.
    """
    model, precision, ranks = deployment.model, deployment.precision, deployment.tensor_parallel
    storage = storage_of(deployment)
    weights = sum(resident_weight_bytes(model, precision, ranks, storage.experts_over, storage.head_over).values())
    cache = cache_bytes(model, precision, step.context + step.new_tokens, storage)
    sequence = cache + state_bytes(model, precision, ranks)
    own = dataclasses.replace(step, batch=step.batch / deployment.data_parallel)
    activations = activation_bytes(model, precision, own.tokens, own.logit_rows, ranks)
    return storage.stage_share * (weights + own.batch * sequence) + activations


def max_batch(deployment: Deployment, context: int) -> int | None:
    r"""Sequences of a given context that fit at once [1]; None if the capacity is unknown.

    .. math:: B_{max} = \lfloor (M u - W) / (kv \lceil s / block \rceil block + state + act) \rfloor
    """
    usable = usable_memory(deployment)
    if usable is None:
        return None
    none, one = (float(resident_bytes(deployment, Step(batch=b, context=float(context)))) for b in (0.0, 1.0))
    return max(0, math.floor((usable - none) / (one - none)))


def fitting_tensor_parallel(deployment: Deployment, batch: int, context: int) -> int | None:
    """Smallest power of two of devices that would hold the deployment [1]; None if none or unknown."""
    usable = usable_memory(deployment)
    reach = reach_of(deployment.hardware)
    ranks = 1
    while usable is not None and ranks <= reach:
        try:
            wider = dataclasses.replace(
                deployment, tensor_parallel=ranks, expert_parallel=1, data_parallel=1, pipeline_parallel=1
            )
            step_ops(wider, Step())
            if float(np.max(resident_bytes(wider, Step(batch=float(batch), context=float(context))))) <= usable:
                return ranks
        except ValueError:
            return None
        ranks *= 2
    return None
