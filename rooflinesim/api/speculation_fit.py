"""Rounds of speculation fitted to published runs: their parts, left-out predictions, and sections of stack files."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.api.measured_speculation import LaidOutRun, laid_out, stack_of, timed_rounds
from rooflinesim.specs.speculation_law import SpeculationLaw
from rooflinesim.specs.stack import Stack
from rooflinesim.units import format_quantity
from rooflinesim.validation.published_speculation import SpeculativeRun
from rooflinesim.validation.speculation_fit import FAMILIES, OVERLAPS, RoundParts
from rooflinesim.validation.task_acceptance import TASKS, family_of, task_index

STACKS = {"engine": "generic", "paper": "torch-eager", "benchmark": "spec-bench"}
"""Stack file that holds the constants of each harness."""


def round_parts(runs: Sequence[SpeculativeRun]) -> tuple[RoundParts, tuple[SpeculativeRun, ...]]:
    """What rounds of runs are made of when the software adds nothing, and the runs that could be laid out."""

    def bare(overlap: float) -> tuple[LaidOutRun, ...]:
        def stack(run: SpeculativeRun) -> Stack:
            law = SpeculationLaw(expert_overlap=overlap, recurrent_state=stack_of(run).speculation.recurrent_state)
            return dataclasses.replace(stack_of(run), speculation=law)

        return laid_out(runs, stack)[0]

    rows, times, _ = timed_rounds(bare(0.0))
    kept = tuple(row.run for row in rows)
    others = [timed_rounds(bare(float(overlap)))[1].verify_time for overlap in OVERLAPS[1:]]
    verifications = [times.verify_time, *others]
    targets = [row.speculation.target for row in rows]
    tasks = [task_index(run) for run in kept]
    place = {run.id: index for index, run in enumerate(kept)}
    parts = RoundParts(
        measured=np.array([run.speedup for run in kept]),
        emitted=np.array([row.emitted or 1.0 for row in rows]),
        plain_time=times.plain_step_time,
        verify_times=np.stack(verifications, axis=-1),
        draft_time=times.draft_time,
        moved_time=times.round_overhead_time,
        passes=np.array([run.passes for run in kept]),
        drafted=np.array([run.drafted for run in kept]),
        further_ranks=np.array([target.tensor_parallel - 1.0 for target in targets]),
        batch=np.array([row.run.batch / row.speculation.target.data_parallel for row in rows]),
        harness=np.array([run.harness for run in kept]),
        family=np.array([family_of(run.drafting) for run in kept]),
        task=np.array([-1 if task is None else task for task in tasks]),
        anchor=np.array([-1 if row.anchor is None else place[row.anchor] for row in rows]),
    )
    return parts, kept


def source_names(runs: Sequence[SpeculativeRun], *, is_whole_publication: bool = False) -> np.ndarray:
    """Table that each run comes from, or the whole publication behind it."""
    if is_whole_publication:
        return np.array([run.id.rpartition("-")[0].split("-")[0] for run in runs])
    return np.array([run.labels["source_table"] for run in runs])


def speculation_sections(
    parts: RoundParts, values: Mapping[str, float], left_out: np.ndarray
) -> dict[str, dict[str, Any]]:
    """The `speculation` section of each fitted stack file, with bands from what was left out."""
    sections: dict[str, dict[str, Any]] = {}
    for harness, stack in STACKS.items():
        mine = (parts.harness == harness) & ~parts.is_anchor
        if not mine.any():
            continue
        low, high = np.quantile(parts.measured[mine] / left_out[mine], (0.1, 0.9))
        if harness == "engine":
            own = {name: values[name] for name in ("round_time", "sequence_time", "draft_step_time", "draft_rank_time")}
            shares = {"expert_overlap": 1.0 - values["expert_independence"]}
        else:
            own = {name: values[f"{harness}.{name}"] for name in ("round_time", "draft_step_time")}
            own |= {"sequence_time": 0.0, "draft_rank_time": 0.0}
            shares = {"verify_token_share": values["verify_token_share"], "expert_overlap": 0.0}
        sections[stack] = {
            **{name: format_quantity(value, "s", 3) for name, value in own.items()},
            **{name: float(f"{value:.3g}") for name, value in shares.items()},
            "speedup_low": float(f"{min(1.0, float(low)):.3g}"),
            "speedup_high": float(f"{max(1.0, float(high)):.3g}"),
        }
    return sections


def task_table(values: Mapping[str, float]) -> dict[str, tuple[float, ...]]:
    """Fitted shares of tasks, as `TASK_SHARES` holds them."""
    return {family: tuple(round(values[f"{family}.{task}"], 2) for task in TASKS) for family in FAMILIES}
