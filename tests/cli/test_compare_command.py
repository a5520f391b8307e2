"""The command that puts two deployments side by side."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

import rooflinesim as rs
from rooflinesim.cli.app import run

EXAMPLES = Path(__file__).parents[2] / "scenarios"
ONE = "name: old\nmodel: llama3-8b\nhardware: l40s\nbatch: 16\nprice: {l40s: 1 USD/h}\n"
OTHER = "name: new\nmodel: llama3-8b\nhardware: h100\nprecision: {weights: fp8}\nbatch: 16\n"


@pytest.fixture
def say(capsys, tmp_path):
    def call(*arguments, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        capsys.readouterr()
        shown = [str(tmp_path / one) if str(one).endswith((".yaml", ".png")) else str(one) for one in arguments]
        code = run(["compare", *shown])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_terms_sum_exactly_to_the_difference_in_every_format(say):
    code, out, err = say("a.yaml", "b.yaml", "--format", "json", a=ONE, b=OTHER)
    assert code == 0, err
    answer = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert answer["schema"] == "rooflinesim/compare/1"
    summary = answer["summary"]
    whole = summary["second"]["step_time_s"] - summary["first"]["step_time_s"]
    for by in ("change", "cause", "part", "op", "term"):
        rows = [row for row in answer["rows"] if row["by"] == by]
        assert math.fsum(row["difference_time_s"] for row in rows) == whole
        assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert summary["first"]["usd_per_mtok"] == pytest.approx(1e6 / (3600 * summary["first"]["tokens_per_s"]))
    assert summary["second"]["usd_per_mtok"] is None
    assert answer["inputs"]["second"]["precision"]["mlp"]["format"] == "fp8"
    lines = list(csv.DictReader(io.StringIO(say("a.yaml", "b.yaml", "--format", "csv")[1])))
    assert [float(line["difference_time_s"]) for line in lines] == [row["difference_time_s"] for row in answer["rows"]]
    table = say("a.yaml", "b.yaml")[1]
    assert table.startswith("A: old: Meta-Llama-3-8B on L40S")
    assert "most of it is weight reads" in table
    assert "| weight reads |" in say("a.yaml", "b.yaml", "--format", "md")[1]


def test_a_side_is_picked_from_what_a_scenario_names(say):
    path = EXAMPLES / "llama3-70b-on-three-gpus.yaml"
    picks = ["--pick", "tp=4", "--pick", "batch=64", "--pick", "context=2k", "--pick", "a.hardware=h100"]
    code = run(["compare", str(path), *picks, "--pick", "b.hardware=h200", "-q", "-o", "/dev/null"])
    assert code == 0
    scenario = rs.load_scenarios(path)[0]
    both = {"tensor_parallel": "4", "batch": "64", "context": "2048"}
    found = rs.compare(first=scenario, picks=both, first_picks={"hardware": "h100"}, second_picks={"hardware": "h200"})
    first = rs.decode(
        model=rs.load_model("llama3.3-70b"),
        hardware=rs.load_hardware("h100"),
        stack=rs.load_stack("vllm"),
        batch=64,
        weights="fp8",
        kv="fp8",
        tp=4,
    )
    assert found.result.difference.first == pytest.approx(first.rows[0]["step_time_s"], rel=1e-12)
    assert list(found.result.changes) == ["device"]
    whole = found.summary["second"]["step_time_s"] - found.summary["first"]["step_time_s"]
    for by in ("change", "cause", "part", "op", "term"):
        assert math.fsum(row["difference_time_s"] for row in found.rows if row["by"] == by) == whole


def test_one_file_may_hold_both(say):
    assert "new: Meta-Llama-3-8B on H100" in say("both.yaml", both=f"{ONE}---\n{OTHER}")[1]
    two = say("two.yaml", "-q", two="model: llama3-8b\nhardware: [l4, l40s]\nbatch: 4\n")
    assert two[0] == 0
    assert two[1].splitlines()[0].startswith("A: hardware l4: Meta-Llama-3-8B on L4")
    assert two[1].splitlines()[1].startswith("B: hardware l40s")


def test_prompts_are_compared_with_prompts(say):
    one, other = "model: llama3-8b\nhardware: l4\nprompt: 2k\n", "model: llama3-8b\nhardware: l4\nprompt: 4k\n"
    code, out, _ = say("a.yaml", "b.yaml", a=one, b=other)
    assert code == 0
    assert "time to first token" in out
    assert "load    prompt 2,048, batch 1, context 0" in out


def test_under_traffic_sides_stand_at_what_runs_and_at_what_users_see(say):
    traffic = "traffic: {requests_per_s: 4, prompt_tokens: 500, output_tokens: 100}\n"
    one = f"name: chat\nmodel: llama3-8b\nhardware: [l40s, h100]\nstack: vllm\n{traffic}"
    code, out, err = say("a.yaml", "--format", "json", a=one)
    assert code == 0, err
    summary = json.loads(out)["summary"]
    for side in ("first", "second"):
        assert summary[side]["served_requests_per_s"] == 4
        assert summary[side]["batch"] == max(1, round(summary[side]["running"]))
        assert summary[side]["context_tokens"] == 550
        assert summary[side]["tpot_p95_s"] >= summary[side]["step_time_s"]
    assert summary["second"]["ttft_p95_s"] < summary["first"]["ttft_p95_s"]
    assert "saturates at, requests/s" in say("a.yaml", a=one)[1]
    assert "batch 8, context 2,048" in say("a.yaml", "--pick", "batch=8", a=one)[1]
    code, _, err = say("a.yaml", a=one.replace("requests_per_s: 4", "requests_per_s: 4000"))
    assert code == 2
    assert "requests/s queues grow without end; ask for less" in err
    assert "names several loads" in say("a.yaml", a=one.replace("requests_per_s: 4", "requests_per_s: [4, 5]"))[2]


def test_the_way_from_one_to_the_other_is_drawn(say, tmp_path):
    assert say("a.yaml", "b.yaml", "--plot", "way.png", "-q", a=ONE, b=OTHER)[0] == 0
    assert (tmp_path / "way.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("files", "more", "words"),
    [
        ({"a": ONE}, [], "old: names one, where two are compared; give a second scenario"),
        ({"a": ONE, "b": OTHER.replace("h100", "[h100, h200]")}, [], "pick one, like --pick hardware=h100"),
        ({"a": ONE.replace("batch: 16\n", ""), "b": OTHER}, [], "old: names no batch; write batch: 64 into it"),
        ({"a": ONE, "b": OTHER + "prompt: 2k\n"}, [], "one decodes and the other reads prompts"),
        ({"a": ONE, "b": OTHER}, ["--pick", "color=red"], "--pick: 'color' is no axis of a scenario"),
        ({"a": ONE, "b": OTHER}, ["--pick", "hardware"], "--pick: 'hardware' is no pick; write it like batch=64"),
        ({"a": ONE, "b": OTHER}, ["--pick", "c.batch=3"], "--pick: 'c.batch=3' is no pick"),
        ({"a": ONE, "b": OTHER}, ["--pick", "a.hardware=h200"], "old: --pick hardware=h200: not among l40s"),
        ({"a": ONE, "b": OTHER}, ["--pick", "batch=two"], "--pick batch: 'two' is not a whole count"),
        ({"a": ONE, "b": OTHER}, ["--pick", "batch=2", "--pick", "batch=3"], "--pick: batch is given twice"),
        ({"a": ONE, "b": OTHER.replace("h100", "h1000")}, [], "new: hardware: unknown GPU 'h1000'"),
        ({"a": f"{ONE}---\n{ONE}---\n{ONE}"}, [], "a.yaml: holds 3 scenarios, but one is meant here"),
    ],
)
def test_mistakes_end_in_one_line(say, files, more, words):
    code, out, err = say(*(f"{name}.yaml" for name in files), *more, **files)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
