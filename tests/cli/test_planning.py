"""The command plan, and the question plan of scenarios."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rooflinesim as rs
from rooflinesim.cli.app import run

SMALL = """
name: chat
model: llama3-8b
hardware: [h100, l40s]
stack: vllm
parallelism: {tensor: [1, 2], pipeline: 1}
traffic: {requests_per_s: 4, prompt_tokens: 1000, output_tokens: 200}
objective: {tpot_p95: 40 ms, ttft_p95: 1 s}
disaggregated: false
price: {h100: 2.5 USD/h, l40s: 0.9 USD/h}
"""


class Said:
    """What one command line said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Plan = Callable[..., Said]


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Plan:
    def call(text: str, *options: str, command: str = "plan") -> Said:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        capsys.readouterr()
        code = run([command, str(path), *options])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def rows(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def test_the_answer_is_a_sentence_and_tables(plan: Plan):
    said = plan(SMALL)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[1] == "4 requests/s of 1,000 tokens in, 200 out; tpot p95 <= 40 ms, ttft p95 <= 1 s."
    assert lines[2].startswith("Cheapest: ")
    assert "meets the objective, up to" in lines[2]
    assert "What would change the answer" in said.out
    assert "energy assumes 56 pJ per byte" in said.err


def test_tables_fit_80_columns(tmp_path: Path):
    path = tmp_path / "scenario.yaml"
    path.write_text(SMALL)
    text = rs.plan(scenario=rs.load_scenarios(path)[0]).to_table(width=80)
    tables = [line for line in text.splitlines() if "─" in line]
    assert tables
    assert max(map(len, tables)) <= 80


def test_json_holds_the_fleets_the_frontier_and_every_rejection(plan: Plan):
    answer = rows(plan(SMALL, "--format", "json", "--top", "3"))
    assert answer["schema"] == "rooflinesim/plan/1"
    found = answer["summary"]["plans"][0]
    assert found["feasible"]
    cheapest = answer["rows"][0]
    assert cheapest["rank"] == 1
    assert cheapest["usd_per_hour"] == min(row["usd_per_hour"] for row in answer["rows"])
    assert cheapest["tpot_p95_s"] <= 0.04
    assert cheapest["verdict"] in ("surely", "probably")
    assert found["cheapest"]["devices"] == cheapest["devices"]
    taken = {(row["hardware"], row["tensor_parallel"]) for row in answer["rows"]}
    left = {(row["hardware"], row["tensor_parallel"]) for row in found["rejected"]}
    assert taken | left == {("h100", 1), ("h100", 2), ("l40s", 1), ("l40s", 2)}
    assert all(row["limit"] for row in found["rejected"])
    assert found["frontier"]
    kinds = {one["what"]: one["kind"] for one in answer["provenance"]}
    assert kinds["energy: byte_energy"] == "assumed"


def test_explain_shows_what_binds_every_engine(plan: Plan):
    said = plan(SMALL.replace("[1, 2]", "[1, 3]"), "--explain")
    assert "tensor parallelism 3 does not divide 32 heads" in said.out


def test_several_loads_are_several_plans(plan: Plan):
    text = SMALL.replace("requests_per_s: 4", "requests_per_s: [4, 40]")
    answer = rows(plan(text, "--format", "json", "--top", "1"))
    assert [row["requests_per_s"] for row in answer["rows"]] == pytest.approx([4, 40])
    assert answer["rows"][1]["usd_per_hour"] > answer["rows"][0]["usd_per_hour"]


def test_run_answers_the_same(plan: Plan):
    alone = rows(plan(SMALL, "--format", "json"))
    among = rows(plan(SMALL, "--format", "json", command="run"))
    assert [{"scenario": "chat", **row} for row in alone["rows"]] == among["rows"]


def test_without_prices_devices_count(plan: Plan):
    said = plan(SMALL.replace("price: {h100: 2.5 USD/h, l40s: 0.9 USD/h}", ""))
    assert said.code == 0
    assert "USD" not in said.out
    assert "fleets are ranked by their number of devices" in said.err


def test_nothing_feasible_is_an_answer(plan: Plan):
    said = plan(SMALL.replace("40 ms", "1 ms"))
    assert said.code == 0
    assert "Nothing is feasible" in said.out
    assert "Reading the weights takes at least 2.24 ms per token (TP2 on h100" in said.out
    assert "Nearest: " in said.out
    answer = rows(plan(SMALL.replace("40 ms", "1 ms"), "--format", "json"))
    assert answer["rows"] == []
    assert answer["summary"]["plans"][0]["nearest_miss"]["nearest"]["limit"] == "tpot"


def test_too_little_memory_says_how_much(plan: Plan):
    text = SMALL.replace("llama3-8b", "llama3-70b").replace("[1, 2]", "1")
    said = plan(text)
    assert said.code == 0
    assert "lacks" in said.out
    assert "on every device" in said.out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", l40s: 0.9 USD/h", "", "error: chat: price: l40s has none; give one like price: {l40s: 2.5 USD/h}"),
        ("l40s: 0.9 USD/h", "l40s: 0.9 EUR/h", "price.l40s: '0.9 EUR/h' is not in USD/h"),
        ("l40s: 0.9 USD/h", "a100: 0.9 USD/h", "price.a100: no such device under hardware"),
        ("requests_per_s: 4", "requests_per_s: 0", "it must be above 0"),
        ("requests_per_s: 4", "requests_per_s: -1", "it must be above 0"),
        ("requests_per_s: 4", "requests_per_s: .inf", "is not"),
        ("tpot_p95: 40 ms", "tpot_p95: 0 ms", "it must be above 0"),
        ("hardware: [h100, l40s]", "hardware: []", "hardware: is empty"),
        ("tpot_p95: 40 ms", "tpot_p90: 40 ms", "unknown key 'objective.tpot_p90'"),
        ("traffic:", "prefill: {tensor: 1}\ntraffic:", "a plan chooses the engines for prompts itself"),
    ],
)
def test_mistakes_are_one_line(plan: Plan, old: str, new: str, message: str):
    said = plan(SMALL.replace(old, new))
    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_a_question_without_traffic_is_refused(plan: Plan):
    said = plan("name: chat\nmodel: llama3-8b\nhardware: h100\n")
    assert said.code == 2
    assert "traffic: missing" in said.err
