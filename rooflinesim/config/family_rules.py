"""Norms of a layer, and what a model has beyond its layers, by family."""

from collections.abc import Mapping

from rooflinesim.config.fields import Fields


def no_norms(_fields: Fields, _layer: int) -> int:
    """Norms without parameters."""
    return 0


def one_norm(_fields: Fields, _layer: int) -> int:
    """One norm: before a single block, or before two that run side by side."""
    return 1


def two_norms(_fields: Fields, _layer: int) -> int:
    """A norm for each block."""
    return 2


def four_norms(_fields: Fields, _layer: int) -> int:
    """A norm before and after each block."""
    return 4


def falcon_norms(fields: Fields, _layer: int) -> int:
    """One norm where both blocks run side by side, unless the newer architecture gives each its own."""
    if fields.flag("new_decoder_architecture"):
        return fields.quantity("num_ln_in_parallel_attn", 2)
    return 1 if fields.flag("parallel_attn") else 2


def stablelm_norms(fields: Fields, _layer: int) -> int:
    """One norm where both blocks run side by side, else two."""
    return 1 if fields.flag("use_parallel_residual") else 2


def post_norms(fields: Fields, _layer: int) -> int:
    """A norm before each block, and one after it where the file says so."""
    return 4 if fields.flag("use_post_norm") else 2


def gemma4_norms(fields: Fields, _layer: int) -> int:
    """Four norms, one more for per-layer embeddings, three more beside experts."""
    return 4 + bool(fields.quantity("hidden_size_per_layer_input", 0)) + 3 * fields.flag("enable_moe_block")


def no_extras(_fields: Fields) -> Mapping[str, int]:
    """Nothing beyond the layers."""
    return {}


def position_table(fields: Fields) -> Mapping[str, int]:
    """A learned position for every token of the context."""
    return {"position_parameters": fields.count("max_position_embeddings") * fields.count("hidden_size")}


def opt_extras(fields: Fields) -> Mapping[str, int]:
    """OPT: positions with an offset of two, and projections where embeddings are narrower."""
    hidden = fields.count("hidden_size")
    width = fields.optional_count("word_embed_proj_dim") or hidden
    is_last_normed = fields.flag("do_layer_norm_before") and not fields.flag("_remove_final_layer_norm")
    return {
        "position_parameters": (fields.count("max_position_embeddings") + 2) * hidden,
        "embedding_size": width,
        "other_parameters": 2 * width * hidden if width != hidden else 0,
        "final_norm_parameters": 2 * hidden if is_last_normed else 0,
    }


def bloom_extras(fields: Fields) -> Mapping[str, int]:
    """BLOOM: a norm after the embedding beside the one before the head."""
    return {"final_norm_parameters": 4 * fields.count("hidden_size")}


def gemma4_extras(fields: Fields) -> Mapping[str, int]:
    """Gemma 4: a table of embeddings for every layer, and the projections that mix it in."""
    size = fields.quantity("hidden_size_per_layer_input", 0)
    layers, hidden = fields.count("num_hidden_layers"), fields.count("hidden_size")
    if not size:
        return {}
    return {
        "per_layer_embedding_parameters": fields.count("vocab_size_per_layer_input") * layers * size,
        "other_parameters": 3 * layers * hidden * size + size,
    }


def hyper_connections(fields: Fields) -> Mapping[str, int]:
    """DeepSeek-V4: matrices that mix several residual streams around each block, and before the head."""
    streams, hidden = fields.count("hc_mult"), fields.count("hidden_size")
    mixed = (2 + streams) * streams
    per_block = mixed * (streams * hidden + 1) + 3
    head = streams * (streams * hidden + 1) + 1
    return {"other_parameters": 2 * fields.count("num_hidden_layers") * per_block + head}
