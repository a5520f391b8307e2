"""Parts and causes of a step add up to its time, and differences to the difference."""

import numpy as np
import pytest
from conftest import deployed, device, ideal_stack, serving_stack

from rooflinesim.analysis.breakdown import CAUSES, PARTS, breakdown, difference
from rooflinesim.analysis.decode import decode

BATCHES = [1, 7, 64, 5000]


@pytest.mark.parametrize("stack", [ideal_stack(), serving_stack()])
@pytest.mark.parametrize("ranks", [1, 2])
def test_parts_and_causes_add_up_to_the_step(stack, ranks):
    asked = deployed(stack=stack, ranks=ranks)
    found = breakdown(asked, batch=BATCHES, context=512)
    for terms, names in ((found.parts, PARTS), (found.causes, CAUSES)):
        assert set(terms) <= set(names)
        assert all((time >= 0).all() for time in terms.values())
        np.testing.assert_allclose(sum(terms.values()), found.step_time, rtol=1e-12)
    np.testing.assert_allclose(found.step_time, decode(asked, batch=BATCHES, context=512).step_time, rtol=1e-12)


def test_small_batches_read_weights_and_large_ones_multiply():
    # At 1 TB/s and 1 TFLOP/s the ridge is 1 FLOP/B; 138,048 weights of 2 bytes are streamed.
    slow = device(dense_flop_rate={"bf16": 1e12})
    found = breakdown(deployed(hardware=slow), batch=[0.5, 5000], context=0)
    assert found.causes["weight reads"][0] == pytest.approx(138_048 * 2 / 1e12)
    assert found.causes["math"][0] == 0.0
    assert found.causes["math"][1] > 0.5 * found.step_time[1]


def test_the_ideal_stack_has_no_overhead_and_no_software():
    found = breakdown(deployed(), batch=BATCHES, context=512)
    assert set(found.causes) == {"weight reads", "KV reads", "activations"}


def test_terms_of_a_difference_add_up_to_it():
    first, second = (
        breakdown(deployed(stack=one), batch=[64], context=512) for one in (ideal_stack(), serving_stack())
    )
    found = difference(first, second)
    for terms in (found.parts, found.causes):
        assert found.first + sum(terms.values()) == pytest.approx(found.second, rel=1e-12)
    assert found.causes["software"] == pytest.approx(120e-6 + 64 * 10e-6)
