"""What the catalogue alone says of a device at hand: a share of a server, with honest ends."""

import pytest

from rooflinesim.api.catalogue_device import catalogue_device
from rooflinesim.config import load_hardware, load_stack
from rooflinesim.cost.machine import memory_efficiency


def test_one_thread_has_the_share_of_one_core_and_what_one_core_draws() -> None:
    found = catalogue_device("AMD EPYC", 1, is_gpu=False)
    assert found is not None
    # EPYC 9654: 7.4 TFLOP/s in fp32 over 96 cores; 460.8 GB/s, of which one core draws 15 at most.
    assert found.likely.dense_flop_rate["fp32"] == pytest.approx(7.4e12 / 96)
    drawn = memory_efficiency(found.likely, load_stack("torch-eager")) * found.likely.memory_bandwidth
    assert drawn == pytest.approx(15e9)
    assert found.slowest.memory_bandwidth == 0.5 * found.likely.memory_bandwidth
    assert found.fastest.dense_flop_rate["bf16"] == pytest.approx(1.5 * 14.7e12 / 96)
    # A core without a unit for 16 bits: an eighth of half the rate in 32 bits.
    assert found.slowest.dense_flop_rate["bf16"] == pytest.approx(0.5 * 7.4e12 / 96 / 8)
    assert "1 of the 96 cores of EPYC-9654" in found.note


def test_all_cores_do_not_draw_more_than_the_memory_gives() -> None:
    found = catalogue_device("Intel(R) Xeon(R) Platinum 8480+", 56, is_gpu=False)
    assert found is not None
    assert found.likely.memory_bandwidth == load_hardware("xeon-8480").memory_bandwidth


def test_a_gpu_of_the_catalogue_is_that_gpu_and_an_unknown_device_is_none() -> None:
    known = catalogue_device("NVIDIA H100 80GB HBM3", 1, is_gpu=True)
    assert known is None or known.likely == known.slowest
    h100 = catalogue_device("h100", 1, is_gpu=True)
    assert h100 is not None
    assert h100.likely.name == "H100-SXM5-80GB"
    assert catalogue_device("Loongson-3A5000", 1, is_gpu=False) is None
    assert catalogue_device("NVIDIA GeForce 256", 1, is_gpu=True) is None
