"""How far off may a predicted time be? The band of the evidence that it rests on."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from rooflinesim.analysis.timing import main_format
from rooflinesim.cost.machine import measured_kernels
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.stack import Band
from rooflinesim.workload.step import Array, Step

Evidence = Literal["measured", "fitted", "transferred", "bound"]
Kind = Literal["single", "single_quantised", "batched", "parallel", "experts", "prompt", "first_token"]
"""Kinds of time: steps, prompts alone, and first tokens that wait for others in a closed loop."""

WIDENING = 1.5
"""Power by which a band widens where batch or context lie outside what the stack was fitted on."""


def evidence_of(deployment: Deployment) -> Evidence:
    """What a prediction rests on: kernels of this device, or a stack fitted on it or on others, or it is a bound."""
    stack = deployment.stack
    measured = measured_kernels(deployment.hardware, stack)
    if main_format(deployment).name in measured:
        return "measured"
    if not stack.bands:
        return "bound"
    return "fitted" if deployment.hardware.name in stack.fitted_on else "transferred"


def kind_of(deployment: Deployment, *, is_single: bool, is_prompt: bool) -> Kind:
    """Kind of step by which bands are told apart."""
    if is_prompt:
        return "prompt"
    if any(group.moe for group in deployment.model.layers):
        return "experts"
    if deployment.group_devices > 1:
        return "parallel"
    if not is_single:
        return "batched"
    return "single" if main_format(deployment).family == "16-bit" else "single_quantised"


def band_of(
    deployment: Deployment, step: Step, *, is_prompt: bool = False, is_queued: bool = False
) -> tuple[Array, Array]:
    """Factors on predicted times between which 80 % of measurements are meant to lie; 1 and 1 without bands.

    Outside the batches and contexts that the stack was fitted on, both are raised to a power.
    """
    if evidence_of(deployment) == "bound":
        return 1.0, 1.0
    bands = _bands_of(deployment)

    def factors(band: Band) -> tuple[float, float]:
        return band.low, band.high

    if is_queued:
        return factors(bands["first_token"] if "first_token" in bands else bands["prompt"])
    several = factors(bands[kind_of(deployment, is_single=False, is_prompt=is_prompt)])
    one = factors(bands[kind_of(deployment, is_single=True, is_prompt=is_prompt)])
    is_single = np.asarray(step.batch) * step.new_tokens <= 1.0
    stack = deployment.stack
    is_outside = (step.batch > stack.largest_batch) | (step.context + step.new_tokens > stack.longest_context)
    case = is_single + 2 * is_outside
    low, high = (np.array([b, a, b**WIDENING, a**WIDENING])[case] for a, b in zip(one, several, strict=True))
    return low, high


def _bands_of(deployment: Deployment) -> Mapping[str, Band]:
    """Bands by kind of step, of the evidence that there is for a deployment."""
    stack, calibration = deployment.stack, deployment.hardware.calibration
    match evidence_of(deployment):
        case "measured" if calibration and calibration.bands:
            return {**stack.bands, **stack.transfer_bands, **calibration.bands}
        case "fitted":
            return stack.bands
        case _:
            return {**stack.bands, **stack.transfer_bands}
