import dataclasses

import pytest
from conftest import deployed, device, ideal_stack, small_model

from rooflinesim.analysis.memory import max_context, memory
from rooflinesim.analysis.residency import max_batch
from rooflinesim.specs.model import LayerGroup, RecurrentMixer


def test_the_ledger_of_a_small_model_worked_by_hand():
    ledger = memory(deployed(), batch=3, context=100)
    rows = {row.part: (row.resident_bytes, row.streamed_bytes) for row in ledger.rows}
    assert rows == {
        "embedding": (2 * 64_000, 0),
        "attention": (2 * 2 * 12_288, 2 * 2 * 12_288),
        "mlp": (2 * 2 * 24_576, 2 * 2 * 24_576),
        "norms": (2 * 320, 2 * 320),
        "head": (2 * 64_000, 2 * 64_000),
        # 2 layers x 2 heads x (16 + 16) x 2 B = 256 B per token; 101 tokens are read and 1 is written.
        "kv_cache": (3 * 101 * 256, 3 * 102 * 256),
        # the widest layer, 64 + 64 + 256 columns of 2 B, and 1,000 logits of 4 B, for 3 tokens
        "activations": (3 * (2 * 384 + 4 * 1000), rows["activations"][1]),
    }
    assert ledger.resident == 404_096 + 77_568 + 14_304
    assert ledger.cache_bytes_per_token == 256
    assert ledger.fits is True
    assert ledger.free == 80e9 - ledger.resident
    assert ledger.missing == 0


def test_what_fits_into_a_megabyte_worked_by_hand():
    deployment = deployed(hardware=device(memory_capacity=1e6))
    # (1,000,000 - 404,096) / (101 x 256 + 2 x 384 + 4,000) = 19.46
    assert max_batch(deployment, 100) == 19
    # (1,000,000 - 404,096 - 14,304) / (3 x 256) = 757.3 tokens, the new one among them
    assert max_context(deployment, 3) == 756
    assert memory(deployment, batch=19, context=100).fits is True
    assert memory(deployment, batch=20, context=100).fits is False
    assert memory(deployment, batch=3, context=756).fits is True
    assert memory(deployment, batch=3, context=757).fits is False


def test_what_does_not_fit_says_by_how_much_and_which_group_would_hold_it():
    ledger = memory(deployed(hardware=device(memory_capacity=300_000.0)), batch=3, context=100)
    assert ledger.fits is False
    assert ledger.free == 0
    assert ledger.missing == ledger.resident - 300_000
    assert ledger.max_batch == 0
    assert ledger.max_context == 0
    assert ledger.fitting_tensor_parallel == 2


def test_no_group_is_named_where_none_holds_it():
    tiny = device(memory_capacity=1000.0)
    assert memory(deployed(hardware=tiny)).fitting_tensor_parallel is None
    assert (
        memory(deployed(hardware=device(memory_capacity=300_000.0, link=None)), batch=3).fitting_tensor_parallel is None
    )


def test_two_devices_hold_half_of_the_matrices_each_and_all_of_the_norms():
    rows = {row.part: row.resident_bytes for row in memory(deployed(ranks=2), batch=3, context=100).rows}
    assert rows["attention"] == 2 * 12_288
    assert rows["mlp"] == 2 * 24_576
    assert rows["head"] == rows["embedding"] == 64_000
    assert rows["norms"] == 640
    assert rows["kv_cache"] == 3 * 101 * 128


def test_four_devices_keep_a_copy_of_two_key_value_heads():
    two, four = (memory(deployed(ranks=ranks), batch=3, context=100) for ranks in (2, 4))
    cache = [{row.part: row.resident_bytes for row in one.rows}["kv_cache"] for one in (two, four)]
    assert cache[0] == cache[1]


def test_the_engine_s_share_and_blocks_cut_what_fits():
    whole, share = (
        deployed(hardware=device(memory_capacity=1e6)),
        deployed(hardware=device(memory_capacity=1e6), stack=ideal_stack(memory_utilization=0.9)),
    )
    assert memory(share).usable == 900_000
    assert max_batch(share, 100) == 16  # (900,000 - 404,096) / 30,624 = 16.2
    paged = deployed(hardware=device(memory_capacity=1e6), stack=ideal_stack(cache_block=64))
    assert max_batch(paged, 100) == 15  # 128 tokens of room: 595,904 / 37,536 = 15.9
    assert max_batch(whole, 127) == max_batch(paged, 100)


def test_fewer_bits_leave_more_room():
    hardware = device(memory_capacity=1e6)
    wide, narrow = (deployed(hardware=hardware, weights=form, kv=form) for form in ("bf16", "fp8"))
    assert memory(narrow).cache_bytes_per_token == memory(wide).cache_bytes_per_token / 2
    # (1,000,000 - 64,000 - 64,000 - 73,728 - 640 - 128,000) and so on: the head keeps its 16 bits, the rest halves.
    assert max_batch(narrow, 100) > max_batch(wide, 100)


def test_an_unknown_capacity_leaves_every_fit_unknown():
    ledger = memory(deployed(hardware=device(memory_capacity=None)))
    assert ledger.resident > 0
    for name in (
        "capacity",
        "usable",
        "fits",
        "free",
        "missing",
        "max_batch",
        "max_context",
        "fitting_tensor_parallel",
    ):
        assert getattr(ledger, name) is None, name


def test_a_model_without_a_growing_cache_has_no_longest_context():
    mixer = RecurrentMixer(state_heads=4, key_size=16, value_size=16, input_width=64, output_width=64)
    model = small_model(layers=(LayerGroup(count=2, recurrent=mixer),))
    assert max_context(deployed(model), 1) is None
    assert memory(deployed(model), context=1).resident == memory(deployed(model), context=10**9).resident


def test_a_tied_head_is_held_once():
    tied = memory(deployed(dataclasses.replace(small_model(), has_tied_embeddings=True)))
    parts = {row.part: row.resident_bytes for row in tied.rows}
    assert parts.get("embedding", 0) == 0
    assert parts["head"] == 128_000
    assert tied.resident == pytest.approx(memory(deployed()).resident - 128_000)
