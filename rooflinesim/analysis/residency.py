"""How much of a device's memory a deployment takes, for one point or for many."""

from rooflinesim.specs.deployment import Deployment
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
        block=deployment.stack.cache_block,
        has_rolling_window=deployment.stack.has_rolling_window_cache,
    )


def resident_bytes(deployment: Deployment, step: Step) -> Array:
    """Bytes in one device's memory while a step runs: weights, cache with the new tokens, states, activations [B]."""
    model, precision, ranks = deployment.model, deployment.precision, deployment.tensor_parallel
    weights = sum(resident_weight_bytes(model, precision, ranks).values())
    cache = cache_bytes(model, precision, step.context + step.new_tokens, storage_of(deployment))
    sequence = cache + state_bytes(model, precision, ranks)
    return weights + step.batch * sequence + activation_bytes(model, precision, step.tokens, step.logit_rows, ranks)
