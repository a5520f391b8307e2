import numpy as np
import pytest
from conftest import deployed, device, serving_stack, small_model

from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.distinct import distinct_rows, distinct_values
from rooflinesim.analysis.steps import BLOCK_POINTS
from rooflinesim.analysis.timing import step_time
from rooflinesim.specs.hardware import OnChipMemory
from rooflinesim.workload.step import Step


@pytest.mark.parametrize("values", [[3.0, 1.0, 3.0, 2.0], [0.5, -1.0, 0.5], [7.0, 7.0], [1e12, 1.0, 1e12]])
def test_distinct_values_give_the_column_back(values: list[float]):
    found, place = distinct_values(np.array(values))
    assert found.tolist() == sorted(set(values))
    assert found[place].tolist() == values


def test_distinct_rows_tell_columns_apart():
    columns = {"batch": np.array([1.0, 2.0, 1.0, 2.0, 1.0]), "new_tokens": np.array([1.0, 1.0, 4.0, 4.0, 1.0])}
    rows, place = distinct_rows(columns)
    assert len(rows["batch"]) == 4
    assert place[0] == place[4]
    for name, column in columns.items():
        assert rows[name][place].tolist() == column.tolist()


@pytest.mark.parametrize("is_shared", [True, False])
def test_points_of_one_call_are_what_each_takes_alone(is_shared: bool):
    """Shared rows and points of their own take two ways to one result, on and off the chip."""
    count = BLOCK_POINTS + 100
    random = np.random.default_rng(3)
    batch = random.integers(1, 65, count).astype(float)
    batch = batch if is_shared else batch + np.linspace(0.0, 0.5, count)
    context = random.integers(0, 20_000, count).astype(float)
    cache = OnChipMemory(l2_capacity=2e6, bandwidth=5e12)
    hardware = device(cores=100, clock_rate=1.8e9, on_chip=cache)
    for asked in (deployed(small_model(), hardware, serving_stack()), deployed(stack=serving_stack(), ranks=2)):
        result = decode(asked, batch=batch, context=context)
        assert (result.on_chip > 0).any() == (asked.tensor_parallel == 1)
        for index in (0, 17, BLOCK_POINTS - 1, BLOCK_POINTS, count - 1):
            alone = step_time(asked, Step(batch=batch[index], context=context[index]))
            assert result.step_time[index] == pytest.approx(float(alone.time), rel=1e-12)
            assert result.memory_time[index] == pytest.approx(float(alone.memory_time), rel=1e-12)
