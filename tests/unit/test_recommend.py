"""Deployments from best to worst, and what their tokens cost."""

import numpy as np
import pytest
from conftest import deployed, device, serving_stack

from rooflinesim.analysis.capacity.energy import ASSUMED, decode_energy, decode_power
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.recommend import decode_cost, standings

SLOW = deployed(stack=serving_stack())
FAST = deployed(stack=serving_stack(), hardware=device(name="fast", memory_bandwidth=4e12, thermal_design_power=500.0))
WIDE = deployed(stack=serving_stack(), ranks=2)


def test_with_prices_the_cheapest_token_is_best():
    found = standings([SLOW, FAST], [1.0, 9.0], batch=[1, 64], context=100_000)
    assert [one.deployment for one in found] == [SLOW, FAST]
    costs = [float(one.cost.usd_per_mtok[0]) for one in found]
    assert costs == sorted(costs)
    rate = decode(SLOW, batch=64, context=100_000).tokens_per_s[0]
    assert costs[0] == pytest.approx(1e6 / 3600 / rate)


def test_without_prices_the_most_work_per_device_is_best():
    found = standings([WIDE, SLOW, FAST], [None, 1.0, None], batch=[1, 64], context=100_000)
    assert [one.deployment for one in found] == [FAST, SLOW, WIDE]
    rates = [one.tokens_per_s_per_device for one in found]
    assert rates == sorted(rates, reverse=True)
    assert found[2].tokens_per_s_per_device == pytest.approx(found[2].row.tokens_per_s[0] / 2)


def test_the_batch_is_the_one_that_serves_most_within_target_and_memory():
    times = decode(SLOW, batch=[1, 8, 64], context=512).step_time
    found = standings([SLOW], [None], batch=[1, 8, 64], context=512, target=float(times[1]))
    assert (found[0].batch, found[0].meets, found[0].surely) == (8.0, True, False)
    generous = standings([SLOW], [None], batch=[1, 8, 64], context=512, target=100.0)
    assert (generous[0].batch, generous[0].surely) == (64.0, True)
    tight = deployed(stack=serving_stack(), hardware=device(memory_capacity=4e6))
    assert standings([tight], [None], batch=[1, 8, 64], context=512)[0].batch == 8.0


def test_what_meets_nothing_comes_last_and_stands_at_its_fastest_step():
    times = [float(decode(one, batch=1, context=100_000).step_time[0]) for one in (SLOW, FAST)]
    found = standings([SLOW, FAST], [1.0, 9.0], batch=[1, 64], context=100_000, target=sum(times) / 2)
    assert [one.deployment for one in found] == [FAST, SLOW]
    assert [one.meets for one in found] == [True, False]
    assert found[1].batch == 1.0


def test_energy_is_moved_bytes_math_and_waiting_up_to_the_rated_power():
    row = decode(SLOW, batch=[1, 64], context=512)
    moved = row.weight_bytes + row.kv_bytes + row.activation_bytes
    step = ASSUMED.byte_energy * moved + ASSUMED.flop_energy * row.flop
    np.testing.assert_allclose(decode_energy(SLOW, row.batch, row.context), step / row.batch)
    power = decode_power(SLOW, row.batch, row.context, row.step_time)
    np.testing.assert_allclose(power, step / row.step_time + ASSUMED.static_power)
    cost = decode_cost(SLOW, None, row)
    assert cost.usd_per_mtok is None
    np.testing.assert_allclose(cost.joules_per_token, power / row.tokens_per_s)
    weak = deployed(stack=serving_stack(), hardware=device(thermal_design_power=101.0))
    assert decode_power(weak, 64.0, 1e6, 1e-6) == 101.0
