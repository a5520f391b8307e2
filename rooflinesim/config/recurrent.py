"""Keys of a configuration file -> the layers that keep a state of fixed size instead of a cache."""

from rooflinesim.config.family import Family
from rooflinesim.config.fields import Fields
from rooflinesim.config.mixers import head_size, latent_attention, layer_kind, softmax_attention
from rooflinesim.specs.model import Mixer, RecurrentMixer

# Work per state element and token: decay, rank-1 update, read-out; the delta rule reads the state once more.
_DELTA_RULE_FLOPS = 8.0
_MAMBA_FLOPS = 5.0
_LINEAR_FLOPS = 4.0


def gated_delta(fields: Fields) -> RecurrentMixer:
    """Gated delta rule of Qwen3-Next and Qwen3.5."""
    heads, key_heads = fields.count("linear_num_value_heads"), fields.count("linear_num_key_heads")
    key_size, value_size = fields.count("linear_key_head_dim"), fields.count("linear_value_head_dim")
    keys, values = key_heads * key_size, heads * value_size
    return RecurrentMixer(
        state_heads=heads,
        key_size=key_size,
        value_size=value_size,
        input_width=2 * keys + 2 * values + 2 * heads,
        output_width=values,
        state_flops=_DELTA_RULE_FLOPS,
        convolution_channels=2 * keys + values,
        convolution_width=fields.count("linear_conv_kernel_dim"),
        vector_parameters=2 * heads + value_size,
    )


def delta_attention(fields: Fields) -> RecurrentMixer:
    """Kimi delta attention: a gated delta rule whose decay and output gate have low rank."""
    inner = fields.inner("linear_attn_config")
    source = inner if inner.values else fields
    prefix = "" if inner.values else "linear_"
    heads, size = source.count(f"{prefix}num_heads"), source.count(f"{prefix}head_dim")
    width = source.count("short_conv_kernel_size" if inner.values else "linear_conv_kernel_dim")
    columns = heads * size
    has_full_gate = inner.flag("use_full_rank_gate")
    return RecurrentMixer(
        state_heads=heads,
        key_size=size,
        value_size=size,
        input_width=3 * columns + size + heads + (columns if has_full_gate else size),
        output_width=columns,
        state_flops=_DELTA_RULE_FLOPS,
        convolution_channels=3 * columns,
        convolution_width=width,
        inner_parameters=size * columns * (1 if has_full_gate else 2),
        vector_parameters=columns + heads + size,
    )


def mamba2(fields: Fields) -> RecurrentMixer:
    """Mamba-2: one decay per head."""
    heads, size = fields.count("mamba_heads"), fields.count("mamba_head_size")
    state, groups = fields.count("mamba_state"), fields.count("mamba_groups")
    columns = heads * size
    channels = columns + 2 * groups * state
    biases = 2 * columns + 2 * groups * state + heads + fields.count("hidden_size")
    return RecurrentMixer(
        state_heads=heads,
        key_size=state,
        value_size=size,
        input_width=columns + channels + heads,
        output_width=columns,
        state_flops=_MAMBA_FLOPS,
        convolution_channels=channels,
        convolution_width=fields.count("mamba_kernel"),
        vector_parameters=3 * heads
        + columns
        + (channels if fields.flag("mamba_conv_bias") else 0)
        + (biases if fields.flag("mamba_bias") else 0),
    )


def lightning_attention(fields: Fields) -> RecurrentMixer:
    """Lightning attention of MiniMax-01: linear attention with a fixed decay and an output gate."""
    heads, size = fields.count("num_attention_heads"), head_size(fields)
    columns = heads * size
    return RecurrentMixer(
        state_heads=heads,
        key_size=size,
        value_size=size,
        input_width=4 * columns,
        output_width=columns,
        state_flops=_LINEAR_FLOPS,
        vector_parameters=columns,
    )


def mamba1(fields: Fields) -> RecurrentMixer:
    """Mamba: one decay per channel and state element."""
    hidden = fields.count("hidden_size")
    columns = fields.optional_count("mamba_width") or fields.count("mamba_expand") * hidden
    state = fields.count("mamba_state")
    rank = fields.value("mamba_rank")
    low_rank = -(-hidden // 16) if rank in (None, "auto") else fields.count("mamba_rank")
    return RecurrentMixer(
        state_heads=columns,
        key_size=state,
        value_size=1,
        input_width=2 * columns,
        output_width=columns,
        state_flops=_MAMBA_FLOPS,
        convolution_channels=columns,
        convolution_width=fields.count("mamba_kernel"),
        inner_parameters=columns * (low_rank + 2 * state) + low_rank * columns,
        vector_parameters=2 * columns
        + columns * state
        + (columns if fields.flag("mamba_conv_bias") else 0)
        + (2 * columns + hidden if fields.flag("mamba_bias") else 0),
    )


def linear_recurrence(fields: Fields) -> RecurrentMixer:
    """Real-gated linear recurrent unit of Griffin, its gates in blocks of one head."""
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    width = fields.optional_count("lru_width") or hidden
    return RecurrentMixer(
        state_heads=width,
        key_size=1,
        value_size=1,
        input_width=2 * width,
        output_width=width,
        convolution_channels=width,
        convolution_width=fields.count("conv1d_width"),
        inner_parameters=2 * width * (width // heads),
        vector_parameters=3 * width + 2 * width + width + hidden,
    )


def short_convolution(fields: Fields) -> RecurrentMixer:
    """Gated short convolution of LFM2: its only state is that of the convolution."""
    hidden = fields.count("hidden_size")
    return RecurrentMixer(
        state_heads=0,
        key_size=0,
        value_size=0,
        input_width=3 * hidden,
        output_width=hidden,
        convolution_channels=hidden,
        convolution_width=fields.count("conv_L_cache"),
        vector_parameters=5 * hidden if fields.flag("conv_bias") else 0,
    )


def delta_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """Qwen3-Next: full attention in every n-th layer, a gated delta rule in the others."""
    kind = layer_kind(fields, layer)
    is_full = kind == "full_attention" if kind else (layer + 1) % fields.count("full_attention_interval") == 0
    return softmax_attention(fields, family, layer) if is_full else (gated_delta(fields), 0)


def delta_or_latent(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """Kimi-Linear: latent attention in the layers that the file lists, delta attention in the others."""
    kind = layer_kind(fields, layer)
    listed = fields.inner("linear_attn_config").sequence("full_attn_layers")
    if kind is None and listed is None:
        raise fields.problem("layer_types", "missing, and no linear_attn_config.full_attn_layers; add one of them")
    # The list counts layers from 1.
    is_full = kind == "full_attention" if kind else layer + 1 in (listed or ())
    return latent_attention(fields, family, layer) if is_full else (delta_attention(fields), 0)


def mamba_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """Jamba: attention once per period, Mamba in the other layers, whose three norms count as norms."""
    kind = layer_kind(fields, layer)
    period, offset = fields.count("attn_layer_period"), fields.count("attn_layer_offset", 0)
    if "attention" in kind and "linear" not in kind if kind else layer % period == offset:
        return softmax_attention(fields, family, layer)
    mixer = mamba1(fields)
    rank = mixer.inner_parameters // (2 * mixer.output_width) - mixer.key_size
    return mixer, rank + 2 * mixer.key_size


def mamba2_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """Bamba and Granite 4: attention in the layers that the file lists, Mamba-2 in the others."""
    kind = layer_kind(fields, layer)
    listed = fields.sequence("attn_layer_indices") or ()
    is_full = kind in ("attention", "full_attention") if kind else layer in listed
    return softmax_attention(fields, family, layer) if is_full else (mamba2(fields), 0)


def lightning_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """MiniMax-01: softmax attention in the layers that the file marks with 1, lightning attention in the others."""
    kind = layer_kind(fields, layer)
    marks = fields.per_layer("attn_type_list", fields.count("num_hidden_layers"))
    if kind is None and marks is None:
        raise fields.problem("attn_type_list", "missing, and no layer_types; add one of them")
    is_full = kind == "full_attention" if kind else bool((marks or ())[layer])
    return softmax_attention(fields, family, layer) if is_full else (lightning_attention(fields), 0)


def only_mamba2(fields: Fields, _family: Family, _layer: int) -> tuple[Mixer | None, int]:
    """Mamba-2 in every layer."""
    return mamba2(fields), 0


def only_mamba(fields: Fields, _family: Family, _layer: int) -> tuple[Mixer | None, int]:
    """Falcon-Mamba: Mamba in every layer."""
    return mamba1(fields), 0


def recurrence_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """RecurrentGemma: a repeated pattern of recurrent and windowed attention layers."""
    pattern = fields.sequence("block_types") or ("recurrent", "recurrent", "attention")
    if pattern[layer % len(pattern)] == "attention":
        return softmax_attention(fields, family, layer)
    return linear_recurrence(fields), 0


def convolution_or_softmax(fields: Fields, family: Family, layer: int) -> tuple[Mixer | None, int]:
    """LFM2: attention in the layers that the file lists, short convolutions in the others."""
    kind = layer_kind(fields, layer)
    listed = fields.sequence("full_attn_idxs")
    if kind is None and listed is None:
        raise fields.problem("layer_types", "missing, and no full_attn_idxs; add one of them")
    is_full = kind == "full_attention" if kind else layer in (listed or ())
    return softmax_attention(fields, family, layer) if is_full else (short_convolution(fields), 0)
