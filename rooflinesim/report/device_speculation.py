"""Speculation that was run, beside its predictions, as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflinesim.report.tables import View
from rooflinesim.report.validation import validation_views
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.comparison import Comparison, Score
    from rooflinesim.analysis.speculation.verdict import SpeculationVerdict


def speculation_views(
    found: "Comparison", scores: "Sequence[Score]", verdict: "SpeculationVerdict", machine: str
) -> list[View]:
    """Errors of speed-ups by kind and format, what was emitted, and every cell."""
    errors, worst = validation_views(found, scores)
    whole = scores[0]
    lines = [
        machine,
        f"Speed-ups at the acceptance that came about: MAPE {whole.mape:.1%} over {whole.n} cells; in band"
        f" {whole.inside_band:.2f} (meant: 0.8).",
        _sides(verdict),
        *_outputs(verdict),
    ]
    # What stands for the roofline of times is the textbook's speed-up here, and no share of it means anything.
    table = View(lines=lines, headers=[*errors.headers[:-2], "textbook"], rows=[row[:-1] for row in errors.rows])
    return [table, _cells(found), worst]


def _sides(verdict: "SpeculationVerdict") -> str:
    if verdict.right_side is None:
        return "No speed-up was measured outside 0.95 to 1.05."
    return (
        f"Of {verdict.judged_sides} cells measured outside 0.95 to 1.05, {verdict.right_side:.0%} are predicted on the"
        " same side of 1."
    )


def _outputs(verdict: "SpeculationVerdict") -> list[str]:
    """What was emitted in each number format, beside plain decoding and the target's own distribution."""
    lines = []
    for form, compared in verdict.compared_tokens.items():
        different, ties = verdict.differences[form], verdict.near_ties[form]
        told = "all as in plain decoding" if not different else f"{different} differ, {ties} of them at near ties"
        lines.append(f"Greedy output in {form}: {compared:,} tokens compared, {told}.")
    lines.extend(
        f"Sampled output in {form}: probability {probability:.2g} of samples as far from the target's own distribution."
        for form, probability in verdict.sampling_probability.items()
    )
    return lines


def _cells(found: "Comparison") -> View:
    labels = found.labels

    def parts(index: int) -> list[str]:
        names = ("plain_step_time", "draft_time", "verify_time")
        return [f"{labels[f'predicted_{one}_s'][index] / labels[f'measured_{one}_s'][index]:.2f}" for one in names]

    rows = [
        [
            str(found.ids[index]),
            str(labels["rounds"][index]),
            f"{labels['tokens_per_round'][index]:.2f}",
            format_quantity(float(labels["measured_round_time_s"][index]), "s", 3),
            f"{found.measured[index]:.2f}",
            f"{found.predicted[index]:.2f}",
            f"{found.predicted[index] / found.measured[index]:.2f}",
            *parts(index),
        ]
        for index in range(found.ids.size)
    ]
    return View(
        lines=["Every cell; ratios are predicted over measured:"],
        headers=["id", "rounds", "tokens", "round", "speed-up", "predicted", "ratio", "plain", "drafts", "verify"],
        rows=rows,
        left=(0,),
    )
