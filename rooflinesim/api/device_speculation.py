"""How far are predicted speed-ups of speculation from rounds that the device at hand really runs?"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rooflinesim import __version__
from rooflinesim.analysis.comparison import Comparison, Skipped, scores
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.early_exit import first_layers
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.rounds import round_times
from rooflinesim.api.answers import deployment
from rooflinesim.api.device_calibration import Told, require_torch, run_inputs, run_notes, run_summary, verdict_line
from rooflinesim.api.device_validation import check_device, known_stack
from rooflinesim.api.measured_hardware import STACK, measured_hardware
from rooflinesim.errors import UnsupportedError
from rooflinesim.report import device_speculation as report
from rooflinesim.report import validation as validation_report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.validation.device.sizes import known_decoder
from rooflinesim.validation.speculated_rounds import (
    LABELS,
    MeasuredCell,
    SpeculationCell,
    compared_rounds,
    joined_cells,
    speculation_verdict,
)

if TYPE_CHECKING:
    from rooflinesim.validation.device.machinery import Machinery
    from rooflinesim.validation.device.measure import Measured

PAIRS = (("1B", "100M"), ("350M", "40M"), ("100M", "40M"))
"""Targets and their drafts, the largest first: a budget takes the first that it has room for."""

VISITS = 2
"""Times that a run comes to every cell: what drifts on a machine is then in all of them, and in the calibration."""

CALIBRATION_SHARE = 0.25
"""Share of a budget that calibration takes, in parts before, between and after the cells."""


def validate_speculation(
    *,
    seconds: float = 600.0,
    threads: int = 1,
    device: str | None = None,
    forms: Sequence[str] | None = None,
    pair: tuple[str, str] | None = None,
    profile: Hardware | None = None,
    is_other_device: bool = False,
    told: Told | None = None,
    keep: Callable[[Mapping[str, float]], None] | None = None,
) -> Answer:
    """Speculation run on the device at hand beside predictions from a calibration that saw none of it.

    In each number format a draft and a target decode batches of several sizes with two draft lengths and three shares
    of acceptance, which are controlled; in the first format trees, early exits with what they get right, and sampling
    too. Of the runs predictions take only how many tokens were kept. Greedy output is compared with plain decoding's,
    token by token; that of sampling with the target's own distribution.

    Parameters
    ----------
    seconds : budget of wall time. [s] > 0
    threads, device, forms, profile, is_other_device, told : as in `validate_device`
    pair : names of the target and the draft; None takes the largest that the budget has room for
    keep : given all predicted speed-ups by cell before they are compared

    Raises
    ------
    UnsupportedError : if torch is missing or cannot use the device, the budget is too short, or the profile is that of
        another device.
    """
    require_torch()
    from rooflinesim.validation.device.machinery import at_work, machinery
    from rooflinesim.validation.device.measure import measure
    from rooflinesim.validation.device.pooling import pooled
    from rooflinesim.validation.device.speculation_cells import chain_cells, other_cells

    if pair is not None:
        _check_pair(*pair)
    own = machinery(device, threads, forms)
    if profile is not None and not is_other_device:
        check_device(profile, own.name)
    begun = time.perf_counter()
    turns = [form for _ in range(VISITS) for form in own.forms]
    calibration = CALIBRATION_SHARE * seconds / (len(turns) + 1)

    def tell(what: str) -> None:
        if told:
            told(min(time.perf_counter() - begun, seconds), seconds, what)

    tell("kernels")
    parts = [measure(own, seconds=calibration, has_kernels=profile is None)]
    if parts[0].is_interrupted:
        raise KeyboardInterrupt
    visited: list[MeasuredCell] = []
    asked: dict[str, list[SpeculationCell]] = {}
    chosen: dict[str, tuple[str, str]] = {}
    reasons: dict[str, str] = {}
    is_interrupted = False
    try:
        for turn, form in enumerate(turns):
            hardware = profile or measured_hardware(pooled(parts), has_intervals=False)
            left = seconds - (time.perf_counter() - begun) - calibration * (len(turns) - turn)
            share = max(left, 0.0) / (len(turns) - turn)
            slowed = slow_down(parts[-1])
            if form not in chosen:
                chosen[form] = pair or affordable_pair(hardware, form, share / slowed, own)
                others = other_cells(*chosen[form], form) if turn == 0 else []
                asked[form] = [*chain_cells(*chosen[form], form), *others]
            wanted = asked[form]
            with at_work(own):
                run = _run(wanted, own, share, _foretold(hardware, slowed), reasons, turn // len(own.forms))
                for at, one in enumerate(run, start=1):
                    visited.append(one)
                    tell(f"{form} cell {at} of {len(wanted)}")
            parts.append(measure(own, seconds=calibration, has_kernels=profile is None))
            is_interrupted = parts[-1].is_interrupted
            if is_interrupted:
                break
    except KeyboardInterrupt:
        is_interrupted = True
        if not visited:
            raise
    cells = joined_cells(visited)
    if not cells:
        raise UnsupportedError(f"--budget {seconds:.0f}s is too short for any round of speculation; give more")
    reason = "interrupted" if is_interrupted else "the budget ended before it"
    done = {one.cell.id for one in cells}
    skipped = [
        Skipped(id=one.id, reason=reasons.get(one.id, reason))
        for group in asked.values()
        for one in group
        if one.id not in done
    ]
    found = pooled(parts)
    found = dataclasses.replace(found, is_interrupted=found.is_interrupted or is_interrupted)
    hardware = profile or measured_hardware(found, has_intervals=False)
    comparison = compared_rounds(cells, lambda cell: deployments(hardware, cell), skipped)
    if keep:
        keep(dict(zip(comparison.ids.tolist(), comparison.predicted.tolist(), strict=True)))
    with at_work(own):
        sampling = {form: _sampling_probability(form, own) for form in own.forms}
    return _answer(found, hardware, cells, comparison, sampling, {"pairs": chosen, "budget_s": seconds})


Foretold = Callable[[Sequence[SpeculationCell]], float]


def _foretold(hardware: Hardware, slowed: float) -> Foretold:
    return lambda cells: slowed * fewest_rounds_time(hardware, cells)


def _run(
    asked: Sequence[SpeculationCell],
    own: "Machinery",
    seconds: float,
    fewest_time: Foretold,
    reasons: dict[str, str],
    visit: int,
) -> Iterator[MeasuredCell]:
    """Cells with drafts of their own, then early exits, each with the time in proportion to what they need.

    Cells that memory does not suffice for are left out, and `reasons` says so of each.
    """
    from rooflinesim.validation.device.clock import CudaEvents, EventClock
    from rooflinesim.validation.device.rounds import shortage
    from rooflinesim.validation.device.speculation_cells import measured_cells

    # Rounds wait for the host, so its time belongs to them.
    clock = EventClock(CudaEvents(), holds=False) if own.is_gpu else own.clock
    whole = fewest_time(asked)
    for is_plain in (True, False):
        group = [one for one in asked if (one.exit_layer is None) == is_plain]
        if group:
            share = seconds * fewest_time(group) / whole
            try:
                yield from measured_cells(
                    group,
                    clock,
                    seconds=share,
                    fewest_time=fewest_time,
                    visit=visit,
                    device=own.device,
                    now=time.perf_counter,
                )
            except (MemoryError, RuntimeError) as error:
                reasons.update(dict.fromkeys((one.id for one in group), shortage(error)))


def _check_pair(target: str, draft: str) -> None:
    """Refuse a draft whose tokens are others than those of its target."""
    first, second = known_decoder(target).vocabulary, known_decoder(draft).vocabulary
    if first != second:
        raise UnsupportedError(
            f"--sizes: {target} has {first:,} tokens and {draft} {second:,}; give two decoders of one vocabulary"
        )


def _sampling_probability(form: str, own: "Machinery") -> float:
    """The least probability of samples as far from the target's own as those of a chain and of a tree [1]."""
    from rooflinesim.validation.device.distribution import sampling_probability
    from rooflinesim.validation.device.speculation import DraftTree, chain
    from rooflinesim.validation.device.speculation_cells import TREE

    trees = (chain(3), DraftTree(TREE))
    return min(sampling_probability(tree, form, device=own.device) for tree in trees)


def deployments(hardware: Hardware, cell: SpeculationCell) -> tuple[Deployment, Deployment]:
    """Target and draft of a cell on a device, run op by op."""
    model = known_decoder(cell.target)
    draft = known_decoder(cell.draft) if cell.exit_layer is None else first_layers(model, cell.exit_layer)
    target, drafting = (
        deployment(model=one, hardware=hardware, stack=known_stack(STACK), weights=cell.form) for one in (model, draft)
    )
    return target, drafting


def slow_down(found: "Measured") -> float:
    """Wall time over the time that a clock tells: half way to what the worst tenth of samples saw [1]."""
    return 0.5 * (1.0 + max(found.noise.wall_ratio or 1.0, 1.0))


def affordable_pair(hardware: Hardware, form: str, seconds: float, own: "Machinery") -> tuple[str, str]:
    """The largest pair whose fewest rounds take four fifths of a time and whose weights half of the free memory."""
    from rooflinesim.validation.device.decoder import DTYPES
    from rooflinesim.validation.device.speculation_cells import chain_cells
    from rooflinesim.workload.parameters import total_parameters

    for target, draft in PAIRS[:-1]:
        # Quietened copies and caches take about as much again as the weights.
        needed = 2.0 * total_parameters(known_decoder(target)) * DTYPES[form].itemsize
        cost = fewest_rounds_time(hardware, chain_cells(target, draft, form))
        if needed <= 0.5 * own.memory and cost <= 0.8 * seconds:
            return target, draft
    return PAIRS[-1]


def fewest_rounds_time(hardware: Hardware, cells: Sequence[SpeculationCell]) -> float:
    """Predicted time of the fewest rounds of cells with the plain steps beside them and before them [s]."""
    from rooflinesim.validation.device.speculation_cells import FEWEST_ROUNDS

    whole, plain = 0.0, {}
    for cell in cells:
        target, draft = deployments(hardware, cell)
        times = round_times(
            Speculation(target=target, method=DraftModel(draft=draft)),
            np.array([float(cell.batch)]),
            np.array([float(cell.context)]),
            cell.shape,
        )
        plain[cell.batch] = float(times.plain_step_time[0])
        round_time = times.draft_time + times.refill_time + times.verify_time
        whole += plain[cell.batch] + float(round_time[0])
    longest = max(len(cell.parents) for cell in cells)
    return FEWEST_ROUNDS * (whole + longest * sum(plain.values()))


def _answer(
    found: "Measured",
    hardware: Hardware,
    cells: Sequence[MeasuredCell],
    comparison: Comparison,
    sampling: Mapping[str, float],
    inputs: Mapping[str, Any],
) -> Answer:
    from rooflinesim.validation.device.rules import NEAR_TIE

    found_scores = scores(comparison, ("regime",))
    content = validation_report.validation_content(comparison, found_scores, ("regime",))
    verdict = speculation_verdict(cells, comparison, sampling, NEAR_TIE)
    summary = {
        **content["summary"],
        **{field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict)},
        "run": run_summary(found),
        "hardware": hardware.name,
    }
    more: dict[str, Sequence[Any]] = {
        name: column.tolist()
        for name, column in comparison.labels.items()
        if name in LABELS or name.startswith("predicted_")
    }
    return Answer(
        command="validate",
        version=__version__,
        result=comparison,
        columns={**content["columns"], **more},
        describe_inputs=lambda: {
            **run_inputs(found, inputs["budget_s"]),
            "speculation": True,
            "pairs": {form: list(names) for form, names in inputs["pairs"].items()},
            "profile": hardware.name,
            "profile_source": hardware.calibration.source if hardware.calibration else hardware.source,
        },
        provenance=(),
        summary=summary,
        notes=[*run_notes(found), *content["notes"]],
        views=report.speculation_views(comparison, found_scores, verdict, verdict_line(found)),
        extra={
            "skipped": content["skipped"],
            "predictions": dict(zip(comparison.ids.tolist(), comparison.predicted.tolist(), strict=True)),
        },
    )
