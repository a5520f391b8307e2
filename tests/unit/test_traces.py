"""Traces of requests: what is read, and what each wrong row is told."""

from pathlib import Path

import pytest

from rooflinesim.config.traces import load_trace
from rooflinesim.errors import FileError

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def written(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "trace.csv"
    path.write_text(header + rows)
    return path


def test_times_start_at_the_first_request(tmp_path: Path):
    found = load_trace(written(tmp_path, "5,100,10\n5,200,20\n7.5,300,1\n"), cached_share=0.25)
    assert found.arrived.tolist() == [0.0, 0.0, 2.5]
    assert found.prompt.tolist() == [100, 200, 300]
    assert found.cached.tolist() == [25, 50, 75]
    assert found.output.tolist() == [10, 20, 1]


def test_the_last_token_of_a_cached_prompt_is_computed(tmp_path: Path):
    assert load_trace(written(tmp_path, "0,1,1\n0,10,1\n"), cached_share=1.0).cached.tolist() == [0, 9]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "0,10,1\n2,10,1\n1,10,1\n",
            "trace.csv: row 4: arrived_at is 1, before the 2 of an earlier row; sort the",
        ),
        ("0,,1\n", "trace.csv: row 2: num_prefill_tokens is empty; give a number or leave the row out"),
        ("0,10\n", "trace.csv: row 2: num_decode_tokens is empty"),
        ("0,10,many\n", "trace.csv: row 2: num_decode_tokens 'many' is no finite number"),
        ("nan,10,1\n", "trace.csv: row 2: arrived_at 'nan' is no finite number"),
        ("inf,10,1\n", "trace.csv: row 2: arrived_at 'inf' is no finite number"),
        ("-1,10,1\n", "trace.csv: row 2: arrived_at is -1; times start at 0"),
        ("0,0,1\n", "trace.csv: row 2: num_prefill_tokens is 0; give a whole number of at least 1"),
        ("0,10,0\n", "trace.csv: row 2: num_decode_tokens is 0; give a whole number of at least 1"),
        ("0,1.5,1\n", "trace.csv: row 2: num_prefill_tokens is 1.5; give a whole number"),
        ("0,1000000,1\n", "trace.csv: row 2: num_prefill_tokens is 1,000,000; lengths from 1,000,000 on are taken"),
        ("", "trace.csv: holds no request; give at least one row"),
    ],
)
def test_a_wrong_row_is_named_with_its_remedy(tmp_path: Path, rows: str, words: str):
    with pytest.raises(FileError) as said:
        load_trace(written(tmp_path, rows))
    assert len(str(said.value).splitlines()) == 1
    assert str(said.value).startswith(words)


def test_many_wrong_rows_are_counted(tmp_path: Path):
    with pytest.raises(FileError) as said:
        load_trace(written(tmp_path, "0,0,1\n" * 12))
    assert len(str(said.value).splitlines()) == 6
    assert str(said.value).endswith("trace.csv: 7 more such problems")


def test_other_columns_are_said(tmp_path: Path):
    with pytest.raises(FileError, match="column num_prefill_tokens is missing; a trace has the columns"):
        load_trace(written(tmp_path, "0,1,1\n", "arrived_at,prompt,output\n"))
    with pytest.raises(FileError, match=r"absent\.csv"):
        load_trace(tmp_path / "absent.csv")
