import numpy as np
import pytest
from test_grid import small_grid

from rooflinesim.analysis.grid import Labels
from rooflinesim.analysis.selection import admitted, best, parsed, without_excluded
from rooflinesim.errors import DomainError

COLUMNS = {
    "batch": np.array([1, 2, 4, 8]),
    "step_time_s": np.array([0.4, 0.1, 0.3, 0.1]),
    "hardware": Labels(codes=np.array([0, 1, 0, 1]), names=("h100", "h200")),
    "fits": Labels(codes=np.array([1, 0, -1, 1]), names=(False, True)),
}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("batch > 2", [4, 8]),
        ("1 < batch <= 4", [2, 4]),
        ("fits", [1, 8]),
        ("not fits", [2, 4]),
        ("fits and step_time_s < 0.2", [8]),
        ("hardware == 'h200' or batch == 1", [1, 2, 8]),
        ("'h100' == hardware", [1, 4]),
        ("hardware != 'h100'", [2, 8]),
        ("hardware in ['h100', 'mi300x']", [1, 4]),
        ("batch not in (1, 8)", [2, 4]),
        ("batch / step_time_s >= 20", [2, 8]),
        ("-batch + 2 * 3 > 3", [1, 2]),
        ("batch / (batch - 1) > 1.5", [1, 2]),
    ],
)
def test_a_filter_admits(text: str, kept: list[int]):
    mask = admitted(parsed(text, COLUMNS), COLUMNS)
    assert COLUMNS["batch"][mask].tolist() == kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch >", "is no expression"),
        ("import os", "is no expression"),
        ("__import__('os')", "is not read"),
        ("batch.size > 1", "is not read"),
        ("batch[0] > 1", "is not read"),
        ("[b for b in batch]", "is not read"),
        ("batch ** 9 > 1", "is not read"),
        ("batch is None", "is not read"),
        ("batch == None", "is not read"),
        ("batches > 1", "no column 'batches'; did you mean batch?"),
        ("batch", "is neither true nor false"),
        ("hardware > 'h100'", "holds words"),
        ("hardware == 1 + batch", "holds words"),
        ("batch == 'h100'", "is a number"),
        ("hardware + 1 > 2", "no number to reckon with"),
        ("batch in hardware", "is no list"),
        ("(" * 300 + "batch" + ")" * 300 + " > 1", "is no expression"),
        ("batch > 1 or " * 200 + "fits", "too many"),
    ],
)
def test_what_is_no_filter_is_said(text: str, words: str):
    with pytest.raises(DomainError, match="--filter") as said:
        admitted(parsed(text, COLUMNS), COLUMNS)
    assert words in str(said.value)


def test_the_best_are_in_order_and_ties_in_that_of_the_grid():
    fastest = best(COLUMNS, "step_time_s", 3, largest=False)
    assert fastest["batch"].tolist() == [2, 8, 4]
    assert best(COLUMNS, "batch", 2, largest=True)["step_time_s"].tolist() == [0.1, 0.3]
    assert best(COLUMNS, "batch", 9, largest=False)["batch"].tolist() == [1, 2, 4, 8]
    with pytest.raises(DomainError, match="holds words"):
        best(COLUMNS, "hardware", 1, largest=True)


def test_values_that_a_filter_excludes_are_not_even_asked():
    grid = small_grid()
    names = ("batch", "hardware", "context_tokens", "step_time_s")
    tree = parsed("batch >= 8 and hardware == 'two' and context_tokens < step_time_s", names)
    less = without_excluded(grid, tree)
    assert less.asked.axes == {**grid.asked.axes, "batch": (8, 64)}
    assert list(less.hardware) == ["two"]
    either = without_excluded(grid, parsed("batch >= 8 or hardware == 'two'", names))
    assert either.points == grid.points
    with pytest.raises(DomainError, match="no value of batch passes the filter"):
        without_excluded(grid, parsed("batch > 1000", names))
