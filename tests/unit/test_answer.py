import csv
import dataclasses
import io
import json
import math

import pytest
from conftest import device, ideal_stack, serving_stack, small_model

import rooflinesim as rs
from rooflinesim.report.bars import bar, sparkline
from rooflinesim.report.tables import Lazy, View, html_table, render_markdown, render_terminal, shortened


def answer(**changes):
    asked = {"model": small_model(), "hardware": device(), "stack": serving_stack(), "batch": [1, 8], "context": 128}
    return rs.decode(**{**asked, **changes})


def strict(text):
    def refused(word):
        raise AssertionError(f"{word} in JSON")

    return json.loads(text, parse_constant=refused)


def test_rows_csv_json_and_frame_hold_the_same_numbers_under_the_same_names():
    found = answer()
    names = list(found.rows[0])
    assert strict(found.to_json())["rows"] == found.rows
    table = list(csv.reader(io.StringIO(found.to_csv())))
    assert table[0] == names
    assert [float(cell) for cell in table[1][:4]] == [found.rows[0][name] for name in names[:4]]
    frame = found.to_frame()
    assert list(frame.columns) == names
    assert frame["step_time_s"].tolist() == [row["step_time_s"] for row in found.rows]


def test_the_result_is_the_analysis_own_value():
    found = answer()
    assert found.result.step_time.tolist() == [row["step_time_s"] for row in found.rows]
    assert found.result.batch.tolist() == [1.0, 8.0]


def test_numbers_that_json_has_no_word_for_are_null_and_empty_cells():
    bad = {"batch": [1.0, math.nan, math.inf], "note": ["a", None, "b,c"]}
    found = dataclasses.replace(answer(), columns=bad, summary={"never": math.inf, "inner": [-math.inf, 1.5]})
    content = strict(found.to_json())
    assert [row["batch"] for row in content["rows"]] == [1, None, None]
    assert content["summary"] == {"never": None, "inner": [None, 1.5]}
    assert found.to_csv() == 'batch,note\n1,a\n,\n,"b,c"\n'


def test_truths_and_floats_read_back_from_csv():
    columns = {"fits": [True, False, None], "time_s": [0.1, 1 / 3, 1e-300]}
    rows = list(csv.DictReader(io.StringIO(dataclasses.replace(answer(), columns=columns).to_csv())))
    assert [row["fits"] for row in rows] == ["true", "false", ""]
    assert [float(row["time_s"]) for row in rows] == columns["time_s"]


def test_a_long_answer_shows_its_first_rows_and_counts_the_rest():
    found = answer(batch=list(range(1, 251)))
    assert len(found.to_table().splitlines()) > 250
    assert repr(found).splitlines()[-1] == "150 more rows"
    page = found._repr_html_()
    assert page.count("<tr>") == 101
    assert "150 more rows" in page


def test_rows_of_a_table_are_made_when_they_are_read():
    made: list[int] = []
    rows = Lazy(1_000_000, lambda index: made.append(index) or [str(index)])
    view = View(lines=["first"], headers=["n"], rows=rows)
    assert made == []
    assert [row[0] for row in shortened(view, 3).rows] == ["0", "1", "2"]
    assert (rows[-1], len(rows)) == (["999999"], 1_000_000)
    assert len(made) == 4


def test_html_of_a_table_escapes_every_text():
    evil = "<script>alert(1)</script>"
    page = html_table(View(lines=[evil], headers=[evil], rows=[[evil]], footer=[evil]))
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 4


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, ""), (1e-9, "▏"), (0.5, "█████"), (0.55, "█████▌"), (2.0, "█" * 10)]
)
def test_a_bar_fills_its_share(share: float, shown: str):
    assert bar(share) == shown


def test_a_sparkline_goes_from_the_least_to_the_most():
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
    assert sparkline([5.0, None, 5.0]) == "▁ ▁"
    assert sparkline([]) == ""


def test_an_answer_shows_itself_as_its_table():
    assert repr(answer()) == answer().to_table(width=100)
    assert "context" in repr(answer())


def test_notebooks_show_an_answer_as_tables():
    assert answer()._repr_markdown_() == answer().to_markdown()


def test_each_format_is_what_its_method_makes():
    found = answer()
    assert found.to_text("json") == found.to_json()
    assert found.to_text("csv") == found.to_csv()
    assert found.to_text("md") == found.to_markdown()
    assert found.to_text("table", width=90) == found.to_table(width=90)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_is_no_wider_than_its_terminal(width):
    text = render_terminal(
        [View(lines=[], headers=["name", "value"], rows=[["n" * 50, "v" * 50], ["x", "1"]])], width=width, colour=False
    )
    assert max(map(len, text.splitlines())) <= width
    assert text.count("n") >= 50


def test_colour_is_written_only_when_asked_for():
    view = View(lines=["title"], headers=["a"], rows=[["1"]], styles=["cyan"])
    assert "\x1b[" in render_terminal([view], width=80, colour=True)
    assert "\x1b[" not in render_terminal([view], width=80, colour=False)


def test_markup_in_a_name_is_shown_as_it_is():
    view = View(lines=["[bold]title[/bold] :smile:"], headers=["[red]a"], rows=[["[link=x]1"]])
    text = render_terminal([view], width=80, colour=False)
    for shown in ("[bold]title[/bold] :smile:", "[red]a", "[link=x]1"):
        assert shown in text


def test_a_bar_inside_a_markdown_cell_is_escaped():
    text = render_markdown([View(lines=[], headers=["rate", "source"], rows=[["312 | 624*", "sheet"]])])
    assert "312 \\| 624*" in text


def test_inputs_are_enough_to_repeat_the_run():
    inputs = strict(answer(weights="fp8", tp=2).to_json())["inputs"]
    assert inputs["batch"] == [1, 8]
    assert inputs["context_tokens"] == [128]
    assert inputs["tensor_parallel"] == 2
    assert inputs["precision"]["mlp"] == {"format": "fp8", "bits": 8}
    changed = strict(answer(hardware=device(memory_bandwidth=2e12)).to_json())["inputs"]
    assert changed["hardware"]["hash"] != inputs["hardware"]["hash"]
    assert changed["model"]["hash"] == inputs["model"]["hash"]


def test_provenance_tells_datasheet_from_fit_and_assumption():
    kinds = {one.what: one.kind for one in answer(stack=rs.load_stack("generic")).provenance}
    assert kinds["device: memory_bandwidth"] == "datasheet"
    assert kinds["generic: memory_efficiency.HBM"] == "fitted"
    assert kinds["generic: step_time"] == "fitted"
    assumed = device(sources={"memory_bandwidth": "from memory"})
    assert {one.what: one.kind for one in answer(hardware=assumed).provenance}["device: memory_bandwidth"] == "assumed"


def test_an_ideal_stack_says_that_it_is_a_bound():
    assert any("is a bound, not a prediction" in note for note in answer(stack=ideal_stack()).notes)
    assert not any("is a bound" in note for note in answer().notes)
