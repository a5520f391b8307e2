import dataclasses
import math

import numpy as np
import pytest
from conftest import deployed, small_model

from rooflinesim.analysis.timing import step_ops
from rooflinesim.specs.model import Attention, LatentAttention, LayerGroup, RecurrentMixer, SparseIndexer
from rooflinesim.specs.routing import Routing
from rooflinesim.workload import attention as attend
from rooflinesim.workload.step import Step

GQA = Attention(heads=4, kv_heads=2, key_size=16, value_size=16)
MLA = LatentAttention(heads=2, latent_size=8, rope_size=4, nope_size=4, value_size=4)
V3 = LatentAttention(heads=128, latent_size=512, rope_size=64, nope_size=128, value_size=128, query_rank=1536)


def core(mixer: Attention | LatentAttention, step: Step, ranks: int = 1):
    """The attention operation of a model of one layer with 16-bit values."""
    name = "attention" if isinstance(mixer, Attention) else "latent_attention"
    model = small_model(layers=(LayerGroup(count=1, **{name: mixer}),))
    ops = step_ops(deployed(model, ranks=ranks), step, Routing())
    return {op.name: op for op in ops}["attention.core"]


@pytest.mark.parametrize(
    ("new", "context", "window", "pairs", "read"),
    [
        (1, 0, None, 1, 1),
        (1, 9, None, 10, 10),
        (3, 5, None, 6 + 7 + 8, 8),
        (3, 5, 6, 6 + 6 + 6, 8),
        (3, 5, 7, 6 + 7 + 7, 8),
        (3, 5, 4, 4 + 4 + 4, 6),  # the first query sees three cached tokens and itself
        (1, 5, 1, 1, 1),  # a window of one holds the query only
        (4, 0, 2, 1 + 2 + 2 + 2, 4),
    ],
)
def test_pairs_and_reads_of_a_causal_mask(new, context, window, pairs, read):
    assert attend.visible_pairs(new, context, window) == pairs
    assert attend.read_tokens(new, context, window) == read


def test_pages_hold_whole_blocks():
    np.testing.assert_array_equal(attend.paged_tokens(np.array([0.0, 1.0, 16.0, 17.0]), 16), [0, 16, 16, 32])


def test_scores_and_values_take_two_flops_for_each_pair_and_column():
    # 2 FLOP x 2 sequences x 4 heads x (16 + 16) columns x 10 pairs
    step = Step(batch=2.0, context=9.0)
    assert attend.attention_flops(GQA, step) == 5120
    assert attend.attention_flops(GQA, step, ranks=2) == 2560
    wide = dataclasses.replace(GQA, value_size=48)
    assert attend.attention_flops(wide, step) == 2 * 5120


def test_key_value_heads_split_over_ranks_down_to_one_each():
    assert [attend.cached_elements(GQA, ranks) for ranks in (1, 2, 4)] == [64, 32, 32]
    shared = dataclasses.replace(GQA, shares_kv_cache=True)
    assert attend.cached_elements(shared) == 0
    assert attend.read_elements(shared) == 64


def test_an_mla_latent_is_copied_to_every_rank():
    assert [attend.cached_elements(V3, ranks) for ranks in (1, 8, 128)] == [576, 576, 576]
    assert 61 * 2 * 576 == 70_272  # bytes per token of DeepSeek-V3


def test_decode_of_grouped_heads_reads_every_key_and_value_once():
    op = core(GQA, Step(batch=3.0, context=99.0))
    assert op.kv_bytes == 3 * 100 * 64 * 2
    assert op.flops == 3 * 100 * 2 * 4 * 32
    half = core(GQA, Step(batch=3.0, context=99.0), ranks=2)
    assert (half.kv_bytes, half.flops) == (op.kv_bytes / 2, op.flops / 2)


def test_a_window_caps_what_decode_reads():
    windowed = dataclasses.replace(GQA, window=10)
    assert core(windowed, Step(context=99.0)).kv_bytes == 10 * 64 * 2
    assert core(windowed, Step(context=4.0)).kv_bytes == 5 * 64 * 2


@pytest.mark.parametrize("mixer", [GQA, MLA])
def test_an_indexer_caps_what_attention_reads_and_computes(mixer):
    indexer = SparseIndexer(heads=2, head_size=8, top_k=16)
    sparse = dataclasses.replace(mixer, indexer=indexer)
    full, capped = (core(one, Step(context=999.0)) for one in (mixer, sparse))
    assert capped.kv_bytes == full.kv_bytes * 16 / 1000
    assert capped.flops == full.flops * 16 / 1000
    short = core(sparse, Step(context=9.0))
    assert short.kv_bytes == core(mixer, Step(context=9.0)).kv_bytes


def test_mla_absorbs_in_decode_and_expands_in_prefill():
    decode = Step(context=9.0)
    # 2 x 2 heads x (2 x 8 + 4) x 10 pairs; expanding: 2 (2 x 12 x 10 + 9 x 8 x 2 x 8)
    assert attend.absorbed_flops(MLA, decode) == 800
    assert attend.expanded_flops(MLA, decode) == 2784
    assert attend.latent_attention_flops(MLA, decode) == 800
    prefill = Step(new_tokens=100.0)
    assert attend.latent_attention_flops(MLA, prefill) == attend.expanded_flops(MLA, prefill) == 2 * 2 * 12 * 5050


def test_expanding_pays_from_171_new_tokens_of_deepseek_v3():
    limit = attend.absorbing_limit(V3)
    assert limit == pytest.approx(512 * 256 / 768)
    for new, expands in ((math.floor(limit), False), (math.ceil(limit), True)):
        step = Step(new_tokens=float(new), context=1e9)
        assert (attend.expanded_flops(V3, step) < attend.absorbed_flops(V3, step)) is expands
    small = dataclasses.replace(MLA, nope_size=16, value_size=16)
    assert attend.absorbing_limit(small) == math.inf


def test_mla_reads_one_latent_for_all_heads():
    op = core(V3, Step(batch=2.0, context=999.0))
    assert op.kv_bytes == 2 * 1000 * 576 * 2
    # 2 x 128 heads x (2 x 512 + 64) per pair: 242 FLOP/B at 16 bits
    assert op.flops / op.kv_bytes == pytest.approx(241.8, abs=0.1)


def test_a_recurrent_state_splits_over_ranks_and_ignores_the_context():
    mixer = RecurrentMixer(state_heads=4, key_size=16, value_size=8, input_width=64, output_width=32)
    assert attend.state_elements(mixer) == 512
    assert attend.state_elements(mixer, ranks=2) == 256
    model = small_model(layers=(LayerGroup(count=1, recurrent=mixer),))
    early, late = (
        {op.name: op for op in step_ops(deployed(model), Step(context=context), Routing())}["recurrent.core"]
        for context in (0.0, 1e6)
    )
    assert dataclasses.asdict(early) == dataclasses.asdict(late)
    assert early.kv_bytes == 2 * 512 * 4  # read and written in 32 bits
    assert early.flops == 5 * 512
