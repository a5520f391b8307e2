"""Collectives are timed among processes and give a law; here two processes on the processor stand for two GPUs."""

import pytest

from rooflinesim.cost.all_reduce import all_reduce_law_time, gather_law_time
from rooflinesim.validation.exchange_fit import ExchangeTime, collective_law

MESSAGES = (1e4, 1e6, 1e8)


def test_a_law_comes_back_from_times_that_follow_it() -> None:
    # Four devices, 20 us and 100 GB/s for sums, 10 us and 150 GB/s for gathers.
    sums = [ExchangeTime(op="all_reduce", ranks=4, message_bytes=m, time=20e-6 + 1.5 * m / 100e9) for m in MESSAGES]
    gathers = [ExchangeTime(op="all_gather", ranks=4, message_bytes=m, time=10e-6 + 3 * m / 150e9) for m in MESSAGES]
    law, link = collective_law([*sums, *gathers])
    assert link == pytest.approx(100e9, rel=1e-6)
    assert law.bulk.latency == pytest.approx(20e-6, rel=1e-6)
    assert law.gather.bandwidth_efficiency == pytest.approx(1.5, rel=1e-6)
    assert law.all_to_all == law.gather
    for one in sums:
        assert float(all_reduce_law_time(4.0, one.message_bytes, link, law)) == pytest.approx(one.time)
    for one in gathers:
        assert float(gather_law_time(4.0, one.message_bytes, link, law)) == pytest.approx(one.time)


def test_shares_refer_to_the_datasheet_of_a_known_link() -> None:
    sums = [ExchangeTime(op="all_reduce", ranks=2, message_bytes=m, time=1e-5 + m / 360e9) for m in MESSAGES]
    law, link = collective_law(sums, 450e9)
    assert link == 450e9
    assert law.bulk.bandwidth_efficiency == pytest.approx(0.8, rel=1e-6)


def test_two_processes_exchange_messages_and_larger_ones_take_longer() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.distributed.is_available():
        pytest.skip("this torch has no distributed package")
    from rooflinesim.validation.device.collectives import exchange_times

    rows = exchange_times(2, kind="cpu", sizes=(1024, 4_000_000), repeats=3)
    assert {"all_reduce", "all_gather"} <= {one.op for one in rows}
    small, large = (one.time for one in rows if one.op == "all_reduce")
    assert 0.0 < small < large
