"""What is computed once for points of equal tokens is what each of them takes alone, for every shipped model."""

import pytest

from rooflinesim import config
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.residency import resident_bytes
from rooflinesim.analysis.timing import step_ops, step_time, step_traffic
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.step import Step

BATCHES, CONTEXTS = [1, 1, 1, 8, 8, 8], [0, 100, 40_000, 0, 100, 40_000]


@pytest.mark.parametrize("name", [entry.key for entry in config.entries("model")])
def test_six_points_of_two_batches_are_what_each_takes_alone(name: str):
    model = config.load_model(name)
    asked = Deployment(
        model=model,
        hardware=config.load_hardware("h200"),
        stack=config.load_stack("generic"),
        precision=precision_of(model),
    )
    found = decode(asked, batch=BATCHES, context=CONTEXTS)
    prompts = prefill(asked, prompt=[512] * 6, batch=BATCHES, context=CONTEXTS)
    for index, (batch, context) in enumerate(zip(BATCHES, CONTEXTS, strict=True)):
        step = Step(batch=batch, context=context)
        cost, traffic = step_time(asked, step), step_traffic(step_ops(asked, step))
        for term in ("memory_time", "compute_time", "network_time", "overhead_time"):
            assert getattr(found, term)[index] == pytest.approx(float(getattr(cost, term)), rel=1e-12), term
        for term in ("flop", "weight_bytes", "kv_bytes", "activation_bytes", "network_bytes"):
            assert getattr(found, term)[index] == pytest.approx(float(getattr(traffic, term)), rel=1e-12), term
        assert found.step_time[index] == pytest.approx(float(cost.time), rel=1e-12)
        assert found.resident_bytes[index] == pytest.approx(float(resident_bytes(asked, step)), rel=1e-12)
        prompt = step_time(asked, Step(batch=batch, context=context, new_tokens=512, logit_tokens=1))
        assert prompts.compute_time[index] == pytest.approx(float(prompt.compute_time), rel=1e-12)
        assert prompts.ttft[index] == pytest.approx(float(prompt.time) / asked.stack.prompt_efficiency, rel=1e-12)
