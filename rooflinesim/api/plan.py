"""Which fleet serves the traffic of a scenario within its objective, at the least cost?"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rooflinesim import __version__
from rooflinesim.analysis.capacity.candidates import DraftsOf, Site
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.layouts import EVERY_COUNT, layouts
from rooflinesim.analysis.capacity.plan import Plan
from rooflinesim.analysis.capacity.plan import plan as capacity_plan
from rooflinesim.analysis.serving.arrivals import load_of
from rooflinesim.analysis.serving.asked import DRAFTING_BATCH, load_at
from rooflinesim.analysis.serving.load import Drafts, Load
from rooflinesim.analysis.speculation.drafting import acceptance_of, speculation_of
from rooflinesim.api.answers import resolved
from rooflinesim.api.scenario_drafting import DEFAULT_LENGTHS, drafting_of, speculation_points
from rooflinesim.api.scenario_traffic import traffic_of
from rooflinesim.api.serving import trace_of
from rooflinesim.config.scenarios import Named, named
from rooflinesim.errors import DomainError, RooflinesimError, UnsupportedError
from rooflinesim.report import plan_rows as rows
from rooflinesim.report.answer import Answer
from rooflinesim.report.plan import plan_views
from rooflinesim.report.provenance import provenance_of
from rooflinesim.report.scenarios import Part
from rooflinesim.report.text import deployment_notes
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.scenario import Scenario

MAXIMUM_PLANS = 50
"""Plans of one answer: a scenario may name several models, loads, objectives and acceptances."""

Point = Mapping[str, Any]


def plan(*, scenario: Scenario, top: int = 5, explain: bool = False) -> Answer:
    """The cheapest fleets for the traffic and the objective of a scenario.

    Parameters
    ----------
    top : engines whose cheapest fleet is shown. [1] >= 1
    explain : whether every engine that is in no fleet is shown with what binds it

    Raises
    ------
    RooflinesimError : if a name is unknown, traffic is missing, or some devices have a price and others none.
    """
    part = plan_part(scenario, top=top, explain=explain)
    return Answer(
        command="plan",
        version=__version__,
        result=part.result,
        columns=part.columns,
        describe_inputs=lambda: part.inputs,
        provenance=part.provenance,
        summary=part.summary,
        notes=tuple(dict.fromkeys(part.notes)),
        views=part.views,
    )


def plan_part(scenario: Scenario, *, top: int = 5, explain: bool = False) -> Part:
    """The same as one of the answers to several scenarios."""
    _check(scenario)
    nouns = named(scenario)
    points = plan_points(scenario, nouns)
    if len(points) > MAXIMUM_PLANS:
        raise DomainError(
            f"{scenario.name}: {len(points):,} plans are too many; at most {MAXIMUM_PLANS}: shorten an axis"
        )
    plans = [plan_at(scenario, nouns, point, top=top) for point in points]
    axes = [name for name in points[0] if len({point[name] for point in points}) > 1]
    asked = [{name: point[name] for name in axes} for point in points]
    shown = [deployment for one in plans for deployment in rows.deployments(one)]
    return Part(
        result=plans[0] if len(plans) == 1 else tuple(plans),
        columns=rows.plan_columns(asked, plans),
        inputs={
            "scenario": scenario.name,
            "question": "plan",
            "points": [{name: value for name, value in point.items() if value is not None} for point in points],
            "price_usd_per_hour": dict(scenario.price or {}),
            "maximum_devices": scenario.maximum_devices,
            "axes": {name: [point[name] for point in asked] for name in axes},
            "deployments": [resolved(one, {}, {}) for one in shown],
            "paths": dict(nouns.paths),
        },
        summary={"plans": [{**point, **rows.plan_summary(one)} for point, one in zip(asked, plans, strict=True)]},
        provenance=tuple(
            dict.fromkeys([*(fact for one in shown for fact in provenance_of(one)), *rows.energy_provenance()])
        ),
        notes=[
            *nouns.notes,
            *rows.plan_notes(plans),
            *dict.fromkeys(n for one in shown for n in deployment_notes(one)),
        ],
        views=[
            view
            for point, one in zip(asked, plans, strict=True)
            for view in plan_views(scenario.name, point, one, explain=explain)
        ],
    )


def _check(scenario: Scenario) -> None:
    """Hold a scenario to what a plan needs.

    Raises
    ------
    DomainError : if traffic is missing, or some devices have a price and others none.
    UnsupportedError : if the scenario lays out engines for prompts.
    """
    traffic_of(scenario)
    if scenario.prefill is not None:
        raise UnsupportedError(
            f"{scenario.name}: prefill: a plan chooses the engines for prompts itself; leave it out, or write"
            " disaggregated: true for fleets with such engines only"
        )
    for device in scenario.hardware if scenario.price else ():
        if device not in scenario.price:
            raise DomainError(
                f"{scenario.name}: price: {device} has none; give one like price: {{{device}: 2.5 USD/h}}, or leave"
                " price out to rank by number of devices"
            )


def plan_points(scenario: Scenario, nouns: Named) -> list[dict[str, Any]]:
    """Every combination of models, loads, objectives and acceptances: each is a plan of its own."""
    traffic, objective = traffic_of(scenario), scenario.objective
    axes: dict[str, Sequence[Any]] = {
        "model": list(nouns.model),
        "requests_per_s": traffic.requests_per_s or (None,),
        "users": traffic.users or (None,),
        "prompt_tokens": traffic.prompt_tokens or (None,),
        "output_tokens": traffic.output_tokens or (None,),
        "cached_share": traffic.cached_share,
    }
    if objective is not None:
        for field in dataclasses.fields(objective):
            if getattr(objective, field.name):
                axes[f"{field.name}_s"] = getattr(objective, field.name)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if scenario.speculation is None:
        return points
    return [{**point, **further} for point in points for further in speculation_points(scenario)]


def plan_at(scenario: Scenario, nouns: Named, point: Point, *, top: int) -> Plan:
    """The plan of one point."""
    model, load = nouns.model[point["model"]], _load(scenario, point)
    ways, limit = scenario.parallelism, scenario.maximum_devices
    demand = Demand(
        load=load,
        targets={name.removesuffix("_s"): value for name, value in point.items() if name[:5] in ("tpot_", "ttft_")},
        batch_limits=scenario.policy.batch_limit,
        chunks=scenario.policy.chunk_tokens,
        replicas=scenario.replicas,
        maximum_devices=limit,
        is_disaggregated=scenario.disaggregated,
    )
    spread = layouts(
        model,
        tensor=ways.tensor,
        pipeline=ways.pipeline,
        expert=ways.expert,
        data=ways.data,
        largest=limit or EVERY_COUNT,
    )
    return capacity_plan(
        list(sites(scenario, nouns, model)), spread, demand, drafts_of=_drafts_of(scenario, model, load, point), top=top
    )


def _load(scenario: Scenario, point: Point) -> Load:
    traffic = traffic_of(scenario)
    if traffic.trace:
        return load_of(trace_of(scenario, point["cached_share"]))
    rates, users = (() if point[name] is None else (point[name],) for name in ("requests_per_s", "users"))
    return load_at(dataclasses.replace(traffic, requests_per_s=rates, users=users), point)


def sites(scenario: Scenario, nouns: Named, model: Model) -> Iterator[Site]:
    """Kinds of devices under stacks and formats, with their prices."""
    prices = scenario.price or {}
    choices = itertools.product(
        zip(scenario.hardware, nouns.hardware.items(), strict=True),
        scenario.memory or (None,),
        nouns.stack.items(),
        scenario.precision.weights,
        scenario.precision.kv_cache,
    )
    for (key, (name, hardware)), memory, (stack_name, stack), weights, kv_cache in choices:
        precision = precision_of(model, weights=weights, kv_cache=kv_cache)
        names: dict[str, Any] = {"hardware": name}
        if memory is not None:
            hardware = dataclasses.replace(hardware, memory_capacity=memory)
            names["memory_capacity_bytes"] = memory
        names |= {
            "stack": stack_name,
            "weights": weights or rows.main_weights(model, precision),
            "kv_cache": kv_cache or precision.kv_cache.name,
        }
        yield Site(names=names, model=model, hardware=hardware, stack=stack, precision=precision, price=prices.get(key))


def _drafts_of(scenario: Scenario, model: Model, load: Load, point: Point) -> DraftsOf | None:
    """What a deployment may draft with: every length of the scenario's method, where the method runs on it."""
    asked = scenario.speculation
    if asked is None:
        return None
    if asked.tree is not None:
        raise UnsupportedError(f"{scenario.name}: speculation.tree: a plan is answered for chains: give draft_length")
    lengths = [length for length in asked.draft_length or DEFAULT_LENGTHS if length]
    drafting = drafting_of(asked, model)
    acceptance = acceptance_of(asked, point.get("acceptance_rate", 0.0), max(lengths, default=None))

    def drafts_of(deployment: Deployment) -> list[Drafts]:
        # A separate model drafts for one group; heads and modules of the target are laid out as it is.
        if deployment.pipeline_parallel > 1 or (deployment.data_parallel > 1 and asked.method == "draft-model"):
            return []
        try:
            speculation = speculation_of(
                deployment, drafting, batch=DRAFTING_BATCH, context=load.mean_context, longest=max(lengths, default=1)
            )
        except RooflinesimError:
            return []
        return [Drafts(speculation=speculation, acceptance=acceptance, draft_length=length) for length in lengths]

    return drafts_of
