import dataclasses

import numpy as np
import pytest

from rooflinesim.cost.attention import (
    attention_time,
    computed_rows,
    divided_limit,
    longest_part,
    pull_time,
    query_tiles,
    tile_time,
    visible_tokens,
)
from rooflinesim.errors import DomainError
from rooflinesim.specs.attention_law import AttentionLaw

LAW = AttentionLaw(
    fixed_time=10e-6,
    ramp_time=5e-6,
    memory_efficiency=0.92,
    flop_efficiency=0.8,
    start_time=2e-6,
    start_tokens=200.0,
    core_clock_bytes=45.0,
    core_clock_exponentials=20.0,
    part_tokens=300.0,
)
UNDIVIDED = dataclasses.replace(LAW, divided_limit=0.5)
SINGLE_WHOLE = dataclasses.replace(LAW, divides_single_heads=False)
SHARP = dataclasses.replace(LAW, overlap_exponent=None)
STEPPED = dataclasses.replace(LAW, row_step=16)
LAWS = pytest.mark.parametrize("law", [LAW, UNDIVIDED, SINGLE_WHOLE, SHARP, STEPPED])

BANDWIDTH = 3e12
FLOP_RATE = 8e14
DEVICE = {"bandwidth": BANDWIDTH, "flop_rate": FLOP_RATE, "cores": 132, "clock_rate": 1.83e9}


def pairs(new, context, window=np.inf):
    """Cached tokens that each of one sequence's queries sees, added up."""
    growing = np.clip(window - context, 0.0, new)
    beyond = np.where(new > growing, new - growing, 0.0)
    return growing * context + growing * (growing + 1.0) / 2.0 + beyond * np.where(beyond > 0, window, 0.0)


def time_of(batch, new, context, law, *, kv_heads=8, group=8, window=np.inf, **device):
    """Time of heads of 128 elements with a 16-bit cache, and its bytes and FLOPs."""
    read = np.minimum(context + new, window + new - 1.0)
    pair_flops = 4.0 * kv_heads * group * 128
    kv_bytes = 4.0 * batch * kv_heads * 128 * read
    activation_bytes = 4.0 * batch * new * kv_heads * group * 128
    flops = batch * pairs(new, context, window) * pair_flops
    time = attention_time(
        batch=batch,
        new_tokens=new,
        read_tokens=read,
        kv_heads=kv_heads,
        group=group,
        kv_bytes=kv_bytes,
        activation_bytes=activation_bytes,
        flops=flops,
        pair_flops=pair_flops,
        law=law,
        **(DEVICE | device),
    )
    return time, kv_bytes + activation_bytes, flops


def grid():
    """Batches, new tokens and contexts, every combination of small and large ones."""
    batch, new, context = np.meshgrid([1.0, 3, 16, 17, 132, 500], [1.0, 2, 8, 9, 64, 700, 8192], [0.0, 1, 900, 1e5])
    return batch.ravel(), new.ravel(), context.ravel()


def test_a_large_decode_takes_its_fixed_time_its_ramp_and_its_bytes():
    time, moved, _ = time_of(64.0, 1.0, 32767.0, dataclasses.replace(SHARP, reference_clock_rate=1.83e9))
    assert time == pytest.approx(10e-6 + 5e-6 + moved / BANDWIDTH, rel=1e-12)


def test_times_pass_in_clock_cycles():
    half_clock = time_of(1.0, 1.0, 15.0, LAW, clock_rate=0.9e9)[0]
    assert half_clock > 2 * LAW.fixed_time
    assert time_of(1.0, 1.0, 15.0, LAW, clock_rate=3.6e9)[0] < LAW.fixed_time


def test_a_query_of_a_prompt_sees_half_of_it_on_average():
    assert visible_tokens(2.0, 100.0, 2 * 100 * 101 / 2 * 512.0, 512.0) == 50.5


@pytest.mark.parametrize(
    ("new", "read", "visible", "longest"),
    [
        (1.0, 100_000.0, 100_000.0, 301.0),  # a decode cuts the cache into parts of 300
        (1.0, 50.0, 50.0, 50.0),  # a short cache is one part
        (4096.0, 4096.0, 2048.5, 4096.0),  # the last queries of a prompt see all of it
        (4096.0, 4223.0, 128.0, 256.0),  # with a window of 128 no query sees much
    ],
)
def test_the_longest_part_is_a_cut_of_the_past_and_all_of_the_prompt(new, read, visible, longest):
    assert longest_part(new, read, visible, LAW) == longest


def test_queries_of_a_group_share_tiles():
    assert query_tiles(1.0, 8, LAW) == 1
    assert query_tiles(9.0, 8, LAW) == 2
    assert computed_rows(1.0, 8, LAW) == 64
    assert computed_rows(1.0, 8, STEPPED) == 16
    assert computed_rows(9.0, 8, STEPPED) == 80


def test_a_divided_cache_is_shared_evenly_and_a_whole_one_by_its_busiest_core():
    # 66 heads on 132 cores, 1000 tokens of 512 bytes, 45 bytes per clock at 1 GHz.
    assert pull_time(0.5, 1000.0, 301.0, 512.0, 8, 1e9, LAW) == pytest.approx(500 * 512 / 45e9)
    assert pull_time(0.5, 1000.0, 301.0, 512.0, 8, 1e9, UNDIVIDED) == pytest.approx(1000 * 512 / 45e9)
    assert pull_time(1.5, 1000.0, 301.0, 512.0, 8, 1e9, UNDIVIDED) == pytest.approx(2000 * 512 / 45e9)
    assert pull_time(0.001, 1000.0, 301.0, 512.0, 8, 1e9, LAW) == pytest.approx(301 * 512 / 45e9)


def test_some_kernels_divide_the_cache_of_groups_only():
    assert divided_limit(8, LAW) is None
    assert divided_limit(1, LAW) is None
    assert divided_limit(8, UNDIVIDED) == 0.5
    np.testing.assert_array_equal(divided_limit(np.array([1.0, 8.0]), SINGLE_WHOLE), [0.0, np.inf])
    one_long_sequence = {"kv_heads": 8, "group": 1}
    whole = time_of(1.0, 1.0, 131071.0, SINGLE_WHOLE, **one_long_sequence)[0]
    assert whole > 4 * time_of(1.0, 1.0, 131071.0, LAW, **one_long_sequence)[0]


def test_a_core_computes_its_tiles_their_starts_and_a_longest_last_one():
    assert tile_time(2.0, 128.0, 1000.0, 300.0, 1e-10, LAW) == pytest.approx(
        (2 * 128 * (1000 + 200) + 64 * 300) * 1e-10
    )


@LAWS
def test_no_step_is_faster_than_its_bytes_or_its_flops(law):
    batch, new, context = grid()
    for device in ({}, {"cores": None, "clock_rate": None}, {"cores": None}, {"clock_rate": None}):
        time, moved, flops = time_of(batch, new, context, law, **device)
        assert np.all(np.isfinite(time))
        assert np.all(time >= moved / BANDWIDTH)
        assert np.all(time >= flops / FLOP_RATE)


@LAWS
@pytest.mark.parametrize("cores", [132, None])
@pytest.mark.parametrize("window", [np.inf, 128.0])
@pytest.mark.parametrize(("kv_heads", "group"), [(8, 8), (8, 1), (1, 128)])
def test_time_never_falls_with_batch_context_or_new_tokens(law, cores, window, kv_heads, group):
    heads = {"kv_heads": kv_heads, "group": group, "cores": cores, "window": window}
    batch, new, context = grid()
    time = time_of(batch, new, context, law, **heads)[0]
    for more in (1.0, 7.0, 1000.0):
        # Rounding in the mean of visible tokens is worth a few last places.
        assert np.all(time_of(batch + more, new, context, law, **heads)[0] >= time * (1 - 1e-12))
        assert np.all(time_of(batch, new + more, context, law, **heads)[0] >= time * (1 - 1e-12))
        assert np.all(time_of(batch, new, context + more, law, **heads)[0] >= time * (1 - 1e-12))


@LAWS
def test_one_body_serves_numbers_and_arrays(law):
    batch, new, context = grid()
    together = time_of(batch, new, context, law)[0]
    apart = [time_of(b, n, c, law)[0] for b, n, c in zip(batch, new, context, strict=True)]
    # Powers of scalars and of arrays may differ in the last place.
    np.testing.assert_allclose(together, apart, rtol=1e-14)


def test_verification_costs_no_more_than_separate_decodes():
    separate = sum(time_of(4.0, 1.0, 8000.0 + step, LAW)[0] for step in range(5))
    assert time_of(4.0, 5.0, 8000.0, LAW)[0] < separate


def test_verification_of_a_few_tokens_costs_little_more_than_a_decode():
    decode, verification = (time_of(16.0, new, 16000.0, LAW)[0] for new in (1.0, 4.0))
    assert decode < verification < 1.1 * decode


def test_a_latent_cache_is_one_head_that_all_heads_share():
    # DeepSeek-V3: 512 + 64 elements per token, 128 heads, 2 bytes, batch 32 at 8192.
    read, pair_flops = 8192.0, 2.0 * 128 * (2 * 512 + 64)
    kv_bytes, flops = 32 * read * 576 * 2, 32 * read * pair_flops
    time = attention_time(
        batch=32.0,
        new_tokens=1.0,
        read_tokens=read,
        kv_heads=1,
        group=128,
        kv_bytes=kv_bytes,
        activation_bytes=32 * 128 * (576 + 512) * 2.0,
        flops=flops,
        pair_flops=pair_flops,
        law=LAW,
        **DEVICE,
    )
    assert max(kv_bytes / BANDWIDTH, flops / FLOP_RATE) < time < 2.5 * (kv_bytes / BANDWIDTH + flops / FLOP_RATE)


def test_without_a_fixed_time_nothing_else_is_asked_of_a_law():
    with pytest.raises(TypeError):
        AttentionLaw(memory_efficiency=0.9, flop_efficiency=0.8)
    with pytest.raises(DomainError, match="memory_efficiency"):
        dataclasses.replace(LAW, memory_efficiency=1.3)
