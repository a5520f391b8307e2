"""How long do requests take per output token, prompts and full memory included?"""

import dataclasses
from typing import Literal

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.residency import resident_bytes, usable_memory
from rooflinesim.analysis.timing import step_time
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.workload.step import Array, Step

Serving = Literal["decode", "static", "closed_loop", "first_token", "queued_first_token", "disaggregated_first_token"]
"""What a time was measured in: decode steps alone, whole static batches with their prompts inside, a closed loop that
keeps a number of requests running; or the wait for the first token alone, in such a loop, or at prefill workers."""

LOOPED = ("queued_first_token", "disaggregated_first_token")
"""First tokens that wait for those of others."""

RESIDENT_SHARE = 0.92
"""Share of device memory that engines fill before requests wait, where a measurement does not say [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Part(Noun):
    """Forward passes that one output token waits for, `times` of each; a prompt scores its last token only."""

    step: Step
    times: Array
    is_prompt: bool


def request_parts(
    deployment: Deployment, *, serving: Serving, batch: Array, prompt: Array, output: Array, context: Array
) -> tuple[Part, ...]:
    r"""Forward passes behind one output token of each request.

    Decode: one step. Static: :math:`b / b_{fit}` steps of the batch that fits, and a batch of prompts over the
    output. Closed loop: one step of the requests that fit, :math:`b' = \min(b, b_{fit})`, and the prompts of those
    that start in a request's lifetime, :math:`(b' - 1) / output`. First token: the prompt alone. In a closed loop also
    the share s of others' prompts that the stack lets it wait for, and a step; of requests that memory cannot hold to
    their last token each waits, as Little's law says, :math:`b / b' - 1` lifetimes of those that run:

    .. math:: (1 + s (b' - 1)) P + T(b') + (b / b' - 1) (output \, T(b') + b' P)

    Prefill workers hold nothing while others decode: their first tokens wait for prompts alone.

    Parameters
    ----------
    batch : requests at once. [1] scalar or shape (points,)
    prompt, output : tokens of a request; 0 where unknown. [tokens]
    context : mean tokens cached during decoding. [tokens]
    """
    decode = Step(batch=batch, context=context)
    asked = np.maximum(prompt, 1.0)
    per_token = np.where((np.asarray(prompt) > 0) & (np.asarray(output) > 0), 1.0 / np.maximum(output, 1.0), 0.0)
    match serving:
        case "decode":
            return (Part(step=decode, times=np.ones_like(batch), is_prompt=False),)
        case "static":
            fitting = np.minimum(batch, np.maximum(1.0, fitting_batch(deployment, context)))
            return (
                Part(step=Step(batch=fitting, context=context), times=batch / fitting, is_prompt=False),
                Part(step=_prompt(batch, asked), times=per_token, is_prompt=True),
            )
        case "closed_loop":
            held = np.minimum(batch, np.maximum(1.0, fitting_batch(deployment, context)))
            return (
                Part(step=Step(batch=held, context=context), times=np.ones_like(batch), is_prompt=False),
                Part(
                    step=_prompt(np.ones_like(batch), asked),
                    times=np.maximum(held - 1.0, 0.0) * per_token,
                    is_prompt=True,
                ),
            )
        case "first_token":
            return (Part(step=_prompt(batch, asked), times=np.ones_like(batch), is_prompt=True),)
        case "disaggregated_first_token":
            others = np.maximum(batch - 1.0, 0.0)
            times = 1.0 + deployment.stack.waiting_share * others
            return (Part(step=_prompt(np.ones_like(batch), asked), times=times, is_prompt=True),)
        case "queued_first_token":
            running = running_batch(deployment, batch, asked + output)
            turns = batch / running - 1.0
            others = np.maximum(running - 1.0, 0.0)
            return (
                Part(
                    step=_prompt(np.ones_like(batch), asked),
                    times=1.0 + deployment.stack.waiting_share * others + turns * running,
                    is_prompt=True,
                ),
                Part(step=Step(batch=running, context=context), times=1.0 + turns * output, is_prompt=False),
            )


def _prompt(batch: Array, prompt: Array) -> Step:
    return Step(batch=batch, new_tokens=prompt, context=0.0 * prompt, logit_tokens=np.ones_like(prompt))


def fitting_batch(deployment: Deployment, context: Array) -> Array:
    """Sequences of a context that fit into memory at once; infinite where the capacity is unknown [1]."""
    capacity = deployment.hardware.memory_capacity
    if usable_memory(deployment) is None or capacity is None:
        return np.inf * np.ones_like(context)
    none = resident_bytes(deployment, Step(batch=np.zeros_like(context), context=context))
    one = resident_bytes(deployment, Step(batch=np.ones_like(context), context=context))
    return np.maximum(RESIDENT_SHARE * capacity - none, 0.0) / (one - none)


def running_batch(deployment: Deployment, batch: Array, length: Array) -> Array:
    """Requests that run at once when each keeps room for its whole length; all where not even one has it [1]."""
    fitting = fitting_batch(deployment, length)
    return np.where(fitting >= 1.0, np.minimum(batch, fitting), batch)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RequestTime(Noun):
    """Time per output token of a request, or to its first one, the band's ends [s], and the prompts' share of it."""

    time: Array
    low: Array
    high: Array
    prompt_share: Array


def request_time(
    deployment: Deployment, *, serving: Serving, batch: Array, prompt: Array, output: Array, context: Array
) -> RequestTime:
    """How long a request waits for each of its tokens, or for its first one.

    Neglected: gaps between requests, prompts of different lengths, how steady the loop is: the share of prompts that
    a first token waits for was fitted over loops that start all at once and loops that have spread.
    """
    parts = request_parts(deployment, serving=serving, batch=batch, prompt=prompt, output=output, context=context)
    is_looped = serving in LOOPED
    time: Array = deployment.stack.admission_time if is_looped else 0.0
    prompts: Array = 0.0
    for part in parts:
        share = deployment.stack.prompt_efficiency if part.is_prompt else 1.0
        taken = part.times * step_time(deployment, part.step).time / share
        time = time + taken
        prompts = prompts + (taken if part.is_prompt else 0.0)
    first = parts[0]
    low, high = band_of(deployment, first.step, is_prompt=first.is_prompt, is_queued=is_looped)
    return RequestTime(time=time, low=time * low, high=time * high, prompt_share=prompts / time)
