"""Keys of a configuration file -> the MLP or mixture of experts of each layer."""

import dataclasses
import math

from rooflinesim.config.family import Family, holds
from rooflinesim.config.fields import Fields
from rooflinesim.config.mixers import shares_kv_cache
from rooflinesim.specs.model import DenseMlp, Mlp, MoeMlp


def dense_mlp(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """The same MLP in every layer."""
    return _dense(fields, family, fields.count("intermediate_size")), 0


def dense_or_experts(fields: Fields, family: Family, layer: int) -> tuple[Mlp | None, int]:
    """A mixture of experts in the layers that the file names, a dense MLP in the others."""
    if is_sparse(fields, layer):
        return experts(fields, family), 0
    return dense_mlp(fields, family, layer)


def no_mlp(_fields: Fields, _family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """No MLP at all."""
    return None, 0


def four_times_mlp(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """An MLP four times as wide as the model where the file gives no width."""
    ratio = fields.quantity("expansion_ratio", 4)
    width = fields.optional_count("intermediate_size") or ratio * fields.count("hidden_size")
    return _dense(fields, family, width), 0


def normed_mlp(fields: Fields, family: Family, layer: int) -> tuple[Mlp | None, int]:
    """BitNet: an MLP with a norm before its last matrix."""
    mlp, norms = dense_mlp(fields, family, layer)
    return mlp, norms + fields.count("intermediate_size")


def two_parameter_mlp(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """Apertus: an MLP whose activation has two parameters."""
    mlp = _dense(fields, family, fields.count("intermediate_size"))
    return dataclasses.replace(mlp, vector_parameters=mlp.vector_parameters + 2), 0


def shared_or_experts(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """Granite 4: experts beside a shared MLP, or that MLP alone."""
    if fields.quantity("num_experts", 0):
        return experts(fields, family), 0
    return _dense(fields, family, fields.count("shared_expert_intermediate_size")), 0


def listed_experts(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """DBRX: experts in every layer, described in ffn_config."""
    inner = fields.inner("ffn_config")
    width = {"moe_intermediate_size": inner.count("intermediate_size"), "hidden_size": fields.count("hidden_size")}
    return experts(dataclasses.replace(inner, values={**inner.values, **width}), family), 0


def halved_mlp(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """RecurrentGemma: the file gives the width of gate and up together."""
    return _dense(fields, family, fields.count("intermediate_size", 2) // 2), 0


def adjusted_mlp(fields: Fields, family: Family, _layer: int) -> tuple[Mlp | None, int]:
    """LFM2: two thirds of the file's width, scaled and rounded up to a multiple."""
    width = fields.count("intermediate_size")
    if fields.flag("block_auto_adjust_ff_dim"):
        width = int(2 * width / 3)
        scale = fields.value("block_ffn_dim_multiplier")
        if isinstance(scale, (int, float)) and not isinstance(scale, bool):
            if not 0 < scale < 1000:
                raise fields.problem("block_ffn_dim_multiplier", f"{scale!r} is out of range; it is about 1")
            width = int(scale * width)
        multiple = fields.count("block_multiple_of")
        width = multiple * math.ceil(width / multiple)
    return _dense(fields, family, width), 0


def widened_or_experts(fields: Fields, family: Family, layer: int) -> tuple[Mlp | None, int]:
    """Gemma 4: experts beside a dense MLP, or an MLP that is wider where the cache is shared."""
    width = fields.count("intermediate_size")
    if fields.flag("enable_moe_block"):
        return experts(fields, family, dense_width=width), 0
    is_wide = fields.flag("use_double_wide_mlp") and shares_kv_cache(fields, layer)
    return _dense(fields, family, width * 2 if is_wide else width), 0


def _dense(fields: Fields, family: Family, width: int) -> DenseMlp:
    biases = width * (2 if family.is_gated else 1) + fields.count("hidden_size")
    return DenseMlp(
        width=width,
        is_gated=family.is_gated,
        vector_parameters=biases if holds(family.mlp_bias, fields) else 0,
    )


def experts(fields: Fields, family: Family, dense_width: int = 0) -> MoeMlp:
    """The mixture of experts of a file.

    Raises
    ------
    ProfileError : if a token uses more experts than there are.
    """
    count, active = fields.count("num_experts"), fields.count("num_experts_per_tok")
    if active > count:
        raise fields.problem("num_experts_per_tok", f"{active} is above the {count} experts; give at most {count}")
    hidden, width = fields.count("hidden_size"), fields.count("moe_intermediate_size")
    shared = shared_width(fields, width)
    shared_biases = (2 if family.is_gated else 1) * shared + hidden
    gate = hidden if family.has_shared_gate and shared else 0
    expert_biases = (2 if family.is_gated else 1) * width + hidden
    return MoeMlp(
        experts=count,
        active_experts=active,
        width=width,
        is_gated=family.is_gated,
        shared_width=shared,
        dense_width=dense_width,
        latent_size=fields.optional_count("latent_expert_size"),
        idle_experts=fields.quantity("zero_expert_num", 0),
        vector_parameters=_router_vectors(fields, count),
        shared_vector_parameters=gate + (shared_biases if shared and holds(family.mlp_bias, fields) else 0),
        vector_parameters_per_expert=expert_biases if fields.flag("expert_bias") else 0,
    )


def _router_vectors(fields: Fields, count: int) -> int:
    """Biases, correction biases and scales of a router."""
    biases = count * sum(fields.flag(key) for key in ("router_bias", "router_correction"))
    scales = fields.count("hidden_size") + count if fields.flag("router_scale") else 0
    return biases + scales


def shared_width(fields: Fields, width: int) -> int:
    """Width of all shared experts of a layer together; 0 without any."""
    own = fields.optional_count("shared_expert_intermediate_size", 0)
    number = fields.optional_count("num_shared_experts", 0)
    if own is None:
        return width * (number or 0)
    return own * (1 if number is None else number)


def is_sparse(fields: Fields, layer: int) -> bool:
    """Whether a layer holds experts, by whichever key the file says it with."""
    if not fields.quantity("num_experts", 0):
        return False
    layers = fields.count("num_hidden_layers")
    kinds = fields.per_layer("mlp_layer_types", layers)
    if kinds is not None:
        return kinds[layer] != "dense"
    if fields.has("moe_layers_enum") or fields.has("moe_layers"):
        return layer in _listed_layers(fields, "moe_layers_enum" if fields.has("moe_layers_enum") else "moe_layers")
    if isinstance(fields.value("moe_layer_freq"), (list, tuple)):
        return bool((fields.per_layer("moe_layer_freq", layers) or ())[layer])
    if fields.has("expert_layer_period"):
        return layer % fields.count("expert_layer_period") == fields.count("expert_layer_offset", 0)
    if fields.has("interleave_moe_layer_step"):
        return (layer + 1) % fields.count("interleave_moe_layer_step") == 0
    if fields.has("moe_layer_interval"):
        last = fields.optional_count("moe_layer_end_index", -1)
        end = layers - 1 if last is None or last < 0 else last
        in_range = fields.quantity("first_k_dense_replace", 0) <= layer <= end
        return in_range and (layer + 1) % fields.count("moe_layer_interval") == 0
    every = fields.count("moe_layer_freq") if fields.has("moe_layer_freq") else 1
    step = fields.count("decoder_sparse_step") if fields.has("decoder_sparse_step") else 1
    is_listed_dense = layer in (fields.sequence("mlp_only_layers") or ())
    is_early = layer < fields.quantity("first_k_dense_replace", 0)
    return layer % every == 0 and (layer + 1) % step == 0 and not is_early and not is_listed_dense


def _listed_layers(fields: Fields, key: str) -> tuple[int, ...]:
    """Layer numbers of a list, or of a text with commas between them."""
    value = fields.value(key)
    entries = value.split(",") if isinstance(value, str) else fields.sequence(key) or ()
    if not all(str(entry).strip().isdecimal() for entry in entries):
        raise fields.problem(key, f"{value!r:.60} lists no layer numbers")
    return tuple(int(str(entry)) for entry in entries)
