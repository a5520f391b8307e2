"""Commands about scenario files, and the sweeps that they start, kill and take up again."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflinesim.cli.app import run

ENTRY = "from rooflinesim.cli.app import main; main()"
SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))
SMALL = "name: small\nmodel: llama3-8b\nhardware: [h100, l4]\nbatch: [1, 8]\ncontext: [1k, 4k]\n"


class Said:
    """What one command line said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Cli = Callable[..., Said]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = run([str(one) for one in arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_example_answers_and_passes_check(cli: Cli, path: Path):
    said = cli("run", path, "--format", "json")
    assert said.code == 0, said.err
    answer = json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert answer["schema"] == "rooflinesim/run/1"
    assert answer["rows"]
    assert {row["scenario"] for row in answer["rows"]} == set(answer["summary"]["scenarios"])
    assert answer["provenance"]
    assert cli("check", path).out == f"ok: {path}: scenario\n"


def test_there_are_examples():
    assert len(SCENARIOS) >= 7


def test_run_shows_axes_in_all_formats(cli: Cli, small: Path):
    table = cli("run", small)
    assert table.code == 0
    assert table.out.splitlines()[0] == "small"
    assert table.out.count("h100") == table.out.count("l4") == 4
    rows = json.loads(cli("run", small, "--format", "json").out)["rows"]
    assert [(row["hardware"], row["context_tokens"], row["batch"]) for row in rows[:3]] == [
        ("h100", 1024, 1),
        ("h100", 1024, 8),
        ("h100", 4096, 1),
    ]
    lines = list(csv.DictReader(io.StringIO(cli("run", small, "--format", "csv").out)))
    assert [float(line["step_time_s"]) for line in lines] == [row["step_time_s"] for row in rows]
    markdown = cli("run", small, "--format", "md").out
    assert "| hardware |" in markdown
    assert markdown.count("|\n") == 2 + 8


def test_run_is_no_wider_than_the_terminal(small: Path):
    """The program itself, on a terminal of 60 columns."""
    import pty

    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "NO_COLOR": "1"}
    subprocess.run([sys.executable, "-c", ENTRY, "run", str(small), "-q"], stdout=follower, env=environment, check=True)
    os.close(follower)
    lines = os.read(leader, 100_000).decode().splitlines()
    os.close(leader)
    assert max(len(line) for line in lines[3:]) <= 60


def test_several_questions_are_one_answer(cli: Cli, tmp_path: Path):
    path = tmp_path / "several.yaml"
    path.write_text(
        "name: one\nmodel: llama3-8b\nhardware: h100\nbatch: 1\n---\n"
        "name: two\nquestion: crossover\nmodel: llama3-8b\nhardware: [h100, l4]\n---\n"
        "name: three\nquestion: memory\nmodel: llama3-8b\nhardware: l4\nbatch: 4\ncontext: 8k\n---\n"
        "name: four\nmodel: llama3-8b\nhardware: l4\nprompt: 2k\n"
    )
    rows = json.loads(cli("run", path, "--format", "json").out)["rows"]
    of = {name: [row for row in rows if row["scenario"] == name] for name in ("one", "two", "three", "four")}
    assert of["one"][0]["step_time_s"] > 0
    assert {row["hardware"] for row in of["two"]} == {"h100", "l4"}
    assert "weight_gemms" in {row["scope"] for row in of["two"]}
    assert of["three"][0]["part"]
    assert (of["three"][0]["batch"], of["three"][0]["context_tokens"]) == (4, 8192)
    assert of["four"][0]["ttft_s"] > 0
    table = cli("run", path).out
    assert all(word in table for word in ("one", "weight GEMMs", "KV cache and states", "TTFT ms"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("question: plan\n", "traffic: missing; write it like"),
        ("question: prefill\n", "prompt: missing"),
        ("parallelism: {tensor: 3}\n", "tensor parallelism 3 does not divide"),
        ("batch: 1:2000:+1\ncontext: 1:2000:+1\n", "4,000,000 points"),
        ("question: memory\nbatch: 1:200:+1\n", "are too many to show; at most 100"),
        ("precision: {weights: fp7}\n", "fp7"),
    ],
)
def test_run_says_what_it_cannot(cli: Cli, tmp_path: Path, text: str, words: str):
    path = tmp_path / "asked.yaml"
    path.write_text(f"model: llama3-8b\nhardware: h100\n{text}")
    said = cli("run", path)
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert words in said.err


def test_deployments_that_cannot_be_are_noted(cli: Cli, tmp_path: Path):
    path = tmp_path / "asked.yaml"
    path.write_text("model: llama3-8b\nhardware: h100\nparallelism: {tensor: [1, 3, 5]}\nbatch: 1\n")
    said = cli("run", path)
    assert said.code == 0
    assert "note: left out: tensor_parallel 3: tensor parallelism 3 does not divide 32 heads" in said.err
    assert "note: left out: tensor_parallel 5" in said.err


def test_sweep_says_its_size_before_and_what_it_wrote_after(cli: Cli, small: Path, tmp_path: Path):
    said = cli("sweep", small, "-o", tmp_path / "out.csv")
    assert said.code == 0
    assert said.out.endswith("out.csv: 8 rows, 3.17 kB\n") or ": 8 rows, " in said.out
    assert "8 points (2 hardware x 2 context_tokens x 2 batch), 32 fields: about " in said.err
    manifest = json.loads((tmp_path / "out.csv.manifest.json").read_text())
    assert manifest["rows"] == manifest["points"] == 8
    assert manifest["axes"]["hardware"] == {"values": 2, "first": "h100", "last": "l4"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out.txt"], "no known suffix; name the file .csv or .parquet"),
        (["-o", "absent/out.csv"], "there is no folder"),
        (["-o", "out.csv", "--top", "3"], "--top and --by go together"),
        (["-o", "out.csv", "--top", "3", "--by", "speed"], "--by: no column 'speed'"),
        (["-o", "out.csv", "--top", "3", "--by", "hardware"], "--by: hardware holds words"),
        (["-o", "out.csv", "--fields", "batch,step_time"], "--fields: no column 'step_time'; did you mean step_time_s"),
        (["-o", "out.csv", "--fields", ","], "--fields: names no column"),
        (["-o", "out.csv", "--filter", "batch >"], "--filter: 'batch >' is no expression"),
        (["-o", "out.csv", "--filter", "fits and"], "is no expression"),
    ],
)
def test_mistakes_of_a_sweep_are_one_line(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
):
    monkeypatch.chdir(tmp_path)
    said = cli("sweep", small, *arguments, "-q")
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert words in said.err
    assert [one.name for one in tmp_path.iterdir()] == ["small.yaml"]


def test_a_sweep_takes_one_scenario(cli: Cli, tmp_path: Path):
    path = tmp_path / "two.yaml"
    path.write_text(f"{SMALL}---\n{SMALL}")
    assert "holds 2 scenarios" in cli("sweep", path, "-o", tmp_path / "out.csv").err


def test_schema_of_a_scenario_names_axes(cli: Cli):
    schema = json.loads(cli("schema", "scenario").out)
    text = json.dumps(schema)
    assert "1:256:+16" in text
    assert set(schema["properties"]) >= {"model", "hardware", "parallelism", "traffic", "objective", "price"}


LARGE = "model: llama3-70b\nhardware: h100\nparallelism: {tensor: [4, 8]}\nbatch: 1:500:+1\ncontext: 1:32001:+32\n"
FIELDS = "batch,context_tokens,tensor_parallel,step_time_s,tokens_per_s,bound,fits,kv_bytes,mbu,resident_bytes"


def command(scenario: Path, output: Path) -> list[str]:
    asked = ["sweep", str(scenario), "-o", str(output), "-q", "--fields", FIELDS, "--workers", "2"]
    return [sys.executable, "-c", ENTRY, *asked]


def swept(scenario: Path, output: Path) -> None:
    subprocess.run(command(scenario, output), stdout=subprocess.DEVNULL, check=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million points, swept without a break."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "large.yaml").write_text(LARGE)
    swept(folder / "large.yaml", folder / "alone.parquet")
    return folder / "alone.parquet"


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_million_points_stopped_on_the_way_end_as_if_they_had_not_been(
    alone: Path, tmp_path: Path, stop: signal.Signals, code: int
):
    """Stopped once two of its eight parts are there, the sweep goes on to the same bytes."""
    scenario, output = alone.with_name("large.yaml"), tmp_path / "stopped.parquet"
    parts = tmp_path / "stopped.parquet.parts"
    for _ in range(5):
        with subprocess.Popen(
            command(scenario, output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            while process.poll() is None and len(list(parts.glob("part-*.json"))) < 2:
                time.sleep(0.01)
            process.send_signal(stop)
            said = process.communicate()[1].decode()
        if process.returncode != 0:
            break
        # On a busy machine the sweep can be over before this test sees its second part.
        output.unlink()
    assert process.returncode == code
    if stop == signal.SIGINT:
        assert "the same command goes on" in said
    assert not output.exists()
    assert parts.is_dir()
    swept(scenario, output)
    assert digest(output) == digest(alone)
    assert not parts.exists()


def test_a_million_points_read_back_equal_from_csv_and_parquet(alone: Path, tmp_path: Path):
    import pandas as pd

    from rooflinesim.report.sweep_file import SweepFile

    swept(alone.with_name("large.yaml"), tmp_path / "a.csv")
    frames = [SweepFile(path=path, points=0, rows=0, rejected=()).to_frame() for path in (tmp_path / "a.csv", alone)]
    assert frames[0].shape == (1_001_000, 10)
    pd.testing.assert_frame_equal(*frames, check_exact=True)
