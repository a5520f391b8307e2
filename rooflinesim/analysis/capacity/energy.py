"""What a fleet draws: moved bytes, computed FLOPs, and what devices take whether they work or not."""

import dataclasses

import numpy as np

from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load
from rooflinesim.analysis.serving.queueing import joule_per_token
from rooflinesim.analysis.serving.steady import SteadyState
from rooflinesim.analysis.speculation.methods import draft_of, verification_ops, verified_rows
from rooflinesim.analysis.speculation.speculate import emitted_tokens
from rooflinesim.analysis.timing import step_ops, step_traffic
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EnergyLaw(Noun):
    """Energy of moving a byte through device memory and of one FLOP, and the power of a device that only waits."""

    byte_energy: float = quantity("J/B", default=56e-12)
    flop_energy: float = quantity("J/FLOP", default=0.5e-12)
    static_power: float = quantity("W", default=100.0)


ASSUMED = EnergyLaw()
"""General knowledge of current accelerators, not measured: 4 to 7 pJ for each bit of HBM, 0.3 to 0.8 pJ for each bf16
FLOP, 60 to 100 W of an idle device. Narrower formats are taken to cost the same."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Energy(Noun):
    """Power of a fleet under its load, energy of each output token, and the power that its devices may draw at most.

    `peak` is None where a device states no design power. Hosts, networks and cooling are left out.
    """

    power: float = quantity("W")
    per_token: float = quantity("J")
    peak: float | None = quantity("W")


def energy_of(choice: Choice, load: Load, law: EnergyLaw = ASSUMED) -> Energy:
    """Energy of a fleet that serves a load of one point."""
    power = float(fleet_power(choice.fleet, load, choice.state, choice.drafts, law)[0])
    served = float(choice.state.requests_per_s[0])
    return Energy(power=power, per_token=power / (served * load.output_tokens), peak=design_power(choice.fleet))


def fleet_power(
    fleet: Fleet, load: Load, state: SteadyState, drafts: Drafts | None = None, law: EnergyLaw = ASSUMED
) -> np.ndarray:
    r"""Power of a fleet at each point of a load [W], shape (points,).

    .. math:: P = \lambda (E_{prompt} + n\, E_{token}) + P_{static}, \quad E = e_B\, bytes + e_F\, FLOP

    at the mean running batch; never above the design power of the devices.
    """
    batch = np.maximum(1.0, state.running)
    decode = decode_energy(fleet.decode, batch, load.mean_context, drafts, law)
    reader = fleet.prefill or fleet.decode
    prompt = Step(batch=1.0, new_tokens=load.new_tokens, context=load.cached_tokens, logit_tokens=1.0)
    read = step_energy(step_ops(reader, prompt), reader, law)
    power = state.requests_per_s * (read + load.decoded_tokens * decode) + law.static_power * fleet.devices
    peak = design_power(fleet)
    return np.asarray(power if peak is None else np.minimum(power, peak))


def decode_energy(
    deployment: Deployment, batch: Array, context: Array, drafts: Drafts | None = None, law: EnergyLaw = ASSUMED
) -> Array:
    """Energy of one output token of a decode step, or of a round, the static part left out [J]."""
    if drafts is None:
        step = Step(batch=batch, context=context)
        return step_energy(step_ops(deployment, step), deployment, law) / batch
    speculation, length = drafts.speculation, float(drafts.draft_length)
    rows = float(np.max(verified_rows(speculation.method, np.float64(length))))
    verification = verification_ops(speculation, Step(batch=batch, new_tokens=rows, context=context))
    total = step_energy(verification, deployment, law)
    draft = draft_of(speculation.method)
    if draft is not None:
        total = total + length * step_energy(step_ops(draft, Step(batch=batch, context=context)), draft, law)
    emitted, _ = emitted_tokens(speculation, drafts.acceptance, np.array([length]))
    return total / (batch * float(emitted[0]))


def decode_power(
    deployment: Deployment, batch: Array, context: Array, step_time: Array, law: EnergyLaw = ASSUMED
) -> Array:
    """Power of a deployment that decodes one step after the other [W]."""
    power = (
        decode_energy(deployment, batch, context, law=law) * batch / step_time + law.static_power * deployment.devices
    )
    rated = deployment.hardware.thermal_design_power
    return power if rated is None else np.minimum(power, rated * deployment.devices)


def step_energy(ops: tuple[Op, ...], deployment: Deployment, law: EnergyLaw = ASSUMED) -> Array:
    """Energy of a step on all devices of a replica, each stage of a pipeline once, the static part left out [J]."""
    traffic = step_traffic(ops)
    moved = traffic.weight_bytes + traffic.kv_bytes + traffic.activation_bytes
    each = joule_per_token(
        byte_energy=law.byte_energy,
        moved_bytes=moved,
        flop_energy=law.flop_energy,
        flop=traffic.flop,
        static_power=0.0,
        time=0.0,
        tokens=1.0,
    )
    return each * deployment.group_devices


def design_power(fleet: Fleet) -> float | None:
    """Design power of all devices of a fleet [W]; None where a profile states none."""
    parts = [(fleet.replicas, fleet.decode)] + ([(fleet.prefill_replicas, fleet.prefill)] if fleet.prefill else [])
    total = 0.0
    for replicas, deployment in parts:
        power = deployment.hardware.thermal_design_power
        if power is None:
            return None
        total += replicas * deployment.devices * power
    return total
