"""Keys of a configuration file -> all layers of a model, one group each."""

import dataclasses
import math

from rooflinesim.config.family import Family
from rooflinesim.config.feed_forward import dense_mlp, experts
from rooflinesim.config.fields import MAXIMUM, Fields
from rooflinesim.config.mixers import completed, head_size, kv_heads, latent_attention
from rooflinesim.config.recurrent import mamba2
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.model import (
    Attention,
    DenseMlp,
    LatentAttention,
    LayerGroup,
    Mixer,
    Mlp,
    RecurrentMixer,
)

_LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
_KINDS = {"linear_attention": "mamba", "full_attention": "attention", "mlp": "mlp", "moe": "moe"}


def layer_of(mixer: Mixer | None, mlp: Mlp | None, norms: int) -> LayerGroup:
    """One layer, each block under the field of its kind."""
    return LayerGroup(
        attention=mixer if isinstance(mixer, Attention) else None,
        latent_attention=mixer if isinstance(mixer, LatentAttention) else None,
        recurrent=mixer if isinstance(mixer, RecurrentMixer) else None,
        mlp=mlp if isinstance(mlp, DenseMlp) else None,
        moe=mlp if mlp is not None and not isinstance(mlp, DenseMlp) else None,
        norm_parameters=norms,
        count=1,
    )


def equal_layers_together(layers: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    """Groups of equal layers, in the order in which they first appear."""
    counts: dict[LayerGroup, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(dataclasses.replace(layer, count=count) for layer, count in counts.items())


def alternating(fields: Fields, family: Family) -> tuple[LayerGroup, ...]:
    """Layers of a mixer and a feed-forward block each."""
    return tuple(_layer(fields, family, layer) for layer in range(fields.count("num_hidden_layers")))


def _layer(fields: Fields, family: Family, layer: int) -> LayerGroup:
    mixer, mixer_norms = family.mixer(fields, family, layer)
    mlp, mlp_norms = family.feed_forward(fields, family, layer)
    wide = family.norms(fields, layer) * family.norm_vectors * fields.count("hidden_size")
    return layer_of(mixer, mlp, wide + mixer_norms + mlp_norms)


def one_block_per_layer(fields: Fields, family: Family) -> tuple[LayerGroup, ...]:
    """Nemotron-H: each layer is one block, spelled by a letter or a word."""
    pattern = fields.value("hybrid_override_pattern")
    kinds = list(pattern) if isinstance(pattern, str) else list(fields.sequence("layer_types") or ())
    key = "hybrid_override_pattern" if isinstance(pattern, str) else "layer_types"
    if not kinds:
        raise fields.problem(key, "missing, and no layers_block_type; add one of them")
    if len(kinds) > MAXIMUM["num_hidden_layers"]:
        raise fields.problem(key, f"{len(kinds):,} layers are too many; at most {MAXIMUM['num_hidden_layers']:,}")
    names = [_LETTERS.get(str(kind), _KINDS.get(str(kind), str(kind))) for kind in kinds]
    for name in names:
        if name not in _LETTERS.values():
            raise fields.problem(key, f"{name!r:.40} is no known block; M, E, * and - are read")
    return tuple(_block(fields, family, name) for name in names)


def _block(fields: Fields, family: Family, kind: str) -> LayerGroup:
    hidden = fields.count("hidden_size")
    match kind:
        case "mamba":
            return layer_of(mamba2(fields), None, hidden)
        case "moe":
            return layer_of(None, experts(fields, family), hidden)
        case "mlp":
            return layer_of(None, dense_mlp(fields, family, 0)[0], hidden)
        case _:
            heads, size = fields.count("num_attention_heads"), head_size(fields)
            shape = Attention(heads=heads, kv_heads=kv_heads(fields, heads), key_size=size, value_size=size)
            return layer_of(completed(fields, family, shape)[0], None, hidden)


def two_halves_per_layer(fields: Fields, family: Family) -> tuple[LayerGroup, ...]:
    """LongCat: two attentions and two dense MLPs per layer, experts beside the first half."""
    mixer, inner = latent_attention(fields, family, 0)
    norms = 2 * fields.count("hidden_size") + inner
    width = fields.count("intermediate_size")
    first = layer_of(mixer, experts(fields, family, dense_width=width), norms)
    second = layer_of(mixer, DenseMlp(width=width), norms)
    return (first, second) * fields.count("num_hidden_layers")


def searched_blocks(fields: Fields, _family: Family) -> tuple[LayerGroup, ...]:
    """Nemotron-NAS (DeciLM): every layer has its own key/value heads and width, or lacks a block."""
    blocks = fields.sequence("block_configs")
    if blocks is None:
        raise fields.problem("block_configs", "missing; add it to the file")
    if len(blocks) != fields.count("num_hidden_layers"):
        what = f"{len(blocks)} entries for {fields.count('num_hidden_layers')} layers; give one per layer"
        raise fields.problem("block_configs", what)
    layers = (_searched_block(fields, block, index) for index, block in enumerate(blocks))
    return tuple(layer for layer in layers if layer)


def _searched_block(fields: Fields, block: object, index: int) -> LayerGroup | None:
    if not isinstance(block, dict):
        raise fields.problem("block_configs", f"entry {index} is no object")
    own = Fields(file=fields.file, values=block, section=f"{fields.section}block_configs[{index}].")
    attention, ffn = own.inner("attention"), own.inner("ffn")
    for part in (attention, ffn):
        if part.flag("replace_with_linear"):
            raise UnsupportedError(f"{fields.file}: {part.section}replace_with_linear: such layers are not read")
    mixer = None if attention.flag("no_op") else _searched_attention(fields, attention)
    mlp = None if ffn.flag("no_op") else _searched_mlp(fields, ffn)
    if mixer is None and mlp is None:
        return None
    return layer_of(mixer, mlp, fields.count("hidden_size") * ((mixer is not None) + (mlp is not None)))


def _searched_attention(fields: Fields, own: Fields) -> Attention:
    heads, hidden = fields.count("num_attention_heads"), fields.count("hidden_size")
    if own.has("n_heads_in_group"):
        group = own.count("n_heads_in_group")
        if heads % group:
            raise own.problem("n_heads_in_group", f"{group} does not divide the {heads} attention heads")
        count = heads // group
    else:
        count = kv_heads(own, heads)
    size = fields.optional_count("head_dim") or hidden // heads
    window = own.optional_count("window_length")
    return Attention(heads=heads, kv_heads=count, key_size=size, value_size=size, window=window)


def _searched_mlp(fields: Fields, own: Fields) -> DenseMlp:
    """MLP of two thirds of a multiple of the width, rounded up to 256."""
    if own.has("intermediate_size"):
        return DenseMlp(width=own.count("intermediate_size"))
    multiple = own.value("ffn_mult")
    if isinstance(multiple, bool) or not isinstance(multiple, (int, float)) or not 0 < multiple < 1000:
        raise own.problem("ffn_mult", f"{multiple!r:.40} is no factor; it is about 1 to 6")
    return DenseMlp(width=256 * math.ceil(int(2 * multiple * fields.count("hidden_size") / 3) / 256))
