"""Families with experts or latent attention."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.config.dense_families import ERNIE, LLAMA, MISTRAL, OLMO2, PLAIN, QWEN2, QWEN3
from rooflinesim.config.family import Family
from rooflinesim.config.family_rules import four_norms, hyper_connections
from rooflinesim.config.feed_forward import dense_mlp, dense_or_experts, listed_experts
from rooflinesim.config.mixers import (
    even_latent_attention,
    latent_attention,
    llama4_attention,
    mimo_attention,
    minimax_sparse_attention,
    mpt_attention,
    pooled_attention,
    softmax_attention,
    step_attention,
)
from rooflinesim.config.stacks import two_halves_per_layer

WIDTH_OF_EXPERTS = {"moe_intermediate_size": ("moe_intermediate_size", "intermediate_size")}
"""For files that give the experts' width under the key of a dense MLP."""

MIXTRAL = dataclasses.replace(MISTRAL, feed_forward=dense_or_experts, spellings=WIDTH_OF_EXPERTS)
GRANITE_MOE = dataclasses.replace(LLAMA, feed_forward=dense_or_experts, spellings=WIDTH_OF_EXPERTS)
OLMOE = dataclasses.replace(OLMO2, feed_forward=dense_or_experts, spellings=WIDTH_OF_EXPERTS)
QWEN2_MOE = dataclasses.replace(
    QWEN2,
    input_bias="qkv_bias",
    feed_forward=dense_or_experts,
    has_shared_gate=True,
    defaults={"qkv_bias": True},
)
QWEN3_MOE = dataclasses.replace(QWEN3, feed_forward=dense_or_experts)
GPT_OSS = dataclasses.replace(
    LLAMA,
    feed_forward=dense_or_experts,
    has_sinks=True,
    window="pattern",
    spellings=WIDTH_OF_EXPERTS,
    defaults={
        "attention_bias": True,
        "expert_bias": True,
        "router_bias": True,
        "sliding_window": 128,
        "sliding_window_pattern": 2,
        "head_dim": 64,
    },
)
DEEPSEEK = dataclasses.replace(LLAMA, mixer=latent_attention, feed_forward=dense_or_experts, mlp_bias=False)
DEEPSEEK_V4 = dataclasses.replace(
    DEEPSEEK,
    mixer=pooled_attention,
    extras=hyper_connections,
    mlp_bias="mlp_bias",
    defaults={
        "head_dim": 512,
        "hc_mult": 4,
        "o_groups": 8,
        "o_lora_rank": 1024,
        "sliding_window": 128,
        "num_shared_experts": 1,
    },
    assumptions=(
        "compressed attention: one entry per 4 or 128 tokens that have left the window",
        "hyper-connections are counted as matrices outside the layers",
    ),
)
MINICPM3 = dataclasses.replace(
    DEEPSEEK,
    mixer=even_latent_attention,
    feed_forward=dense_mlp,
    mlp_bias="mlp_bias",
    defaults={"tie_word_embeddings": True},
)
GLM4_MOE = dataclasses.replace(
    DEEPSEEK,
    mixer=softmax_attention,
    output_bias=False,
    query_key_norm="head",
    has_query_key_norm="use_qk_norm",
)
LLAMA4 = dataclasses.replace(
    LLAMA,
    mixer=llama4_attention,
    feed_forward=dense_or_experts,
    mlp_bias=False,
    spellings={
        "intermediate_size": ("intermediate_size_mlp",),
        "moe_intermediate_size": ("intermediate_size",),
    },
    defaults={"num_shared_experts": 1, "no_rope_layer_interval": 4, "interleave_moe_layer_step": 1},
)
MINIMAX_M2 = dataclasses.replace(
    PLAIN,
    feed_forward=dense_or_experts,
    query_key_norm="all",
    has_query_key_norm="use_qk_norm",
    spellings=WIDTH_OF_EXPERTS,
    defaults={"use_qk_norm": True},
)
MINIMAX_M3 = dataclasses.replace(
    MINIMAX_M2,
    mixer=minimax_sparse_attention,
    query_key_norm="head",
    spellings={**WIDTH_OF_EXPERTS, "intermediate_size": ("dense_intermediate_size",)},
    defaults={"use_qk_norm": True, "shared_expert_intermediate_size": 3072, "intermediate_size": 12288},
)
MIMO_V2 = dataclasses.replace(
    DEEPSEEK,
    mixer=mimo_attention,
    output_bias=False,
    window="pattern",
    defaults={"sliding_window_pattern": 6, "add_swa_attention_sink_bias": True},
)
BAILING_MOE = dataclasses.replace(
    PLAIN,
    feed_forward=dense_or_experts,
    input_bias="use_qkv_bias",
    output_bias="use_bias",
    query_key_norm="head",
    query_key_norm_part="norms",
    has_query_key_norm="use_qk_norm",
)
PHIMOE = dataclasses.replace(
    MIXTRAL,
    norm_vectors=2,
    input_bias="attention_bias",
    output_bias="attention_bias",
    head_bias="lm_head_bias",
)
ERNIE_MOE = dataclasses.replace(
    ERNIE,
    feed_forward=dense_or_experts,
    head_bias="use_bias",
    defaults={
        **ERNIE.defaults,
        "router_correction": True,
        "moe_layer_interval": 1,
        "first_k_dense_replace": 1,
    },
)
AFMOE = dataclasses.replace(
    PLAIN,
    feed_forward=dense_or_experts,
    norms=four_norms,
    query_key_norm="head",
    has_output_gate=True,
    window="pattern",
    defaults={"router_correction": True, "sliding_window_pattern": 4},
)
DBRX = dataclasses.replace(PLAIN, mixer=mpt_attention, feed_forward=listed_experts)
LONGCAT = dataclasses.replace(
    DEEPSEEK,
    layers=two_halves_per_layer,
    assumptions=(
        "each layer of the file is two here: it holds two attentions and two dense MLPs",
        "experts that compute nothing are never picked: every token uses all of its active experts",
    ),
)
STEP3 = dataclasses.replace(
    LLAMA,
    mixer=step_attention,
    feed_forward=dense_or_experts,
    query_key_norm="head",
    defaults={"first_k_dense_replace": 3},
)

EXPERT_FAMILIES: Mapping[str, Family] = {
    "mixtral": MIXTRAL,
    "granitemoe": GRANITE_MOE,
    "granitemoeshared": GRANITE_MOE,
    "olmoe": OLMOE,
    "flex_olmo": OLMOE,
    "qwen2_moe": QWEN2_MOE,
    "qwen3_moe": QWEN3_MOE,
    "qwen3_vl_moe": QWEN3_MOE,
    "dots1": QWEN3_MOE,
    "exaone_moe": QWEN3_MOE,
    "hy_v3": QWEN3_MOE,
    "gpt_oss": GPT_OSS,
    "deepseek": dataclasses.replace(LLAMA, feed_forward=dense_or_experts, mlp_bias=False),
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v32": DEEPSEEK,
    "kimi_k2": DEEPSEEK,
    "kimi_k25": DEEPSEEK,
    "glm_moe_dsa": DEEPSEEK,
    "glm4_moe_lite": DEEPSEEK,
    "youtu": dataclasses.replace(DEEPSEEK, defaults={"tie_word_embeddings": True}),
    "deepseek_v4": DEEPSEEK_V4,
    "minicpm3": MINICPM3,
    "glm4_moe": GLM4_MOE,
    "glm4v_moe": GLM4_MOE,
    "solar_open": dataclasses.replace(GLM4_MOE, output_bias="attention_bias"),
    "llama4": LLAMA4,
    "minimax_m2": MINIMAX_M2,
    "minimax_m3": MINIMAX_M3,
    "minimax_m3_vl": MINIMAX_M3,
    "mimo_v2_flash": MIMO_V2,
    "bailing_moe": BAILING_MOE,
    "bailing_moe_v2": BAILING_MOE,
    "phimoe": PHIMOE,
    "ernie4_5_moe": ERNIE_MOE,
    "afmoe": AFMOE,
    "dbrx": DBRX,
    "longcat_flash": LONGCAT,
    "step3p5": STEP3,
    "step3p7": STEP3,
}
