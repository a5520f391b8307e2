import numpy as np
import pytest

from rooflinesim.validation import attention_shapes


def rows(batch, new, context, kv_heads=8.0, heads=32.0, window=0.0):
    """Columns of every combination of the given counts, without a time."""
    names = ("batch", "new_tokens", "context", "kv_heads")
    values = np.meshgrid(batch, new, context, kv_heads)
    columns = {name: value.ravel().astype(float) for name, value in zip(names, values, strict=True)}
    like = np.ones_like(columns["batch"])
    return columns | {
        "heads": heads * like,
        "head_size": 128.0 * like,
        "window": window * like,
        "kv_value_bytes": 2.0 * like,
    }


def test_bytes_and_flops_of_a_decode_are_those_of_its_cache():
    columns = rows([2], [1], [999], 8.0, 32.0)
    assert attention_shapes.kv_bytes(columns) == pytest.approx(2 * 1000 * 2 * 8 * 128 * 2)
    assert attention_shapes.activation_bytes(columns) == pytest.approx(4 * 2 * 32 * 128)
    assert attention_shapes.attention_flops(columns) == pytest.approx(2 * 1000 * 4 * 32 * 128)


def test_flops_of_a_prompt_are_those_of_its_triangle_or_of_its_window():
    pair = 4 * 32 * 128
    assert attention_shapes.attention_flops(rows([1], [1000], [0])) == pytest.approx(1000 * 1001 / 2 * pair)
    windowed = attention_shapes.attention_flops(rows([1], [1000], [0], window=10.0))
    assert windowed == pytest.approx((10 * 11 / 2 + 990 * 10) * pair)
    assert attention_shapes.tokens_read(rows([1], [1], [5000], window=128.0)) == 128
