"""Flip batches over context are those of `crossover`, context by context."""

import numpy as np
import pytest
from conftest import deployed, device, ideal_stack, serving_stack

from rooflinesim.analysis.crossover import crossover
from rooflinesim.analysis.flips import flips


@pytest.mark.parametrize("stack", [ideal_stack(), serving_stack()])
def test_flips_are_those_of_crossover(stack):
    contexts = [0, 64, 300, 5000]
    found = flips(deployed(stack=stack), context=contexts)
    for index, context in enumerate(contexts):
        single = crossover(deployed(stack=stack), context=context)
        for scope in ("weight_gemms", "step", "half_elasticity", "fits"):
            expected = single.row(scope).batch
            # A bracket is narrowed to 1e-9 of its width, which is 1 below batch 1.
            assert getattr(found, scope)[index] == pytest.approx(np.inf if expected is None else expected, rel=1e-8)
    assert found.context_limit == pytest.approx(crossover(deployed(stack=stack)).row("step").context_limit, rel=1e-9)


def test_the_step_never_flips_beyond_its_context_limit():
    # Per layer and token 128 bytes of KV against 4 x 64 FLOPs of attention: below the ridge of 100 FLOP/B.
    found = flips(deployed(), context=[0.0])
    around = flips(deployed(), context=[0.9 * found.context_limit, 1.1 * found.context_limit])
    assert np.isfinite(around.step[0])
    assert np.isinf(around.step[1])


def test_without_a_capacity_every_batch_fits():
    found = flips(deployed(hardware=device(memory_capacity=None)), context=[128, 4096])
    assert np.isinf(found.fits).all()
