"""Inverse questions give back what the forward ones were asked with."""

import dataclasses

import numpy as np
import pytest
from conftest import deployed, device, ideal_stack, serving_stack, small_model

import rooflinesim as rs
from rooflinesim.analysis.aims import Aim, Situation
from rooflinesim.analysis.bracketing import edge
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.residency import max_batch
from rooflinesim.analysis.solve import solve
from rooflinesim.errors import DomainError
from rooflinesim.specs.model import DenseMlp, LayerGroup

SERVED = deployed(stack=serving_stack())
BATCHES = np.arange(1, 3001)


def situation(deployment=SERVED, **rest):
    return Situation(deployment=deployment, **{"batch": 8.0, "context": 512.0, **rest})


def time(deployment, batch, context=512):
    return decode(deployment, batch=batch, context=context).step_time


@pytest.mark.parametrize("target", [0.2e-3, 1e-3, 5e-3, 8e-3])
def test_the_largest_batch_in_time_is_that_of_a_look_at_every_batch(target):
    found = solve(situation(), Aim(goal="tpot", value=target), "batch")
    row = decode(SERVED, batch=BATCHES, context=512)
    for end, times in (("found", row.step_time), ("if_fast", row.step_time_low), ("if_slow", row.step_time_high)):
        # The first batch that takes longer ends it; beyond the fitted batches the fast end of the band falls again.
        late = np.flatnonzero(times > target)
        expected = None if late[0] == 0 else float(BATCHES[late[0] - 1])
        assert getattr(found, end).value == expected
    reached_at = found.found.value or found.best
    assert float(found.at.value[0]) == pytest.approx(float(time(SERVED, reached_at)[0]), rel=1e-12)


def test_the_smallest_batch_of_a_rate_is_that_of_a_look_at_every_batch():
    rates = decode(SERVED, batch=BATCHES, context=512).tokens_per_s
    target = float(rates[700])
    found = solve(situation(), Aim(goal="tokens-per-s", value=target), "batch")
    assert found.found.value == BATCHES[(rates >= target).argmax()]


def test_a_users_rate_is_the_inverse_of_the_time():
    rate = solve(situation(), Aim(goal="tokens-per-s-per-user", value=1000.0), "batch")
    assert rate.found == solve(situation(), Aim(goal="tpot", value=1e-3), "batch").found


def test_the_longest_context_is_just_in_time():
    context = solve(situation(batch=64.0), Aim(goal="tpot", value=2e-3), "context").found.value
    assert time(SERVED, 64, context)[0] <= 2e-3 < time(SERVED, 64, context + 1)[0]


def test_the_longest_prompt_is_just_in_time():
    prompt = solve(situation(context=0.0, batch=1.0), Aim(goal="ttft", value=5e-3), "prompt").found.value
    assert prefill(SERVED, prompt=[prompt]).ttft[0] <= 5e-3 < prefill(SERVED, prompt=[prompt + 1]).ttft[0]


@pytest.mark.parametrize("goal", ["tpot", "ttft"])
def test_a_device_with_the_bandwidth_found_takes_the_target_time(goal):
    # No calibration and no cores: the stack reaches 80 % of whatever the datasheet says.
    quick = deployed(stack=serving_stack(sequence_time=0.0))
    load = {"batch": 64.0, "context": 100_000.0}

    def taken(deployment):
        if goal == "ttft":
            return float(prefill(deployment, prompt=4, **load).ttft[0])
        return float(decode(deployment, **load).step_time[0])

    target = 1.1 * taken(quick)
    bandwidth = solve(situation(quick, prompt=4.0, **load), Aim(goal=goal, value=target), "bandwidth").found.value
    assert 0.5e12 < bandwidth < 1e12
    assert taken(dataclasses.replace(quick, hardware=device(memory_bandwidth=bandwidth))) == pytest.approx(target)


def test_on_the_ideal_roofline_bandwidth_is_bytes_over_time():
    asked = situation(deployed(), batch=1.0)
    moved = decode(deployed(), batch=1, context=512)
    every = moved.weight_bytes[0] + moved.kv_bytes[0] + moved.activation_bytes[0]
    found = solve(asked, Aim(goal="tpot", value=1e-6), "bandwidth")
    assert found.found.value == pytest.approx(every / 1e-6, rel=1e-12)


def test_flop_rate_and_link_come_in_their_own_units():
    shared = deployed(stack=ideal_stack(), ranks=2)
    asked = situation(shared, batch=4000.0, context=0.0)
    whole = float(time(shared, 4000, 0)[0])
    for unknown in ("flop-rate", "link"):
        found = solve(asked, Aim(goal="tpot", value=1.05 * whole), unknown).found.value
        hardware = shared.hardware
        if unknown == "flop-rate":
            changed = dataclasses.replace(hardware, dense_flop_rate={"bf16": found, "fp32": found / 2})
        else:
            changed = dataclasses.replace(hardware, link=dataclasses.replace(hardware.link, bandwidth=found))
        again = time(dataclasses.replace(shared, hardware=changed), 4000, 0)[0]
        assert again == pytest.approx(1.05 * whole, rel=1e-9)


def test_the_fewest_devices_hold_the_model_and_are_in_time():
    # 203 kB of weights: one device of 150 kB holds half of them.
    tight = deployed(hardware=device(memory_capacity=300e3))
    one = solve(situation(tight, batch=1.0, context=0.0), Aim(goal="tpot", value=1.0), "gpus")
    assert time(tight, 1, 0)[0] <= 1.0
    assert one.found.value == 2.0
    assert one.held.fits


def test_cost_is_price_over_tokens():
    rate = decode(SERVED, batch=8, context=512).tokens_per_s[0]
    price = solve(situation(), Aim(goal="usd-per-mtok", value=0.5), "price").found.value
    assert price / 3600 / rate * 1e6 == pytest.approx(0.5)
    batch = solve(situation(price=2.0), Aim(goal="usd-per-mtok", value=0.05), "batch").found.value
    costs = 2.0 / 3600 * 1e6 / decode(SERVED, batch=[batch - 1, batch], context=512).tokens_per_s
    assert costs[0] > 0.05 >= costs[1]


def test_never_says_what_comes_closest_and_the_floor_of_reading_the_weights():
    found = solve(situation(), Aim(goal="tpot", value=1e-9), "batch")
    assert (found.found.reason, found.found.value, found.best) == ("never", None, 1.0)
    assert float(found.at.value[0]) == pytest.approx(float(time(SERVED, 1)[0]))
    # 138,048 weights of 2 bytes at 1 TB/s.
    assert found.held.weight_time == pytest.approx(138_048 * 2 / 1e12)
    endless = solve(situation(), Aim(goal="tpot", value=1e-9), "bandwidth")
    assert endless.found.reason == "never"
    assert float(endless.at.memory_time[0]) < 0.02 * float(endless.at.value[0])


def test_always_is_the_first_value_or_none():
    assert solve(situation(), Aim(goal="tokens-per-s", value=1e-3), "batch").found.value == 1.0
    without_cache = LayerGroup(count=2, mlp=DenseMlp(width=128))
    asked = situation(deployed(model=small_model(layers=(without_cache,))))
    found = solve(asked, Aim(goal="tpot", value=1.0), "context")
    assert (found.found.reason, found.found.value) == ("always", None)


def test_a_batch_beyond_memory_says_so():
    tight = deployed(hardware=device(memory_capacity=5e6))
    found = solve(situation(tight), Aim(goal="tpot", value=1.0), "batch")
    assert found.held.fits is False
    assert found.held.max_batch == max_batch(tight, 512)


def test_the_first_of_several_changes_is_found():
    grid = np.arange(1.0, 101.0)
    found = edge(lambda values: (values % 40) < 33, grid, (grid % 40) < 33, whole=True)
    assert (found.before, found.after) == (32.0, 33.0)
    real = edge(lambda values: values**2 >= 2.0, grid, grid**2 >= 2.0, whole=False)
    assert real.after == pytest.approx(2.0**0.5, rel=1e-12)
    assert edge(lambda values: values > 0, grid, grid > 0, whole=True).after is None


SPECULATING = {
    "model": "llama3-70b",
    "hardware": "h100",
    "stack": "vllm",
    "drafting": rs.Drafting(method="draft-model", draft=rs.load_model("llama3-8b")),
    "tp": 8,
}


def speculating(**rest):
    loaded = {"model": rs.load_model, "hardware": rs.load_hardware, "stack": rs.load_stack}
    asked = {name: loaded[name](one) if name in loaded else one for name, one in SPECULATING.items()}
    return asked | rest


def test_the_acceptance_found_gives_the_speed_up():
    found = rs.solve(target="speedup=1.5", unknown="acceptance", batch=16, **speculating()).rows[0]
    again = rs.speculate(
        acceptance=found["value"], draft_length=list(range(1, 9)), batch=16, context=2048, **speculating()
    )
    best = max(row["speedup"] for row in again.rows)
    assert best == pytest.approx(1.5, rel=1e-9)
    assert found["draft_length"] == max(again.rows, key=lambda row: row["speedup"])["draft_length"]
    assert found["value_if_fast"] < found["value"] < found["value_if_slow"]


def test_the_batch_found_is_the_last_that_gains_so_much():
    found = rs.solve(target="speedup=1.3", unknown="batch", acceptance=0.8, **speculating()).rows[0]["value"]
    gains = [
        max(
            row["speedup"]
            for row in rs.speculate(acceptance=0.8, draft_length=list(range(1, 9)), batch=one, **speculating()).rows
        )
        for one in (found, found + 1)
    ]
    assert gains[0] >= 1.3 > gains[1]


def test_speculation_brings_a_time_per_token_within_reach():
    plain = rs.solve(
        target="tpot=8ms", unknown="batch", **{name: one for name, one in speculating().items() if name != "drafting"}
    )
    assert plain.rows[0]["reason"] == "never"
    found = rs.solve(target="tpot=8ms", unknown="acceptance", **speculating()).rows[0]
    assert 0 < found["value"] < 1


@pytest.mark.parametrize(
    ("goal", "unknown", "words"),
    [
        ("tpot", "price", "tpot does not depend on a price"),
        ("tpot", "prompt", "tpot does not depend on a prompt"),
        ("speedup", "batch", "speedup is about speculation: give a method"),
        ("speedup", "gpus", "speedup is solved for batch, context and acceptance"),
        ("tpot", "acceptance", "acceptance is about speculation"),
        ("ttft", "batch", "ttft is about prompts: give --prompt"),
        ("usd-per-mtok", "batch", "needs the price of a device: give --price"),
        ("tpot", "link", "one device sends nothing"),
    ],
)
def test_what_a_target_does_not_depend_on_is_refused(goal, unknown, words):
    with pytest.raises(DomainError, match=words):
        solve(situation(), Aim(goal=goal, value=1.0), unknown)
