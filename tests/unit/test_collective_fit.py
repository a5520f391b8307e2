"""Fitting the law of collectives."""

import numpy as np
import pytest

from rooflinesim.cost.all_reduce import all_reduce_law_time, gather_law_time
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.validation.collective_fit import (
    CollectiveRows,
    fit_all_reduce,
    fit_exchange,
    law_of,
)

LINK = 450e9
TRUE = {
    "one_shot.latency": 4e-6,
    "rank_latency": 1e-7,
    "one_shot.bandwidth_efficiency": 0.6,
    "two_shot.latency": 9e-6,
    "two_shot.bandwidth_efficiency": 0.7,
    "bulk.latency": 30e-6,
    "bulk.rank_latency": 2e-6,
    "bulk.bandwidth_efficiency": 0.9,
    "bulk.copies": 0.5,
}


def made_rows(law: CollectiveLaw) -> CollectiveRows:
    """Times of 2 and 8 ranks from 1 KiB to 512 MiB."""
    sizes = 2.0 ** np.arange(10.0, 30.0)
    ranks, message = np.repeat([2.0, 8.0], sizes.size), np.tile(sizes, 2)
    return CollectiveRows(
        ranks=ranks,
        message_bytes=message,
        bandwidth=np.full(ranks.size, LINK),
        time=np.asarray(all_reduce_law_time(ranks, message, LINK, law)),
    )


def test_the_fit_finds_the_times_of_other_ranks() -> None:
    true = law_of(TRUE, limit=8.0 * 2**20, gathered_limit=2.0 * 2**20)
    law, fitted = fit_all_reduce(made_rows(true), limit=8.0 * 2**20, gathered_limit=2.0 * 2**20)
    # Noiseless rows of 2 and 8 ranks; 4 ranks were not fitted.
    assert fitted.mape < 0.02
    sizes = 2.0 ** np.arange(10.0, 30.0)
    expected = all_reduce_law_time(4, sizes, LINK, true)
    assert all_reduce_law_time(4, sizes, LINK, law) == pytest.approx(expected, rel=0.1)


def test_a_library_without_one_shot_gets_none() -> None:
    without = {name: value for name, value in TRUE.items() if not name.startswith("one_shot")}
    law, _ = fit_all_reduce(made_rows(law_of(without)), has_one_shot=False)
    assert law.one_shot is None
    assert law.two_shot is not None


def test_sharing_is_found_where_all_messages_pass_one_host() -> None:
    law, fitted = fit_all_reduce(made_rows(law_of({**TRUE, "sharing": 1.2})), is_shared=True)
    assert law.sharing == pytest.approx(1.2, abs=0.1)
    assert fitted.mape < 0.02


def test_the_fit_of_a_gather_finds_its_exchange() -> None:
    true = Exchange(latency=8e-6, rank_latency=1e-6, bandwidth_efficiency=0.8, copies=0.5)
    law = CollectiveLaw(bulk=true, gather=true, all_to_all=true)
    rows = made_rows(law)
    time = np.asarray(gather_law_time(rows.ranks, rows.message_bytes / rows.ranks, LINK, law))
    made = CollectiveRows(ranks=rows.ranks, message_bytes=rows.message_bytes, bandwidth=rows.bandwidth, time=time)
    found, fitted = fit_exchange(made, is_gather=True)
    assert fitted.mape < 0.01
    assert found.latency == pytest.approx(8e-6, rel=0.05)
