"""The command that asks inverse questions."""

import csv
import io
import json

import pytest

from rooflinesim.cli.app import run


@pytest.fixture
def say(capsys):
    def call(*arguments):
        capsys.readouterr()
        code = run(["solve", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


BATCH = ("llama3-70b", "--gpu", "h100", "--tp", 8, "--target", "tpot=50ms", "--for", "batch")


def test_the_batch_within_a_time_per_token_at_each_context(say):
    code, out, err = say(*BATCH, "--context", "2k,32k", "--format", "json")
    assert code == 0, err
    answer = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert answer["schema"] == "rooflinesim/solve/1"
    assert [row["context_tokens"] for row in answer["rows"]] == [2048, 32768]
    for row in answer["rows"]:
        assert row["value_if_slow"] <= row["value"] <= row["value_if_fast"]
        assert row["reached"] <= 0.05
        assert (row["unit"], row["target_unit"]) == ("1", "s")
    assert answer["rows"][1]["fits"] is False
    assert answer["summary"]["value"] == answer["rows"][0]["value"]
    table = say(*BATCH, "--context", "2k,32k")[1]
    assert "Largest batch that keeps the time per output token within 50 ms" in table
    assert "context 32,768: but memory holds" in table
    lines = list(csv.DictReader(io.StringIO(say(*BATCH, "--format", "csv")[1])))
    assert float(lines[0]["value"]) == answer["rows"][0]["value"]


def test_never_is_an_answer_that_names_the_floor(say):
    code, out, _ = say("llama3-70b", "--gpu", "h100", "--tp", 8, "--target", "tpot=4ms", "--for", "batch")
    assert code == 0
    # 139 GB of weights in bf16 over eight devices of 3.35 TB/s.
    assert "weights alone takes 5.19 ms at 3.35 TB/s" in out
    assert "never: the time per output token comes no closer than" in out


def test_several_targets_are_solved_one_by_one(say):
    code, out, _ = say(*BATCH, "--target", "tokens-per-s=5000", "-q")
    assert code == 0
    assert out.count("Meta-Llama-3-70B on 8 x H100") == 2


@pytest.mark.parametrize(
    ("target", "unknown", "more", "words"),
    [
        ("tpot=10ms", "bandwidth", (), "The device has 3.35 TB/s"),
        ("tpot=30ms", "gpus", (), "Smallest number of devices"),
        ("ttft=1s", "prompt", (), "Largest prompt"),
        ("ttft=1s", "batch", ("--prompt", "2k"), "prompt  context  batch"),
        ("usd-per-mtok=1", "price", ("--batch", 64), "USD/h"),
        ("usd-per-mtok=1 USD", "batch", ("--price", "2.5 USD/h"), "Smallest batch that keeps the cost"),
        ("tokens-per-s-per-user>=20", "context", (), "Largest context that reaches a rate of each user of 20 tokens/s"),
        ("speedup=1.2x", "acceptance", ("--method", "ngram"), "draft"),
    ],
)
def test_other_questions(say, target, unknown, more, words):
    code, out, err = say("llama3-8b", "--gpu", "h100", "--target", target, "--for", unknown, *more, "-q")
    assert code == 0, err
    assert words in out


@pytest.mark.parametrize(
    ("target", "unknown", "more", "words"),
    [
        ("tpot", "batch", (), "--target: 'tpot' is no target; write it like tpot=50ms"),
        ("latency=5ms", "batch", (), "with one of tpot, tokens-per-s-per-user"),
        ("tpot=50", "batch", (), "--target tpot: '50' has no unit"),
        ("tpot=-1ms", "batch", (), "--target tpot: '-1ms' is not above zero"),
        ("tpot=nan", "batch", (), "--target tpot: 'nan' is not a quantity"),
        ("speedup=1.5", "batch", (), "speedup is about speculation: give a method"),
        ("speedup=1.5", "acceptance", ("--method", "draft-model"), "draft-model needs a draft: give --draft MODEL"),
        ("ttft=1s", "batch", (), "ttft is about prompts: give --prompt"),
        ("tpot=1s", "prompt", (), "tpot does not depend on a prompt"),
        ("usd-per-mtok=1", "batch", (), "give --price"),
        ("usd-per-mtok=1", "batch", ("--price", "2 EUR/h"), "--price: '2 EUR/h' is not in USD/h"),
        ("usd-per-mtok=1", "batch", ("--price", "0"), "--price: '0' is no price"),
        ("tpot=10ms", "link", (), "one device sends nothing; give --tp"),
        ("tpot=10ms", "speed", (), "'speed' is not one of"),
        ("tpot=10ms", "batch", ("--context", "1:100000:+1"), "questions are too many; at most 1,000"),
    ],
)
def test_mistakes_end_in_one_line(say, target, unknown, more, words):
    code, out, err = say("llama3-8b", "--gpu", "h100", "--target", target, "--for", unknown, *more)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
