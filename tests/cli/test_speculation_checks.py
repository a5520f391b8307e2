"""Simulated rounds and published speed-ups at the door."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rooflinesim.cli.app import app

SPEEDUPS = Path(__file__).parents[2].parent / "shared" / "data" / "e2e" / "specdec.csv"


def test_explanations_show_that_simulated_rounds_agree() -> None:
    words = "speculate llama3-8b --gpu h100 --method ngram --draft-length 0:4 --acceptance 0.6 --batch 8 --explain"
    found = CliRunner().invoke(app, [*words.split(), "--format", "json"])
    assert found.exit_code == 0
    simulation = json.loads(found.stdout)["summary"]["simulation"]
    assert simulation["agrees"] is True
    # At batch 8 the best length of 0:4 drafts four tokens: 1 + 0.6 + 0.36 + 0.216 + 0.1296.
    assert simulation["tokens_per_round"]["closed_form"] == pytest.approx(2.3056)
    assert simulation["rounds_of_slowest"]["mean"] > simulation["rounds_per_request"]["mean"]


@pytest.mark.skipif(not SPEEDUPS.is_file(), reason=f"no published runs at {SPEEDUPS}")
def test_tables_of_speculation_are_validated() -> None:
    found = CliRunner().invoke(app, ["validate", "--against", str(SPEEDUPS), "--by", "harness", "--format", "json"])
    assert found.exit_code == 0
    answer = json.loads(found.stdout)
    assert {row["unit"] for row in answer["rows"]} == {"1"}
    summary = answer["summary"]
    assert summary["n"] + summary["skipped"] == 458
    assert {group["group"] for group in summary["groups"]} == {"engine", "benchmark", "paper"}
    assert summary["mape"] < min(summary["leviathan_mape"], summary["constant_mape"])
