"""What no scheduling can beat: the least times of an engine, and the most requests that it serves within a target."""

import dataclasses

import numpy as np

from rooflinesim.analysis.bands import band_of
from rooflinesim.analysis.capacity.candidates import Candidate
from rooflinesim.analysis.serving.load import Drafts, Load
from rooflinesim.analysis.serving.times import fitting_requests
from rooflinesim.analysis.speculation.methods import chain
from rooflinesim.analysis.speculation.speculate import emitted_tokens, rounds_result
from rooflinesim.analysis.timing import step_time
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

BATCHES = np.unique(np.round(np.geomspace(1.0, 4096.0, 40)))
"""Batches at which engines are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Bounds(Noun):
    """An engine at each of `BATCHES`, plainly and with each of its drafts.

    `step_time` is the time per token of a decode step, shape (drafts, batches); `fitting` are the requests that memory
    holds, shape (drafts,). `prompt_time` is that of a whole prompt alone, `prompt_compute_time` the compute part of it,
    which no mixing with decode steps hides. `high` and `prompt_high` are the upper ends of the bands, at least 1.
    """

    candidate: Candidate
    step_time: np.ndarray = quantity("s")
    fitting: np.ndarray = quantity("1")
    prompt_time: float = quantity("s")
    prompt_compute_time: float = quantity("s")
    high: float = quantity("1")
    prompt_high: float = quantity("1")

    def largest_batch(self, target: float, place: int) -> int:
        """Upper bound of the batch at which steps meet a target and fit into memory, with one of the drafts [1]."""
        meets = np.flatnonzero(self.step_time[place] <= target)
        beyond = BATCHES[min(int(meets[-1]) + 1 if meets.size else 0, BATCHES.size - 1)]
        return max(1, int(min(beyond, self.fitting[place])))

    def rate(self, target: float, load: Load, *, is_alone: bool) -> np.ndarray:
        """Upper bound of the requests per second of one replica within a time per token [1/s], shape (drafts,).

        Decode steps alone, or, unless the engine `is_alone` without prompts, what the prompts' math leaves.
        """
        meets = self.step_time <= target
        last = np.where(meets.any(axis=1), meets.shape[1] - 1 - np.argmax(meets[:, ::-1], axis=1), -1)
        # The batch that just meets a target, or just fits, lies below the next one of the table.
        bounding = np.minimum(last + 1, np.searchsorted(BATCHES, self.fitting))
        bounding = np.minimum(bounding, BATCHES.size - 1)
        work = load.decoded_tokens * self.step_time
        rates = np.maximum.accumulate(BATCHES / np.maximum(work, 1e-12), axis=1)
        decoded = np.where((last < 0) | (self.fitting < 1.0), 0.0, rates[np.arange(last.size), bounding])
        return decoded if is_alone else np.minimum(decoded, 1.0 / max(self.prompt_compute_time, 1e-12))


def bounds_of(candidate: Candidate, load: Load) -> Bounds:
    """Least times of a candidate at the mean context of a load."""
    deployment = candidate.deployment
    context = load.mean_context
    prompt = Step(batch=1.0, new_tokens=load.new_tokens, context=load.cached_tokens, logit_tokens=1.0)
    cost = step_time(deployment, prompt)
    times = np.empty((len(candidate.drafts), BATCHES.size))
    lengths = [0 if one is None else one.draft_length for one in candidate.drafts]
    first = next((one for one in candidate.drafts if one is not None), None)
    if first is None:
        step = Step(batch=BATCHES, context=np.full(BATCHES.shape, context))
        times[0] = step_time(deployment, step).time
    else:
        times[:] = _round_times(first, np.array(lengths, dtype=np.float64), context)
    fitting = [float(fitting_requests(deployment, context, drafts=drafts)) for drafts in candidate.drafts]
    return Bounds(
        candidate=candidate,
        step_time=times,
        fitting=np.maximum(fitting, 0.0),
        prompt_time=float(np.max(cost.time)) / deployment.stack.prompt_efficiency,
        prompt_compute_time=float(np.max(cost.compute_time)),
        high=max(1.0, float(np.min(band_of(deployment, Step(batch=BATCHES, context=context))[1]))),
        prompt_high=max(1.0, float(np.max(band_of(deployment, prompt, is_prompt=True)[1]))),
    )


def _round_times(drafts: Drafts, lengths: np.ndarray, context: float) -> np.ndarray:
    """Time per token of rounds of every length at every batch [s]; a length of 0 is a plain step."""
    length = np.repeat(lengths, BATCHES.size)
    emitted, kept = emitted_tokens(drafts.speculation, drafts.acceptance, length)
    found = rounds_result(
        drafts.speculation,
        batch=np.tile(BATCHES, lengths.size),
        context=np.full(length.shape, context),
        shape=chain(length),
        tokens=emitted,
        kept_whole=kept,
        rate=np.zeros_like(length),
        is_sampled=bool(drafts.acceptance.temperature),
    )
    return found.tpot.reshape(lengths.size, BATCHES.size)
