"""The door of `speculate`: formats, the names that INTERFACE fixes, help, and mistakes in one line."""

import csv
import io
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest

import rooflinesim as rs
from rooflinesim.cli.app import run

HEAD = ("speculate", "llama3.3-70b", "--gpu", "h100-sxm", "--tp", "4", "--method", "eagle", "--draft", "eagle3")
SMALL = ("speculate", "llama3-8b", "--gpu", "h100-sxm", "--batch", "1,64")
FIELDS = (
    "batch",
    "context_tokens",
    "draft_length",
    "acceptance_rate",
    "tokens_per_round",
    "draft_time_s",
    "verify_time_s",
    "round_overhead_time_s",
    "round_time_s",
    "plain_step_time_s",
    "speedup",
    "speedup_low",
    "speedup_high",
    "tpot_s",
    "is_best",
)


@pytest.fixture
def cli(capsys):
    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(one) for one in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def answered(cli, *arguments: object) -> dict[str, Any]:
    code, out, _ = cli(*arguments, "--format", "json")
    assert code == 0

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(out, parse_constant=refuse)


def test_one_command_gives_a_schedule_over_every_batch_from_1_to_256(cli):
    found = answered(cli, *HEAD, "--acceptance", "0.75", "--batch", "1:256")
    assert found["schema"] == "rooflinesim/speculate/1"
    ranges = [tuple(map(int, one.split(":"))) for one in found["summary"]["schedule"]]
    assert ranges[0][0] == 1
    assert ranges[-1][1] == 256
    assert all(low <= high for low, high in ranges)
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(ranges))
    lengths = list(found["summary"]["schedule"].values())
    assert set(lengths) <= set(range(9))
    # Long drafts for few users, short ones for many.
    assert lengths[0] > lengths[-1]
    assert len(found["summary"]["short_schedule"]) <= len(lengths)


def test_rows_have_the_names_of_the_interface_and_the_summary_its_answers(cli):
    found = answered(cli, *HEAD, "--acceptance", "0.75", "--batch", "1,256", "--draft-length", "2,5")
    assert set(FIELDS) <= set(found["rows"][0])
    assert not any(name.startswith("tree_") for name in found["rows"][0])
    assert len(found["rows"]) == 4
    summary = found["summary"]
    assert set(summary["break_even_acceptance_rate"]) == {"1", "256"}
    assert {"draft_weight_bytes", "draft_kv_bytes_per_sequence", "max_batch", "plain_max_batch"} <= set(
        summary["memory"][0]
    )
    assert found["inputs"]["method"] == "eagle"
    assert found["inputs"]["acceptance"]["kind"] == "conditional"
    kinds = {one["what"]: one["kind"] for one in found["provenance"]}
    assert kinds["generic: speculation.round_time"] in ("assumed", "fitted")


def test_losing_is_a_batch_at_short_contexts_and_null_with_the_reason_at_long_ones(cli):
    # 70B on H100 reads caches at any batch beyond 1,476 tokens of context.
    arguments = (*HEAD, "--acceptance", "0.75", "--batch", "8", "--stack", "ideal")
    short = answered(cli, *arguments, "--context", "512")["summary"]
    long = answered(cli, *arguments, "--context", "16k")["summary"]
    assert short["losing_from_batch"] > 64
    assert f"loses from batch {short['losing_from_batch']}" in short["losing_reason"]
    assert long["losing_from_batch"] is None
    assert "16,384 tokens of context" in long["losing_reason"]
    assert "memory-bound at any batch" in long["losing_reason"]


def test_the_best_row_of_each_batch_is_that_of_the_schedule(cli):
    found = answered(cli, *HEAD, "--acceptance", "0.75", "--batch", "1:256", "--draft-length", "0:8:+1")
    schedule = {tuple(map(int, one.split(":"))): length for one, length in found["summary"]["schedule"].items()}
    for row in found["rows"]:
        if row["is_best"]:
            wanted = next(length for (low, high), length in schedule.items() if low <= row["batch"] <= high)
            assert row["draft_length"] == wanted


def test_trees_are_searched_and_named_by_nodes_and_depth(cli):
    found = answered(cli, *SMALL, "--method", "eagle", "--acceptance", "0.62,0.14,0.07,0.04", "--tree", "best:16:6")
    assert {"tree_nodes", "tree_depth"} <= set(found["rows"][0])
    first = next(iter(found["summary"]["schedule"].values()))
    last = list(found["summary"]["schedule"].values())[-1]
    assert first["tree_nodes"] > last["tree_nodes"]
    assert found["summary"]["break_even_reason"]


def test_a_tree_that_was_measured_takes_its_accepted_length(cli):
    found = answered(
        cli,
        *SMALL,
        "--method",
        "eagle",
        "--draft",
        "eagle2",
        "--tree",
        "steps=5 topk=4 draft_tokens=16",
        "--acceptance",
        "3.2",
        "--acceptance-kind",
        "length-with-bonus",
    )
    trees = [row for row in found["rows"] if row["tree_nodes"] > 1]
    assert {row["tokens_per_round"] for row in trees} == {3.2}
    assert {(row["tree_nodes"], row["tree_depth"]) for row in trees} == {(16, 5)}


@pytest.mark.parametrize(
    "method",
    [
        ("--method", "draft-model", "--draft", "llama3.2-1b"),
        ("--method", "draft-model", "--draft", "llama3.2-1b", "--draft-gpu", "4090", "--draft-weights", "int4"),
        ("--method", "draft-model", "--draft-cost", "0.05"),
        ("--method", "draft-model", "--draft-cost", "0.3 ms"),
        ("--method", "eagle"),
        ("--method", "eagle", "--draft", "fr-spec"),
        ("--method", "medusa", "--heads", "3", "--draft-length", "3"),
        ("--method", "mtp"),
        ("--method", "ngram", "--hit-rate", "0.4"),
        ("--method", "self", "--exit-layer", "8"),
        ("--method", "self", "--draft-context", "512"),
        ("--method", "lookahead", "--draft-length", "4"),
    ],
)
def test_every_method_answers_in_every_format(cli, method):
    for form in ("table", "json", "csv", "md"):
        code, out, _ = cli(*SMALL, *method, "--acceptance", "0.7", "--format", form)
        assert code == 0
        assert out.strip()
    rows = list(csv.DictReader(io.StringIO(cli(*SMALL, *method, "--acceptance", "0.7", "--format", "csv")[1])))
    assert set(FIELDS) <= set(rows[0])
    for row in rows:
        terms = sum(float(row[name]) for name in ("draft_time_s", "verify_time_s", "round_overhead_time_s"))
        assert float(row["round_time_s"]) == pytest.approx(terms)


def test_explain_says_what_each_term_costs_and_why_one_user_gains_less(cli):
    code, out, _ = cli(*HEAD, "--acceptance", "0.75", "--batch", "1", "--explain")
    assert code == 0
    for words in ("Why, at batch 1", "plain step", "verification", "draft passes", "weights+KV", "of a step"):
        assert words in out
    assert re.search(r"Speed-up: [\d.]+ x if a round cost one plain step, [\d.]+ by weights and KV alone", out)
    assert "fixed times, launches and collectives" in out


def test_explain_counts_costs_one_after_another(cli):
    found = answered(cli, *HEAD, "--acceptance", "0.75", "--batch", "1", "--explain")["summary"]["explanation"]
    parts = found["verification"]
    assert sum(parts[name] for name in parts if name != "time_s") == pytest.approx(parts["time_s"])
    assert found["speedup_if_a_round_cost_one_step"] > found["speedup_by_weights_and_kv"] > found["speedup"]


def test_explain_names_the_experts_that_verification_wakes(cli):
    found = answered(
        cli,
        *("speculate", "deepseek-v3", "--gpu", "h200", "--tp", "8", "--method", "mtp", "--stack", "ideal"),
        *("--acceptance", "0.85", "--draft-length", "1", "--batch", "1", "--explain"),
    )["summary"]["explanation"]
    # 256 experts, 8 per token, uniform: 8 and 256 (1 - (1 - 1/32)^2).
    assert found["experts_of_a_step"] == pytest.approx(8.0)
    assert found["experts_of_a_verification"] == pytest.approx(15.75)


def test_one_more_token_makes_latent_attention_compute_bound_on_h100(cli):
    # All 128 heads attend to one latent: 242 FLOP/B for one token, 484 for two; the ridge of an H100 lies between, at
    # 295. Over 8 devices each has 16 of the heads and reads the whole latent: far below it either way.
    flipped = [
        answered(
            cli,
            *("speculate", "deepseek-v3", "--gpu", "h100-sxm", "--tp", ranks, "--method", "mtp", "--stack", "ideal"),
            *("--acceptance", "0.85", "--draft-length", "1", "--batch", "1", "--context", "16k", "--explain"),
        )["summary"]["explanation"]["turned_compute_bound"]
        for ranks in (1, 8)
    ]
    assert flipped == [["layers0.attention.core", "layers1.attention.core"], []]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "eagle"), ["--acceptance is missing", "such as 0.8"]),
        (("--method", "eagle", "--acceptance", "1.2"), ["1.2", "from 0 to 1"]),
        (("--method", "eagle", "--acceptance", "nan"), ["nan", "from 0 to 1"]),
        (("--method", "eagle", "--acceptance", "much"), ["--acceptance", "'much'", "0.8"]),
        (
            ("--method", "eagle", "--acceptance", "9.5", "--acceptance-kind", "length", "--draft-length", "8"),
            ["9.5", "draft length 8", "at most 8"],
        ),
        (("--method", "eagle", "--acceptance", "0.5,0.7", "--acceptance-kind", "curve"), ["rises", "position 2"]),
        (("--method", "eagle", "--acceptance", "2,3", "--acceptance-kind", "length"), ["2 numbers", "takes one"]),
        (("--acceptance", "0.8"), ["--draft MODEL", "--draft-cost"]),
        (("--draft", "nosuch", "--acceptance", "0.8"), ["unknown model 'nosuch'"]),
        (("--method", "eagle", "--draft", "nosuch", "--acceptance", "0.8"), ["unknown draft head", "list drafts"]),
        (("--method", "self", "--exit-layer", "32", "--acceptance", "0.8"), ["32 layers", "1 to 31"]),
        (("--method", "self", "--acceptance", "0.8"), ["--exit-layer", "--draft-context"]),
        (("--method", "mtp", "--draft", "eagle3", "--acceptance", "0.8"), ["--draft", "mtp has no draft of its own"]),
        (("--method", "eagle", "--draft-gpu", "h100", "--acceptance", "0.8"), ["--draft-gpu goes with draft-model"]),
        (("--method", "eagle", "--tree", "3x", "--acceptance", "0.7"), ["'3x'", "4x2x1"]),
        (("--method", "eagle", "--tree", "0,5", "--acceptance", "0.7"), ["parent of node 2 is 5"]),
        (("--method", "eagle", "--tree", "best:1", "--acceptance", "0.7"), ["best:1", "2 to 256 nodes"]),
        (
            ("--method", "eagle", "--tree", "2/2/4", "--acceptance", "5", "--acceptance-kind", "length"),
            ["depth 2", "at most 3"],
        ),
        (("--draft-cost", "3 parsecs", "--acceptance", "0.7"), ["--draft-cost", "0.8 ms"]),
        (("--method", "eagle", "--draft-length", "5000", "--acceptance", "0.7"), ["5000", "0 to 4096"]),
        (("--method", "eagle", "--draft-length", "-1", "--acceptance", "0.7"), ["--draft-length"]),
        (("--method", "medusa", "--heads", "3", "--acceptance", "0.7"), ["draft length 8", "there are 3"]),
        (("--method", "telepathy", "--acceptance", "0.7"), ["telepathy", "lookahead"]),
        (("--method", "eagle", "--draft-tp", "3", "--acceptance", "0.7"), ["3", "heads"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_remedy(cli, arguments, words):
    code, out, err = cli(*SMALL, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_larger_draft_of_another_vocabulary_is_answered_and_said(cli):
    code, _, err = cli(*SMALL, "--draft", "qwen3-32b", "--acceptance", "0.8", "--draft-length", "2")
    assert code == 0
    assert "is no smaller than the target" in err
    assert "vocabularies differ: 151,936 entries" in err
    assert "128,256 in Meta-Llama-3-8B" in err


def test_a_draft_that_leaves_no_memory_is_an_answer_with_the_number(cli):
    code, _, err = cli(
        *("speculate", "llama3-8b", "--gpu", "4090", "--draft", "llama3-8b", "--acceptance", "0.8", "--batch", "1")
    )
    assert code == 0
    assert re.search(r"leaves no memory for a sequence of 2,048 tokens: [\d.]+ GB too little", err)


def test_a_relaxed_rule_is_flagged_and_the_kind_of_acceptance_named(cli):
    code, _, err = cli(
        *(*SMALL, "--method", "medusa", "--relaxed", "--acceptance", "0.45"),
        *("--acceptance-kind", "drafted", "--draft-length", "4"),
    )
    assert code == 0
    assert "the output is not exactly the target's" in err
    assert "acceptance (drafted) at draft length 4" in err
    assert "0.45 of drafted tokens" in err


def test_help_finds_the_command_and_its_options(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert "speculate" in out
    code, out, _ = cli("speculate", "--help")
    assert code == 0
    for option in ("--method", "--draft-gpu", "--draft-tp", "--tree", "--acceptance-kind", "--draft-length"):
        assert option in out


def test_the_same_question_is_a_call_with_arrays():
    target = rs.load_model("llama3-8b")
    found = rs.speculate(
        model=target,
        hardware=rs.load_hardware("h100-sxm"),
        stack=rs.load_stack("vllm"),
        drafting=rs.Drafting(method="eagle", draft=rs.load_draft("eagle3", target)),
        acceptance=rs.Acceptance(value=np.array([0.6, 0.7, 0.8])),
        draft_length=3,
        batch=[1, 8, 64],
    )
    frame = found.to_frame()
    assert list(frame["acceptance_rate"]) == [0.6, 0.7, 0.8]
    assert list(frame["batch"]) == [1, 8, 64]
    assert (frame["speedup"] > 1).all()
