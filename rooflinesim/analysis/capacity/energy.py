"""What a fleet draws: moved bytes, computed FLOPs, and what devices take whether they work or not."""

import dataclasses

import numpy as np

from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.serving.load import Drafts, Load
from rooflinesim.analysis.serving.queueing import joule_per_token
from rooflinesim.analysis.speculation.methods import draft_of, verification_ops, verified_rows
from rooflinesim.analysis.speculation.speculate import emitted_tokens
from rooflinesim.analysis.timing import step_ops, step_traffic
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Step


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
    r"""Energy of a fleet that serves a load.

    .. math:: P = \lambda (E_{prompt} + n\, E_{token}) + P_{static}, \quad E = e_B\, bytes + e_F\, FLOP

    at the mean running batch; never above the design power of the devices.
    """
    served = float(choice.state.requests_per_s[0])
    batch = max(1.0, float(choice.state.running[0]))
    decode = decode_energy(choice.candidate.deployment, batch, load.mean_context, choice.drafts, law)
    reader = choice.prefill.deployment if choice.prefill else choice.candidate.deployment
    prompt = Step(batch=1.0, new_tokens=load.new_tokens, context=load.cached_tokens, logit_tokens=1.0)
    read = _energy(step_ops(reader, prompt), reader, law)
    static = law.static_power * choice.fleet.devices
    power = served * (read + load.decoded_tokens * decode) + static
    peak = _design_power(choice)
    power = power if peak is None else min(power, peak)
    return Energy(power=power, per_token=power / (served * load.output_tokens), peak=peak)


def decode_energy(
    deployment: Deployment, batch: float, context: float, drafts: Drafts | None, law: EnergyLaw = ASSUMED
) -> float:
    """Energy of one output token of a decode step, or of a round, the static part left out [J]."""
    if drafts is None:
        step = Step(batch=batch, context=context)
        return _energy(step_ops(deployment, step), deployment, law) / batch
    speculation, length = drafts.speculation, float(drafts.draft_length)
    rows = float(np.max(verified_rows(speculation.method, np.float64(length))))
    verification = verification_ops(speculation, Step(batch=batch, new_tokens=rows, context=context))
    total = _energy(verification, deployment, law)
    draft = draft_of(speculation.method)
    if draft is not None:
        total += length * _energy(step_ops(draft, Step(batch=batch, context=context)), draft, law)
    emitted, _ = emitted_tokens(speculation, drafts.acceptance, np.array([length]))
    return total / (batch * float(emitted[0]))


def _energy(ops: tuple[Op, ...], deployment: Deployment, law: EnergyLaw) -> float:
    """Energy of a step on all devices of a replica, each stage of a pipeline once [J]."""
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
    return float(np.max(each)) * deployment.group_devices


def _design_power(choice: Choice) -> float | None:
    own, other = choice.candidate, choice.prefill
    parts = [(choice.fleet.replicas, own)] + ([(choice.fleet.prefill_replicas, other)] if other else [])
    total = 0.0
    for replicas, candidate in parts:
        power = candidate.site.hardware.thermal_design_power
        if power is None:
            return None
        total += replicas * candidate.layout.devices * power
    return total
