"""Scenarios that ask what speculation gains."""

import json
from pathlib import Path

import pytest

import rooflinesim as rs
from rooflinesim.cli.app import run

TEXT = """\
name: drafted
model: llama3.1-8b
hardware: [h100, l4]
stack: generic
batch: [1, 16]
context: 1k
speculation: {method: draft-model, draft: llama3.2-1b, draft_length: 0:4, acceptance_rate: [0.6, 0.9]}
"""


def asked(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def test_rows_are_those_of_speculate_for_each_device_and_acceptance(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["run", str(asked(tmp_path, TEXT)), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    # Two devices, two acceptances, two batches, and drafts of 0, 1, 2 and 4 tokens.
    assert len(rows) == 2 * 2 * 2 * 4
    mine = next(
        row
        for row in rows
        if (row["hardware"], row["acceptance_rate"], row["batch"], row["draft_length"]) == ("l4", 0.9, 16, 4)
    )
    alone = rs.speculate(
        model=rs.load_model("llama3.1-8b"), hardware=rs.load_hardware("l4"), stack=rs.load_stack("generic"),
        drafting=rs.Drafting(method="draft-model", draft=rs.load_model("llama3.2-1b")), acceptance=0.9,
        batch=16, context=1024, draft_length=4,
    ).rows[0]  # fmt: skip
    assert mine["speedup"] == pytest.approx(alone["speedup"], rel=1e-9)
    assert mine["tpot_s"] == pytest.approx(alone["tpot_s"], rel=1e-9)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("question: speculate\n", "speculation: missing"),
        ("speculation: {method: ngram}\n", "speculation.acceptance_rate: missing"),
        ("speculation: {method: eagle, draft: nobody, acceptance_rate: 0.8}\n", "nobody"),
        (
            "speculation: {method: ngram, acceptance_rate: 0.8}\nparallelism: {pipeline: 2}\n",
            "speculation is answered for tensor parallelism alone",
        ),
    ],
)
def test_what_cannot_be_answered_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str):
    path = asked(tmp_path, f"model: llama3.1-8b\nhardware: h100\n{line}")
    assert run(["run", str(path)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert words in said
