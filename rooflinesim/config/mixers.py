"""Keys of a configuration file -> the softmax attention of each layer."""

import dataclasses

from rooflinesim.config.family import Family, holds
from rooflinesim.config.fields import Fields
from rooflinesim.specs.model import Attention, CachePooling, LatentAttention, SparseIndexer

WINDOWED = ("sliding_attention", "chunked_attention", "local", "sliding")


def layer_kind(fields: Fields, layer: int) -> str | None:
    """What the file's layer_types say about a layer, if it has them."""
    kinds = fields.per_layer("layer_types", fields.count("num_hidden_layers"))
    if kinds is None:
        return None
    if not isinstance(kinds[layer], str):
        raise fields.problem("layer_types", f"entry {layer} is {kinds[layer]!r:.40}, no text")
    return str(kinds[layer])


def window_of(fields: Fields, family: Family, layer: int) -> int | None:
    """Tokens that a layer's attention sees, the query included; None sees all."""
    if fields.value("use_sliding_window") is False or not _is_windowed(fields, family, layer):
        return None
    window = fields.optional_count("sliding_window")
    return window if window is not None else fields.optional_count("attention_chunk_size")


def _is_windowed(fields: Fields, family: Family, layer: int) -> bool:
    kind = layer_kind(fields, layer)
    if kind is not None:
        return kind in WINDOWED
    match family.window:
        case "none":
            return False
        case "all":
            return True
        case "late":
            return fields.flag("use_sliding_window") and layer >= fields.quantity("max_window_layers", 0)
        case "pattern":
            return (layer + 1) % fields.count("sliding_window_pattern") != 0


def head_size(fields: Fields) -> int:
    """Elements of one head: the file's, the family's, or the hidden size shared evenly and rounded down."""
    size = fields.optional_count("head_dim")
    if size is not None:
        return size
    heads, hidden = fields.count("num_attention_heads"), fields.count("hidden_size")
    if hidden < heads:
        raise fields.problem("num_attention_heads", f"{heads} is above hidden_size {hidden}; add head_dim")
    return hidden // heads


def kv_heads(fields: Fields, heads: int, key: str = "num_key_value_heads") -> int:
    """Key/value heads, as many as heads where the file is silent."""
    count = fields.optional_count(key)
    if count is None:
        return heads
    if heads % count:
        raise fields.problem(key, f"{count} does not divide the {heads} attention heads; give a divisor")
    return count


def attention_vectors(fields: Fields, family: Family, shape: Attention) -> int:
    """Elements of biases and sinks of a softmax attention."""
    kv_columns = 0 if shape.shares_kv_cache else shape.kv_heads * (shape.key_size + shape.value_size)
    vectors = 0
    if holds(family.input_bias, fields):
        fused_gate = shape.heads * shape.value_size if shape.has_output_gate and not shape.gate_size else 0
        vectors += shape.heads * shape.key_size + fused_gate + kv_columns
    if holds(family.output_bias, fields):
        vectors += fields.count("hidden_size")
    if family.has_sinks:
        vectors += shape.heads
    return vectors


def query_key_norm(fields: Fields, family: Family, shape: Attention) -> int:
    """Elements of the norms over queries and keys."""
    if family.query_key_norm == "none" or not holds(family.has_query_key_norm, fields):
        return 0
    if family.query_key_norm == "all":
        return shape.key_size * (shape.heads + shape.kv_heads)
    norms = 1 if shape.shares_kv_cache else 2
    return shape.key_size * norms * (2 if family.query_key_norm == "biased head" else 1)


def completed(fields: Fields, family: Family, shape: Attention) -> tuple[Attention, int]:
    """An attention with its vectors, and the parameters that count as norms instead."""
    norm = query_key_norm(fields, family, shape)
    is_norm = family.query_key_norm_part == "norms"
    vectors = shape.vector_parameters + attention_vectors(fields, family, shape) + (0 if is_norm else norm)
    return dataclasses.replace(shape, vector_parameters=vectors), norm if is_norm else 0


def softmax_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Multi-head, grouped or multi-query attention with equal layers apart from the window."""
    heads, size = fields.count("num_attention_heads"), head_size(fields)
    window = window_of(fields, family, layer)
    shape = Attention(
        heads=heads,
        kv_heads=kv_heads(fields, heads),
        key_size=size,
        value_size=fields.optional_count("v_head_dim") or size,
        window=window,
        is_chunked=window is not None and not fields.has("sliding_window"),
        has_output_gate=holds(family.has_output_gate, fields),
    )
    return completed(fields, family, shape)


def multi_query_attention(fields: Fields, family: Family, _layer: int) -> tuple[Attention, int]:
    """Attention of Falcon and GPT-BigCode: one key/value head where multi_query says so."""
    heads = fields.count("num_attention_heads")
    if fields.flag("new_decoder_architecture"):
        count = kv_heads(fields, heads)
    else:
        count = 1 if fields.flag("multi_query") else heads
    size = head_size(fields)
    return completed(fields, family, Attention(heads=heads, kv_heads=count, key_size=size, value_size=size))


def mpt_attention(fields: Fields, family: Family, _layer: int) -> tuple[Attention, int]:
    """Attention of MPT, whose key/value heads stand in attn_config."""
    heads, size = fields.count("num_attention_heads"), head_size(fields)
    inner = fields.inner("attn_config")
    shared = {"multiquery_attention": 1, "multihead_attention": heads}.get(str(inner.value("attn_type")))
    count = shared or kv_heads(inner, heads, "kv_n_heads")
    return completed(fields, family, Attention(heads=heads, kv_heads=count, key_size=size, value_size=size))


def bitnet_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Grouped attention with a norm before the output projection."""
    shape, norms = softmax_attention(fields, family, layer)
    vectors = shape.vector_parameters + fields.count("hidden_size")
    return dataclasses.replace(shape, vector_parameters=vectors), norms


def per_layer_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Attention of DeciLM, whose layers differ in their key/value heads."""
    listed = fields.per_layer("num_key_value_heads_per_layer", fields.count("num_hidden_layers"))
    if listed is None:
        return softmax_attention(fields, family, layer)
    values = {**fields.values, "num_key_value_heads": listed[layer]}
    return softmax_attention(dataclasses.replace(fields, values=values), family, layer)


def llama4_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Chunked attention in the layers with rotary embedding, full attention in every fourth."""
    shape, norms = softmax_attention(fields, dataclasses.replace(family, window="none"), layer)
    layers = fields.count("num_hidden_layers")
    rotary = fields.per_layer("no_rope_layers", layers) if fields.sequence("no_rope_layers") else None
    if layer_kind(fields, layer) is not None:
        return shape, norms
    step = fields.count("no_rope_layer_interval")
    is_chunked = bool(rotary[layer]) if rotary else (layer + 1) % step != 0
    window = fields.optional_count("attention_chunk_size") if is_chunked else None
    return dataclasses.replace(shape, window=window, is_chunked=window is not None), norms


def mimo_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Attention whose windowed layers have their own heads, sizes and sinks.

    Without a count of their own they have twice the key/value heads.
    """
    pattern = fields.per_layer("hybrid_layer_pattern", fields.count("num_hidden_layers"))
    is_windowed = bool(pattern[layer]) if pattern else _is_windowed(fields, family, layer)
    prefix = "swa_" if is_windowed else ""

    def own(key: str, common: int) -> int:
        return fields.optional_count(f"{prefix}{key}") or common

    heads = own("num_attention_heads", fields.count("num_attention_heads"))
    size = own("head_dim", head_size(fields))
    key = f"{prefix}num_key_value_heads"
    count = kv_heads(fields, heads, key if fields.has(key) else "num_key_value_heads")
    if is_windowed and not fields.has(key):
        count = min(2 * count, heads)
    value_size = own("v_head_dim", fields.optional_count("v_head_dim") or size)
    window = fields.count("sliding_window") if is_windowed else None
    shape = Attention(heads=heads, kv_heads=count, key_size=size, value_size=value_size, window=window)
    kind = "swa" if is_windowed else "full"
    own_family = dataclasses.replace(family, has_sinks=fields.flag(f"add_{kind}_attention_sink_bias"))
    return completed(fields, own_family, shape)


def step_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Attention with a gate of one column per head, and other head counts in windowed layers."""
    shape, _ = softmax_attention(fields, dataclasses.replace(family, query_key_norm="none"), layer)
    others = fields.inner("attention_other_setting")
    heads = fields.optional_count("num_sliding_attention_heads") or others.optional_count("num_attention_heads")
    if shape.window is not None and heads:
        shape = dataclasses.replace(shape, heads=heads, kv_heads=kv_heads(fields, heads))
    return completed(fields, family, dataclasses.replace(shape, has_output_gate=True, gate_size=1))


def gemma4_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Attention with wider heads in full layers, and without an own cache in the last layers."""
    window = window_of(fields, family, layer)
    is_full = window is None
    heads = fields.count("num_attention_heads")
    has_one_projection = is_full and fields.flag("attention_k_eq_v")
    size = fields.count("global_head_dim") if is_full else head_size(fields)
    key = "num_key_value_heads"
    if has_one_projection and fields.has("num_global_key_value_heads"):
        key = "num_global_key_value_heads"
    shape = Attention(
        heads=heads,
        kv_heads=kv_heads(fields, heads, key),
        key_size=size,
        value_size=size,
        window=window,
        keys_are_values=has_one_projection,
        shares_kv_cache=shares_kv_cache(fields, layer),
    )
    return completed(fields, family, shape)


def shares_kv_cache(fields: Fields, layer: int) -> bool:
    """Whether a layer is one of the last, which read the cache of an earlier layer."""
    return layer >= fields.count("num_hidden_layers") - fields.quantity("num_kv_shared_layers", 0)


def minimax_sparse_attention(fields: Fields, family: Family, layer: int) -> tuple[Attention, int]:
    """Grouped attention of MiniMax-M3: sparse layers read only the blocks that an indexer picks."""
    shape, norms = softmax_attention(fields, family, layer)
    kind = layer_kind(fields, layer)
    sparse = fields.inner("sparse_attention_config")
    frequency = sparse.per_layer("sparse_attention_freq", fields.count("num_hidden_layers"))
    if not ("sparse" in kind if kind else bool(frequency and frequency[layer])):
        return shape, norms
    source = sparse if sparse.values else fields
    size = source.count("sparse_index_dim" if sparse.values else "index_head_dim")
    heads = source.count("sparse_num_index_heads" if sparse.values else "index_n_heads")
    blocks = source.count("sparse_topk_blocks" if sparse.values else "index_topk_blocks")
    block = source.count("sparse_block_size" if sparse.values else "index_block_size")
    indexer = SparseIndexer(
        heads=heads, head_size=size, top_k=blocks * block, input_width=size, vector_parameters=2 * size
    )
    return dataclasses.replace(shape, indexer=indexer), norms


def latent_attention(fields: Fields, family: Family, layer: int) -> tuple[LatentAttention, int]:
    """Multi-head latent attention of DeepSeek; the norms of both latents count as norms."""
    rank, latent = fields.optional_count("q_lora_rank"), fields.count("kv_lora_rank")
    rope, hidden = fields.count("qk_rope_head_dim"), fields.count("hidden_size")
    biases = (rank or 0) + latent + rope + hidden if holds(family.input_bias, fields) else 0
    shape = LatentAttention(
        heads=fields.count("num_attention_heads"),
        latent_size=latent,
        rope_size=rope,
        nope_size=fields.count("qk_nope_head_dim"),
        value_size=fields.count("v_head_dim"),
        query_rank=rank,
        has_output_gate=holds(family.has_output_gate, fields),
        indexer=sparse_indexer(fields, layer),
        vector_parameters=biases,
    )
    return shape, latent + (rank or 0)


def even_latent_attention(fields: Fields, family: Family, layer: int) -> tuple[LatentAttention, int]:
    """Latent attention of MiniCPM3, whose values share the hidden size evenly."""
    value_size = fields.count("hidden_size") // fields.count("num_attention_heads")
    defaults = {"v_head_dim": value_size, **fields.defaults}
    return latent_attention(dataclasses.replace(fields, defaults=defaults), family, layer)


def sparse_indexer(fields: Fields, layer: int) -> SparseIndexer | None:
    """Indexer of DeepSeek sparse attention; a shared one only takes over an earlier layer's choice."""
    if not fields.has("index_topk"):
        return None
    kinds = fields.per_layer("indexer_types", fields.count("num_hidden_layers"))
    top_k, size = fields.count("index_topk"), fields.count("index_head_dim")
    if kinds is not None and kinds[layer] == "shared":
        return SparseIndexer(heads=0, head_size=0, top_k=top_k)
    return SparseIndexer(
        heads=fields.count("index_n_heads"),
        head_size=size,
        top_k=top_k,
        query_rank=fields.optional_count("q_lora_rank"),
        vector_parameters=2 * size,
    )


POOLING_RATES = {
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
    "sliding_attention": 0,
}


def pooled_attention(fields: Fields, _family: Family, layer: int) -> tuple[LatentAttention, int]:
    """Attention of DeepSeek-V4: one latent head for all, a window, and pooled entries for older tokens."""
    heads, size = fields.count("num_attention_heads"), head_size(fields)
    rank, rate = fields.count("q_lora_rank"), _pooling_rate(fields, layer)
    # Rate 4 pools overlapping pairs of blocks: two columns per element, for the entry and for its weight.
    columns = 4 * size if rate == POOLING_RATES["compressed_sparse_attention"] else 2 * size
    pooling = (
        CachePooling(rate=rate, input_width=columns, vector_parameters=rate * columns // 2 + size) if rate else None
    )
    indexer = None
    if rate == POOLING_RATES["compressed_sparse_attention"]:
        index_heads, index_size = fields.count("index_n_heads"), fields.count("index_head_dim")
        indexer = SparseIndexer(
            heads=index_heads,
            head_size=index_size,
            top_k=fields.count("index_topk"),
            query_rank=rank,
            input_width=4 * index_size + index_heads,
            vector_parameters=rate * 2 * index_size + index_size,
        )
    shape = LatentAttention(
        heads=heads,
        latent_size=size,
        rope_size=0,
        nope_size=size,
        value_size=size,
        query_rank=rank,
        has_expansion=False,
        output_rank=fields.count("o_lora_rank"),
        output_groups=fields.count("o_groups"),
        window=fields.count("sliding_window"),
        pooling=pooling,
        indexer=indexer,
        vector_parameters=rank + size + heads,
    )
    return shape, 0


def _pooling_rate(fields: Fields, layer: int) -> int:
    kind = layer_kind(fields, layer)
    rates = fields.per_layer("compress_ratios", fields.count("num_hidden_layers"))
    if kind is None and rates is None:
        kind = "compressed_sparse_attention" if layer > 1 and layer % 2 else "heavily_compressed_attention"
    rate = rates[layer] if kind is None and rates is not None else POOLING_RATES.get(str(kind))
    if rate not in POOLING_RATES.values():
        key = "compress_ratios" if kind is None else "layer_types"
        raise fields.problem(key, f"entry {layer} is {kind if kind else rate!r}; 0, 4 and 128 are read")
    return int(str(rate))
