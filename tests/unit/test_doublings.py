import numpy as np
import pytest

from rooflinesim.validation import doublings


@pytest.mark.parametrize(
    ("rows", "time", "doubled"),
    [
        ([1, 10, 100], [1.0, 1.0, 4.0], 10**1.5),  # a quadrupling over a decade doubles in its middle
        ([100, 10, 1], [4.0, 1.0, 1.0], 10**1.5),  # in any order
        ([1, 2, 4, 8], [1.0, 3.0, 1.0, 2.0], 8.0),  # a slow kernel for two rows is one that four rows can avoid
        ([1, 10, 100], [1.0, 1.5, 1.9], np.nan),
    ],
)
def test_rows_at_which_time_has_doubled(rows, time, doubled):
    assert doublings.doubling_rows(np.array(rows), np.array(time)) == pytest.approx(doubled, nan_ok=True)


def test_doublings_pair_measured_and_predicted_per_matrix():
    columns = {
        "rows": np.array([1.0, 10.0, 100.0] * 2),
        "outputs": np.array([64.0] * 3 + [128.0] * 3),
        "inputs": np.full(6, 64.0),
        "time": np.array([1.0, 1.0, 4.0, 1.0, 1.0, 1.0]),
    }
    found = doublings.doublings(columns, np.array([1.0, 2.0, 4.0, 1.0, 2.0, 4.0]))
    assert found["outputs"].tolist() == [64.0]  # the time of the other matrix never doubles
    assert found["measured"] == pytest.approx([10**1.5])
    assert found["predicted"] == pytest.approx([10.0])
