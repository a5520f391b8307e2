"""Constants of the matrix multiplication law from tables of measured times, and how far it is from them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rooflinesim.cost.gemm import gemm_time, law_at_clock, quantization_time
from rooflinesim.cost.roofline import compute_time, memory_time
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw
from rooflinesim.specs.hardware import Hardware
from rooflinesim.validation.fitting import Fit, Parameter, fit

Columns = Mapping[str, np.ndarray]
"""Measured rows: `rows`, `outputs`, `inputs` of the multiplication [1] and its `time` [s], each of shape (rows,)."""

REGIMES = ((1, 64), (65, 256), (257, 2048), (2049, 16384))
"""First and last count of rows of each range that is weighted and scored by itself."""

REGIME_WEIGHTS = (0.5, 0.25, 0.125, 0.125)
"""Share of a fit's weight that the rows of each range have together."""

COLD = 1.2
"""Working set of a benchmark's loop, over the last shared cache, from which it streams from device memory [1]."""

PARAMETERS = (
    Parameter(name="memory_efficiency", start=0.85, low=0.3, high=1.0),
    Parameter(name="flop_efficiency", start=0.75, low=0.2, high=1.0),
    Parameter(name="fixed_time", start=3e-6, low=1e-7, high=2e-5),
    Parameter(name="split_time", start=2e-6, low=1e-8, high=1e-5),
    Parameter(name="exposed_share", start=0.3, low=0.001, high=1.0),
    Parameter(name="idle_core_loss", start=0.08, low=0.001, high=1.0),
)
"""Constants of the law, times at the law's reference clock."""

NAMES = tuple(parameter.name for parameter in PARAMETERS)
"""Names of all constants of the law."""

DEVICE_PARAMETERS = ("memory_efficiency", "flop_efficiency", "exposed_share")
"""Constants that are fitted per device; the others are those of the class."""

QUANTIZATION_PARAMETERS = (
    Parameter(name="quantization_time", start=4e-6, low=1e-7, high=2e-4),
    Parameter(name="value_bytes", start=3.0, low=0.01, high=100.0),
    Parameter(name="input_time", start=0.9e-9, low=1e-11, high=1e-8),
)
"""Constants of an engine's kernels in one narrow format; `input_time` only for those that never split inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rates(Noun):
    """Datasheet of a device in one math format, and the bytes of one value of each operand."""

    bandwidth: float
    flop_rate: float
    cores: float | None
    clock_rate: float | None
    weight_value_bytes: float = 2.0
    input_value_bytes: float = 2.0
    output_value_bytes: float = 2.0


def rates_of(
    hardware: Hardware, math: str, *, weight_value_bytes: float = 2.0, input_value_bytes: float = 2.0
) -> Rates:
    """Datasheet rates of a device that multiplies in a math format."""
    return Rates(
        bandwidth=hardware.memory_bandwidth,
        flop_rate=hardware.dense_flop_rate[math],
        cores=hardware.cores,
        clock_rate=hardware.clock_rate,
        weight_value_bytes=weight_value_bytes,
        input_value_bytes=input_value_bytes,
    )


def weight_bytes(columns: Columns, rates: Rates) -> np.ndarray:
    """Bytes of the weight matrix of each row [B]."""
    return np.asarray(columns["outputs"] * columns["inputs"] * rates.weight_value_bytes)


def activation_bytes(columns: Columns, rates: Rates) -> np.ndarray:
    """Bytes of the inputs read and the outputs written of each row [B]."""
    moved = columns["inputs"] * rates.input_value_bytes + columns["outputs"] * rates.output_value_bytes
    return np.asarray(columns["rows"] * moved)


def is_cold(columns: Columns, rates: Rates, cache_bytes: float, copies: np.ndarray | float) -> np.ndarray:
    """Whether a benchmark that walks copies of the weights finds none of them in the cache, as a model does."""
    working_set = copies * weight_bytes(columns, rates) + activation_bytes(columns, rates)
    cold: np.ndarray = working_set > COLD * cache_bytes
    return cold


def chosen(columns: Columns, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the rows that a mask names."""
    return {name: values[mask] for name, values in columns.items()}


def middle_time(times: Sequence[np.ndarray]) -> np.ndarray:
    """Median of the times that several engines take, those that are not measured (nan) left out [s]."""
    return np.asarray(np.nanmedian(np.stack(times), axis=0))


def regime_weights(rows: np.ndarray) -> np.ndarray:
    """Weights that give each range of rows its share of a fit, however many rows it has; their mean is 1 [1]."""
    weights = np.zeros(rows.size)
    for (first, last), share in zip(REGIMES, REGIME_WEIGHTS, strict=True):
        inside = (rows >= first) & (rows <= last)
        weights[inside] = share / max(int(inside.sum()), 1)
    return np.asarray(weights * rows.size / max(weights.sum(), 1e-300))


def roofline_time(columns: Columns, rates: Rates) -> np.ndarray:
    """Longer of the times of bytes and of FLOPs at datasheet rates [s]."""
    flops = 2.0 * columns["rows"] * columns["inputs"] * columns["outputs"]
    moved = weight_bytes(columns, rates) + activation_bytes(columns, rates)
    return np.asarray(np.maximum(memory_time(moved, rates.bandwidth), compute_time(flops, rates.flop_rate)))


def predicted_time(
    columns: Columns,
    rates: Rates,
    constants: Mapping[str, float],
    law: GemmLaw,
) -> np.ndarray:
    """Times by the law with constants replaced, quantisation kernels included where constants name them [s]."""
    law = dataclasses.replace(
        law,
        fixed_time=constants.get("fixed_time", law.fixed_time),
        split_time=constants.get("split_time", law.split_time),
        exposed_share=constants.get("exposed_share", law.exposed_share),
        idle_core_loss=constants.get("idle_core_loss", law.idle_core_loss),
        input_time=constants.get("input_time", law.input_time),
    )
    bandwidth = rates.bandwidth * constants["memory_efficiency"]
    time = gemm_time(
        rows=columns["rows"],
        inputs=columns["inputs"],
        outputs=columns["outputs"],
        weight_bytes=weight_bytes(columns, rates),
        activation_bytes=activation_bytes(columns, rates),
        bandwidth=bandwidth,
        flop_rate=rates.flop_rate * constants["flop_efficiency"],
        cores=rates.cores,
        law=law_at_clock(law, rates.clock_rate),
    )
    if "quantization_time" in constants:
        kernels = QuantizationLaw(
            fixed_time=constants["quantization_time"], value_bytes=constants.get("value_bytes", 0.0)
        )
        time = time + quantization_time(columns["rows"], columns["inputs"], bandwidth, kernels)
    return np.asarray(time)


def fit_device(
    columns: Columns,
    rates: Rates,
    law: GemmLaw,
    known: Mapping[str, float],
    *,
    names: Iterable[str] = DEVICE_PARAMETERS,
) -> Fit:
    """Named constants of one device, all others as known.

    Raises
    ------
    UnsupportedError : if scipy is missing, a name is unknown, or there are fewer rows than constants.
    """
    return fit_shared({"device": columns}, {"device": rates}, law, known, names=names)


def fit_shared(
    tables: Mapping[str, Columns],
    rates: Mapping[str, Rates],
    law: GemmLaw,
    known: Mapping[str, float] | None = None,
    *,
    names: Iterable[str] = NAMES,
    own: Mapping[str, Mapping[str, float]] | None = None,
) -> Fit:
    """Named constants that hold for the rows of several devices at once; each device weighs the same.

    `known` constants hold everywhere, those of `own` on their device.

    Raises
    ------
    UnsupportedError : if scipy is missing, a name is unknown, or there are fewer rows than constants.
    """
    fitted = _parameters(names)
    devices = list(tables)
    measured = np.concatenate([tables[device]["time"] for device in devices])
    weights = [regime_weights(tables[device]["rows"]) for device in devices]
    each = measured.size / max(len(devices), 1)
    balanced = np.concatenate([weight * each / max(weight.size, 1) for weight in weights])

    def predict(values: Mapping[str, float]) -> np.ndarray:
        parts = []
        for device in devices:
            constants = {**(known or {}), **((own or {}).get(device, {})), **values}
            parts.append(predicted_time(tables[device], rates[device], constants, law))
        return np.concatenate(parts)

    return fit(fitted, predict, measured, weights=balanced)


def left_out(
    tables: Mapping[str, Columns],
    rates: Mapping[str, Rates],
    law: GemmLaw,
    known: Mapping[str, float] | None = None,
    *,
    names: Iterable[str] = NAMES,
    own: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Fit]:
    """For each device, the constants that the rows of all the others give.

    Raises
    ------
    UnsupportedError : as `fit_shared`, and if there is only one device.
    """
    if len(tables) < 2:
        raise UnsupportedError("one device cannot be left out of itself; give the tables of two or more")
    wanted = tuple(names)
    return {
        device: fit_shared(
            {other: columns for other, columns in tables.items() if other != device},
            rates,
            law,
            known,
            names=wanted,
            own=own,
        )
        for device in tables
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Score(Noun):
    """How far one prediction is from the measured rows of one range of rows.

    `within_10`, `within_25` are the shares of rows with an error of at most 10 and 25 %.
    """

    first_rows: int
    last_rows: int
    prediction: str
    count: int
    mape: float
    median_ape: float
    p90_ape: float
    within_10: float
    within_25: float


def scores(columns: Columns, predictions: Mapping[str, np.ndarray]) -> tuple[Score, ...]:
    """Errors of each prediction in each range of rows that was measured."""
    found = []
    for first, last in REGIMES:
        inside = (columns["rows"] >= first) & (columns["rows"] <= last)
        if not inside.any():
            continue
        for name, predicted in predictions.items():
            apart = np.abs(predicted[inside] / columns["time"][inside] - 1.0)
            found.append(
                Score(
                    first_rows=first,
                    last_rows=last,
                    prediction=name,
                    count=int(inside.sum()),
                    mape=float(apart.mean()),
                    median_ape=float(np.median(apart)),
                    p90_ape=float(np.quantile(apart, 0.9)),
                    within_10=float((apart <= 0.10).mean()),
                    within_25=float((apart <= 0.25).mean()),
                )
            )
    return tuple(found)


def standard_predictions(
    columns: Columns,
    rates: Rates,
    law: GemmLaw,
    *,
    fitted: Mapping[str, float],
    transferred: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Times by the roofline, by the roofline at 75 %, and by the law with fitted and with transferred constants [s]."""
    roofline = roofline_time(columns, rates)
    return {
        "roofline": roofline,
        "roofline/0.75": roofline / 0.75,
        "fitted": predicted_time(columns, rates, fitted, law),
        "transferred": predicted_time(columns, rates, transferred, law),
    }


def doubling_rows(rows: np.ndarray, time: np.ndarray) -> float:
    """Count of rows at which the time of one matrix is twice that of its fewest rows; nan if it never is [tokens].

    Between measured counts the time is taken as a power of the rows. A measured time that falls again
    with more rows counts as the lower one: a kernel that is faster for more rows serves fewer as well.
    """
    order = np.argsort(rows)
    logarithm = np.log(rows[order].astype(float))
    steady = np.minimum.accumulate(time[order][::-1])[::-1]
    growth = np.log(steady / steady[0])
    above = np.flatnonzero(growth >= np.log(2.0))
    if above.size == 0:
        return float("nan")
    after = int(above[0])
    share = (np.log(2.0) - growth[after - 1]) / (growth[after] - growth[after - 1])
    return float(np.exp(logarithm[after - 1] + share * (logarithm[after] - logarithm[after - 1])))


def doublings(columns: Columns, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Measured and predicted rows at which time has doubled, for each matrix that is measured from one row on.

    Columns `outputs`, `inputs`, `measured` and `predicted`; matrices whose time does not double are left out.
    """
    found = []
    shapes = np.stack([columns["outputs"], columns["inputs"]], axis=1)
    for shape in np.unique(shapes, axis=0):
        inside = (shapes == shape).all(axis=1)
        if columns["rows"][inside].min() > 1:
            continue
        measured = doubling_rows(columns["rows"][inside], columns["time"][inside])
        expected = doubling_rows(columns["rows"][inside], predicted[inside])
        if np.isfinite(measured) and np.isfinite(expected):
            found.append((*shape, measured, expected))
    table = np.array(found, dtype=float).reshape(-1, 4)
    return dict(zip(("outputs", "inputs", "measured", "predicted"), table.T, strict=True))


def _parameters(names: Iterable[str]) -> tuple[Parameter, ...]:
    known = {parameter.name: parameter for parameter in (*PARAMETERS, *QUANTIZATION_PARAMETERS)}
    wanted = tuple(names)
    for name in wanted:
        if name not in known:
            raise UnsupportedError(f"{name!r} is no constant of the law; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)
