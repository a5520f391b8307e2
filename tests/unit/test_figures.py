"""Every figure draws the columns of its results, and says of what and in which units."""

import numpy as np
import pytest
from conftest import deployed, device
from figures import ALONE, BATCHES, CAPTION, CASES, CONTEXTS, FIGURES, speculated
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.text import Text

from rooflinesim.analysis.breakdown import breakdown, difference
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.flips import flips
from rooflinesim.analysis.memory import memory
from rooflinesim.analysis.pareto import pareto
from rooflinesim.analysis.roofline import roofline
from rooflinesim.plots.canvas import missing_letters, rendered, sheet
from rooflinesim.plots.latency import draw_latency
from rooflinesim.plots.memory import draw_memory

UNITS = {
    "breakdown": ("batch [sequences]", "time per step [s], by cause"),
    "breakdowns": ("time per step [s]", ""),
    "waterfall": ("time per step [s]", ""),
    "crossover": ("context [tokens]", "batch [sequences]"),
    "prefills": ("prompt [tokens]", "time to first token [s]"),
    "latency": ("batch [sequences]", "time per step and token [s]"),
    "memory": ("bytes of one device [B]", ""),
    "pareto": ("speed for each user [tokens/s]", "work per device [tokens/s]"),
    "roofline": ("intensity [FLOP/B]", "reached rate [FLOP/s]"),
    "speculation": ("batch [sequences]", "acceptance of a\ndraft token [1]"),
    "speculations": ("batch [sequences]", "speed-up [1]"),
    "validation": ("measured time [s]", "predicted time [s]"),
}


def lines(axes: Axes, label: str) -> np.ndarray:
    """Points of all lines of a label, without gaps, in rising order."""
    found = np.concatenate([line.get_xydata() for line in axes.lines if line.get_label() == label])
    return found[np.isfinite(found).all(axis=1)]


def assert_same_points(found: np.ndarray, columns: list[np.ndarray]) -> None:
    expected = np.stack(columns, axis=-1)
    np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("kind", UNITS)
def test_axes_name_their_quantity_and_unit(kind):
    axes = FIGURES[kind]().axes
    along, up = UNITS[kind]
    assert along in {one.get_xlabel() for one in axes}
    assert up in {one.get_ylabel() for one in axes}


@pytest.mark.parametrize("kind", FIGURES)
def test_letters_are_large_enough_and_stay_on_the_sheet(kind):
    figure = FIGURES[kind]()
    assert rendered(figure, "png").startswith(b"\x89PNG")
    assert CAPTION in [text.get_text() for text in figure.findobj(Text)]
    window = figure.get_window_extent()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            # Half the size is still 4 points.
            assert text.get_fontsize() >= 8
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent()
        assert box.x0 >= window.x0 - 1
        assert box.x1 <= window.x1 + 1


def test_latency_draws_time_and_throughput_pale_beyond_memory():
    latency, throughput, strip = FIGURES["latency"]().axes
    result = decode(CASES["slow"], batch=BATCHES, context=512)
    assert result.fits.any()
    assert not result.fits.all()
    for axes, column in ((latency, result.step_time), (throughput, result.tokens_per_s)):
        assert_same_points(lines(axes, "slow"), [result.batch[result.fits], column[result.fits]])
        # The pale part joins on at the last batch that fits.
        joined = np.flatnonzero(~result.fits)[0] - 1
        assert_same_points(lines(axes, "_beyond"), [result.batch[joined:], column[joined:]])
    found = flips(CASES["slow"], context=512)
    marks = sorted(float(x) for x in lines(strip, "slow")[:, 0])
    assert marks == sorted(
        float(getattr(found, name)[0]) for name in ("half_elasticity", "weight_gemms", "step", "fits")
    )


def test_the_band_of_latency_is_the_results():
    latency = FIGURES["latency"]().axes[0]
    result = decode(CASES["slow"], batch=BATCHES, context=512)
    vertices = latency.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].min() == result.step_time_low.min()
    assert vertices[:, 1].max() == result.step_time_high.max()


def test_without_a_capacity_nothing_is_pale():
    asked = deployed(hardware=device(memory_capacity=None))
    figure = draw_latency({"one": decode(asked, batch=BATCHES)}, {"one": flips(asked, context=2048)}, caption=CAPTION)
    assert lines(figure.axes[0], "one").shape == (BATCHES.size, 2)
    assert lines(figure.axes[0], "_beyond").size == 0


def test_crossover_draws_every_flip_that_there_is():
    (axes,) = FIGURES["crossover"]().axes
    result = flips(CASES["slow"], context=CONTEXTS)
    for label, column in (
        ("whole step flips", result.step),
        ("weight GEMMs flip", result.weight_gemms),
        ("1 % more batch costs 0.5 % more time", result.half_elasticity),
        ("largest batch that fits in memory", result.fits),
    ):
        there = np.isfinite(column)
        assert_same_points(lines(axes, label), [result.context[there], column[there]])
    assert np.isinf(result.step).any()


def test_roofline_draws_each_operation_and_both_roofs():
    (axes,) = FIGURES["roofline"]().axes
    result = roofline(CASES["slow"], batch=[1, 16, 256], context=512)
    for op in result.ops:
        assert_same_points(lines(axes, op.op), [op.intensity, op.flop_rate])
    corners = np.concatenate([line.get_xydata() for line in axes.lines])
    (roof,) = result.roofs
    for corner in ([roof.peak_ridge, roof.peak_flop_rate], [roof.ridge, roof.flop_rate]):
        assert np.isclose(corners, corner).all(axis=1).any()


def test_breakdown_stacks_up_to_the_step():
    result = breakdown(CASES["slow"], batch=BATCHES, context=512)
    for axes in FIGURES["breakdown"]().axes:
        tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
        assert max(tops) == pytest.approx(result.step_time[-1])
    upper, lower = FIGURES["breakdown"]().axes
    assert len(upper.collections) == len(result.parts)
    assert len(lower.collections) == len(result.causes)


def test_waterfall_leads_from_the_first_step_to_the_second():
    first, second = (breakdown(one, batch=64, context=512) for one in CASES.values())
    found = difference(first, second)
    for axes, terms in zip(FIGURES["waterfall"]().axes, (found.parts, found.causes), strict=True):
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == pytest.approx([found.first, *terms.values(), found.second])
        last = axes.patches[-2]
        assert last.get_x() + last.get_width() == pytest.approx(found.second)


def test_memory_bars_are_the_ledger():
    (axes,) = FIGURES["memory"]().axes
    results = [memory(one, batch=64, context=512) for one in CASES.values()]
    wholes = [value for one in results for value in (one.resident, one.streamed)]
    bars = np.zeros(len(wholes))
    for container in axes.containers:
        bars += [bar.get_width() for bar in container]
    np.testing.assert_allclose(bars, wholes)
    marks = {line.get_xdata()[0] for line in axes.lines}
    assert marks == {value for one in results for value in (one.capacity, one.usable)}


def test_memory_without_a_capacity_has_no_line_for_it():
    asked = deployed(hardware=device(memory_capacity=None))
    (axes,) = draw_memory({"one": memory(asked)}, caption=CAPTION).axes
    assert not axes.lines


def test_pareto_draws_every_split_and_the_best_line():
    (axes,) = FIGURES["pareto"]().axes
    splits = [deployed(ALONE["slow"].model, ALONE["slow"].hardware, ALONE["slow"].stack, ranks=n) for n in (1, 2)]
    result = pareto(splits, batch=BATCHES, context=512)
    for ranks in (1, 2):
        own = result.tensor_parallel == ranks
        columns = [result.tokens_per_s_per_user[own], result.tokens_per_s_per_device[own]]
        assert_same_points(lines(axes, f"TP {ranks}"), columns)
    best = result.is_best
    columns = [result.tokens_per_s_per_user[best], result.tokens_per_s_per_device[best]]
    assert_same_points(lines(axes, "best"), columns)


def test_speculation_draws_every_length_the_best_and_where_it_stops():
    curves, shades, lengths, _ = FIGURES["speculation"]().axes
    result = speculated(np.arange(0.0, 6.0), np.array([0.7]))
    for length in range(1, 6):
        own = result.draft_length == length
        assert_same_points(lines(curves, f"{length}"), [result.batch[own], result.speedup[own]])
    best = result.is_best
    assert_same_points(lines(curves, "best"), [result.batch[best], result.speedup[best]])
    assert_same_points(lines(lengths, "best"), [result.batch[best], result.draft_length[best]])
    # Gains at batch 1, none at the largest: the contour of no gain crosses the shades.
    assert result.speedup[best].max() > 1.0
    assert any(np.allclose(getattr(one, "levels", [0.0]), [1.0]) for one in shades.collections)


def test_a_name_in_letters_that_the_font_lacks_is_drawn_and_told():
    figure, _ = sheet(2.0, title="千问 on $5 hardware", caption="made up")
    assert missing_letters(figure) == "千问"
    assert rendered(figure, "png")[:4] == b"\x89PNG"


def test_a_long_caption_is_wrapped_on_the_sheet():
    words = "Mmmm weights fp8-block (attention/mlp/experts), bf16 (head), bf16 KV cache on 8 x H200-SXM-141GB (TP 8) "
    figure, _ = sheet(2.0, title="made up", caption=3 * words)
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        if text.get_text().startswith("Mmmm"):
            assert text.get_window_extent().x1 <= figure.get_window_extent().x1
            assert text.get_window_extent().y0 >= 0


def test_notebooks_show_a_figure_by_itself():
    assert FIGURES["memory"]()._repr_png_()[:4] == b"\x89PNG"
