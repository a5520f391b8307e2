"""Fitted constants as the plain data of stack files, with their errors, sources and bands."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.specs.stack import Stack
from rooflinesim.units import format_quantity
from rooflinesim.validation.stack_fit import NAMES, StackFit

FEWEST_ROWS = 5
"""Rows below which an engine's own value of a constant is not trusted: the class value stays."""

BAND_QUANTILES = (0.1, 0.9)
"""Shares of measured over predicted times between which 80 % lie."""

FEWEST_BAND_ROWS = 8
"""Rows below which a kind of step takes the band of all kinds together."""

PCIE_LATENCY = "collectives.PCIe.latency"


def class_values(fit: StackFit) -> dict[str, float]:
    """Fitted class constants by name."""
    return {name: float(np.exp(value)) for name, value in zip(NAMES, fit.class_values, strict=True)}


def engine_values(fit: StackFit, engine: str) -> dict[str, float]:
    """Constants in which an engine differs from the class by half a prior's width or more, by name."""
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


def bands(ratios: np.ndarray, kinds: Iterable[str], source: str) -> dict[str, Any]:
    """Band of each kind of step from measured over predicted times; shape (runs,).

    A kind with few rows takes the quantiles of all rows, if those are wider.
    """
    kinds = np.array(list(kinds))
    every = np.quantile(ratios, BAND_QUANTILES)
    found: dict[str, Any] = {}
    for kind in ("single", "single_quantised", "batched", "parallel", "experts", "prompt"):
        mine = ratios[kinds == kind]
        low, high = np.quantile(mine, BAND_QUANTILES) if mine.size >= FEWEST_BAND_ROWS else every
        count = (
            f"{mine.size} runs"
            if mine.size >= FEWEST_BAND_ROWS
            else f"all {ratios.size} runs, {mine.size} of this kind"
        )
        found[kind] = {
            "low": _rounded(min(float(low), 0.98)),
            "high": _rounded(max(float(high), 1.02)),
            "source": f"10 and 90 % quantiles of measured over predicted time, {count} {source}",
        }
    return found
