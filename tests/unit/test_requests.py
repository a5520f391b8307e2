"""Times per token of whole requests: prompts inside, memory that is full, first tokens that wait."""

import numpy as np
import pytest
from conftest import deployed, device, serving_stack

from rooflinesim.analysis.requests import LOOPED, fitting_batch, request_parts, request_time, running_batch
from rooflinesim.analysis.timing import step_time
from rooflinesim.workload.step import Step

POINT = {
    "batch": np.array([8.0]),
    "prompt": np.array([512.0]),
    "output": np.array([128.0]),
    "context": np.array([576.0]),
}


def times(**changes: float) -> np.ndarray:
    asked = deployed(stack=serving_stack(**changes))
    return request_time(asked, serving="closed_loop", **POINT).time


def test_decode_alone_is_one_step() -> None:
    asked = deployed(stack=serving_stack())
    found = request_time(asked, serving="decode", **POINT)
    assert found.time == pytest.approx(step_time(asked, Step(batch=8.0, context=576.0)).time)
    assert found.prompt_share == 0.0


def test_a_closed_loop_adds_the_prompts_of_the_other_requests_over_the_output() -> None:
    asked = deployed(stack=serving_stack())
    step = step_time(asked, Step(batch=8.0, context=576.0)).time
    prompt = step_time(asked, Step(new_tokens=512.0, logit_tokens=1.0)).time
    assert request_time(asked, serving="closed_loop", **POINT).time == pytest.approx(step + 7 / 128 * prompt)


def test_prompts_that_run_beside_decoding_cost_less() -> None:
    assert times(prompt_efficiency=1.5) < times()


def test_a_closed_loop_runs_no_more_requests_than_memory_holds() -> None:
    # Weights take 0.4 MB and one sequence of 576 tokens 0.15 MB: a device of 1 MB runs three or four of eight.
    small = deployed(hardware=device(memory_capacity=1e6), stack=serving_stack())
    fitting = float(fitting_batch(small, np.array([576.0]))[0])
    assert 1 < fitting < 8
    (decode, prompts) = request_parts(small, serving="closed_loop", **POINT)
    assert decode.step.batch == pytest.approx(fitting)
    assert prompts.times == pytest.approx((fitting - 1) / 128)


def test_a_static_batch_beyond_memory_takes_its_turns() -> None:
    small = deployed(hardware=device(memory_capacity=1e6), stack=serving_stack())
    (decode, _) = request_parts(small, serving="static", **POINT)
    assert decode.times * decode.step.batch == pytest.approx(8.0)


def test_a_first_token_is_admitted_and_waits_for_a_share_of_the_other_prompts() -> None:
    asked = deployed(stack=serving_stack(admission_time=0.05, waiting_share=0.1))
    prompt = step_time(asked, Step(new_tokens=512.0, logit_tokens=1.0)).time
    step = step_time(asked, Step(batch=8.0, context=576.0)).time
    found = request_time(asked, serving="queued_first_token", **POINT)
    assert found.time == pytest.approx(0.05 + (1 + 0.1 * 7) * prompt + step)
    remote = request_time(asked, serving="disaggregated_first_token", **POINT)
    assert found.time - remote.time == pytest.approx(step)


def test_first_tokens_of_requests_that_memory_cannot_hold_obey_littles_law() -> None:
    small = deployed(hardware=device(memory_capacity=1e6), stack=serving_stack(waiting_share=0.1))
    running = float(running_batch(small, np.array([8.0]), np.array([640.0]))[0])
    assert 1 < running < float(fitting_batch(small, np.array([576.0]))[0])
    step = step_time(small, Step(batch=running, context=576.0)).time
    prompt = step_time(small, Step(new_tokens=512.0, logit_tokens=1.0)).time
    served = (1 + 0.1 * (running - 1)) * prompt + step
    lifetime = 128 * step + running * prompt
    found = request_time(small, serving="queued_first_token", **POINT)
    # All eight are in the system for running + waiting lifetimes: N = X (wait + lifetime), X = running / lifetime.
    wait = found.time - served
    assert running / lifetime * (wait + lifetime) == pytest.approx(8.0)


def test_a_device_that_holds_not_one_request_says_nothing_of_waiting_for_memory() -> None:
    tiny = deployed(hardware=device(memory_capacity=1e5), stack=serving_stack())
    assert running_batch(tiny, np.array([8.0]), np.array([640.0])) == pytest.approx([8.0])


def test_bands_surround_the_time() -> None:
    for serving in ("decode", "static", "closed_loop", "first_token", *LOOPED):
        found = request_time(deployed(stack=serving_stack()), serving=serving, **POINT)
        assert found.low < found.time < found.high


def test_experts_of_many_alike_sequences_grow_like_a_power() -> None:
    from rooflinesim.workload.experts import independent_sequences

    batch = np.array([0.5, 1.0, 2.0, 32.0])
    assert independent_sequences(batch, 0.5) == pytest.approx([0.5, 1.0, 2**0.5, 32**0.5])
    assert independent_sequences(batch, 1.0) == pytest.approx(batch)
