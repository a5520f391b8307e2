"""What rows of attention benchmarks read and multiply."""

from collections.abc import Mapping

import numpy as np

from rooflinesim.workload.attention import read_tokens, visible_pairs

Columns = Mapping[str, np.ndarray]
"""Measured rows, each of shape (rows,): `batch`, `new_tokens`, `context` [tokens], `heads` and `kv_heads` of the
device, `head_size`, `window` (0: none) [tokens], `kv_value_bytes` [B] and the `time` [s]."""


def chosen(columns: Columns, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the rows that a mask names."""
    return {name: values[mask] for name, values in columns.items()}


def tokens_read(columns: Columns) -> np.ndarray:
    """Cached tokens that one sequence's queries read, the new ones included [tokens]."""
    window = np.where(columns["window"] > 0, columns["window"], np.inf)
    return np.minimum(read_tokens(columns["new_tokens"], columns["context"]), window + columns["new_tokens"] - 1.0)


def kv_bytes(columns: Columns) -> np.ndarray:
    """Bytes of the cache that each row reads [B]."""
    token = 2.0 * columns["kv_heads"] * columns["head_size"] * columns["kv_value_bytes"]
    return np.asarray(columns["batch"] * token * tokens_read(columns))


def activation_bytes(columns: Columns) -> np.ndarray:
    """Bytes of 16-bit queries and outputs of each row [B]."""
    return np.asarray(4.0 * columns["batch"] * columns["new_tokens"] * columns["heads"] * columns["head_size"])


def pair_flops(columns: Columns) -> np.ndarray:
    """FLOPs of one query token with one cached token, all heads, of each row [FLOP]."""
    return np.asarray(4.0 * columns["heads"] * columns["head_size"])


def attention_flops(columns: Columns) -> np.ndarray:
    """FLOPs of scores and weighted values of each row [FLOP]."""
    new, context = columns["new_tokens"], columns["context"]
    beyond = np.where(columns["window"] > 0, columns["window"], context + new)
    growing = np.clip(beyond - context, 0.0, new)
    pairs = visible_pairs(growing, context) + (new - growing) * beyond
    return np.asarray(columns["batch"] * pairs * pair_flops(columns))
