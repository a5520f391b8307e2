"""Figures of reports: small, in the page's own colours and letters, with names of their own."""

import re

import numpy as np
import pytest

from rooflinesim.plots.canvas import COLOURS
from rooflinesim.plots.inline import colour_roles, inline_svg
from rooflinesim.plots.panels import Axis, Line, draw_bars, draw_lines, draw_points, draw_stack

X = np.array([1.0, 2.0, 4.0, 8.0])
BATCH = Axis(label="batch", scale="count")
TIME = Axis(label="time [s]", unit="s", scale="log")


def line(factor=1.0, **more):
    return Line(x=X, y=factor * X, low=0.8 * factor * X, high=1.3 * factor * X, **more)


def figures():
    return {
        "lines": draw_lines({"a": line(), "b": line(2.0)}, across=BATCH, along=TIME, levels={"target": 5.0}),
        "stack": draw_stack(X, {"math": X, "network": 2 * X}, across=BATCH, along=TIME),
        "bars": draw_bars({"one": {"a": 1.0, "b": 2.0}, "two": {"a": 3.0}}, along=TIME, ends={"room": [4.0, None]}),
        "points": draw_points({"a": (X, X), "b": (X, 2 * X)}, (X, 2 * X), (2.0, 3.0), across=TIME, along=TIME),
    }


@pytest.mark.parametrize("name", ["lines", "stack", "bars", "points"])
def test_a_figure_takes_its_colours_and_letters_from_the_page(name):
    text = inline_svg(figures()[name], label="what it shows", prefix="f7")
    assert text.startswith("<svg viewBox=")
    assert text.endswith("</svg>")
    assert 'aria-label="what it shows"' in text
    assert "<text" in text
    for colour in re.findall(r"#[0-9a-f]{6}", text):
        assert f", {colour})" in text
    assert set(re.findall(r"var\(--([a-z0-9-]+)", text)) <= set(colour_roles())
    assert not re.search(r"DejaVu|<style|<metadata|<\?xml|xmlns", text)
    assert all(name.startswith("f7-") for name in re.findall(r'\bid="([^"]*)"', text))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', text)) <= set(re.findall(r'\bid="([^"]*)"', text))


def test_equal_figures_give_equal_text():
    first, second = (inline_svg(figures()["lines"], label="a", prefix="f0") for _ in range(2))
    assert first == second


def test_names_from_files_are_text_in_a_figure():
    hostile = "<script>alert(1)</script> & $x$ style=\"fill: #0072b2\" id='a'"
    text = inline_svg(
        draw_lines({hostile: line(), "b": line(2.0)}, across=BATCH, along=TIME), label=hostile, prefix="f"
    )
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $x$ style=\"fill: #0072b2\" id='a'" in text


def test_a_band_without_an_end_does_not_stretch_the_axis():
    endless = Line(x=X, y=X, low=0.9 * X, high=np.array([1.2, 2.4, 9.0e9, np.inf]))
    figure = draw_lines({"a": endless}, across=BATCH, along=TIME)
    assert figure.axes[0].get_ylim()[1] == pytest.approx(1.6 * 8.0)


def test_what_does_not_fit_is_pale_and_said():
    figure = draw_lines({"a": line(is_pale=X > 3)}, across=BATCH, along=TIME)
    pale = [one for one in figure.axes[0].lines if one.get_alpha() == 0.4]
    assert np.nanmin(pale[0].get_ydata()) == 2.0
    assert "does not fit in memory" in inline_svg(figure, label="a", prefix="f")


def test_only_the_first_of_many_bands_is_drawn():
    many = draw_lines({str(factor): line(factor) for factor in (1.0, 2.0, 3.0, 4.0)}, across=BATCH, along=TIME)
    assert len(many.axes[0].collections) == 1
    few = draw_lines({str(factor): line(factor) for factor in (1.0, 2.0)}, across=BATCH, along=TIME)
    assert len(few.axes[0].collections) == 2
    assert COLOURS[0] == "#0072B2"
