import dataclasses
import hashlib
import resource
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_grid import small_grid

import rooflinesim as rs
from rooflinesim.analysis.grid import Labels
from rooflinesim.analysis.points import DecodePoints
from rooflinesim.analysis.sweep import MAXIMUM_POINTS, sweep_of
from rooflinesim.api import scheduling
from rooflinesim.api import sweep as sweeping
from rooflinesim.api.sweep import sweep_plan, written
from rooflinesim.config.scenarios import load_one_scenario
from rooflinesim.errors import DomainError, FileError, UnsupportedError
from rooflinesim.report.part_files import Parts, opened
from rooflinesim.report.rows import csv_rows, parquet_bytes
from rooflinesim.specs.scenario import Scenario

SCENARIO = """\
name: small
model: llama3-8b
hardware: [h100, l4]
parallelism: {tensor: [1, 3, 2]}
batch: 1:50:+1
context: [100, 2k]
"""
POINTS, ROWS = 600, 400
"""Three ranks do not divide the heads, so that a third of the grid cannot be."""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return load_one_scenario(path)


def swept(scenario: Scenario, output: Path, workers: int = 1, chunk_points: int = 64, **asked) -> pd.DataFrame:
    return written(
        sweep_plan(scenario=scenario, output=output, chunk_points=chunk_points, **asked), workers=workers
    ).to_frame()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_rows_are_the_grid_whatever_the_chunks(scenario: Scenario, tmp_path: Path, name: str):
    found = swept(scenario, tmp_path / name)
    assert len(found) == ROWS
    assert sorted(one.name for one in tmp_path.iterdir()) == [name, f"{name}.manifest.json", "small.yaml"]
    row = found[(found.hardware == "l4") & (found.tensor_parallel == 2) & (found.batch == 7)].iloc[1]
    alone = rs.decode(
        model=rs.load_model("llama3-8b"), hardware=rs.load_hardware("l4"), stack=rs.load_stack("generic"), tp=2,
        batch=7, context=2048,
    ).rows[0]  # fmt: skip
    for field in ("step_time_s", "step_time_high_s", "kv_bytes", "flop", "mbu"):
        assert row[field] == pytest.approx(alone[field], rel=1e-12)
    assert (row["bound"], bool(row["fits"])) == (alone["bound"], alone["fits"])


def test_csv_and_parquet_hold_the_same_rows(scenario: Scenario, tmp_path: Path):
    pd.testing.assert_frame_equal(
        swept(scenario, tmp_path / "a.csv"), swept(scenario, tmp_path / "a.parquet"), check_exact=True
    )


def test_unknown_values_and_words_with_commas_read_back(tmp_path: Path):
    columns = {
        "x": np.array([0.1, np.nan, 1e-300, np.inf]),
        "n": np.array([1, 2**53, 3, 4]),
        "word": Labels(codes=np.array([0, 1, -1, 0]), names=('a, "b"', "c")),
        "fits": Labels(codes=np.array([1, 0, -1, 1]), names=(False, True)),
    }
    text = csv_rows(columns)
    assert text == '0.1,1,"a, ""b""",true\n,9007199254740992,c,false\n1e-300,3,,\n,4,"a, ""b""",true\n'
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_bytes(columns))
    back = pd.read_parquet(path)
    assert back["x"].isna().tolist() == [False, True, False, True]
    assert back["x"][2] == 1e-300
    assert back["n"].tolist() == [1, 2**53, 3, 4]
    assert back["word"].tolist()[:2] == ['a, "b"', "c"]
    assert back["fits"].tolist() == [True, False, None, True]


class StoppedError(Exception):
    """What stops a sweep in these tests."""


def stopped_after(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """Let so many chunks be made, then stop."""
    made = sweeping.made_chunk
    count = 0

    def limited(*arguments):
        nonlocal count
        count += 1
        if count > chunks:
            raise StoppedError
        return made(*arguments)

    monkeypatch.setattr(sweeping, "made_chunk", limited)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("chunks", [1, 5])
def test_an_interrupted_sweep_resumes_to_the_same_bytes(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunks: int
):
    (tmp_path / "left").mkdir()
    alone, output = tmp_path / "left" / name, tmp_path / name
    swept(scenario, alone)
    with monkeypatch.context() as patched:
        stopped_after(patched, chunks)
        with pytest.raises(StoppedError):
            swept(scenario, output)
    assert not output.exists()
    assert len(list((tmp_path / f"{name}.parts").glob("part-*.json"))) == chunks
    assert f"; {chunks} of 10 chunks are there from before" in sweep_plan(
        scenario=scenario, output=output, chunk_points=64
    ).line(1)
    remade: list[int] = []
    made = sweeping.made_chunk
    monkeypatch.setattr(sweeping, "made_chunk", lambda *asked: remade.append(asked[-1]) or made(*asked))
    swept(scenario, output)
    assert remade == list(range(chunks, 10))
    assert digest(output) == digest(alone)


def test_parts_that_are_cut_short_are_made_again(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "rows.csv"
    with monkeypatch.context() as patched:
        stopped_after(patched, 3)
        with pytest.raises(StoppedError):
            swept(scenario, output)
    parts = tmp_path / "rows.csv.parts"
    (parts / "part-000001.csv").write_text("cut")
    (parts / "part-000002.json").write_text("{")
    assert len(swept(scenario, output)) == ROWS


def test_parts_of_another_question_are_not_taken_up(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "rows.csv"
    with monkeypatch.context() as patched:
        stopped_after(patched, 3)
        with pytest.raises(StoppedError):
            swept(scenario, output)
    found = swept(dataclasses.replace(scenario, context=(4096,)), output)
    assert found["context_tokens"].unique().tolist() == [4096]


def test_a_full_disk_is_said_and_what_is_done_is_kept(scenario: Scenario, tmp_path: Path):
    """A limit on the size of files stands in for the disk: the error comes from the same write."""
    alone, output = tmp_path / "alone.csv", tmp_path / "rows.csv"
    swept(scenario, alone)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (alone.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(FileError, match="cannot be written: File too large; what is done stays in"):
            swept(scenario, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not output.exists()
    assert len(list((tmp_path / "rows.csv.parts").glob("part-*.json"))) > 3
    swept(scenario, output)
    assert digest(output) == digest(alone)


def test_two_sweeps_do_not_write_one_file(scenario: Scenario, tmp_path: Path):
    plan = sweep_plan(scenario=scenario, output=tmp_path / "rows.csv")
    with opened(plan.parts, plan.manifest), pytest.raises(FileError, match=r"another sweep is writing rows\.csv"):
        written(plan, workers=1)


def test_an_error_before_the_first_chunk_leaves_no_folder(tmp_path: Path):
    with pytest.raises(StoppedError), opened(Parts(output=tmp_path / "rows.csv", suffix=".csv"), {}):
        raise StoppedError
    assert list(tmp_path.iterdir()) == []


def test_worker_processes_make_the_same_file(scenario: Scenario, tmp_path: Path):
    swept(scenario, tmp_path / "one.parquet", workers=1)
    swept(scenario, tmp_path / "two.parquet", workers=2)
    assert digest(tmp_path / "one.parquet") == digest(tmp_path / "two.parquet")


@pytest.mark.parametrize(
    ("by", "largest"), [("tokens_per_s", True), ("step_time_s", False), ("-step_time_s", True), ("+mbu", False)]
)
@pytest.mark.parametrize("name", ["top.csv", "top.parquet"])
def test_the_top_of_all_chunks_is_that_of_the_whole(
    scenario: Scenario, tmp_path: Path, by: str, largest: bool, name: str
):
    field = by.lstrip("+-")
    whole = swept(scenario, tmp_path / "all.csv")
    expected = whole.sort_values(field, ascending=not largest, kind="stable").head(7).reset_index(drop=True)
    found = swept(scenario, tmp_path / name, top=7, by=by)
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    narrow = swept(scenario, tmp_path / f"narrow-{name}", top=7, by=by, fields=["batch", "hardware"])
    assert list(narrow.columns) == ["batch", "hardware"]
    assert narrow["batch"].tolist() == expected["batch"].tolist()


def test_a_filter_keeps_what_pandas_would(scenario: Scenario, tmp_path: Path):
    whole = swept(scenario, tmp_path / "all.csv")
    text = "fits and step_time_s < 0.02 and hardware == 'h100' and batch >= 4"
    found = swept(scenario, tmp_path / "some.csv", admits=text)
    expected = whole.query(text).reset_index(drop=True)
    assert 0 < len(expected) < ROWS
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_a_filter_that_nothing_passes_leaves_a_header(scenario: Scenario, tmp_path: Path, name: str):
    found = swept(scenario, tmp_path / name, admits="step_time_s < 0")
    assert len(found) == 0
    assert "step_time_s" in found.columns


def test_deployments_that_cannot_be_are_named_with_the_reason(scenario: Scenario, tmp_path: Path):
    made = written(sweep_plan(scenario=scenario, output=tmp_path / "a.csv"), workers=1)
    assert (made.points, made.rows) == (POINTS, ROWS)
    assert [one["hardware"] for one in made.rejected] == ["h100", "l4"]
    (line,) = made.notes
    assert line.startswith("left out: hardware h100, tensor_parallel 3; hardware l4, tensor_parallel 3: ")
    assert "does not divide 32 heads" in line


def test_a_sweep_of_nothing_but_impossible_deployments_is_refused(scenario: Scenario, tmp_path: Path):
    asked = dataclasses.replace(scenario.parallelism, tensor=(3,))
    with pytest.raises(DomainError, match="none of the 2 deployments can be: tensor parallelism 3"):
        swept(dataclasses.replace(scenario, parallelism=asked), tmp_path / "a.csv")
    assert [one.name for one in tmp_path.iterdir()] == ["small.yaml"]


def test_a_grid_of_a_million_million_points_is_refused_unless_a_filter_or_top_makes_it_small():
    grid = small_grid(
        asked=DecodePoints(batch=tuple(range(1, 100_001)), context=tuple(range(1, 100_001))),
        tensor_parallel=tuple(range(1, 51)),
    )
    assert grid.points == 10**12
    with pytest.raises(DomainError, match=r"1,000,000,000,000 points; one sweep evaluates at most 10,000,000,000"):
        sweep_of(grid)
    best = sweep_of(grid, top=10, by="tokens_per_s")
    assert best.chunks <= 65_536
    with pytest.raises(DomainError, match=r"20,000,000,000,000 points; one sweep evaluates at most 10,000,000,000,000"):
        sweep_of(dataclasses.replace(grid, tensor_parallel=tuple(range(1, 1001))), top=10, by="tokens_per_s")
    less = sweep_of(grid, admits="batch <= 100 and tensor_parallel in [1, 2, 4]")
    assert less.grid.points == 2 * 3 * 100 * 100_000 <= MAXIMUM_POINTS


def test_what_the_disk_does_not_hold_is_refused_with_what_would_fit(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(sweeping.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 10**5, 10**5))
    with pytest.raises(DomainError, match=r"600 points take about 2\d\d kB of csv.* 100 kB are free; 1\d\d would fit"):
        sweep_plan(scenario=scenario, output=tmp_path / "a.csv")
    sweep_plan(scenario=scenario, output=tmp_path / "a.csv", top=5, by="mfu")
    sweep_plan(scenario=scenario, output=tmp_path / "a.csv", admits="batch < 3")


def test_a_killed_worker_is_said(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileError, match="a worker process was killed, perhaps for want of memory"):
        list(scheduling.on_cores(_dies, range(4), 2))


def _dies(index: int) -> int:
    import os

    os._exit(9) if index == 1 else None
    return index


@pytest.mark.parametrize(
    ("module", "asked", "words"),
    [
        ("pyarrow", {"output": "a.parquet"}, r"pip install 'rooflinesim\[parquet\]'"),
        ("distributed", {"output": "a.csv", "scheduler": "local"}, r"pip install 'rooflinesim\[distributed\]'"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, asked: dict[str, str], words: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=words):
        rs.sweep(scenario=scenario, **{**asked, "output": tmp_path / asked["output"]})
    assert [one.name for one in tmp_path.iterdir()] == ["small.yaml"]


DRAFTED = """\
name: drafts
model: llama3-8b
hardware: [h100, l4]
batch: [1, 16]
context: 1k
speculation: {method: ngram, draft_length: [0, 2, 4, 8, 3], acceptance_rate: [0.5, 0.8, 0.95]}
"""


@pytest.fixture
def drafted(tmp_path: Path) -> Scenario:
    path = tmp_path / "drafts.yaml"
    path.write_text(DRAFTED)
    return load_one_scenario(path)


def test_draft_lengths_and_acceptances_are_axes_whose_best_drafts_do_not_depend_on_chunks(
    drafted: Scenario, tmp_path: Path
):
    whole = swept(drafted, tmp_path / "a.csv", chunk_points=1000)
    assert len(whole) == 2 * 2 * 5 * 3
    pd.testing.assert_frame_equal(whole, swept(drafted, tmp_path / "b.csv", chunk_points=7))
    best = whole[whole.is_best]
    assert len(best) == 2 * 2 * 3
    grouped = whole.groupby(["hardware", "batch", "acceptance_rate"])
    assert sorted(best.tpot_s) == sorted(grouped.tpot_s.min())
    assert (whole[whole.draft_length == 0].speedup == 1.0).all()
    by_batch = best[best.hardware == "h100"].groupby("batch").speedup.max()
    assert by_batch[1] > by_batch[16]


def test_a_sweep_of_drafts_equals_what_run_answers(drafted: Scenario, tmp_path: Path):
    rows = swept(drafted, tmp_path / "a.csv")
    answered = pd.DataFrame(rs.run(scenarios=[drafted]).rows)
    keys = ["hardware", "acceptance_rate", "batch", "draft_length"]
    both = rows.merge(answered, on=keys, suffixes=("", "_run"))
    # Plain decoding emits nothing that acceptance speaks of: its rows show another rate there.
    assert len(both) >= 2 * 2 * 4 * 3
    np.testing.assert_allclose(both.tpot_s, both.tpot_s_run, rtol=1e-12)
    np.testing.assert_allclose(both.speedup_low, both.speedup_low_run, rtol=1e-12)


def test_lengths_of_acceptance_stand_beside_the_rates_that_follow(drafted: Scenario, tmp_path: Path):
    speculation = dataclasses.replace(
        drafted.speculation, acceptance_rate=(1.5, 2.0), acceptance_kind="length", acceptance_at=4.0
    )
    found = swept(dataclasses.replace(drafted, speculation=speculation), tmp_path / "a.csv", admits="draft_length == 4")
    np.testing.assert_allclose(found.tokens_per_round, found.acceptance + 1.0, rtol=1e-9)
    assert (found.groupby("acceptance").acceptance_rate.nunique() == 1).all()


def test_a_tree_is_no_axis(drafted: Scenario, tmp_path: Path):
    asked = dataclasses.replace(drafted, speculation=dataclasses.replace(drafted.speculation, tree="4x2"))
    with pytest.raises(UnsupportedError, match="`rooflinesim run` answers trees"):
        sweep_plan(scenario=asked, output=tmp_path / "a.csv")


def test_the_best_of_chunks_gone_through_in_pieces_are_the_best_of_all(monkeypatch: pytest.MonkeyPatch):
    from rooflinesim.analysis import sweep as sweeps

    grid = small_grid(asked=DecodePoints(batch=tuple(range(1, 101)), context=(100, 1000, 4000)))
    whole = sweeps.chunk(sweep_of(grid, top=7, by="mfu", chunk_points=10**6), 0)
    monkeypatch.setattr(DecodePoints, "chunk_points", 11)
    pieces = sweeps.chunk(sweep_of(grid, top=7, by="mfu", chunk_points=10**6), 0)
    assert whole.columns["batch"].tolist() == pieces.columns["batch"].tolist()
    assert len(whole.columns["batch"]) == 7


SERVED = """\
name: served
model: llama3-8b
hardware: [l4, h100]
stack: vllm
policy: {batch_limit: [8, 64], chunk_tokens: [0, 512]}
traffic: {requests_per_s: [0.5, 4, 32], prompt_tokens: 256, output_tokens: [16, 64]}
"""


def served(tmp_path: Path, text: str = SERVED) -> Scenario:
    path = tmp_path / "served.yaml"
    path.write_text(text)
    return load_one_scenario(path)


def test_rates_policies_and_lengths_of_traffic_are_axes_whatever_the_chunks(tmp_path: Path):
    asked = served(tmp_path)
    whole = swept(asked, tmp_path / "a.csv", chunk_points=1000)
    assert len(whole) == 2 * 2 * 2 * 3 * 2
    pd.testing.assert_frame_equal(whole, swept(asked, tmp_path / "b.csv", chunk_points=7))
    assert (whole.requests_per_s <= whole.offered_requests_per_s * (1 + 1e-12)).all()
    assert whole[whole.is_stable].ttft_p95_s.notna().all()
    assert whole[~whole.is_stable].ttft_p95_s.isna().all()
    one = whole[(whole.hardware == "l4") & (whole.offered_requests_per_s == 32)]
    assert not one.is_stable.any()


def test_a_sweep_of_served_points_equals_what_run_answers(tmp_path: Path):
    asked = served(tmp_path)
    rows = swept(asked, tmp_path / "a.csv")
    answered = pd.DataFrame(rs.run(scenarios=[asked]).rows)
    keys = ["hardware", "batch_limit", "chunk_tokens", "output_tokens", "offered_requests_per_s"]
    both = rows.merge(answered, on=keys, suffixes=("", "_run"))
    assert len(both) == len(rows)
    np.testing.assert_allclose(both.tpot_p95_s, both.tpot_p95_s_run, rtol=1e-12)
    assert (both.bound == both.bound_run).all()


def test_a_trace_has_no_grid(tmp_path: Path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,10\n1,10,10\n")
    text = SERVED[: SERVED.index("policy")] + "traffic: {trace: trace.csv}\n"
    with pytest.raises(UnsupportedError, match="a trace has one rate; `rooflinesim simulate` replays it"):
        sweep_plan(scenario=served(tmp_path, text), output=tmp_path / "a.csv")
