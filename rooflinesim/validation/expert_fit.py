"""Constants of the experts' kernels from measured layers, and the routing under which they were measured."""

import csv
import dataclasses
import functools
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rooflinesim.cost.experts import expert_time
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.validation.fitting import Fit, Parameter, fit

SAMPLES = 16
"""Routings over which the expected load of power-law routing is averaged."""

PARAMETERS = (
    Parameter(name="fixed_time", start=1e-5, low=1e-6, high=6e-5),
    Parameter(name="depth_time", start=1.5e-9, low=1e-11, high=2e-8, prior=1.0),
    Parameter(name="memory_efficiency", start=0.9, low=0.3, high=1.0),
    Parameter(name="flop_efficiency", start=0.5, low=0.03, high=1.0, prior=0.7),
    Parameter(name="grouping_passes", start=1.5, low=0.05, high=30.0, prior=1.0),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExpertDevice(Noun):
    """Datasheet of a GPU as the fit needs it; rates by the dtype of the table, on-chip values for warm rows."""

    bandwidth: float
    flop_rate: Mapping[str, float]
    cache_bytes: float
    cache_bandwidth: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExpertRows(Noun):
    """Measured fused layers, one entry each: loads of one device, shapes, bytes per element, datasheet, time [s].

    `widths` is how many matrices of `hidden` x `inner` the first product holds: two where a gate is.
    """

    rows: np.ndarray
    remote_rows: np.ndarray
    awake: np.ndarray
    hidden: np.ndarray
    inner: np.ndarray
    widths: np.ndarray
    weight_bytes: np.ndarray
    activation_bytes: np.ndarray
    bandwidth: np.ndarray
    flop_rate: np.ndarray
    tokens: np.ndarray
    time: np.ndarray


def balanced_load(experts: int, active_experts: int, ranks: int, tokens: int) -> tuple[float, float]:
    """Pairs and awake experts of the busiest of the ranks when experts take turns [1]."""
    rows = max(tokens * active_experts / ranks, 1.0)
    return rows, min(rows, experts / ranks)


@functools.cache
def power_law_load(
    experts: int, active_experts: int, ranks: int, tokens: int, exponent: float
) -> tuple[float, float, float]:
    r"""Expected pairs and awake experts of the busiest rank, and awake experts of all ranks [1].

    The popularity of each expert is drawn from :math:`p(x) \sim x^{-\alpha}` between 1 and 0.8 n, or between
    0.01 and 2 where there are no more pairs than experts; loads are rounded, cut at n, and what is then missing
    or too much is dealt rank by rank to the emptiest or from the fullest expert.

    References
    ----------
    .. [1] ai-dynamo/aiconfigurator, collector/helper.py, `power_law_logits_v3`.
    """
    random = np.random.default_rng(0)
    pairs = tokens * active_experts
    low, high = (1.0, 0.8 * tokens) if pairs > experts else (0.01, 2.0)
    power = 1.0 - exponent
    drawn = random.random((SAMPLES, experts))
    popularity = ((high**power - low**power) * drawn + low**power) ** (1.0 / power)
    loads = np.minimum(np.rint(popularity / popularity.sum(axis=1, keepdims=True) * pairs), tokens)
    loads = loads.reshape(SAMPLES, ranks, experts // ranks)
    for sample in loads:
        _deal(sample, pairs - int(sample.sum()), tokens)
    busiest = loads[np.arange(SAMPLES), loads.sum(axis=2).argmax(axis=1)]
    return (
        float(busiest.sum(axis=1).mean()),
        float((busiest > 0).sum(axis=1).mean()),
        float((loads > 0).sum(axis=(1, 2)).mean()),
    )


def _deal(loads: np.ndarray, missing: int, tokens: int) -> None:
    """Bring loads of shape (ranks, experts of a rank) to their sum, one pair and rank after another."""
    rank, skipped = 0, 0
    while missing and skipped < len(loads):
        own = loads[rank % len(loads)]
        rank += 1
        place = own.argmin() if missing > 0 else own.argmax()
        step = 1 if missing > 0 else -1
        if not 0 <= own[place] + step <= tokens:
            skipped += 1
            continue
        own[place] += step
        missing -= step
        skipped = 0


def read_experts(
    path: Path,
    device: ExpertDevice,
    element_bytes: Mapping[str, tuple[float, float]],
    keep: Callable[[Mapping[str, str]], bool],
    is_gated: Callable[[Mapping[str, str]], bool],
) -> ExpertRows:
    """Rows of a table of aiconfigurator that pass a test.

    `element_bytes` maps a dtype to the bytes of a weight and of an activation. Where the awake experts fit in
    the last cache, the bandwidth is the cache's: the benchmark reads the same weights again and again.
    """
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    if not rows:
        raise UnsupportedError(f"{path.name} has no row of that kind; ask for another framework, kernel or dtype")
    columns = np.array([_entry(row, device, element_bytes, is_gated(row)) for row in rows]).T
    names = [field.name for field in dataclasses.fields(ExpertRows)]
    return ExpertRows(**dict(zip(names, columns, strict=True)))


def _entry(
    row: Mapping[str, str],
    device: ExpertDevice,
    element_bytes: Mapping[str, tuple[float, float]],
    gated: bool,
) -> tuple[float, ...]:
    """Values of one row in the order of the fields of `ExpertRows`."""
    shape = (int(row["num_experts"]), int(row["topk"]), int(row["moe_ep"]), int(row["num_tokens"]))
    if row["distribution"] == "balanced":
        pairs, awake = balanced_load(*shape)
    else:
        pairs, awake, _ = power_law_load(*shape, float(row["distribution"].rsplit("_", 1)[1]))
    weight, activation = element_bytes[row["dtype"]]
    hidden, inner, widths = float(row["hidden_size"]), float(row["inter_size"]) / int(row["moe_tp"]), 1.0 + gated
    held = awake * hidden * inner * (1.0 + widths) * weight
    warm = 1.0 - min(max((held / device.cache_bytes - 0.95) / 0.15, 0.0), 1.0)
    bandwidth = 1.0 / ((1.0 - warm) / device.bandwidth + warm / max(device.cache_bandwidth, device.bandwidth))
    remote = max(shape[1] * shape[3] - pairs, 0.0)
    rate = device.flop_rate[row["dtype"]]
    time = 1e-6 * float(row["latency_us"])
    return (pairs, remote, awake, hidden, inner, widths, weight, activation, bandwidth, rate, shape[3], time)


def layer_time(rows: ExpertRows, law: ExpertLaw) -> np.ndarray:
    """Time of both products of each layer [s]."""
    first = _product_time(rows, rows.hidden, rows.widths * rows.inner, law)
    time: np.ndarray = first + _product_time(rows, rows.inner, rows.hidden, law)
    return time


def _product_time(rows: ExpertRows, inputs: np.ndarray, outputs: np.ndarray, law: ExpertLaw) -> np.ndarray:
    return np.asarray(
        expert_time(
            rows=rows.rows,
            remote_rows=rows.remote_rows,
            awake=rows.awake,
            inputs=inputs,
            outputs=outputs,
            weight_bytes=rows.awake * inputs * outputs * rows.weight_bytes,
            activation_bytes=rows.rows * (inputs + outputs) * rows.activation_bytes,
            flops=2.0 * rows.rows * inputs * outputs,
            bandwidth=rows.bandwidth,
            flop_rate=rows.flop_rate,
            law=law,
        )
    )


def fit_expert_law(
    rows: ExpertRows,
    start: ExpertLaw,
    *,
    parameters: Sequence[Parameter] = PARAMETERS,
    weights: np.ndarray | None = None,
) -> tuple[ExpertLaw, Fit]:
    """Law closest to measured layers, and how close; constants that are not fitted stay as in `start`."""

    def predict(values: Mapping[str, float]) -> np.ndarray:
        return layer_time(rows, dataclasses.replace(start, **values))

    fitted = fit(parameters, predict, rows.time, weights=weights)
    return dataclasses.replace(start, **fitted.values), fitted
