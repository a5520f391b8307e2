"""Families with layers that keep a state of fixed size."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.config.dense_families import LLAMA, PLAIN
from rooflinesim.config.expert_families import DEEPSEEK, QWEN3_MOE, WIDTH_OF_EXPERTS
from rooflinesim.config.family import Family
from rooflinesim.config.family_rules import one_norm
from rooflinesim.config.feed_forward import (
    adjusted_mlp,
    dense_mlp,
    dense_or_experts,
    halved_mlp,
    no_mlp,
    shared_or_experts,
)
from rooflinesim.config.recurrent import (
    convolution_or_softmax,
    delta_or_latent,
    delta_or_softmax,
    lightning_or_softmax,
    mamba2_or_softmax,
    mamba_or_softmax,
    only_mamba,
    only_mamba2,
    recurrence_or_softmax,
)
from rooflinesim.config.stacks import one_block_per_layer

_MAMBA = {"mamba_conv_bias": True, "mamba_state": 16, "mamba_kernel": 4, "mamba_expand": 2}
_MAMBA2 = {"mamba_conv_bias": True, "mamba_state": 128, "mamba_kernel": 4, "mamba_groups": 1}

QWEN3_NEXT = dataclasses.replace(
    QWEN3_MOE,
    mixer=delta_or_softmax,
    has_output_gate=True,
    has_shared_gate=True,
    window="none",
    defaults={"full_attention_interval": 4, "linear_conv_kernel_dim": 4},
)
KIMI_LINEAR = dataclasses.replace(
    DEEPSEEK,
    mixer=delta_or_latent,
    has_output_gate="mla_use_output_gate",
    defaults={"first_k_dense_replace": 1},
)
MINIMAX = dataclasses.replace(
    PLAIN, mixer=lightning_or_softmax, feed_forward=dense_or_experts, spellings=WIDTH_OF_EXPERTS
)
NEMOTRON_H = dataclasses.replace(
    PLAIN,
    layers=one_block_per_layer,
    mlp_bias="mlp_bias",
    is_gated=False,
    spellings={"mamba_bias": ("use_bias",)},
    defaults={**_MAMBA2, "head_dim": 128, "mamba_groups": 8},
)
JAMBA = dataclasses.replace(
    PLAIN,
    mixer=mamba_or_softmax,
    feed_forward=dense_or_experts,
    spellings=WIDTH_OF_EXPERTS,
    defaults={
        **_MAMBA,
        "attn_layer_period": 8,
        "attn_layer_offset": 4,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
)
BAMBA = dataclasses.replace(
    PLAIN,
    mixer=mamba2_or_softmax,
    feed_forward=dense_mlp,
    input_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias="mlp_bias",
    defaults=_MAMBA2,
)
GRANITE_HYBRID = dataclasses.replace(
    BAMBA,
    mlp_bias=False,
    feed_forward=shared_or_experts,
    spellings=WIDTH_OF_EXPERTS,
    defaults={**_MAMBA2, "tie_word_embeddings": True},
)
MAMBA = dataclasses.replace(
    PLAIN,
    mixer=only_mamba,
    feed_forward=no_mlp,
    norms=one_norm,
    spellings={"mamba_width": ("intermediate_size",)},
    defaults={**_MAMBA, "tie_word_embeddings": True},
)
MAMBA2 = dataclasses.replace(
    MAMBA,
    mixer=only_mamba2,
    spellings={"mamba_heads": ("num_heads",), "mamba_head_size": ("head_dim",)},
    defaults={**_MAMBA2, "mamba_groups": 8},
)
RECURRENT_GEMMA = dataclasses.replace(
    LLAMA,
    mixer=recurrence_or_softmax,
    feed_forward=halved_mlp,
    output_bias=True,
    mlp_bias=True,
    window="all",
    defaults={"tie_word_embeddings": True, "conv1d_width": 4, "sliding_window": 2048},
)
LFM2 = dataclasses.replace(
    PLAIN,
    mixer=convolution_or_softmax,
    feed_forward=adjusted_mlp,
    query_key_norm="head",
    query_key_norm_part="norms",
    defaults={
        "tie_word_embeddings": True,
        "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": True,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
    },
)
LFM2_MOE = dataclasses.replace(
    LFM2, feed_forward=dense_or_experts, defaults={"tie_word_embeddings": True, "conv_L_cache": 3}
)

RECURRENT_FAMILIES: Mapping[str, Family] = {
    "qwen3_next": QWEN3_NEXT,
    "qwen3_5": QWEN3_NEXT,
    "qwen3_5_moe": QWEN3_NEXT,
    "kimi_linear": KIMI_LINEAR,
    "kimi_k3": dataclasses.replace(
        KIMI_LINEAR,
        assumptions=("norms of latent experts and attention residuals of Kimi-K3 are not counted",),
    ),
    "minimax": MINIMAX,
    "minimax_text_01": MINIMAX,
    "minimax_m1": MINIMAX,
    "nemotron_h": NEMOTRON_H,
    "jamba": JAMBA,
    "bamba": BAMBA,
    "granitemoehybrid": GRANITE_HYBRID,
    "mamba": MAMBA,
    "falcon_mamba": MAMBA,
    "mamba2": MAMBA2,
    "recurrent_gemma": RECURRENT_GEMMA,
    "lfm2": LFM2,
    "lfm2_moe": LFM2_MOE,
}
