"""A validation on the device at hand as tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rooflinesim.report.tables import View
from rooflinesim.report.validation import validation_views
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.comparison import Comparison, Score


def device_views(
    found: "Comparison", scores: "Sequence[Score]", summary: Mapping[str, Any], verdict: str
) -> list[View]:
    """Errors by model and format, what terms add, half-throughput batches, shares, and every cell."""
    errors, worst = validation_views(found, scores)
    whole = scores[0]
    floor = summary["noise_floor"]
    lines = [
        verdict,
        f"MAPE {whole.mape:.1%} [{summary['mape_low']:.1%}, {summary['mape_high']:.1%}] over {whole.n} steps; even and"
        f" odd rounds of the same steps differ by {'-' if floor is None else f'{floor:.1%}'}.",
        f"As clocked, with the machine's changes of pace: MAPE {summary['mape_as_clocked']:.1%}.",
        f"In band {whole.inside_band:.2f} (meant: 0.8); {summary['noisy_cells']} steps are noisy themselves.",
    ]
    paces, flips = summary["kernel_paces"], summary["half_throughput_batch"]
    if paces:
        shown = ", ".join(f"{pace:.2f} x in {form}" for form, pace in paces.items())
        lines.append(
            f"Products take what the profile says times {shown}; at that pace MAPE"
            f" {summary['mape_at_kernel_paces']:.1%}."
        )
    other = summary["uncalibrated"]
    if other is not None:
        lines.append(
            f"Without calibration ({other['hardware']}, stack {other['stack']}): MAPE {other['mape']:.0%}, bias"
            f" {other['bias']:+.0%}, in its band of x {other['low']:.2g} to x {other['high']:.2g}:"
            f" {other['inside_band']:.2f}."
        )
    return [
        View(lines=lines, headers=errors.headers, rows=errors.rows),
        _ladder(summary["ladder"]),
        *([half_throughput_view(flips)] if flips else []),
        *[_shares(id_, rows) for id_, rows in summary["shares"].items()],
        _cells(found),
        worst,
    ]


def _ladder(rungs: Sequence[Mapping[str, Any]]) -> View:
    return View(
        lines=["What each term of the model brings:"],
        headers=["model", "MAPE", "bias"],
        rows=[[str(one["model"]), f"{one['mape']:.1%}", f"{one['bias']:+.1%}"] for one in rungs],
        left=(0,),
    )


def half_throughput_view(rows: Sequence[Mapping[str, Any]]) -> View:
    """Batches of half the throughput, measured beside predicted; below one sequence there is none, and both say so."""

    def shown(value: float | None) -> str:
        return "-" if value is None else "< 1" if value < 1.0 else f"{value:.1f}"

    def ratio(measured: float | None, predicted: float | None) -> str:
        if measured is None or predicted is None or min(measured, predicted) < 1.0:
            return "-"
        return f"{predicted / measured:.2f}"

    return View(
        lines=["Half-throughput batch a / s of t = a + s B at the shortest context, two sequences and more:"],
        headers=["decoder", "measured", "predicted", "ratio"],
        rows=[
            [
                one["group"],
                shown(one["measured"]),
                shown(one["predicted"]),
                ratio(one["measured"], one["predicted"]),
            ]
            for one in rows
        ],
        left=(0,),
    )


def _shares(id_: str, rows: Sequence[Mapping[str, Any]]) -> View:
    return View(
        lines=[f"Shares of {id_}:"],
        headers=["operation", "measured", "predicted"],
        rows=[[one["op"], f"{one['measured']:.1%}", f"{one['predicted']:.1%}"] for one in rows],
        left=(0,),
    )


def _cells(found: "Comparison") -> View:
    def shown(value: float) -> str:
        return format_quantity(float(value), "s", 3)

    rows = [
        [str(id_), shown(measured), shown(predicted), f"{shown(low)} - {shown(high)}", f"{predicted / measured:.2f}"]
        for id_, measured, predicted, low, high in zip(
            found.ids, found.measured, found.predicted, found.low, found.high, strict=True
        )
    ]
    return View(
        lines=["Every step:"],
        headers=["id", "measured", "predicted", "band", "ratio"],
        rows=rows,
        left=(0,),
    )
