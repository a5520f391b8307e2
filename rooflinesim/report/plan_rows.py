"""Capacity plans under the names of JSON and CSV, and what their numbers rest on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rooflinesim.analysis.capacity.candidates import Candidate, Rejection
from rooflinesim.analysis.capacity.energy import ASSUMED
from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.capacity.frontier import FrontierPoint
from rooflinesim.analysis.capacity.plan import Plan, Planned
from rooflinesim.analysis.serving.load import Load
from rooflinesim.analysis.timing import main_matrices
from rooflinesim.report.columns import columns_of
from rooflinesim.report.provenance import Provenance
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import Precision

WAYS = {"TP": "tensor_parallel", "PP": "pipeline_parallel", "EP": "expert_parallel", "DP": "data_parallel"}
"""Ways to spread a replica, by their short names."""


def deployments(plan: Plan) -> list[Deployment]:
    """The engines of a plan's fleets."""
    parts = [(one.choice.candidate, one.choice.prefill) for one in plan.fleets]
    return list({id(one): one.deployment for pair in parts for one in pair if one}.values())


def main_weights(model: Model, precision: Precision) -> str:
    """Name of the format of most weights."""
    return main_matrices(model, precision).name


def plan_columns(points: Sequence[Mapping[str, Any]], plans: Sequence[Plan]) -> dict[str, list[Any]]:
    """One row for each fleet of each plan; a plan without any has none."""
    rows = [
        {**point, "rank": rank, **fleet_row(one)}
        for point, plan in zip(points, plans, strict=True)
        for rank, one in enumerate(plan.fleets, start=1)
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def fleet_row(one: Planned) -> dict[str, Any]:
    """A fleet under the names of JSON and CSV."""
    choice = one.choice
    state = {name: _first(values) for name, values in columns_of(choice.state).items()}
    return {
        **choice_row(choice),
        "excess": choice.excess,
        "excess_high": _finite(choice.sure_excess),
        "nearest_target": choice.metric,
        "usd_per_million_input_tokens": one.prices.per_million_input,
        "usd_per_million_output_tokens": one.prices.per_million_output,
        "energy_per_output_token_j": one.energy.per_token,
        "power_w": one.energy.power,
        "design_power_w": one.energy.peak,
        "head_room": one.head_room,
        "tokens_per_s_per_device": state["tokens_per_s"] / choice.fleet.devices,
        **state,
    }


def choice_row(choice: Choice) -> dict[str, Any]:
    """What a fleet is made of."""
    own, other = choice.candidate, choice.prefill
    return {
        **own.site.names,
        **{field: getattr(own.layout, field) for field in WAYS.values()},
        "replicas": choice.fleet.replicas,
        **{f"prefill_{field}": getattr(other.layout, field) if other else None for field in WAYS.values()},
        "prefill_replicas": choice.fleet.prefill_replicas if other else None,
        "devices": choice.fleet.devices,
        "batch_limit": batch_limit(choice),
        "chunk_tokens": choice.policy.chunk_tokens,
        "draft_length": choice.drafts.draft_length if choice.drafts else 0,
        "verdict": choice.verdict,
        "usd_per_hour": choice.price,
    }


def batch_limit(choice: Choice) -> int:
    """Requests that an engine should run at once at most: the policy's limit, or what fits into memory."""
    fitting = float(choice.state.concurrency[0])
    return int(min(choice.policy.batch_limit or fitting, fitting))


def _first(values: Sequence[Any]) -> Any:
    value = values[0]
    return value.item() if hasattr(value, "item") else value


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def plan_summary(plan: Plan) -> dict[str, Any]:
    """The recommendation, what else there is, and why the rest is not in it."""
    demand = plan.demand
    return {
        "load": _load_row(demand.load),
        "objective": {f"{name}_s": value for name, value in demand.targets.items()},
        "feasible": bool(plan.fleets),
        "cheapest": fleet_row(plan.fleets[0]) if plan.fleets else None,
        "cheapest_surely": fleet_row(plan.surest) if plan.surest else None,
        "nearest_miss": _miss_row(plan),
        "candidates": plan.candidates,
        "variants": plan.variants,
        "solved": plan.looked_at,
        "rejected": [_rejected_row(one) for one in plan.rejected],
        "frontier": [_frontier_row(one) for one in plan.frontier],
        "scaling": [
            {
                **_engine_row(one.candidate),
                "devices": one.devices,
                "batch": one.batch,
                "step_time_s": one.step_time,
                "speedup": one.speedup,
                "rate_per_device": one.per_device,
            }
            for one in plan.scaling
        ],
        "changes": [
            {
                "what": one.what,
                "factor": one.factor,
                "is_same": one.is_same,
                "cheapest": choice_row(one.choice) if one.choice else None,
            }
            for one in plan.changes
        ],
    }


def _load_row(load: Load) -> dict[str, Any]:
    return {
        "requests_per_s": None if load.requests_per_s is None else float(load.points[0]),
        "users": None if load.users is None else float(load.points[0]),
        "prompt_tokens": load.prompt_tokens,
        "output_tokens": load.output_tokens,
        "cached_share": load.cached_share,
    }


def _engine_row(candidate: Candidate) -> dict[str, Any]:
    return {
        **candidate.site.names,
        **{field: getattr(candidate.layout, field) for field in WAYS.values()},
    }


def _rejected_row(one: Rejection) -> dict[str, Any]:
    row = {
        **one.site.names,
        **{field: getattr(one.layout, field) for field in WAYS.values()},
        "limit": one.limit,
        "reason": one.reason,
        "missing_bytes": one.missing,
        "target": one.metric,
        "least_time_s": one.least_time,
        "least_cost": one.least_cost,
    }
    return {name: value for name, value in row.items() if value is not None}


def _frontier_row(one: FrontierPoint) -> dict[str, Any]:
    return {
        **_engine_row(one.candidate),
        "draft_length": one.drafts.draft_length if one.drafts else 0,
        "batch": one.batch,
        "tokens_per_s_per_user": one.tokens_per_s_per_user,
        "tokens_per_s_per_device": one.tokens_per_s_per_device,
        "usd_per_million_output_tokens": one.cost_per_million,
        "is_most_per_device": one.is_most_per_device,
        "is_cheapest": one.is_cheapest,
    }


def _miss_row(plan: Plan) -> dict[str, Any] | None:
    miss = plan.nearest
    if miss is None:
        return None
    return {
        "nearest": _rejected_row(miss.rejection) if miss.rejection else None,
        "weight_read_floor_s": miss.floor,
        "feasible_with": {f"{name}_s": value for name, value in miss.targets.items()} if miss.relaxed else None,
        "fleet": choice_row(miss.relaxed) if miss.relaxed else None,
    }


def energy_provenance() -> list[Provenance]:
    """Where the constants of energy come from."""
    source = "general knowledge, not measured; THEORY 4.13"
    return [
        Provenance(what=f"energy: {what}", value=value, unit=unit, kind="assumed", source=source)
        for what, value, unit in (
            ("byte_energy", ASSUMED.byte_energy, "J/B"),
            ("flop_energy", ASSUMED.flop_energy, "J/FLOP"),
            ("static_power", ASSUMED.static_power, "W"),
        )
    ]


def plan_notes(plans: Sequence[Plan]) -> Iterator[str]:
    """What a reader must know about plans."""
    yield (
        f"energy assumes {ASSUMED.byte_energy * 1e12:g} pJ per byte of memory, {ASSUMED.flop_energy * 1e12:g} pJ per"
        f" FLOP and {ASSUMED.static_power:g} W per idle device, its design power at most; hosts and cooling left out"
    )
    if any(not plan.demand.targets for plan in plans):
        yield "no objective: fleets are the smallest whose queues do not grow without end"
    if any(one.choice.price is None for plan in plans for one in plan.fleets):
        yield "no price: fleets are ranked by their number of devices"
