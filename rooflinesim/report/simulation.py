"""Simulated rounds of speculation beside their closed forms, as answers."""

from typing import TYPE_CHECKING, Any

from rooflinesim.report import text
from rooflinesim.report.tables import View

if TYPE_CHECKING:
    from rooflinesim.analysis.speculation.agreement import Agreement
    from rooflinesim.analysis.speculation.simulation import Estimate


def simulation_view(found: "Agreement", round_time: float) -> View:
    """What was drawn, what a closed form says of it, and in which range 90 % of the draws lie."""
    requests = f"rounds of a request of {found.output_tokens} tokens"
    rows = [
        ["tokens of a round", *_drawn(found.tokens), f"{found.expected_tokens:.4g}"],
        [requests, *_drawn(found.rounds), f"{found.expected_rounds:.4g}"],
    ]
    if found.batch > 1:
        rows.append([f"rounds of the slowest of {found.batch:,}", *_drawn(found.slowest_rounds), "-"])
    verdict = "agree" if found.agrees else "do not agree"
    last = round_time * found.slowest_rounds.mean
    return View(
        lines=["Simulated rounds, drawn with a fixed seed:"],
        headers=["", "mean", "90 % of draws", "closed form"],
        rows=rows,
        footer=[
            "",
            f"They {verdict} within 4.5 standard errors. A batch that starts together ends after"
            f" {text.milliseconds(last)} ms.",
        ],
    )


def _drawn(one: "Estimate") -> list[str]:
    return [f"{one.mean:.4g} ± {one.standard_error:.2g}", f"{one.p5:g} - {one.p95:g}"]


def simulation_summary(found: "Agreement") -> dict[str, Any]:
    """The simulation under JSON names."""

    def record(one: "Estimate", expected: float | None) -> dict[str, float | None]:
        return {
            "mean": one.mean,
            "standard_error": one.standard_error,
            "p5": one.p5,
            "p50": one.p50,
            "p95": one.p95,
            "closed_form": expected,
        }

    return {
        "batch": found.batch,
        "output_tokens": found.output_tokens,
        "agrees": found.agrees,
        "tokens_per_round": record(found.tokens, found.expected_tokens),
        "rounds_per_request": record(found.rounds, found.expected_rounds),
        "rounds_of_slowest": record(found.slowest_rounds, None),
    }
