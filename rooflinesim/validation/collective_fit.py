"""Constants of collectives from measured times: one set per library, link and GPU generation."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rooflinesim.cost.all_reduce import all_reduce_law_time, all_to_all_law_time, gather_law_time
from rooflinesim.nouns import Noun
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.validation.fitting import Fit, Parameter, fit

UNFITTED = Exchange(latency=0.0, bandwidth_efficiency=1.0)
"""Stands for an exchange that the rows of one operation say nothing about."""

ONE_SHOT = (
    Parameter(name="one_shot.latency", start=5e-6, low=1e-6, high=5e-5),
    Parameter(name="rank_latency", start=1e-7, low=1e-9, high=5e-6),
    Parameter(name="one_shot.bandwidth_efficiency", start=0.6, low=0.02, high=1.0),
)
TWO_SHOT = (
    Parameter(name="two_shot.latency", start=1e-5, low=1e-6, high=1e-4),
    Parameter(name="two_shot.bandwidth_efficiency", start=0.6, low=0.02, high=1.0),
)
BULK = (
    Parameter(name="bulk.latency", start=2.5e-5, low=2e-6, high=2e-4, prior=1.0),
    Parameter(name="bulk.rank_latency", start=2e-6, low=1e-8, high=2e-5, prior=0.7),
    Parameter(name="bulk.bandwidth_efficiency", start=0.9, low=0.02, high=2.5),
    Parameter(name="bulk.copies", start=0.5, low=0.01, high=4.0, prior=0.7),
)
SHARING = Parameter(name="sharing", start=1.1, low=0.3, high=2.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CollectiveRows(Noun):
    """Measured times of one operation: ranks, message [B], link bandwidth in one direction [B/s], time [s]."""

    ranks: np.ndarray
    message_bytes: np.ndarray
    bandwidth: np.ndarray
    time: np.ndarray


def law_of(
    values: Mapping[str, float], limit: float | None = None, gathered_limit: float | None = None
) -> CollectiveLaw:
    """Law of an all-reduce with fitted constants; an algorithm without a latency is left out."""
    ranks = values.get("rank_latency", 0.0)

    def shot(name: str, gathered: float | None) -> Exchange | None:
        if f"{name}.latency" not in values:
            return None
        return Exchange(
            latency=values[f"{name}.latency"],
            rank_latency=ranks,
            bandwidth_efficiency=values[f"{name}.bandwidth_efficiency"],
            limit=limit,
            gathered_limit=gathered,
        )

    return CollectiveLaw(
        one_shot=shot("one_shot", gathered_limit),
        two_shot=shot("two_shot", None),
        bulk=_bulk(values),
        gather=UNFITTED,
        all_to_all=UNFITTED,
        sharing=values.get("sharing", 0.0),
    )


def _bulk(values: Mapping[str, float]) -> Exchange:
    return Exchange(
        **{name: values[f"bulk.{name}"] for name in ("latency", "rank_latency", "bandwidth_efficiency", "copies")}
    )


def fit_all_reduce(
    rows: CollectiveRows,
    *,
    has_one_shot: bool = True,
    is_shared: bool = False,
    limit: float | None = None,
    gathered_limit: float | None = None,
    weights: np.ndarray | None = None,
) -> tuple[CollectiveLaw, Fit]:
    """Law of an all-reduce closest to measured rows, and how close.

    Parameters
    ----------
    rows : of all-reduces on one kind of link
    has_one_shot : whether the library has an algorithm in which every rank reads all others
    is_shared : whether all messages pass one host, so that its bandwidth is shared
    limit, gathered_limit : sizes that the library states for its own kernels. [B]
    weights : of rows. [1]
    """
    parameters: Sequence[Parameter] = (
        *(ONE_SHOT if has_one_shot else ONE_SHOT[1:2]),
        *TWO_SHOT,
        *BULK,
        *((SHARING,) if is_shared else ()),
    )

    def predict(values: Mapping[str, float]) -> np.ndarray:
        law = law_of(values, limit, gathered_limit)
        return np.asarray(all_reduce_law_time(rows.ranks, rows.message_bytes, rows.bandwidth, law))

    fitted = fit(parameters, predict, rows.time, weights=weights)
    return law_of(fitted.values, limit, gathered_limit), fitted


def fit_exchange(rows: CollectiveRows, *, is_gather: bool, sharing: float = 0.0) -> tuple[Exchange, Fit]:
    """Exchange of an all-gather and reduce-scatter, or of an all-to-all, closest to measured rows, and how close.

    The message of a row is the whole one: of it a rank holds, and sends to each other rank, one share.
    """

    def predict(values: Mapping[str, float]) -> np.ndarray:
        exchange = _bulk(values)
        law = CollectiveLaw(bulk=exchange, gather=exchange, all_to_all=exchange, sharing=sharing)
        share = rows.message_bytes / rows.ranks
        if is_gather:
            return np.asarray(gather_law_time(rows.ranks, share, rows.bandwidth, law))
        return np.asarray(all_to_all_law_time(rows.ranks, (rows.ranks - 1.0) * share, rows.bandwidth, law))

    fitted = fit(BULK, predict, rows.time)
    return _bulk(fitted.values), fitted
