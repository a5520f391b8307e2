import dataclasses

import numpy as np

from rooflinesim.report.columns import columns_of, columns_of_rows, records
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    heat_time: np.ndarray = quantity("s")
    fits: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result(Base):
    batch: np.ndarray = quantity("1")
    speed: np.ndarray = quantity("tokens/s", column="speed_per_user")


def result(**changes):
    columns = {"batch": np.array([1.0, 2.0]), "heat_time": np.array([0.5, 2.0]), "speed": np.array([3.0, 1e16])}
    return Result(**{**columns, **changes})


def test_columns_carry_their_units_and_the_fields_that_a_result_adds_come_first():
    assert list(columns_of(result())) == ["batch", "speed_per_user", "heat_time_s", "fits"]


def test_a_column_without_values_is_none_in_every_row():
    assert columns_of(result())["fits"] == [None, None]
    assert list(columns_of(result(fits=np.array([True, False])))["fits"]) == [True, False]


def test_records_are_plain_python_values_and_whole_numbers_have_no_point():
    rows = records(columns_of(result(fits=np.array([True, False]))))
    assert rows == [
        {"batch": 1, "speed_per_user": 3, "heat_time_s": 0.5, "fits": True},
        {"batch": 2, "speed_per_user": 1e16, "heat_time_s": 2, "fits": False},
    ]
    assert {type(value) for row in rows for value in row.values()} == {int, float, bool}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    part: str
    size: float = quantity("B")


def test_a_sequence_of_instances_becomes_columns_and_none_of_them_none():
    assert columns_of_rows([Row(part="a", size=1.0), Row(part="b", size=2.0)]) == {
        "part": ["a", "b"],
        "size_bytes": [1.0, 2.0],
    }
    assert columns_of_rows([]) == {}
    assert records({}) == []
