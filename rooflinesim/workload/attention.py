"""What the blocks that mix tokens compute, read and keep, apart from their weight matrices."""

import numpy as np

from rooflinesim.specs.model import Attention, CachePooling, LatentAttention, Mixer, RecurrentMixer
from rooflinesim.workload.step import Array, Step

SoftmaxMixer = Attention | LatentAttention
"""Blocks whose cache grows with the context."""


def visible_pairs(new_tokens: Array, context: Array, window: float | None = None) -> Array:
    r"""(query, key) pairs that one sequence's causal mask leaves [pairs].

    .. math:: q s + q (q + 1) / 2, \qquad \text{with a window: } \sum_{i=1}^{q} \min(s + i, w)

    The window counts the query itself. A chunked window is taken at its fullest.
    """
    if window is None:
        return new_tokens * context + new_tokens * (new_tokens + 1.0) / 2.0
    growing = np.clip(window - context, 0.0, new_tokens)
    return growing * context + growing * (growing + 1.0) / 2.0 + (new_tokens - growing) * window


def read_tokens(new_tokens: Array, context: Array, window: float | None = None) -> Array:
    """Cached tokens of one sequence that attention reads, the new ones included [tokens]."""
    if window is None:
        return context + new_tokens
    return np.minimum(context + new_tokens, window + new_tokens - 1.0)


def kept_tokens(mixer: SoftmaxMixer, context: Array, *, has_rolling_window: bool = True) -> Array:
    r"""Entries of one sequence that stay in a layer's cache [tokens].

    .. math:: s; \qquad \min(s, w) \text{ with a window}; \qquad
              \min(s, w) + s / rate \text{ with pooling}

    Without a rolling window cache a window keeps everything.
    """
    kept = context if mixer.window is None or not has_rolling_window else np.minimum(context, mixer.window)
    pooling = _pooling(mixer)
    return kept if pooling is None else kept + context / pooling.rate


def seen_pairs(mixer: SoftmaxMixer, step: Step) -> Array:
    """(query, entry) pairs of one sequence that attention scores: window, pooled entries, indexer's choice [pairs]."""
    new, context, cap, pooling = step.new_tokens, step.context, _cap(mixer), _pooling(mixer)
    if pooling is None:
        limits = [limit for limit in (mixer.window, cap) if limit is not None]
        return visible_pairs(new, context, min(limits) if limits else None)
    pooled = visible_pairs(new, context, None if cap is None else cap * pooling.rate) / pooling.rate
    return visible_pairs(new, context, mixer.window) + pooled


def seen_tokens(mixer: SoftmaxMixer, step: Step) -> Array:
    """Cache entries of one sequence that attention reads, the new ones included [tokens].

    With an indexer each query reads its own choice, all of them together at most everything.
    """
    new, context, cap, pooling = step.new_tokens, step.context, _cap(mixer), _pooling(mixer)
    window = read_tokens(new, context, mixer.window)
    chosen = window if pooling is None else (context + new) / pooling.rate
    if cap is not None:
        chosen = np.minimum(chosen, new * cap)
    return chosen if pooling is None else window + chosen


def scored_tokens(mixer: SoftmaxMixer, tokens: Array) -> Array:
    """Indexer keys that stand for so many tokens of one sequence [tokens]."""
    pooling = _pooling(mixer)
    return tokens if pooling is None else tokens / pooling.rate


def _pooling(mixer: SoftmaxMixer) -> CachePooling | None:
    return mixer.pooling if isinstance(mixer, LatentAttention) else None


def _cap(mixer: SoftmaxMixer) -> float | None:
    return float(mixer.indexer.top_k) if mixer.indexer else None


def paged_tokens(tokens: Array, block: int) -> Array:
    """Tokens for which a paged cache holds room, whole blocks [tokens]."""
    return np.ceil(tokens / block) * block


def attention_flops(attention: Attention, step: Step, ranks: int = 1) -> Array:
    r"""FLOPs of scores and weighted values on one of `ranks` devices, one layer [FLOP].

    .. math:: F = 2 b H (d_k + d_v)\, \text{pairs}

    which is :math:`4 b H d_h (q s + q (q + 1) / 2)` for equal head sizes. Softmax is not counted.
    """
    heads = attention.heads / ranks
    return 2.0 * step.batch * heads * (attention.key_size + attention.value_size) * seen_pairs(attention, step)


def cached_elements(mixer: Mixer, ranks: int = 1) -> float:
    """Elements that one token adds to one device's cache in one layer [elements].

    Key/value heads split over ranks down to one head each; an MLA latent is copied to every rank.
    Indexer keys are apart, in `indexer_elements`.
    """
    match mixer:
        case Attention():
            if mixer.shares_kv_cache:
                return 0.0
            return mixer.kv_heads / min(ranks, mixer.kv_heads) * (mixer.key_size + mixer.value_size)
        case LatentAttention():
            return float(mixer.latent_size + mixer.rope_size)
        case RecurrentMixer():
            return 0.0


def read_elements(attention: Attention, ranks: int = 1) -> float:
    """Elements of one cached token that one device's attention reads in one layer [elements]."""
    return attention.kv_heads / min(ranks, attention.kv_heads) * (attention.key_size + attention.value_size)


def indexer_elements(mixer: Mixer) -> float:
    """Elements of one indexer key in the cache of one layer; 0 without an indexer of its own [elements]."""
    if isinstance(mixer, RecurrentMixer) or mixer.indexer is None:
        return 0.0
    return float(mixer.indexer.head_size)


def state_elements(mixer: RecurrentMixer, ranks: int = 1) -> float:
    """Elements of one sequence's recurrent state on one device, one layer [elements]."""
    heads = mixer.state_heads / ranks
    return heads * mixer.key_size * mixer.value_size


def convolution_elements(mixer: RecurrentMixer, ranks: int = 1) -> float:
    """Elements of one sequence's convolution state on one device, one layer [elements].

    The whole kernel width, as transformers keeps it; some engines keep one column less.
    """
    if mixer.convolution_width < 2:
        return 0.0
    return mixer.convolution_channels / ranks * mixer.convolution_width


def absorbed_flops(attention: LatentAttention, step: Step, ranks: int = 1) -> Array:
    r"""FLOPs of MLA when every head attends to the latent itself, one layer [FLOP].

    .. math:: F = 2 b H (2 d_c + d_r)\, \text{pairs}

    The absorbed projections are counted with their matrix, kv_b.
    """
    pairs = seen_pairs(attention, step)
    heads = attention.heads / ranks
    return 2.0 * step.batch * heads * (2.0 * attention.latent_size + attention.rope_size) * pairs


def expanded_flops(attention: LatentAttention, step: Step, ranks: int = 1) -> Array:
    r"""FLOPs of MLA when cached latents are expanded to keys and values again, one layer [FLOP].

    .. math:: F = 2 b H (d_n + d_r + d_v)\, \text{pairs} + 2 b s\, d_c H (d_n + d_v)

    The expansion of the new tokens is counted with its matrix, kv_b.
    """
    pairs = seen_pairs(attention, step)
    heads = attention.heads / ranks
    head_size = attention.nope_size + attention.rope_size + attention.value_size
    expanded = attention.latent_size * heads * (attention.nope_size + attention.value_size)
    return 2.0 * step.batch * (heads * head_size * pairs + step.context * expanded)


def absorbing_limit(attention: LatentAttention) -> float:
    r"""New tokens per sequence from which expanding long caches takes fewer FLOPs than absorbing [tokens].

    .. math:: q^* = \frac{d_c (d_n + d_v)}{(2 d_c + d_r) - (d_n + d_r + d_v)}

    Infinite when absorbing always takes fewer.
    """
    saved = 2 * attention.latent_size - attention.nope_size - attention.value_size
    if saved <= 0:
        return float("inf")
    return attention.latent_size * (attention.nope_size + attention.value_size) / saved


def latent_attention_flops(attention: LatentAttention, step: Step, ranks: int = 1) -> Array:
    """FLOPs of MLA in the cheaper of its two forms, one layer [FLOP]; traffic of expanded keys is neglected."""
    if not attention.has_expansion:
        return absorbed_flops(attention, step, ranks)
    return np.minimum(absorbed_flops(attention, step, ranks), expanded_flops(attention, step, ranks))


def indexer_flops(mixer: SoftmaxMixer, step: Step) -> Array:
    """FLOPs of scoring every key of the cache, one layer; zero without an indexer of its own [FLOP]."""
    if mixer.indexer is None:
        return 0.0
    pairs = scored_tokens(mixer, visible_pairs(step.new_tokens, step.context))
    return 2.0 * step.batch * mixer.indexer.heads * mixer.indexer.head_size * pairs
