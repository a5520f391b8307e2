"""Figures carry the numbers of their results, name their units, and are the same bytes every time."""

import numpy as np
import pytest
from figures import measured_points
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from rooflinesim.errors import FileError
from rooflinesim.plots.canvas import form_of, rendered
from rooflinesim.plots.validation import MeasuredPoints, draw_validation


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_validation_marks_every_point_once_per_axes():
    figure = draw_validation(measured_points(), caption="made up")
    upper, lower = figure.axes
    for axes, heights in ((upper, measured_points().predicted), (lower, np.tile([2.0, 1.1], 6))):
        marks = [line.get_xydata() for line in axes.lines if line.get_linestyle() == "None"]
        found = np.concatenate(marks)
        found = found[np.argsort(found[:, 0])]
        np.testing.assert_allclose(found, np.stack([measured_points().measured, heights], axis=-1))


def test_validation_fills_the_marks_inside_their_band():
    upper, _ = draw_validation(measured_points(), caption="made up").axes
    filled = [line for line in upper.lines if line.get_marker() != "None" and line.get_markerfacecolor() != "none"]
    inside = np.sort(np.concatenate([line.get_xdata() for line in filled]))
    np.testing.assert_allclose(inside, measured_points().measured[1::2])


def test_validation_names_units_groups_and_caption():
    figure = draw_validation(measured_points(), caption="made up", labels={"eager": "eager (4, MAPE 50 %)"})
    upper, lower = figure.axes
    assert (lower.get_xlabel(), upper.get_ylabel()) == ("measured time [s]", "predicted time [s]")
    shown = [text.get_text() for text in figure.findobj(Legend)[0].get_texts()]
    assert shown == ["eager (4, MAPE 50 %)", "graphs", "offload", "outside its band"]
    assert "made up" in words(figure)


def test_gross_errors_stay_on_the_edge_of_the_ratios():
    points = measured_points()
    wrong = MeasuredPoints(
        measured=points.measured,
        predicted=1000 * points.predicted,
        low=points.low,
        high=points.high,
        group=points.group,
    )
    _, lower = draw_validation(wrong, caption="made up").axes
    marks = [line.get_ydata() for line in lower.lines if line.get_linestyle() == "None"]
    assert set(np.concatenate(marks)) == {lower.get_ylim()[1]}


@pytest.mark.parametrize(("error", "end"), [(1.04, 1.25), (1.3, 1.5), (1.9, 2.0), (3.0, 4.0)])
def test_the_axes_of_ratios_end_near_what_they_show(error, end):
    measured = measured_points(40).measured
    wrong = measured * error ** np.resize([1.0, -1.0], measured.size)
    points = MeasuredPoints(
        measured=measured, predicted=wrong, low=0.95 * wrong, high=1.05 * wrong, group=measured_points(40).group
    )
    _, lower = draw_validation(points, caption="made up").axes
    assert lower.get_ylim() == pytest.approx((1.0 / end, end))


def test_ten_groups_share_seven_looks():
    points = measured_points(100)
    many = np.array([f"group {index % 10}" for index in range(100)])
    figure = draw_validation(
        MeasuredPoints(
            measured=points.measured, predicted=points.predicted, low=points.low, high=points.high, group=many
        ),
        caption="",
    )
    shown = [text.get_text() for text in figure.findobj(Legend)[0].get_texts()]
    assert shown == [*(f"group {index}" for index in range(6)), "4 smaller groups", "outside its band"]


@pytest.mark.parametrize("points", [12, 3000])
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_equal_figures_are_equal_bytes(form, points):
    first = draw_validation(measured_points(points), caption="made up")
    rendered(first, "png")
    again = draw_validation(measured_points(points), caption="made up")
    assert rendered(first, form) == rendered(again, form)


def test_a_suffix_that_no_figure_has_is_named():
    assert form_of("a/b.SVG") == "svg"
    with pytest.raises(FileError, match=r"^out.jpg: '.jpg' is no format of figures; end it in .png, .svg or .pdf$"):
        form_of("out.jpg")
    with pytest.raises(FileError, match=r"^out: the name has no suffix; end it in"):
        form_of("out")
