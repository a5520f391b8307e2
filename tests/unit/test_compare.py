"""Two deployments side by side: every list of terms adds up to the difference, exactly."""

import math

import numpy as np
import pytest
from conftest import deployed, device, ideal_stack, serving_stack, small_model
from hypothesis import given
from hypothesis import strategies as st

from rooflinesim.analysis.breakdown import summing_to
from rooflinesim.analysis.compare import Case, compare, differing
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.prefill import prefill
from rooflinesim.errors import DomainError

SLOW = deployed(stack=serving_stack())
WIDE = deployed(stack=serving_stack(), hardware=device(name="wide", memory_bandwidth=2e12), ranks=2)


def case(deployment, batch=8, context=512, **rest):
    return Case(deployment=deployment, batch=batch, context=context, **rest)


@pytest.mark.parametrize("prompt", [None, 300])
@pytest.mark.parametrize(
    ("first", "second"),
    [(SLOW, WIDE), (deployed(), SLOW), (SLOW, deployed(model=small_model(name="tall", vocabulary=3000)))],
)
def test_terms_parts_operations_causes_and_changes_each_add_up_to_the_difference(first, second, prompt):
    found = compare(case(first, prompt=prompt), case(second, batch=64, prompt=prompt))
    apart = found.difference
    for terms in (apart.terms, apart.parts, apart.ops, apart.causes, found.changes):
        assert math.fsum(terms.values()) == apart.second - apart.first
    ask = (lambda one, batch: decode(one, batch=batch, context=512).step_time) if prompt is None else None
    ask = ask or (lambda one, batch: prefill(one, prompt=prompt, batch=batch, context=512).ttft)
    assert apart.first == pytest.approx(ask(first, 8)[0], rel=1e-12)
    assert apart.second == pytest.approx(ask(second, 64)[0], rel=1e-12)


def test_a_prompt_pays_its_pace_in_every_term():
    # Prompts at half the pace of what their operations take: every cause doubles.
    full, half = (deployed(stack=serving_stack(prompt_efficiency=pace)) for pace in (1.0, 0.5))
    found = compare(case(full, context=0, prompt=100), case(half, context=0, prompt=100))
    one, other = found.breakdowns
    assert found.difference.second == pytest.approx(2 * found.difference.first, rel=1e-12)
    for name, time in one.causes.items():
        np.testing.assert_allclose(other.causes[name], 2 * time, rtol=1e-9)


def test_twice_the_bandwidth_saves_half_of_the_weight_reads_and_nothing_else():
    # 138,048 weights of 2 bytes are streamed, at 1 and at 2 TB/s.
    fast = deployed(hardware=device(memory_bandwidth=2e12))
    found = compare(case(deployed(), batch=1, context=0), case(fast, batch=1, context=0))
    assert found.difference.causes["weight reads"] == pytest.approx(-138_048 * 2 / 2e12)
    assert list(found.changes) == ["device"]
    assert found.changes["device"] == found.difference.second - found.difference.first


def test_changes_come_in_order():
    second = deployed(model=small_model(name="other"), stack=ideal_stack(name="other"), weights="int8")
    found = compare(case(SLOW), case(second, batch=9))
    assert list(found.changes) == differing(case(SLOW), case(second, batch=9)) == ["load", "model", "formats", "stack"]


def test_changes_without_a_deployment_between_go_together():
    # A device without a link cannot share layers, so the layout changes along with the device.
    found = compare(case(deployed(hardware=device(name="alone", link=None))), case(WIDE, batch=9))
    assert list(found.changes) == ["load", "layout and device", "stack"]


def test_decoding_is_not_compared_with_reading():
    with pytest.raises(DomainError, match="one decodes and the other reads prompts"):
        compare(case(SLOW), case(SLOW, prompt=8))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.floats(-1e-6, 1e-6))
def test_what_rounding_leaves_goes_to_the_larger_terms(values, off):
    whole = math.fsum(values) + off * abs(max(values, key=abs))
    found = summing_to(whole, dict(enumerate(values)))
    assert math.fsum(found.values()) == whole
    assert list(found) == list(range(len(values)))
