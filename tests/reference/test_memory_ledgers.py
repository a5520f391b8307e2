"""Ledgers of real models against arithmetic done by hand: parts add up, and the longest context is where they say."""

import math

import pytest

from rooflinesim.analysis.memory import MemoryResult, memory
from rooflinesim.api.answers import deployment
from rooflinesim.config import load_hardware, load_model, load_stack
from rooflinesim.specs.deployment import Deployment

BLOCK = 16


def asked(model: str, gpu: str, tp: int = 1) -> Deployment:
    return deployment(model=load_model(model), hardware=load_hardware(gpu), stack=load_stack("generic"), tp=tp)


def assert_longest_context(found: MemoryResult, *, growing: float, fixed: float, usable: float) -> None:
    """The cache grows by whole blocks of 16 tokens, and a step's new token must fit too."""
    blocks = math.floor((usable - fixed) / (growing * BLOCK))
    assert found.max_context == blocks * BLOCK - 1


def test_gpt_oss_120b_fits_one_h100_with_this_much_context() -> None:
    found = memory(asked("gpt-oss-120b", "h100"), batch=1, context=128 * 1024)
    expert_matrices = 36 * 128 * 3 * 2880 * 2880
    weights = (
        expert_matrices * 4.25 / 8  # mxfp4: 4 bits and 8 bits of scale per 32
        + 36 * 128 * (2 * 2880 + 2880) * 2  # expert biases
        + 36 * (2880 * (64 + 8 + 8) * 64 + (64 + 8 + 8) * 64 + 64 * 64 * 2880 + 2880 + 64) * 2  # attention, sinks
        + 36 * (2880 * 128 + 128) * 2  # router
        + (36 * 2 + 1) * 2880 * 2  # norms
        + 2 * 201_088 * 2880 * 2  # embedding and head
    )
    resident = {row.part: row.resident_bytes for row in found.rows}
    assert sum(resident.values()) - resident["kv_cache"] - resident["activations"] == pytest.approx(weights, abs=1)
    per_token = 18 * 2 * 8 * 64 * 2  # 18 of 36 layers keep everything
    windows = 18 * 2 * 8 * 64 * 2 * 128
    assert resident["kv_cache"] == per_token * (128 * 1024 + BLOCK) + windows
    assert found.resident == sum(row.resident_bytes for row in found.rows)
    assert found.fits
    fixed = weights + windows + resident["activations"]
    assert_longest_context(found, growing=per_token, fixed=fixed, usable=0.9 * 85_520_809_984)


def test_deepseek_v3_on_eight_h200_keeps_the_whole_latent_on_every_device() -> None:
    found = memory(asked("deepseek-v3", "h200", tp=8), batch=1, context=2048)
    per_token = 61 * (512 + 64) * 2  # not divided by the 8 devices
    resident = {row.part: row.resident_bytes for row in found.rows}
    assert resident["kv_cache"] == per_token * (2048 + BLOCK)
    fp8 = (8 + 32 / 128**2) / 8  # fp32 scale per block of 128 x 128
    experts = 58 * 256 * 3 * 7168 * 2048 / 8 * fp8
    assert resident["experts"] == pytest.approx(experts, rel=1e-12)
    head = 129_280 * 7168 / 8 * 2
    assert resident["head"] == pytest.approx(head, rel=1e-12)
    fixed = found.resident - resident["kv_cache"]
    assert_longest_context(found, growing=per_token, fixed=fixed, usable=0.9 * 150_754_820_096)


def test_qwen3_next_holds_a_fixed_state_beside_the_cache_of_every_fourth_layer() -> None:
    found = memory(asked("qwen3-next-80b", "b200"), batch=1, context=128 * 1024)
    per_token = 12 * 2 * 2 * 256 * 2  # 12 of 48 layers, 2 KV heads of 256
    state = 36 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 4 * 2)  # fp32 state, bf16 convolution of width 4
    resident = {row.part: row.resident_bytes for row in found.rows}
    assert resident["kv_cache"] == per_token * (128 * 1024 + BLOCK) + state
    fixed = found.resident - per_token * (128 * 1024 + BLOCK)
    assert_longest_context(found, growing=per_token, fixed=fixed, usable=0.9 * 192_265_846_784)


def test_gemma3_27b_keeps_only_the_window_in_five_of_six_layers() -> None:
    found = memory(asked("gemma3-27b", "a100"), batch=1, context=128 * 1024)
    per_layer = 2 * 16 * 128 * 2
    resident = {row.part: row.resident_bytes for row in found.rows}
    assert resident["kv_cache"] == 10 * per_layer * (128 * 1024 + BLOCK) + 52 * per_layer * 1024
    fixed = found.resident - 10 * per_layer * (128 * 1024 + BLOCK)
    assert_longest_context(found, growing=10 * per_layer, fixed=fixed, usable=0.9 * 85_899_345_920)
