"""Constants of rounds of speculation from measured speed-ups: serving engines, and research code by its harness."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.units import quantity
from rooflinesim.validation.fitting import Parameter, fit
from rooflinesim.validation.task_acceptance import TASKS

OVERLAPS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0])
"""Overlaps of expert choice at which verifications are timed; between them time is interpolated [1]."""

FAMILIES = ("head", "model", "lookup")

ENGINE_PARAMETERS = (
    Parameter(name="draft_step_time", start=100e-6, low=1e-6, high=5e-3, prior=1.0),
    Parameter(name="draft_rank_time", start=20e-6, low=1e-7, high=1e-3, prior=1.0),
    Parameter(name="round_time", start=500e-6, low=1e-6, high=1e-2, prior=1.0),
    Parameter(name="sequence_time", start=30e-6, low=1e-7, high=1e-3, prior=1.0),
    Parameter(name="expert_independence", start=0.3, low=0.01, high=1.0, prior=0.7),
)
"""Constants that all serving engines share: starts are sizes of launches and host waits, priors are wide."""

RESEARCH_PARAMETERS = (
    Parameter(name="paper.draft_step_time", start=1e-3, low=1e-5, high=2e-2, prior=0.7),
    Parameter(name="paper.round_time", start=2e-3, low=1e-5, high=2e-2, prior=0.7),
    Parameter(name="benchmark.draft_step_time", start=1e-3, low=1e-5, high=2e-2, prior=0.7),
    Parameter(name="benchmark.round_time", start=2e-3, low=1e-5, high=2e-2, prior=0.7),
    Parameter(name="verify_token_share", start=1e-3, low=1e-5, high=0.1, prior=2.0),
    *(
        Parameter(name=f"{family}.{task}", start=1.0, low=0.05, high=5.0, prior=0.3)
        for family in FAMILIES
        for task in TASKS
    ),
)
"""Constants of research code: Python launches every kernel. Shares of tasks stand beside what rounds cost."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RoundParts(Noun):
    """Measured speed-ups and what their rounds are made of without software; columns of shape (rows,).

    `verify_times` has a column for each of `OVERLAPS`. `task` is the place among a benchmark's tasks where the
    acceptance is a mean over them, else -1. `anchor` is the row from which the tokens per round of a series follow,
    else -1: `emitted` does not count there.
    """

    measured: np.ndarray = quantity("1")
    emitted: np.ndarray = quantity("tokens")
    plain_time: np.ndarray = quantity("s")
    verify_times: np.ndarray = quantity("s")
    draft_time: np.ndarray = quantity("s")
    moved_time: np.ndarray = quantity("s")
    passes: np.ndarray = quantity("1")
    drafted: np.ndarray = quantity("tokens")
    further_ranks: np.ndarray = quantity("1")
    batch: np.ndarray = quantity("1")
    harness: np.ndarray
    family: np.ndarray
    task: np.ndarray
    anchor: np.ndarray

    def rows(self, chosen: np.ndarray) -> "RoundParts":
        """Chosen rows alone; series must be chosen whole."""
        columns = {field.name: getattr(self, field.name)[chosen] for field in dataclasses.fields(self)}
        place = np.append(np.cumsum(chosen) - 1, -1)
        return RoundParts(**{**columns, "anchor": place[columns["anchor"]]})

    @property
    def is_anchor(self) -> np.ndarray:
        """Whether rows hold no prediction, since the tokens of their series follow from them."""
        return np.asarray(self.anchor == np.arange(self.anchor.size))

    @property
    def is_engine(self) -> np.ndarray:
        """Whether rows were measured in serving engines."""
        return np.asarray(self.harness == "engine")


def engine_speedups(parts: RoundParts, values: Mapping[str, float]) -> np.ndarray:
    """Speed-ups of rows of serving engines for constants by name [1]."""
    place = np.interp(1.0 - values["expert_independence"], OVERLAPS, np.arange(OVERLAPS.size))
    below = min(int(place), OVERLAPS.size - 2)
    share = place - below
    verification = (1.0 - share) * parts.verify_times[:, below] + share * parts.verify_times[:, below + 1]
    software = parts.passes * (values["draft_step_time"] + values["draft_rank_time"] * parts.further_ranks)
    rest = values["round_time"] + values["sequence_time"] * parts.batch + parts.moved_time
    ratio = (verification + parts.draft_time + software + rest) / parts.plain_time
    series = (parts.measured * ratio)[parts.anchor]
    return np.asarray(np.where(parts.anchor >= 0, series, parts.emitted) / ratio)


def research_speedups(parts: RoundParts, values: Mapping[str, float]) -> np.ndarray:
    """Speed-ups of rows of research code for constants by name [1]."""

    def own(name: str) -> np.ndarray:
        return np.where(parts.harness == "benchmark", values[f"benchmark.{name}"], values[f"paper.{name}"])

    verification = parts.verify_times[:, 0] + values["verify_token_share"] * parts.drafted * parts.plain_time
    software = parts.passes * own("draft_step_time") + own("round_time") + parts.moved_time
    kept = (parts.emitted - 1.0) * task_shares(parts, values)
    emitted = 1.0 + np.minimum(kept, np.where(parts.passes > 0, parts.passes, parts.drafted))
    return np.asarray(emitted * parts.plain_time / (verification + parts.draft_time + software))


def task_shares(parts: RoundParts, values: Mapping[str, float]) -> np.ndarray:
    """Accepted tokens of each row's task over the published mean [1]."""
    share = np.ones(parts.measured.size)
    for family in FAMILIES:
        for place, task in enumerate(TASKS):
            mine = (parts.family == family) & (parts.task == place)
            share[mine] = values[f"{family}.{task}"]
    return share


def fitted_values(parts: RoundParts) -> dict[str, float]:
    """Constants of rounds by name, fitted to the rows given; those that no row tells about stay at their starts.

    Raises
    ------
    UnsupportedError : if scipy is missing.
    """
    values = {one.name: one.start for one in (*ENGINE_PARAMETERS, *RESEARCH_PARAMETERS)}
    engine, research = parts.rows(parts.is_engine), parts.rows(~parts.is_engine)
    if engine.measured.size >= len(ENGINE_PARAMETERS):
        found = fit(ENGINE_PARAMETERS, lambda trial: engine_speedups(engine, trial), engine.measured)
        values.update(found.values)
    if research.measured.size >= len(RESEARCH_PARAMETERS):
        found = fit(RESEARCH_PARAMETERS, lambda trial: research_speedups(research, trial), research.measured)
        values.update(found.values)
    return values


def predicted_speedups(parts: RoundParts, values: Mapping[str, float]) -> np.ndarray:
    """Speed-ups of all rows, each by the constants of its harness [1]."""
    return np.where(parts.is_engine, engine_speedups(parts, values), research_speedups(parts, values))


def left_out_speedups(parts: RoundParts, groups: np.ndarray) -> np.ndarray:
    """Speed-ups of each row by a fit without its group [1], shape (rows,)."""
    predicted = np.zeros(parts.measured.size)
    for group in np.unique(groups):
        out = groups == group
        predicted[out] = predicted_speedups(parts.rows(out), fitted_values(parts.rows(~out)))
    return predicted
