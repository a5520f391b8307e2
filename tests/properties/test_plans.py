"""The search of a plan against brute force: every fleet of a small grid, solved one by one."""

import itertools

import pytest

from rooflinesim.analysis.capacity.candidates import Candidate, Site, candidates
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.layouts import layouts
from rooflinesim.analysis.capacity.objectives import excess, worst
from rooflinesim.analysis.capacity.search import search
from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.steady import steady_state
from rooflinesim.analysis.serving.times import EngineTimes, decode_times, engine_times
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.config import load_hardware, load_model, load_stack
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.precision import precision_of

MODEL = load_model("llama3-8b")
PRICES = {"l40s": 0.9, "h100": 2.5}
MOST = 6
"""Engines of a kind that brute force tries."""


def looked_up(deployment: Deployment) -> list[Drafts]:
    acceptance = Acceptance(kind="conditional", value=0.7)
    speculation = Speculation(target=deployment, method=PromptLookup(hit_rate=0.6))
    return [Drafts(speculation=speculation, acceptance=acceptance, draft_length=length) for length in (2, 4)]


@pytest.fixture(scope="module")
def engines() -> list[Candidate]:
    sites = [
        Site(
            names={"hardware": name},
            model=MODEL,
            hardware=load_hardware(name),
            stack=load_stack("vllm"),
            precision=precision_of(MODEL),
            price=price,
        )
        for name, price in PRICES.items()
    ]
    spread = layouts(MODEL, tensor=(1, 2), pipeline=(1,))
    found, rejected = candidates(sites, spread, context=1500, drafts_of=looked_up)
    assert len(found) == 4
    assert not rejected
    return found


def brute_force(engines: list[Candidate], demand: Demand, *, is_sure: bool) -> float:
    """Cost of the cheapest of all fleets; infinite where none meets the demand."""
    load, cheapest = demand.load, float("inf")
    known: dict[tuple[int, int, int | None], EngineTimes] = {}

    def tables(own: Candidate, drafts: Drafts | None, chunk: int | None) -> EngineTimes:
        key = (id(own), id(drafts), chunk)
        if key not in known:
            decode = decode_times(own.deployment, load.mean_context, drafts, largest=64)
            known[key] = engine_times(decode, load, chunk)
        return known[key]

    def meets(fleet: Fleet, policy: Policy, own: Candidate, drafts: Drafts | None) -> bool:
        times = tables(own, drafts, None if fleet.is_disaggregated else policy.chunk_tokens)
        state = steady_state(fleet, load, policy, drafts, times)
        return bool(worst(excess(state, demand.targets, is_sure=is_sure))[0][0] <= 1.0)

    for own in engines:
        for drafts, limit in itertools.product(own.drafts, demand.batch_limits):
            for chunk, replicas in itertools.product(demand.chunk_sizes, range(1, MOST + 1)):
                cost = replicas * own.replica_cost
                policy = Policy(batch_limit=limit, chunk_tokens=chunk)
                if cost < cheapest and meets(Fleet(decode=own.deployment, replicas=replicas), policy, own, drafts):
                    cheapest = cost
            for other, replicas, prompts in itertools.product(engines, range(1, MOST + 1), range(1, MOST + 1)):
                cost = replicas * own.replica_cost + prompts * other.replica_cost
                if cost >= cheapest or other.site is not own.site:
                    continue
                apart = Fleet(
                    decode=own.deployment,
                    replicas=replicas,
                    prefill=other.deployment,
                    prefill_replicas=prompts,
                )
                if meets(apart, Policy(batch_limit=limit), own, drafts):
                    cheapest = cost
    return cheapest


@pytest.mark.parametrize(
    ("amount", "tpot", "ttft"),
    [(2.0, 0.05, 1.0), (12.0, 0.03, 0.5), (24.0, 0.04, 2.0), (6.0, 0.012, 0.3)],
)
def test_the_cheapest_fleet_is_that_of_brute_force(engines: list[Candidate], amount: float, tpot: float, ttft: float):
    demand = Demand(
        load=Load(requests_per_s=amount, prompt_tokens=1000.0, output_tokens=200.0),
        targets={"tpot_p95": tpot, "ttft_p95": ttft},
        batch_limits=(16, 64),
        chunks=(0, 512),
    )
    fleets = search(engines, demand, top=2).fleets
    assert fleets[0].cost == pytest.approx(brute_force(engines, demand, is_sure=False), rel=1e-9)
    sure = [one.cost for one in fleets if one.verdict == "surely"]
    assert min(sure) == pytest.approx(brute_force(engines, demand, is_sure=True), rel=1e-9)


def test_users_who_ask_again_get_the_fleet_of_brute_force(engines: list[Candidate]):
    demand = Demand(
        load=Load(users=60.0, prompt_tokens=1000.0, output_tokens=200.0),
        targets={"tpot_mean": 0.04, "ttft_mean": 1.0},
        batch_limits=(16, 64),
        chunks=(0,),
    )
    fleets = search(engines, demand, top=2).fleets
    assert fleets[0].cost == pytest.approx(brute_force(engines, demand, is_sure=False), rel=1e-9)


def test_more_traffic_never_costs_less(engines: list[Candidate]):
    targets = {"tpot_p95": 0.04, "ttft_p95": 1.0}
    costs = [
        search(
            engines,
            Demand(load=Load(requests_per_s=rate, prompt_tokens=1000.0, output_tokens=200.0), targets=targets),
            top=1,
        )
        .fleets[0]
        .cost
        for rate in (1.0, 4.0, 16.0, 64.0)
    ]
    assert costs == sorted(costs)
