"""Fitted constants as the plain data of stack files, with their errors, sources and bands."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.specs.stack import Stack
from rooflinesim.units import format_quantity
from rooflinesim.validation.stack_fit import NAMES, PARAMETERS, StackFit
from rooflinesim.validation.waiting_fit import Waiting

FEWEST_ROWS = 5
"""Rows below which an engine's own value of a constant is not trusted: the class value stays."""

BAND_QUANTILES = (0.1, 0.9)
"""Shares of measured over predicted times between which 80 % lie."""

FEWEST_BAND_ROWS = 8
"""Rows below which a kind of step takes the band of all kinds together."""

OPEN = 0.9
"""Share of its starting width from which a constant's error says that the runs did not fix it [1]."""

PCIE_LATENCY = "collectives.PCIe.latency"


def class_values(fit: StackFit) -> dict[str, float]:
    """Fitted class constants by name."""
    return {name: float(np.exp(value)) for name, value in zip(NAMES, fit.class_values, strict=True)}


def engine_values(fit: StackFit, engine: str) -> dict[str, float]:
    """Constants in which an engine differs from the class by a quarter of a width or more, by name."""
    if engine not in fit.engines or fit.rows[engine] < FEWEST_ROWS:
        return {}
    return fit.moved(engine)


def stack_data(values: Mapping[str, float], base: Stack) -> dict[str, Any]:
    """Keys of a stack file for constants by name; ratios that belong together move together."""
    data: dict[str, Any] = {}
    for name, value in values.items():
        match name.split("."):
            case ["gemm_flop_efficiency"]:
                scale = value / base.gemm_flop_efficiency["bf16"]
                data["gemm_flop_efficiency"] = {
                    math: _rounded(share * scale) for math, share in base.gemm_flop_efficiency.items()
                }
            case ["routing", "independence"]:
                _put(data, ("routing", "correlation"), _rounded(max(0.0, 1.0 - value)))
            case ["collectives", "PCIe", "latency"]:
                two_shot = base.collectives["PCIe"].two_shot
                if two_shot is not None:
                    scale = value / two_shot.latency
                    _put(data, ("collectives", "PCIe", "two_shot", "latency"), _time(value))
                    _put(
                        data, ("collectives", "PCIe", "two_shot", "rank_latency"), _time(two_shot.rank_latency * scale)
                    )
            case ["collectives", "PCIe", "sharing"]:
                _put(data, ("collectives", "PCIe", "sharing"), _rounded(value))
            case ["attention", "fixed_time"]:
                ramp = base.attention.ramp_time * value / base.attention.fixed_time
                _put(data, ("attention", "fixed_time"), _time(value))
                _put(data, ("attention", "ramp_time"), _time(ramp))
            case ["collectives", last]:
                _put(data, ("collectives", "default", "one_shot", last), _time(value))
            case ["experts", "batch_slowdown"]:
                _put(data, ("experts", "batch_slowdown"), _rounded(max(1.0, value)))
            case path:
                is_time = path[-1].endswith(("_time", "latency"))
                _put(data, tuple(path), _time(value) if is_time else _rounded(value))
    return data


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
    data[path[-1]] = value


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _time(value: float) -> str:
    return format_quantity(value, "s", 4)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FittedConstant(Noun):
    """One constant of a stack: its value in SI, relative standard error, and whether the runs fix it.

    A constant whose error is still most of the width that it started with was not identified.
    """

    stack: str
    constant: str
    value: float
    relative_error: float
    runs: int
    is_identified: bool


def fitted_constants(fit: StackFit) -> tuple[FittedConstant, ...]:
    """Constants of the class first, then those in which each stack differs from it."""
    runs = sum(fit.rows.values())
    found = [
        FittedConstant(
            stack="generic",
            constant=parameter.name,
            value=float(np.exp(fit.class_values[index])),
            relative_error=float(fit.class_errors[index]),
            runs=runs,
            is_identified=bool(fit.class_errors[index] < OPEN * parameter.width),
        )
        for index, parameter in enumerate(PARAMETERS)
    ]
    for place, engine in enumerate(fit.engines):
        moved = engine_values(fit, engine)
        for index, parameter in enumerate(PARAMETERS):
            if parameter.name in moved:
                error = float(fit.engine_errors[place, index])
                found.append(
                    FittedConstant(
                        stack=engine,
                        constant=parameter.name,
                        value=moved[parameter.name],
                        relative_error=error,
                        runs=fit.rows[engine],
                        is_identified=error < OPEN * parameter.engine_width,
                    )
                )
    return tuple(found)


def fitted_paths() -> tuple[tuple[str, ...], ...]:
    """Keys of a stack file that a fit writes; what stands there is a number of an earlier fit."""
    moved: dict[str, tuple[tuple[str, ...], ...]] = {
        "routing.independence": (("routing",),),
        "attention.fixed_time": (("attention", "fixed_time"), ("attention", "ramp_time")),
        PCIE_LATENCY: (
            ("collectives", "PCIe", "two_shot", "latency"),
            ("collectives", "PCIe", "two_shot", "rank_latency"),
        ),
        "collectives.latency": (("collectives", "default", "one_shot", "latency"),),
        "collectives.rank_latency": (("collectives", "default", "one_shot", "rank_latency"),),
    }
    paths = [path for name in NAMES for path in moved.get(name, (tuple(name.split(".")),))]
    waits = ("admission_time", "waiting_share")
    return (*paths, *((name,) for name in waits), *((under, name) for under in ("sources", "kinds") for name in waits))


def waiting_data(waiting: Waiting, runs: int, source: str) -> dict[str, Any]:
    """Keys of a stack file for what first tokens wait for, and where they come from."""
    where = f"least absolute deviations of {runs} first tokens of closed loops ({source})"
    return {
        "admission_time": format_quantity(waiting.admission_time, "s", 3),
        "waiting_share": float(f"{waiting.share:.3g}"),
        "sources": {"admission_time": where, "waiting_share": where},
        "kinds": {"admission_time": "fitted", "waiting_share": "fitted"},
    }


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Values below which given shares of the weight lie; shape (shares,)."""
    order = np.argsort(values)
    heap = np.cumsum(weights[order]) - 0.5 * weights[order]
    return np.asarray(np.interp(np.asarray(shares) * weights.sum(), heap, values[order]))


def bands(ratios: np.ndarray, kinds: np.ndarray, weights: np.ndarray, source: str) -> dict[str, Any]:
    """Band of each kind of step from measured over predicted times of runs with a weight; shape (runs,).

    Runs weigh as in the fit, so that one long table is not the judge of all. A kind with few rows takes the quantiles
    of all rows.
    """
    used = (weights > 0) & np.isfinite(ratios)
    ratios, kinds, weights = ratios[used], kinds[used], weights[used]
    every = weighted_quantiles(ratios, weights, BAND_QUANTILES)
    found: dict[str, Any] = {}
    for kind in ("single", "single_quantised", "batched", "parallel", "experts", "prompt", "first_token"):
        mine = kinds == kind
        count = int(mine.sum())
        is_own = count >= FEWEST_BAND_ROWS
        if kind == "first_token" and not is_own:
            continue
        low, high = weighted_quantiles(ratios[mine], weights[mine], BAND_QUANTILES) if is_own else every
        rows = f"{count} runs" if is_own else f"all {ratios.size} runs, {count} of this kind"
        found[kind] = {
            "low": _rounded(min(float(low), 0.98)),
            "high": _rounded(max(float(high), 1.02)),
            "source": f"10 and 90 % quantiles of measured over predicted time, {rows} {source}",
        }
    return found


def enclosing(bands: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Bands widened to hold those of better evidence: knowing less never narrows them."""
    return {
        kind: {
            **band,
            "low": min(band["low"], inner.get(kind, band)["low"]),
            "high": max(band["high"], inner.get(kind, band)["high"]),
        }
        for kind, band in bands.items()
    }
