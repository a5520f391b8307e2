"""Constants of the attention law from tables of measured times, and how far it is from them."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rooflinesim.cost.attention import attention_time
from rooflinesim.cost.roofline import compute_time, memory_time
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.hardware import Hardware
from rooflinesim.validation.fitting import Fit, Parameter, fit
from rooflinesim.workload.attention import read_tokens, visible_pairs

Columns = Mapping[str, np.ndarray]
"""Measured rows, each of shape (rows,): `batch`, `new_tokens`, `context` [tokens], `heads` and `kv_heads` of the
device, `head_size`, `window` (0: none) [tokens], `kv_value_bytes` [B] and the `time` [s]."""

COLD = 1.2
"""Cache that a benchmark reads, over the last shared on-chip cache, from which it streams from device memory [1]."""

RESIDENT = (0.85, 1.05)
"""The same ratio up to which it stays on chip, and from which nothing of it does [1]."""

EFFICIENCY = 0.75
"""Share of both datasheet rates that a roofline with one common efficiency reaches [1]."""

PARAMETERS = (
    Parameter(name="fixed_time", start=10e-6, low=1e-6, high=5e-5),
    Parameter(name="ramp_time", start=5e-6, low=1e-7, high=3e-5),
    Parameter(name="memory_efficiency", start=0.9, low=0.3, high=0.97),
    Parameter(name="flop_efficiency", start=0.8, low=0.2, high=1.0),
    Parameter(name="core_clock_bytes", start=25.0, low=3.0, high=100.0),
    Parameter(name="start_time", start=2e-6, low=1e-8, high=2e-5),
    Parameter(name="start_tokens", start=200.0, low=1.0, high=2000.0),
    Parameter(name="part_tokens", start=300.0, low=32.0, high=4096.0),
    Parameter(name="core_clock_exponentials", start=20.0, low=4.0, high=200.0),
)
"""Constants of the law, times at the law's reference clock."""

NAMES = ("fixed_time", "ramp_time", "memory_efficiency", "flop_efficiency", "start_tokens")
"""Constants that are fitted per device unless others are named; the rest are those of the class."""

SHARED_NAMES = ("fixed_time", "ramp_time", "flop_efficiency", "start_tokens")
"""Constants that hold for several devices; the memory efficiency is that of a device's kind of memory."""

REGIMES = (
    "decode, grouped, cold",
    "decode, single heads, cold",
    "decode, on chip",
    "prefill up to 63",
    "prefill 64 to 512",
    "prefill 513 to 2048",
    "prefill above 2048",
)
"""Ranges of rows that are weighted and scored by themselves."""

REGIME_WEIGHTS = (0.4, 0.1, 0.15, 0.05, 0.1, 0.1, 0.1)
"""Share of a fit's weight that the rows of each range have together."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rates(Noun):
    """Datasheet of a device in one math format."""

    bandwidth: float
    flop_rate: float
    cores: float | None
    clock_rate: float | None
    cache_bytes: float


def rates_of(hardware: Hardware, math: str) -> Rates:
    """Datasheet rates of a device that multiplies in a math format."""
    return Rates(
        bandwidth=hardware.memory_bandwidth,
        flop_rate=hardware.dense_flop_rate[math],
        cores=hardware.cores,
        clock_rate=hardware.clock_rate,
        cache_bytes=hardware.on_chip.cache_capacity,
    )


def chosen(columns: Columns, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the rows that a mask names."""
    return {name: values[mask] for name, values in columns.items()}


def tokens_read(columns: Columns) -> np.ndarray:
    """Cached tokens that one sequence's queries read, the new ones included [tokens]."""
    window = np.where(columns["window"] > 0, columns["window"], np.inf)
    return np.minimum(read_tokens(columns["new_tokens"], columns["context"]), window + columns["new_tokens"] - 1.0)


def kv_bytes(columns: Columns) -> np.ndarray:
    """Bytes of the cache that each row reads [B]."""
    token = 2.0 * columns["kv_heads"] * columns["head_size"] * columns["kv_value_bytes"]
    return np.asarray(columns["batch"] * token * tokens_read(columns))


def activation_bytes(columns: Columns) -> np.ndarray:
    """Bytes of 16-bit queries and outputs of each row [B]."""
    return np.asarray(4.0 * columns["batch"] * columns["new_tokens"] * columns["heads"] * columns["head_size"])


def pair_flops(columns: Columns) -> np.ndarray:
    """FLOPs of one query token with one cached token, all heads, of each row [FLOP]."""
    return np.asarray(4.0 * columns["heads"] * columns["head_size"])


def attention_flops(columns: Columns) -> np.ndarray:
    """FLOPs of scores and weighted values of each row [FLOP]."""
    new, context = columns["new_tokens"], columns["context"]
    beyond = np.where(columns["window"] > 0, columns["window"], context + new)
    growing = np.clip(beyond - context, 0.0, new)
    pairs = visible_pairs(growing, context) + (new - growing) * beyond
    return np.asarray(columns["batch"] * pairs * pair_flops(columns))


def resident_share(columns: Columns, rates: Rates) -> np.ndarray:
    """Share of a benchmark's cache that stays on chip between its repetitions [1]."""
    low, high = RESIDENT
    return np.asarray(1.0 - np.clip((kv_bytes(columns) / rates.cache_bytes - low) / (high - low), 0.0, 1.0))


def regimes(columns: Columns, rates: Rates) -> np.ndarray:
    """Index of the range in `REGIMES` that each row belongs to, shape (rows,)."""
    new = columns["new_tokens"]
    decode = np.where(columns["heads"] > columns["kv_heads"], 0, 1)
    decode = np.where(kv_bytes(columns) > COLD * rates.cache_bytes, decode, 2)
    prefill = 3 + (new >= 64).astype(int) + (new > 512).astype(int) + (new > 2048).astype(int)
    return np.asarray(np.where(new == 1, decode, prefill))


def regime_weights(columns: Columns, rates: Rates) -> np.ndarray:
    """Weights that give each range of rows its share of a fit, however many rows it has; their mean is 1 [1]."""
    index = regimes(columns, rates)
    counts = np.bincount(index, minlength=len(REGIMES))
    weights = np.asarray(REGIME_WEIGHTS)[index] / counts[index]
    return np.asarray(weights * index.size / weights.sum())


def roofline_time(columns: Columns, rates: Rates, efficiency: float = 1.0) -> np.ndarray:
    """Longer of the times of bytes and of FLOPs at a share of the datasheet rates [s]."""
    memory = memory_time(kv_bytes(columns) + activation_bytes(columns), efficiency * rates.bandwidth)
    return np.asarray(np.maximum(memory, compute_time(attention_flops(columns), efficiency * rates.flop_rate)))


def predicted_time(columns: Columns, rates: Rates, constants: Mapping[str, float], law: AttentionLaw) -> np.ndarray:
    """Times by the law with constants replaced; what stays on chip neither streams nor ramps up [s]."""
    replaced: dict[str, Any] = dict(constants)
    law = dataclasses.replace(law, **replaced)
    share = resident_share(columns, rates)
    streamed = _time(columns, rates, law, rates.bandwidth * law.memory_efficiency)
    resident = _time(columns, rates, dataclasses.replace(law, ramp_time=0.0), np.inf)
    return np.asarray((1.0 - share) * streamed + share * resident)


def _time(columns: Columns, rates: Rates, law: AttentionLaw, bandwidth: float) -> np.ndarray:
    time = attention_time(
        batch=columns["batch"],
        new_tokens=columns["new_tokens"],
        read_tokens=tokens_read(columns),
        kv_heads=columns["kv_heads"],
        group=columns["heads"] / columns["kv_heads"],
        kv_bytes=kv_bytes(columns),
        activation_bytes=activation_bytes(columns),
        flops=attention_flops(columns),
        pair_flops=pair_flops(columns),
        bandwidth=bandwidth,
        flop_rate=rates.flop_rate * law.flop_efficiency,
        cores=rates.cores,
        clock_rate=rates.clock_rate,
        law=law,
    )
    return np.asarray(time)


def fit_device(columns: Columns, rates: Rates, law: AttentionLaw, *, names: Iterable[str] = NAMES) -> Fit:
    """Named constants of one device, all others as in the law.

    Raises
    ------
    UnsupportedError : if scipy is missing, a name is unknown, or there are fewer rows than constants.
    """
    return fit_shared({"device": columns}, {"device": rates}, {"device": law}, names=names)


def fit_shared(
    tables: Mapping[str, Columns],
    rates: Mapping[str, Rates],
    laws: Mapping[str, AttentionLaw],
    *,
    names: Iterable[str] = SHARED_NAMES,
) -> Fit:
    """Named constants that hold for the rows of several devices at once; each device weighs the same.

    Each device's law gives its constants that are not named.

    Raises
    ------
    UnsupportedError : if scipy is missing, a name is unknown, or there are fewer rows than constants.
    """
    devices = list(tables)
    measured = np.concatenate([tables[device]["time"] for device in devices])
    each = measured.size / max(len(devices), 1)
    weights = []
    for device in devices:
        own = regime_weights(tables[device], rates[device])
        weights.append(own * each / max(own.size, 1))

    def predict(values: Mapping[str, float]) -> np.ndarray:
        return np.concatenate(
            [predicted_time(tables[device], rates[device], values, laws[device]) for device in devices]
        )

    return fit(_parameters(names), predict, measured, weights=np.concatenate(weights))


def left_out(
    tables: Mapping[str, Columns],
    rates: Mapping[str, Rates],
    laws: Mapping[str, AttentionLaw],
    *,
    names: Iterable[str] = SHARED_NAMES,
) -> dict[str, Fit]:
    """For each device, the constants that the rows of all the others give.

    Raises
    ------
    UnsupportedError : if scipy is missing, a name is unknown, or fewer than two devices are given.
    """
    if len(tables) < 2:
        raise UnsupportedError("leaving a device out needs two; give rows of another device")
    chosen_names = tuple(names)
    return {
        device: fit_shared(
            {other: tables[other] for other in tables if other != device}, rates, laws, names=chosen_names
        )
        for device in tables
    }


def scores(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Rows, mean, median and 90th percentile of relative errors, and shares of rows within 10 and 25 % [1]."""
    if measured.size == 0:
        return {"rows": 0.0}
    apart = np.abs(predicted / measured - 1.0)
    return {
        "rows": float(measured.size),
        "mape": float(apart.mean()),
        "median": float(np.median(apart)),
        "p90": float(np.quantile(apart, 0.9)),
        "within_10": float((apart <= 0.10).mean()),
        "within_25": float((apart <= 0.25).mean()),
    }


def score_table(
    columns: Columns, rates: Rates, predictions: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], dict[str, float]]:
    """Scores by range of rows and kind of prediction: the roofline, the roofline at one efficiency, and those given."""
    kinds = {
        "roofline": roofline_time(columns, rates),
        "roofline/0.75": roofline_time(columns, rates, EFFICIENCY),
        **predictions,
    }
    index = regimes(columns, rates)
    return {
        (regime, kind): scores(columns["time"][index == number], times[index == number])
        for number, regime in enumerate(REGIMES)
        if np.any(index == number)
        for kind, times in kinds.items()
    }


def _parameters(names: Iterable[str]) -> tuple[Parameter, ...]:
    known = {parameter.name: parameter for parameter in PARAMETERS}
    wanted = tuple(names)
    for name in wanted:
        if name not in known:
            raise UnsupportedError(f"{name!r} is no fitted constant of the law; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)
