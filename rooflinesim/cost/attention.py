"""Time of attention: one law for decode, verification, a chunk and prefill."""

import numpy as np

from rooflinesim.cost.roofline import compute_time, memory_time, smooth_maximum
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.workload.step import Array


def attention_time(
    *,
    batch: Array,
    new_tokens: Array,
    read_tokens: Array,
    kv_heads: Array,
    group: Array,
    kv_bytes: Array,
    activation_bytes: Array,
    flops: Array,
    pair_flops: Array,
    bandwidth: Array,
    flop_rate: Array,
    cores: float | None,
    clock_rate: float | None,
    law: AttentionLaw,
) -> Array:
    r"""Time of one layer's attention of q new tokens per sequence against its cache, once [s].

    .. math:: t = t_0 + \left((Q / BW + t_r)^p + \max(t_{pull}, x\, T\, t_s + t_{math})^p\right)^{1/p}

    with :math:`t_{pull}` the time in which the busiest core pulls its share of the cache, :math:`t_{math}` that in
    which it computes its tiles (`pull_time`, `tile_time`) and :math:`x\, T` the tiles that it starts. Decode is q = 1,
    verification q = draft + 1, prefill q = prompt. Non-decreasing in batch, context and q; never below the time of
    its bytes or of its FLOPs.

    Parameters
    ----------
    batch : sequences. [1] > 0, scalar or shape (points,)
    new_tokens : q, queries per sequence. [tokens] > 0
    read_tokens : cached tokens that one sequence's queries read, the new ones included. [tokens] > 0
    kv_heads : on this device; 1 where all heads share a latent cache. [1] > 0
    group : query heads per KV head. [1] > 0
    kv_bytes : of the cache that is read, all sequences and KV heads. [B] >= 0
    activation_bytes : of queries, outputs and new cache entries. [B] >= 0
    flops : of scores and weighted values. [FLOP] >= 0
    pair_flops : FLOPs of one query token with one cached token, all heads of the device. [FLOP] > 0
    bandwidth : BW, achievable. [B/s] > 0
    flop_rate : achievable rate of the math in use. [FLOP/s] > 0
    cores, clock_rate : of the device; None leaves out what cores limit and the scaling of fixed times. [1], [Hz]
    law : constants of the software's kernel

    Neglected: which kernel the software picks, idle cores of a last wave where the cache is divided, the time
    of joining a divided cache's parts beyond the fixed one, rows of a tile that mix heads.

    References
    ----------
    .. [1] ai-dynamo/aiconfigurator, commit 095f58a, attention tables of A100, H100, L40S and B200. Decode of grouped
       heads beyond the on-chip cache, vLLM and SGLang: the form errs by 1.9 to 8.0 % with constants of the device, 5.7
       to 17.5 % with those of the others. More than one query on a cache is not measured there.
    """
    visible = visible_tokens(batch, new_tokens, flops, pair_flops)
    longest = longest_part(new_tokens, read_tokens, visible, law)
    rows = computed_rows(new_tokens, group, law)
    row_flops = pair_flops / (kv_heads * group)
    cycles = 1.0 if clock_rate is None else law.reference_clock_rate / clock_rate
    memory = memory_time(kv_bytes + activation_bytes, bandwidth) + law.ramp_time * cycles
    if cores is None or clock_rate is None:
        busy = compute_time(batch * kv_heads * rows * (visible + law.start_tokens) * row_flops, flop_rate)
    else:
        load = batch * (kv_heads / cores)
        token_bytes = kv_bytes / (batch * read_tokens) / kv_heads
        pair_time = compute_time(row_flops * cores, flop_rate) + 1.0 / (law.core_clock_exponentials * clock_rate)
        pulled = pull_time(load, read_tokens, longest, token_bytes, group, clock_rate, law)
        started = load * query_tiles(new_tokens, group, law) * (law.start_time * cycles)
        busy = np.maximum(pulled, started + tile_time(load, rows, visible, longest, pair_time, law))
    time: Array = law.fixed_time * cycles + smooth_maximum(memory, busy, law.overlap_exponent)
    return time


def visible_tokens(batch: Array, new_tokens: Array, flops: Array, pair_flops: Array) -> Array:
    """Cached tokens that a query attends to, on average over the queries [tokens]."""
    return flops / (batch * new_tokens * pair_flops)


def longest_part(new_tokens: Array, read_tokens: Array, visible: Array, law: AttentionLaw) -> Array:
    r"""Cached tokens that the core with the longest part walks through, :math:`\min(r, 2 v, n_p + q)` [tokens].

    A cache of the past can be cut into parts of :math:`n_p` tokens. The triangle of the new tokens is not cut: its
    last queries see all of them, twice the average.
    """
    longest: Array = np.minimum(np.minimum(read_tokens, 2.0 * visible), law.part_tokens + new_tokens)
    return longest


def query_tiles(new_tokens: Array, group: Array, law: AttentionLaw) -> Array:
    r"""Tiles that the queries of one KV head take, :math:`\lceil g q / R \rceil` [1]."""
    tiles: Array = np.ceil(new_tokens * (group / law.tile_rows))
    return tiles


def computed_rows(new_tokens: Array, group: Array, law: AttentionLaw) -> Array:
    r"""Rows that are computed for one KV head's queries, :math:`\lceil g q / d \rceil d` in steps of d [1]."""
    rows: Array = np.ceil(new_tokens * (group / law.row_step)) * law.row_step
    return rows


def pull_time(
    load: Array,
    read_tokens: Array,
    longest: Array,
    token_bytes: Array,
    group: Array,
    clock_rate: float,
    law: AttentionLaw,
) -> Array:
    r"""Time in which the busiest core pulls its share of the cache [s].

    .. math:: \max(x r, n)\, b / (c\, f) \quad\text{or, undivided,}\quad \lceil x \rceil\, r\, b / (c\, f)

    Parameters
    ----------
    load : x, KV heads of all sequences per core. [1] > 0
    read_tokens : r, cached tokens of one sequence. [tokens]
    longest : n, tokens of the longest part. [tokens]
    token_bytes : b, bytes of one token of one KV head. [B]
    group : query heads per KV head. [1]
    clock_rate : f. [Hz]
    law : c, bytes that a core pulls per clock, and when the cache is divided
    """
    divided = np.maximum(load * read_tokens, longest)
    limit = divided_limit(group, law)
    tokens = divided if limit is None else np.where(load < limit, divided, np.ceil(load) * read_tokens)
    time: Array = tokens * token_bytes / (law.core_clock_bytes * clock_rate)
    return time


def divided_limit(group: Array, law: AttentionLaw) -> Array | None:
    """KV heads per core from which on the cache is not divided among cores; None where it always is [1]."""
    if law.divides_single_heads:
        return law.divided_limit
    return np.where(np.equal(group, 1.0), 0.0, np.inf if law.divided_limit is None else law.divided_limit)


def tile_time(load: Array, rows: Array, visible: Array, longest: Array, pair_time: Array, law: AttentionLaw) -> Array:
    r"""Time in which the busiest core computes its tiles of queries [s].

    .. math:: \tau \left(x\, m (v + n_0) + \min(m, R)\, n\right)

    the average load of a core and, after it, the longest part that a last tile can have.

    Parameters
    ----------
    load : x, KV heads of all sequences per core. [1]
    rows : m, rows that are computed for one KV head. [1]
    visible : v, tokens that a query attends to. [tokens]
    longest : n, tokens of the longest part. [tokens]
    pair_time : :math:`\tau`, of one row with one cached token on one core. [s]
    law : R, the rows of a tile, and :math:`n_0`, the tokens that starting a tile is worth
    """
    last = np.minimum(rows, law.tile_rows) * longest
    time: Array = (load * rows * (visible + law.start_tokens) + last) * pair_time
    return time
