"""Serving on the command line: questions serve and simulate, the command simulate, and what each mistake is told."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.test_scenarios import Cli, Said, cli  # noqa: F401

BASE = "name: served\nmodel: llama3-8b\nhardware: h100\nstack: vllm\n"
LOAD = "traffic: {requests_per_s: [2, 8, 500], prompt_tokens: 1200, output_tokens: 300}\n"
TRACE = "arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(
    f"{0.5 * i},{400 + 37 * (i % 11)},{20 + 13 * (i % 7)}\n" for i in range(60)
)


@pytest.fixture
def ask(cli: Cli, tmp_path: Path):  # noqa: F811
    def call(text: str, *arguments: object, command: str = "run", trace: str = TRACE) -> Said:
        path = tmp_path / "asked.yaml"
        path.write_text(BASE + text)
        (tmp_path / "trace.csv").write_text(trace)
        return cli(command, path, *arguments)

    return call


def answer(said: Said) -> dict:
    assert said.code == 0, said.err
    return json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def test_traffic_alone_asks_what_users_see(ask):
    """Beyond saturation numbers that are infinite are null, with the reason beside them."""
    found = answer(ask(LOAD + "policy: {batch_limit: 256}\n", "--format", "json"))
    rows = found["rows"]
    assert [row["offered_requests_per_s"] for row in rows] == [2, 8, 500]
    assert [row["is_stable"] for row in rows] == [True, True, False]
    assert rows[0]["tpot_p95_s"] < rows[1]["tpot_p95_s"] < rows[2]["tpot_p95_s"]
    assert rows[0]["tpot_p95_low_s"] < rows[0]["tpot_p95_s"] < rows[0]["tpot_p95_high_s"]
    assert rows[2]["ttft_mean_s"] is None
    assert "queues grow without end: the batch limit of 256 requests" in rows[2]["reason"]
    assert rows[0]["reason"] is None
    assert rows[0]["saturating_requests_per_s"] > 8
    summary = found["summary"]["scenarios"]["served"]["answers"][0]
    assert summary["bound"] == "batch_limit"


def test_all_formats_of_a_steady_state(ask):
    table = ask(LOAD).out
    assert "TTFT ms" in table
    assert "Saturates at " in table
    lines = list(csv.DictReader(io.StringIO(ask(LOAD, "--format", "csv").out)))
    assert lines[2]["ttft_mean_s"] == ""
    assert float(lines[0]["running"]) > 0
    assert "| req/s |" in ask(LOAD, "--format", "md").out


def test_every_way_to_serve_is_an_axis(ask):
    text = (
        "replicas: [1, 2]\npolicy: {batch_limit: [32, 64], chunk_tokens: [0, 1k]}\n"
        "traffic: {users: 8, prompt_tokens: [500, 1000], output_tokens: 100}\n"
    )
    rows = answer(ask(text, "--format", "json"))["rows"]
    assert len(rows) == 16
    assert {(row["replicas"], row["batch_limit"], row["chunk_tokens"], row["prompt_tokens"]) for row in rows} == {
        (a, b, c, d) for a in (1, 2) for b in (32, 64) for c in (0, 1024) for d in (500, 1000)
    }


def test_engines_for_prompts_and_drafts(ask):
    text = (
        "prefill: {hardware: h200, replicas: [1, 2]}\n"
        "speculation: {method: ngram, draft_length: [0, 3], acceptance_rate: 0.7, hit_rate: 0.6}\n"
        "traffic: {requests_per_s: 4, prompt_tokens: 1000, output_tokens: 100}\n"
    )
    rows = answer(ask(f"question: serve\n{text}", "--format", "json"))["rows"]
    assert [(row["prefill_replicas"], row["draft_length"]) for row in rows] == [(1, 0), (1, 3), (2, 0), (2, 3)]
    assert rows[1]["tpot_mean_s"] < rows[0]["tpot_mean_s"]
    assert rows[2]["ttft_mean_s"] < rows[0]["ttft_mean_s"]


def test_a_trace_is_replayed_request_by_request(ask, tmp_path: Path):
    """Same seed, same bytes; a row for each request, in SI units."""
    text = "traffic: {trace: trace.csv}\n"
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for file in files:
        said = ask(text, "-o", file, "--seed", "3", command="simulate")
        assert (said.code, said.out) == (0, "")
        assert "The queue was empty at the end of the arrivals." in said.err
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = list(csv.DictReader(io.StringIO(files[0].read_text())))
    assert len(rows) == 60
    assert list(rows[0])[:8] == [
        "arrived_s",
        "prompt_tokens",
        "output_tokens",
        "started_s",
        "first_token_s",
        "completed_s",
        "ttft_s",
        "tpot_s",
    ]
    assert float(rows[5]["completed_s"]) - float(rows[5]["arrived_s"]) == pytest.approx(float(rows[5]["e2e_s"]))


def test_a_faster_trace_says_where_it_saturates(ask):
    """60 requests within a hundredth of a second, four places."""
    text = "policy: {batch_limit: 4}\ntraffic: {trace: trace.csv}\n"
    found = answer(ask(text, "--rate-scale", "3000", "--format", "json", command="simulate"))
    assert found["inputs"]["rate_scale"] == 3000
    assert found["summary"]["verdict"].startswith("Saturated from ")
    assert "Saturates at " in found["summary"]["verdict"]
    assert len(found["rows"]) == 60


def test_run_simulates_every_fleet_in_one_row(ask):
    text = "policy: {batch_limit: [2, 64]}\ntraffic: {trace: trace.csv}\nsimulation: {rate_scale: 50}\n"
    rows = answer(ask(text, "--format", "json"))["rows"]
    assert [row["batch_limit"] for row in rows] == [2, 64]
    assert rows[0]["ttft_mean_s"] > rows[1]["ttft_mean_s"]
    assert rows[0]["requests"] == 60


def test_drawn_arrivals_are_simulated(ask):
    text = (
        "question: simulate\nsimulation: {requests: 50}\n"
        "traffic: {requests_per_s: 4, prompt_tokens: 500, output_tokens: 40, burstiness: 3}\n"
    )
    table = ask(text, command="simulate").out
    assert "50 requests of drawn arrivals" in table
    assert "TPOT ms" in table


@pytest.mark.parametrize(
    ("text", "command", "words"),
    [
        (
            "traffic: {requests_per_s: 0, prompt_tokens: 1, output_tokens: 1}",
            "run",
            "requests_per_s: 0 is out of range",
        ),
        ("traffic: {requests_per_s: -1, prompt_tokens: 1, output_tokens: 1}", "run", "-1 is out of range"),
        ("traffic: {requests_per_s: .inf, prompt_tokens: 1, output_tokens: 1}", "run", "is not finite"),
        ("traffic: {trace: absent.csv}", "run", "absent.csv"),
        ("question: serve", "run", "traffic: missing; write it like"),
        ("policy: {batch: 3}", "run", "unknown key 'policy.batch'"),
        ("policy: {batch_limit: 0}", "run", "policy.batch_limit: 0 is out of range"),
        ("prefill: {replicas: 0}\ntraffic: {users: 1, prompt_tokens: 1, output_tokens: 1}", "run", "prefill.replicas"),
        (
            "traffic: {users: [1, 2], prompt_tokens: 9, output_tokens: 9}",
            "simulate",
            "takes one rate or number of users",
        ),
        (
            "replicas: [1, 2]\ntraffic: {trace: trace.csv}",
            "simulate",
            "names 2 fleets, but one is meant here: give one value of replicas",
        ),
        (
            "traffic: {users: 1, prompt_tokens: 9, output_tokens: 9}\nspeculation: {method: ngram, acceptance_rate: 1}",
            "run",
            "give draft_length",
        ),
    ],
)
def test_mistakes_are_one_line(ask, text: str, command: str, words: str):
    said = ask(f"{text}\n", command=command)
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1, said.err
    assert words in said.err


def test_wrong_rows_of_a_trace_are_named(ask):
    said = ask("traffic: {trace: trace.csv}\n", command="simulate", trace=TRACE.replace("0.5,437", "0.5,0"))
    assert said.code == 2
    assert said.err.endswith(
        "trace.csv: row 3: num_prefill_tokens is 0; give a whole number of at least 1, or leave the row out\n"
    )


def test_a_prompt_that_no_memory_holds_is_named(ask):
    said = ask("traffic: {trace: trace.csv}\n", command="simulate", trace=TRACE.replace("0.5,437", "0.5,999999"))
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "request 2 has 999,999 prompt and 33 output tokens, but beside weights" in said.err
