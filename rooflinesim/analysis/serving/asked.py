"""From a point of a scenario's axes to the fleet, policy, load and drafts that it names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.speculation.drafting import Drafting, acceptance_of, speculation_of
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.scenario import Prefill, Speculation, Traffic

Point = Mapping[str, Any]

DRAFTING_BATCH = 8.0
"""Batch at which a draft on one device is compared with one on all of the target's [1]."""

WAYS = {
    "tensor": "tensor_parallel",
    "pipeline": "pipeline_parallel",
    "expert": "expert_parallel",
    "data": "data_parallel",
}
"""Ways to spread a model, as a scenario and as a deployment name them."""


def fleet_of(decode: Deployment, prefill: Prefill | None, hardware: Hardware | None, point: Point) -> Fleet:
    """The fleet of a point around its decode engine; `hardware` reads prompts if it is another than that decodes."""
    if prefill is None:
        return Fleet(decode=decode, replicas=point["replicas"])
    ways = {field: point[f"prefill_{name}"] for name, field in WAYS.items()}
    return Fleet(
        decode=decode,
        replicas=point["replicas"],
        prefill=dataclasses.replace(decode, hardware=hardware or decode.hardware, **ways),
        prefill_replicas=point["prefill_replicas"],
        transfer_bandwidth=prefill.transfer_bandwidth,
    )


def policy_at(point: Point) -> Policy:
    """The policy of a point."""
    return Policy(batch_limit=point["batch_limit"], chunk_tokens=point["chunk_tokens"] or None)


def load_at(traffic: Traffic, point: Point) -> Load:
    """The load of a point, at all rates or numbers of users; a trace is read for it elsewhere."""
    return Load(
        requests_per_s=np.array(traffic.requests_per_s) if traffic.requests_per_s else None,
        users=np.array(traffic.users, dtype=np.float64) if traffic.users else None,
        prompt_tokens=point["prompt_tokens"],
        output_tokens=point["output_tokens"],
        cached_share=point["cached_share"],
        prompt_spread=traffic.prompt_spread,
        output_spread=traffic.output_spread,
    )


def drafts_of(target: Deployment, drafting: Drafting, asked: Speculation, load: Load, point: Point) -> Drafts:
    """Speculation in the loop at a point that drafts."""
    length = point["draft_length"]
    speculation = speculation_of(target, drafting, batch=DRAFTING_BATCH, context=load.mean_context, longest=length)
    kept = acceptance_of(asked, point.get("acceptance_rate", 0.0), max(asked.draft_length, default=length))
    return Drafts(speculation=speculation, acceptance=kept, draft_length=length)
