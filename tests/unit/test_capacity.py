"""Layouts, costs, energy and limits of capacity plans."""

import dataclasses

import numpy as np
import pytest

from rooflinesim.analysis.capacity.candidates import Site, candidates
from rooflinesim.analysis.capacity.costs import token_prices
from rooflinesim.analysis.capacity.demand import Demand
from rooflinesim.analysis.capacity.energy import ASSUMED, decode_energy, energy_of
from rooflinesim.analysis.capacity.fleets import smallest
from rooflinesim.analysis.capacity.frontier import frontier, scaling
from rooflinesim.analysis.capacity.layouts import Layout, layouts
from rooflinesim.analysis.capacity.limits import weight_floor
from rooflinesim.analysis.capacity.plan import Plan, plan
from rooflinesim.analysis.capacity.search import search
from rooflinesim.analysis.serving.load import Load
from rooflinesim.config import load_hardware, load_model, load_stack
from rooflinesim.errors import DomainError
from rooflinesim.specs.precision import precision_of

MODEL = load_model("llama3-8b")
LOAD = Load(requests_per_s=4.0, prompt_tokens=1000.0, output_tokens=200.0)
TARGETS = {"tpot_p95": 0.04, "ttft_p95": 1.0}


def site(hardware: str = "h100", price: float | None = 2.5, model: str = "llama3-8b", stack: str = "vllm") -> Site:
    found = load_model(model)
    return Site(
        names={"hardware": hardware, "stack": stack, "weights": "bf16", "kv_cache": "bf16"},
        model=found,
        hardware=load_hardware(hardware),
        stack=load_stack(stack),
        precision=precision_of(found),
        price=price,
    )


def planned(*sites: Site, load: Load = LOAD, targets: dict[str, float] = TARGETS, **limits: int) -> Plan:
    spread = layouts(sites[0].model, tensor=(1, 2), pipeline=(1,))
    return plan(sites, spread, Demand(load=load, targets=targets, **limits), top=2)


def test_a_dense_model_has_31_layouts_of_up_to_16_devices_whose_tensor_ranks_divide_its_heads():
    found = [one for one in layouts(load_model("llama3-70b"), largest=16) if 64 % one.tensor_parallel == 0]
    assert len(found) == 16 + 8 + 4 + 2 + 1
    assert all(one.expert_parallel == one.data_parallel == 1 for one in found)
    assert [one.devices for one in found] == sorted(one.devices for one in found)


def test_named_ways_are_obeyed_and_the_others_are_looked_at():
    found = layouts(load_model("deepseek-v3"), tensor=(8,), pipeline=(1, 2), largest=16)
    assert {(one.tensor_parallel, one.pipeline_parallel) for one in found} == {(8, 1), (8, 2)}
    assert {one.expert_parallel for one in found if one.data_parallel == 1} == {1, 2, 4, 8}
    assert {one.data_parallel for one in found if one.pipeline_parallel == 1} == {1, 2}


def test_too_many_layouts_are_refused():
    with pytest.raises(DomainError, match="name some under parallelism"):
        layouts(load_model("deepseek-v3"), largest=100_000)


def test_layouts_that_cannot_be_say_why():
    spread = [
        Layout(tensor_parallel=3),
        Layout(pipeline_parallel=33),
        Layout(tensor_parallel=2),
    ]
    found, rejected = candidates([site()], spread, context=1200.0)
    assert [one.layout.tensor_parallel for one in found] == [2]
    assert [one.limit for one in rejected] == ["layout", "layout"]
    assert "does not divide 32 heads" in str(rejected[0].reason)
    assert "at most one stage per layer" in str(rejected[1].reason)


def test_experts_are_dealt_evenly():
    own = site("h200", model="deepseek-v3", stack="sglang")
    spread = [Layout(tensor_parallel=1, data_parallel=6, expert_parallel=share) for share in (3, 2)]
    _, rejected = candidates([own], spread, context=1200.0)
    assert "expert parallelism 3 does not divide the 256 experts" in str(rejected[0].reason)
    assert "3 devices for each expert do not divide its width of 2,048" in str(rejected[1].reason)


def test_what_does_not_fit_says_how_much_it_lacks():
    found, rejected = candidates([site("h100", model="llama3-70b")], [Layout()], context=1200.0)
    assert not found
    assert rejected[0].limit == "memory"
    # 141.1 GB of weights and 0.4 GB of cache on a card of 85.5 GB, nine tenths of it used.
    assert rejected[0].missing == pytest.approx(141.5e9 - 0.9 * 85.52e9, rel=0.02)


def test_the_smallest_number_is_found_for_both_criteria_with_few_calls():
    calls = []

    def excesses(numbers: np.ndarray) -> np.ndarray:
        calls.append(numbers.size)
        return np.array([700.0 / numbers, 900.5 / numbers])

    asked = np.unique(np.concatenate([np.arange(1, 9), np.geomspace(1, 4096, 24).astype(np.int64)]))
    assert [number for number, _ in smallest(excesses, asked)] == [700, 901]
    assert sum(calls) < 200
    assert [number for number, _ in smallest(excesses, asked, (800.0, 800.0))] == [700]
    assert [number for number, _ in smallest(excesses, np.array([1, 500, 1000]), is_gapless=False)] == [1000]
    # Where none does, the lightest load shows by how much.
    assert [number for number, _ in smallest(excesses, np.array([1, 2, 3]))] == [3]


def test_prices_of_tokens_add_up_to_the_price_of_the_fleet():
    best = planned(site()).fleets[0]
    paid = token_prices(best.choice, LOAD)
    assert paid.per_million_input is not None
    assert paid.per_million_output is not None
    hourly = 3600 * 4.0 * (1000 * paid.per_million_input + 200 * paid.per_million_output) / 1e6
    assert best.choice.price == 2.5 * best.choice.fleet.devices
    assert hourly == pytest.approx(best.choice.price, rel=1e-12)


def test_without_prices_fleets_are_ranked_by_devices():
    found = planned(site("h100", None), site("l40s", None))
    assert found.fleets[0].choice.price is None
    assert found.fleets[0].prices.per_million_output is None
    assert found.fleets[0].choice.cost == found.fleets[0].choice.fleet.devices == 1


def test_energy_of_a_token_is_that_of_the_theory():
    # THEORY after 4.13: 70B at batch 1 moves 139 GB and computes 139 GFLOP: 7.8 J, and 8 x 100 W for 5.2 ms 4.2 J.
    own = site("h100", model="llama3-70b")
    deployment = candidates([own], [Layout(tensor_parallel=8)], context=2048.0)[0][0].deployment
    assert decode_energy(deployment, 1.0, 2048.0, None) == pytest.approx(7.8, rel=0.02)
    assert ASSUMED.static_power * 8 * 5.2e-3 == pytest.approx(4.2, rel=0.02)


def test_a_fleet_never_draws_more_than_its_design_power():
    best = planned(site(), load=dataclasses.replace(LOAD, requests_per_s=30.0)).fleets[0]
    energy = energy_of(best.choice, dataclasses.replace(LOAD, requests_per_s=30.0))
    assert energy.peak == 700.0 * best.choice.fleet.devices
    assert 100.0 * best.choice.fleet.devices < energy.power <= energy.peak
    assert energy.per_token == pytest.approx(energy.power / (30.0 * 200.0))


def test_head_room_is_the_traffic_at_which_the_objective_breaks():
    best = planned(site()).fleets[0]
    assert best.head_room > 1.0
    for factor, verdict in ((0.99, True), (1.01, False)):
        load = dataclasses.replace(LOAD, requests_per_s=4.0 * best.head_room * factor)
        fleets = search(
            [best.choice.candidate], Demand(load=load, targets=TARGETS, is_disaggregated=False), top=1
        ).fleets
        assert (fleets[0].fleet.replicas == best.choice.fleet.replicas) is verdict


def test_none_of_the_frontier_is_beaten_by_another():
    found = planned(site(), site("l40s", 0.9))
    most = [one for one in found.frontier if one.is_most_per_device]
    assert [one.tokens_per_s_per_device for one in most] == sorted(one.tokens_per_s_per_device for one in most)
    cheap = [one.cost_per_million for one in found.frontier if one.is_cheapest]
    assert cheap == sorted(cheap, key=lambda one: -(one or 0.0))


def test_more_devices_speed_a_small_model_up_by_less_than_their_number():
    own = site()
    possible, _ = candidates([own], layouts(MODEL, tensor=(1, 2, 4, 8), pipeline=(1,)), context=1200.0)
    bounds = search(possible, Demand(load=LOAD, targets=TARGETS), top=1).bounds
    points = scaling(bounds, possible[0], 8.0)
    assert [one.devices for one in points] == [1, 2, 4, 8]
    shares = [one.per_device for one in points]
    assert shares == sorted(shares, reverse=True)
    assert frontier(bounds, LOAD)


def test_nothing_feasible_names_what_comes_nearest_and_the_floor():
    # 15.0 GB of weights at 3.35 TB/s on two H100: 2.24 ms.
    found = planned(site(), targets={"tpot_p95": 0.001, "ttft_p95": 1.0})
    assert not found.fleets
    assert found.nearest is not None
    assert found.nearest.floor == pytest.approx(15.01e9 / 2 / 3.35e12, rel=0.01)
    assert found.nearest.rejection is not None
    assert found.nearest.rejection.metric == "tpot_p95"
    assert found.nearest.rejection.limit == "tpot"
    assert {one.limit for one in found.rejected} == {"tpot"}
    assert found.nearest.rejection.least_time == min(one.least_time or 1.0 for one in found.rejected)


def test_too_few_devices_name_how_many_would_do():
    busy = dataclasses.replace(LOAD, requests_per_s=40.0)
    found = planned(site(), load=busy, maximum_devices=1)
    assert not found.fleets
    assert found.nearest is not None
    assert found.nearest.relaxed is not None
    assert found.nearest.relaxed.fleet.devices == planned(site(), load=busy).fleets[0].choice.fleet.devices > 1
    assert {one.limit for one in found.rejected} == {"devices"}


def test_the_floor_is_shared_by_what_a_draft_emits():
    possible, _ = candidates([site()], [Layout()], context=1200.0)
    assert weight_floor(possible[0]) == pytest.approx(15.01e9 / 3.35e12, rel=0.01)


def test_a_change_of_price_changes_the_cost_and_nothing_else():
    found = planned(site())
    dearer = next(one for one in found.changes if one.what == "price of h100" and one.factor > 1.0)
    assert dearer.choice is not None
    assert dearer.is_same
    assert dearer.choice.cost == pytest.approx(1.1 * found.fleets[0].choice.cost)
    assert {one.what for one in found.changes} == {"traffic", "memory bandwidth", "price of h100"}
