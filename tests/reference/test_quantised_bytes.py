"""Resident weight bytes of quantised checkpoints, every term worked from the shapes and the format by hand.

Formats: fp8 1 B per value; fp8-block one fp32 per 128 x 128 values more; mxfp4 17 B per 32 values; nvfp4 9 B
per 16 values; int4 with a bf16 scale per 32 values 4.5 bits. Everything excluded, norms, biases, router, head
and embedding are 2 B per value.
"""

from pathlib import Path

import pytest

from rooflinesim.config.huggingface import read_config
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.footprint import resident_weight_bytes

WIDE = 2.0
FP8 = 1.0
FP8_BLOCK = 1 + 4 / (128 * 128)
MXFP4 = 17 / 32
NVFP4 = 9 / 16
INT4_G32 = 4.5 / 8


def llama_70b_fp8() -> dict[str, float]:
    """nvidia/Llama-3.1-70B-Instruct-FP8: all Linear modules but lm_head; 64 heads and 8 KV heads of 128."""
    h, width, layers, vocabulary = 8192, 28672, 80, 128256
    return {
        "attention": layers * FP8 * (h * h + 2 * h * 1024 + h * h),
        "mlp": layers * FP8 * 3 * h * width,
        "norms": WIDE * (2 * layers + 1) * h,
        "embedding": WIDE * vocabulary * h,
        "head": WIDE * vocabulary * h,
    }


def qwen3_32b_fp8_block() -> dict[str, float]:
    """Qwen/Qwen3-32B-FP8: blocks of 128 x 128; 64 heads and 8 KV heads of 128, norms over q and k."""
    h, width, layers, vocabulary, queries, keys = 5120, 25600, 64, 151936, 8192, 1024
    return {
        "attention": layers * (FP8_BLOCK * (h * queries + 2 * h * keys + queries * h) + WIDE * 2 * 128),
        "mlp": layers * FP8_BLOCK * 3 * h * width,
        "norms": WIDE * (2 * layers + 1) * h,
        "embedding": WIDE * vocabulary * h,
        "head": WIDE * vocabulary * h,
    }


def gpt_oss_120b() -> dict[str, float]:
    """openai/gpt-oss-120b: experts alone in mxfp4; biases nearly everywhere, a sink per head."""
    h, layers, experts, queries, keys = 2880, 36, 128, 64 * 64, 8 * 64
    matrices = h * queries + 2 * h * keys + queries * h
    vectors = queries + 2 * keys + h + 64
    return {
        "attention": layers * WIDE * (matrices + vectors),
        "router": layers * WIDE * (h * experts + experts),
        "experts": layers * experts * (MXFP4 * 3 * h * h + WIDE * (2 * h + h)),
        "norms": WIDE * (2 * layers + 1) * h,
        "embedding": WIDE * 201088 * h,
        "head": WIDE * 201088 * h,
    }


def qwen3_235b_nvfp4() -> dict[str, float]:
    """nvidia/Qwen3-235B-A22B-NVFP4: routers and lm_head excluded; 64 heads and 4 KV heads of 128."""
    h, layers, experts, width, queries, keys = 4096, 94, 128, 1536, 8192, 512
    return {
        "attention": layers * (NVFP4 * (h * queries + 2 * h * keys + queries * h) + WIDE * 2 * 128),
        "router": layers * WIDE * h * experts,
        "experts": layers * experts * NVFP4 * 3 * h * width,
        "norms": WIDE * (2 * layers + 1) * h,
        "embedding": WIDE * 151936 * h,
        "head": WIDE * 151936 * h,
    }


def deepseek_v3_shapes() -> dict[str, float]:
    """Values of DeepSeek-V3: 61 layers, 3 of them dense, 128 heads, 256 experts and a shared one."""
    h, heads, experts, width = 7168, 128, 256, 2048
    return {
        "q_and_kv": 61 * (h * 1536 + 1536 * heads * 192 + h * (512 + 64) + 512 * heads * 256),
        "out": 61 * heads * 128 * h,
        "mlp": 3 * 3 * h * 18432,
        "router": 58 * h * experts,
        "experts": 58 * experts * 3 * h * width,
        "shared_experts": 58 * 3 * h * width,
        "norms": 61 * (2 * h + 1536 + 512) + h,
        "table": 129280 * h,
    }


def deepseek_v3_fp8_block() -> dict[str, float]:
    """deepseek-ai/DeepSeek-V3: every matrix of the layers but the router; the draft layer is not counted."""
    values = deepseek_v3_shapes()
    return {
        "attention": FP8_BLOCK * (values["q_and_kv"] + values["out"]),
        "mlp": FP8_BLOCK * values["mlp"],
        "router": WIDE * values["router"],
        "experts": FP8_BLOCK * values["experts"],
        "shared_experts": FP8_BLOCK * values["shared_experts"],
        "norms": WIDE * values["norms"],
        "embedding": WIDE * values["table"],
        "head": WIDE * values["table"],
    }


def deepseek_v31_nvfp4() -> dict[str, float]:
    """nvidia/DeepSeek-V3.1-NVFP4: lm_head, routers and the q and kv projections excluded, o_proj not."""
    values = deepseek_v3_shapes()
    return {
        "attention": WIDE * values["q_and_kv"] + NVFP4 * values["out"],
        "mlp": NVFP4 * values["mlp"],
        "router": WIDE * values["router"],
        "experts": NVFP4 * values["experts"],
        "shared_experts": NVFP4 * values["shared_experts"],
        "norms": WIDE * values["norms"],
        "embedding": WIDE * values["table"],
        "head": WIDE * values["table"],
    }


def kimi_k2_shapes() -> dict[str, float]:
    """Values of Kimi-K2: DeepSeek-V3 with 64 heads, 384 experts, one dense layer and 163,840 tokens."""
    h, heads, experts, width = 7168, 64, 384, 2048
    return {
        "attention": 61 * (h * 1536 + 1536 * heads * 192 + h * (512 + 64) + 512 * heads * 256 + heads * 128 * h),
        "mlp": 3 * h * 18432,
        "router": 60 * h * experts,
        "experts": 60 * experts * 3 * h * width,
        "shared_experts": 60 * 3 * h * width,
        "norms": 61 * (2 * h + 1536 + 512) + h,
        "table": 163840 * h,
    }


def kimi_experts_in(size: float) -> dict[str, float]:
    """Kimi with routed experts alone quantised."""
    values = kimi_k2_shapes()
    return {
        "attention": WIDE * values["attention"],
        "mlp": WIDE * values["mlp"],
        "router": WIDE * values["router"],
        "experts": size * values["experts"],
        "shared_experts": WIDE * values["shared_experts"],
        "norms": WIDE * values["norms"],
        "embedding": WIDE * values["table"],
        "head": WIDE * values["table"],
    }


CASES = {
    "nvidia--Llama-3.1-70B-Instruct-FP8": llama_70b_fp8(),
    "Qwen--Qwen3-32B-FP8": qwen3_32b_fp8_block(),
    "openai--gpt-oss-120b": gpt_oss_120b(),
    "nvidia--Qwen3-235B-A22B-NVFP4": qwen3_235b_nvfp4(),
    "deepseek-ai--DeepSeek-V3": deepseek_v3_fp8_block(),
    "nvidia--DeepSeek-V3.1-NVFP4": deepseek_v31_nvfp4(),
    # compressed-tensors: attention, shared experts, the dense layer and lm_head are ignored.
    "moonshotai--Kimi-K2.5": kimi_experts_in(INT4_G32),
    # ModelOpt: attention and shared experts are excluded by patterns, and so is layer 0 whole.
    "nvidia--Kimi-K2.6-NVFP4": kimi_experts_in(NVFP4),
}


def predicted(shared: Path, name: str) -> dict[str, float]:
    path = shared / "data" / "models" / "configs" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    model = read_config(path)
    return dict(resident_weight_bytes(model, precision_of(model)))


@pytest.mark.parametrize(
    "name",
    list(CASES),
)
def test_resident_bytes_of_a_quantised_checkpoint_are_those_of_its_shapes(shared, name):
    # Sums of a few hundred terms in double precision: exact but for rounding.
    assert predicted(shared, name) == pytest.approx(CASES[name], rel=1e-12)


def test_experts_of_a_checkpoint_with_mixed_attention_are_exact(shared):
    sizes = predicted(shared, "nvidia--DeepSeek-V3.1-NVFP4")
    for part in ("experts", "shared_experts", "router", "embedding", "head", "norms"):
        assert sizes[part] == pytest.approx(CASES["nvidia--DeepSeek-V3.1-NVFP4"][part], rel=1e-12)


def test_published_sizes_are_met():
    # gpt-oss model card, arXiv 2508.10925, table 1: checkpoint size 60.8 GiB.
    assert sum(CASES["openai--gpt-oss-120b"].values()) / 2**30 == pytest.approx(60.8, abs=0.05)
