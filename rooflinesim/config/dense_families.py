"""Families whose every layer is softmax attention and a dense MLP."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.config.family import Family
from rooflinesim.config.family_rules import (
    bloom_extras,
    falcon_norms,
    four_norms,
    gemma4_extras,
    gemma4_norms,
    no_extras,
    no_norms,
    one_norm,
    opt_extras,
    position_table,
    post_norms,
    stablelm_norms,
    two_norms,
)
from rooflinesim.config.feed_forward import (
    dense_mlp,
    four_times_mlp,
    halved_mlp,
    normed_mlp,
    two_parameter_mlp,
    widened_or_experts,
)
from rooflinesim.config.mixers import (
    bitnet_attention,
    gemma4_attention,
    mpt_attention,
    multi_query_attention,
    per_layer_attention,
    softmax_attention,
)
from rooflinesim.config.stacks import alternating, searched_blocks

LLAMA = Family(layers=alternating, mixer=softmax_attention, feed_forward=dense_mlp, norms=two_norms, extras=no_extras)
PLAIN = dataclasses.replace(LLAMA, input_bias=False, output_bias=False, mlp_bias=False)
MISTRAL = dataclasses.replace(PLAIN, window="all")
QWEN2 = dataclasses.replace(PLAIN, input_bias=True, window="late")
QWEN3 = dataclasses.replace(
    PLAIN, input_bias="attention_bias", output_bias="attention_bias", query_key_norm="head", window="late"
)
GEMMA = dataclasses.replace(LLAMA, mlp_bias=False, defaults={"tie_word_embeddings": True, "head_dim": 256})
GEMMA2 = dataclasses.replace(
    GEMMA,
    norms=four_norms,
    window="pattern",
    defaults={**GEMMA.defaults, "sliding_window": 4096, "sliding_window_pattern": 2},
)
GEMMA3 = dataclasses.replace(
    GEMMA2,
    query_key_norm="head",
    defaults={
        **GEMMA2.defaults,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
    },
)
GEMMA4 = dataclasses.replace(
    GEMMA3,
    mixer=gemma4_attention,
    feed_forward=widened_or_experts,
    norms=gemma4_norms,
    extras=gemma4_extras,
    defaults={
        "tie_word_embeddings": True,
        "head_dim": 256,
        "global_head_dim": 512,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "vocab_size_per_layer_input": 262144,
        "router_scale": True,
    },
)
GLM = dataclasses.replace(PLAIN, input_bias="attention_bias", defaults={"attention_bias": True, "head_dim": 128})
OLMO2 = dataclasses.replace(LLAMA, mlp_bias=False, query_key_norm="all")
COHERE = dataclasses.replace(
    LLAMA,
    norms=one_norm,
    mlp_bias=False,
    query_key_norm="all",
    has_query_key_norm="use_qk_norm",
    defaults={"tie_word_embeddings": True},
)
COHERE2 = dataclasses.replace(
    COHERE,
    query_key_norm="none",
    window="pattern",
    defaults={**COHERE.defaults, "sliding_window": 4096, "sliding_window_pattern": 4},
)
CHATGLM = dataclasses.replace(
    PLAIN,
    input_bias="add_qkv_bias",
    output_bias="add_bias_linear",
    mlp_bias="add_bias_linear",
    spellings={"num_key_value_heads": ("multi_query_group_num",), "head_dim": ("kv_channels",)},
)
# Before Llama: norms with a bias, an MLP without a gate, biases nearly everywhere.
CLASSIC = dataclasses.replace(
    LLAMA,
    feed_forward=four_times_mlp,
    norm_vectors=2,
    is_gated=False,
    input_bias=True,
    output_bias=True,
    mlp_bias=True,
)
GPT2 = dataclasses.replace(CLASSIC, extras=position_table, defaults={"tie_word_embeddings": True})
GPTJ = dataclasses.replace(CLASSIC, norms=one_norm, input_bias=False, output_bias=False, head_bias=True)
GPT_NEOX = dataclasses.replace(
    CLASSIC,
    input_bias="attention_bias",
    output_bias="attention_bias",
    defaults={"attention_bias": True},
)
OPT = dataclasses.replace(
    CLASSIC,
    input_bias="enable_bias",
    output_bias="enable_bias",
    mlp_bias="enable_bias",
    extras=opt_extras,
    defaults={"tie_word_embeddings": True, "enable_bias": True, "do_layer_norm_before": True},
)
STARCODER2 = dataclasses.replace(
    CLASSIC,
    input_bias="use_bias",
    output_bias="use_bias",
    mlp_bias="use_bias",
    window="all",
    defaults={"tie_word_embeddings": True, "use_bias": True},
)
FALCON = dataclasses.replace(
    CLASSIC,
    mixer=multi_query_attention,
    norms=falcon_norms,
    input_bias="bias",
    output_bias="bias",
    mlp_bias="bias",
    defaults={"tie_word_embeddings": True, "multi_query": True, "parallel_attn": True},
)
MPT = dataclasses.replace(
    CLASSIC,
    mixer=mpt_attention,
    norm_vectors=1,
    input_bias=False,
    output_bias=False,
    mlp_bias=False,
    defaults={"tie_word_embeddings": True},
)
ERNIE = dataclasses.replace(
    LLAMA,
    input_bias="use_bias",
    output_bias="use_bias",
    mlp_bias="use_bias",
    defaults={"tie_word_embeddings": True},
)
HUNYUAN = dataclasses.replace(
    LLAMA, mlp_bias=False, query_key_norm="head", query_key_norm_part="norms", has_query_key_norm=True
)
STABLELM = dataclasses.replace(
    PLAIN,
    norms=stablelm_norms,
    norm_vectors=2,
    input_bias="use_qkv_bias",
    query_key_norm="all",
    has_query_key_norm="qk_layernorm",
)

DENSE_FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "aquila": LLAMA,
    "yi": LLAMA,
    "granite": LLAMA,
    "smollm3": LLAMA,
    "cwm": LLAMA,
    "helium": LLAMA,
    "baichuan": PLAIN,
    "minicpm": dataclasses.replace(PLAIN, defaults={"tie_word_embeddings": True}),
    "internlm": dataclasses.replace(LLAMA, input_bias="bias", output_bias="bias"),
    "internlm2": dataclasses.replace(LLAMA, input_bias="bias", output_bias="bias"),
    "internlm3": dataclasses.replace(LLAMA, input_bias="qkv_bias", output_bias="bias", mlp_bias="bias"),
    "seed_oss": dataclasses.replace(LLAMA, output_bias="attention_out_bias", defaults={"attention_bias": True}),
    "deci": dataclasses.replace(PLAIN, mixer=per_layer_attention),
    "mistral": MISTRAL,
    "ministral": MISTRAL,
    "ministral3": MISTRAL,
    "phi3": MISTRAL,
    "qwen": dataclasses.replace(PLAIN, input_bias=True, feed_forward=halved_mlp),
    "qwen2": QWEN2,
    "qwen2_vl": QWEN2,
    "qwen2_5_vl": QWEN2,
    "qwen3": QWEN3,
    "qwen3_vl": QWEN3,
    "gemma": GEMMA,
    "vaultgemma": dataclasses.replace(GEMMA2, norms=two_norms),
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "gemma4": GEMMA4,
    "gemma4_unified": GEMMA4,
    "glm": GLM,
    "glm4": dataclasses.replace(GLM, norms=four_norms),
    "glm4v": dataclasses.replace(GLM, norms=four_norms),
    "chatglm": CHATGLM,
    "olmo": dataclasses.replace(LLAMA, mlp_bias=False, norms=no_norms, has_final_norm=False),
    "olmo2": OLMO2,
    "olmo3": dataclasses.replace(
        OLMO2, window="pattern", defaults={"sliding_window": 4096, "sliding_window_pattern": 4}
    ),
    "hyperclovax": dataclasses.replace(LLAMA, norms=post_norms),
    "exaone4": dataclasses.replace(
        PLAIN, query_key_norm="head", window="pattern", defaults={"sliding_window_pattern": 4}
    ),
    "cohere": COHERE,
    "cohere2": COHERE2,
    "arcee": dataclasses.replace(LLAMA, is_gated=False),
    "apertus": dataclasses.replace(LLAMA, feed_forward=two_parameter_mlp, is_gated=False, query_key_norm="head"),
    "nemotron": dataclasses.replace(LLAMA, is_gated=False, norm_vectors=2),
    "jais2": dataclasses.replace(
        LLAMA, is_gated=False, norm_vectors=2, defaults={"attention_bias": True, "mlp_bias": True}
    ),
    "hunyuan_v1_dense": HUNYUAN,
    "stablelm": STABLELM,
    "ernie4_5": ERNIE,
    "bitnet": dataclasses.replace(LLAMA, mixer=bitnet_attention, feed_forward=normed_mlp, mlp_bias=False),
    "gpt2": GPT2,
    "gpt_sw3": GPT2,
    "gpt_bigcode": dataclasses.replace(
        GPT2, mixer=multi_query_attention, defaults={**GPT2.defaults, "multi_query": True}
    ),
    "gptj": GPTJ,
    "codegen": GPTJ,
    "gpt_neox": GPT_NEOX,
    "phi": dataclasses.replace(
        CLASSIC,
        norms=one_norm,
        head_bias=True,
        query_key_norm="biased head",
        query_key_norm_part="norms",
        has_query_key_norm="qk_layernorm",
    ),
    "bloom": dataclasses.replace(CLASSIC, extras=bloom_extras, defaults={"tie_word_embeddings": True}),
    "opt": OPT,
    "biogpt": OPT,
    "xglm": dataclasses.replace(
        CLASSIC,
        spellings={"num_attention_heads": ("attention_heads", "num_attention_heads")},
        defaults={"tie_word_embeddings": True},
    ),
    "starcoder2": STARCODER2,
    "falcon": FALCON,
    "mpt": MPT,
    "nemotron_nas": dataclasses.replace(PLAIN, layers=searched_blocks),
}
