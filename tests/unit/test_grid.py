import numpy as np
import pytest
from conftest import device, serving_stack, small_model

from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.grid import Grid, Labels, chunk_columns, column_names, deployment_at, no_rows
from rooflinesim.analysis.points import DecodePoints, PrefillPoints
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.steps import BOUNDS


def small_grid(**changes) -> Grid:
    """Two devices, ranks 1, 3 and 2 of which 3 cannot be, two contexts and three batches: 36 points."""
    own = {
        "model": {"small": small_model()},
        "hardware": {"one": device(), "two": device(memory_bandwidth=2e12, memory_capacity=None)},
        "stack": {"serving": serving_stack()},
        "tensor_parallel": (1, 3, 2),
        "asked": DecodePoints(context=(100, 2000), batch=(1, 8, 64)),
    }
    return Grid(**{**own, **changes})


def listed(column) -> list:
    return (
        [column.names[code] if code >= 0 else None for code in column.codes]
        if isinstance(column, Labels)
        else [*column]
    )


def test_rows_are_those_of_decode_the_batch_fastest():
    grid = small_grid()
    found = chunk_columns(grid, 0, grid.points)
    assert grid.points == 36
    assert list(found.rejected) == [1, 4]
    assert "3 does not divide 4 heads" in found.rejected[1]
    assert listed(found.columns["batch"])[:6] == [1, 8, 64, 1, 8, 64]
    assert listed(found.columns["context_tokens"])[:6] == [100] * 3 + [2000] * 3
    assert listed(found.columns["hardware"]) == ["one"] * 12 + ["two"] * 12
    assert listed(found.columns["tensor_parallel"])[::6] == [1, 2, 1, 2]
    alone = decode(deployment_at(grid, 2), batch=[1, 8, 64] * 2, context=[100] * 3 + [2000] * 3)
    np.testing.assert_array_equal(found.columns["step_time_s"][6:12], alone.step_time)
    np.testing.assert_array_equal(found.columns["kv_bytes"][6:12], alone.kv_bytes)
    assert listed(found.columns["bound"])[6:12] == alone.bound.tolist()


def test_unknown_capacity_fits_neither_way():
    found = chunk_columns(small_grid(), 0, 36)
    assert listed(found.columns["fits"]) == [True] * 12 + [None] * 12


@pytest.mark.parametrize("size", [1, 5, 7, 12])
def test_chunks_of_any_size_join_to_the_whole(size: int):
    grid = small_grid()
    whole = chunk_columns(grid, 0, grid.points)
    parts = [chunk_columns(grid, start, min(start + size, grid.points)) for start in range(0, grid.points, size)]
    for name, column in whole.columns.items():
        joined = [value for part in parts for value in listed(part.columns[name])]
        # Rounding depends on which points are computed together.
        expected = listed(column)
        assert joined == (expected if isinstance(column, Labels) else pytest.approx(expected, rel=1e-14)), name
    assert {place for part in parts for place in part.rejected} == set(whole.rejected)


def test_a_prefill_asks_prompts():
    grid = small_grid(asked=PrefillPoints(prompt=(128, 512)), tensor_parallel=(1,))
    found = chunk_columns(grid, 0, grid.points)
    assert listed(found.columns["prompt_tokens"]) == [128, 512] * 2
    alone = prefill(deployment_at(grid, 0), prompt=[128, 512])
    np.testing.assert_array_equal(found.columns["ttft_s"][:2], alone.ttft)


def test_formats_and_memory_are_axes():
    hardware = device(dense_flop_rate={"bf16": 100e12, "fp8": 200e12, "fp32": 50e12})
    grid = small_grid(
        hardware={"one": hardware},
        tensor_parallel=(1,),
        weights=(None, "fp8"),
        memory=(None, 1e5),
        asked=DecodePoints(context=(100, 2000)),
    )
    found = chunk_columns(grid, 0, grid.points)
    assert column_names(grid)[:3] == ("model", "hardware", "memory_capacity_bytes")
    assert listed(found.columns["weights"]) == ["bf16", "bf16", "fp8", "fp8"] * 2
    assert listed(found.columns["memory_capacity_bytes"]) == [80e9] * 4 + [1e5] * 4
    assert listed(found.columns["fits"]) == [True] * 4 + [False] * 4
    assert found.columns["weight_bytes"][2] < found.columns["weight_bytes"][0]


def test_a_chunk_of_deployments_that_cannot_be_has_columns_of_the_same_kind_and_no_row():
    grid = small_grid(tensor_parallel=(3,))
    found = chunk_columns(grid, 0, grid.points)
    whole = chunk_columns(small_grid(), 0, 36)
    assert list(found.columns) == list(whole.columns) == list(no_rows(grid))
    for name, column in found.columns.items():
        assert listed(column) == []
        other = whole.columns[name]
        assert isinstance(column, Labels) == isinstance(other, Labels)
        if isinstance(column, Labels):
            assert column.names == other.names
        else:
            assert column.dtype == other.dtype
    assert found.columns["bound"].names == BOUNDS
