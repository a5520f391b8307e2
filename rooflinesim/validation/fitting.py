"""Robust least squares on logarithms of times: constants, their errors, and what the rows cannot tell apart."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun

NOISE = 0.08
"""Relative error beyond which a row counts as an outlier and pulls linearly, not quadratically [1]."""

IDENTIFIABLE = 0.5
"""Relative standard error from which a constant is called not identified [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Parameter(Noun):
    """A positive constant to fit: where to start and between what to stay; `prior` is a width in logarithm.

    With a prior the constant is drawn to its start: a constant that the rows say nothing about stays there.
    """

    name: str
    start: float
    low: float
    high: float
    prior: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fit(Noun):
    """Fitted constants by name, the relative standard error of each, and how far the rows still are.

    `unidentified` names constants that the rows do not fix: at a bound, or uncertain by more than half.
    """

    values: Mapping[str, float]
    standard_errors: Mapping[str, float]
    unidentified: tuple[str, ...]
    rows: int
    mape: float
    median_ape: float


Predict = Callable[[Mapping[str, float]], np.ndarray]


def fit(
    parameters: Sequence[Parameter],
    predict: Predict,
    measured: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    noise: float = NOISE,
    begin: Mapping[str, float] | None = None,
) -> Fit:
    r"""Constants that bring predicted times closest to measured ones.

    Minimises :math:`\sum_i w_i\, \rho((\ln \hat t_i - \ln t_i) / s)` with the soft absolute value
    :math:`\rho(z^2) = 2(\sqrt{1 + z^2} - 1)`; constants are fitted as logarithms inside their bounds.

    Parameters
    ----------
    parameters : constants to fit
    predict : times of all rows for given constants. [s] shape (rows,)
    measured : times. [s] > 0, shape (rows,)
    weights : of rows. [1] shape (rows,)
    noise : s, the relative error beyond which a row pulls linearly. [1]
    begin : constants that the search begins with, where they are near; None begins with the starts

    Raises
    ------
    UnsupportedError : if scipy is missing, or there are fewer rows than constants.
    """
    optimize = _optimize()
    if measured.size < len(parameters):
        raise UnsupportedError(
            f"{measured.size} rows cannot fix {len(parameters)} constants; give more rows, or keep the class values"
        )
    target = np.log(measured)
    root_weights = 1.0 if weights is None else np.sqrt(weights)
    names = [parameter.name for parameter in parameters]
    start = np.log([parameter.start for parameter in parameters])
    first = start if begin is None else np.log([begin[name] for name in names])
    low = np.log([parameter.low for parameter in parameters])
    high = np.log([parameter.high for parameter in parameters])
    widths = np.array([np.inf if parameter.prior is None else parameter.prior for parameter in parameters])

    def residuals(logarithms: np.ndarray) -> np.ndarray:
        values = dict(zip(names, np.exp(logarithms), strict=True))
        data = root_weights * _softened((np.log(predict(values)) - target) / noise)
        return np.concatenate([data, ((logarithms - start) / widths)[np.isfinite(widths)]])

    solution = optimize.least_squares(
        residuals, np.clip(first, low + 1e-6, high - 1e-6), bounds=(low, high), x_scale=0.1, diff_step=1e-4
    )
    values = dict(zip(names, map(float, np.exp(solution.x)), strict=True))
    errors = _standard_errors(solution.jac, solution.fun, names)
    at_bound = np.minimum(solution.x - low, high - solution.x) < 1e-3
    missing = tuple(name for name, bound in zip(names, at_bound, strict=True) if bound or errors[name] > IDENTIFIABLE)
    apart = np.abs(predict(values) / measured - 1.0)
    return Fit(
        values=values,
        standard_errors=errors,
        unidentified=missing,
        rows=int(measured.size),
        mape=float(apart.mean()),
        median_ape=float(np.median(apart)),
    )


def _softened(residual: np.ndarray) -> np.ndarray:
    """Residual whose square grows like the absolute value beyond one."""
    softened: np.ndarray = np.sign(residual) * np.sqrt(2.0 * (np.sqrt(1.0 + residual**2) - 1.0))
    return softened


def _standard_errors(jacobian: np.ndarray, residuals: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Relative standard error of each constant, from the curvature at the solution [1]."""
    freedom = max(residuals.size - len(names), 1)
    variance = float(residuals @ residuals) / freedom
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    steep = np.abs(jacobian).max(axis=0) > 1e-9
    return {
        name: float(np.sqrt(max(covariance[index, index], 0.0))) if steep[index] else 1.0
        for index, name in enumerate(names)
    }


def _optimize() -> Any:
    try:
        from scipy import optimize
    except ImportError:
        raise UnsupportedError("fitting needs scipy; install it: pip install 'rooflinesim[fit]'") from None
    return optimize
