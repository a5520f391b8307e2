"""The door to figures: kinds, formats, overlays, mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.text import Text

from rooflinesim.cli.app import run

KINDS = ("roofline", "latency", "prefill", "crossover", "breakdown", "memory", "pareto")
STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
MODELS = {"dense": "llama3-8b", "mixture of experts": "qwen3-30b-a3b", "latent attention": "deepseek-v2-lite"}


def drawn(folder: Path, *arguments: object, form: str = "svg") -> bytes:
    """A figure's file; the command said nothing."""
    output = folder / f"figure.{form}"
    assert run(["plot", *map(str, arguments), "-o", str(output), "--quiet"]) == 0
    return output.read_bytes()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_for_every_kind_of_model(kind, model, tmp_path, capsys):
    assert drawn(tmp_path, kind, MODELS[model], "--gpu", "h100").startswith(b"<?xml")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize("form", STARTS)
def test_the_suffix_says_the_format(form, tmp_path):
    assert drawn(tmp_path, "memory", "llama3-8b", "--gpu", "h100", form=form).startswith(STARTS[form])


def test_the_same_command_writes_the_same_bytes_in_every_process(tmp_path):
    code = "from rooflinesim.cli.app import main; main()"
    command = ["plot", "latency", "llama3-8b", "--gpu", "h100", "-q", "-o", "figure.svg"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "7", "LANG": "C", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    other = (tmp_path / "figure.svg").read_bytes()
    assert drawn(tmp_path, "latency", "llama3-8b", "--gpu", "h100") == other


def test_neither_a_strange_backend_nor_a_missing_font_of_the_readers_stops_a_figure(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.family: No Such Font\nbackend: nonsense\nno.such.key: 1\n")
    code = "from rooflinesim.cli.app import main; main()"
    command = ["plot", "memory", "llama3-8b", "--gpu", "h100", "-q", "-o", "figure.svg"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *command],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "nonsense", "DISPLAY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = (tmp_path / "figure.svg").read_bytes()
    assert drawn(tmp_path, "memory", "llama3-8b", "--gpu", "h100") == found


@pytest.mark.parametrize("kind", KINDS)
def test_several_models_and_devices_lie_over_each_other(kind, tmp_path):
    assert drawn(tmp_path, kind, "llama3-8b", "--gpu", "h100,a100", "--gpu", "l40s") != drawn(
        tmp_path, kind, "llama3-8b", "llama2-7b", "--gpu", "h100"
    )


def test_two_deployments_are_told_apart_by_splits_too(tmp_path):
    assert drawn(tmp_path, "breakdown", "llama3-8b", "--gpu", "h100", "--tp", "1,8", "--batch", "64")
    assert drawn(tmp_path, "latency", "llama3-8b", "--gpu", "h100", "--context", "2k,32k")


def test_pipelines_experts_and_data_parallelism_are_drawn_too(tmp_path):
    layout = ["--gpu", "h200", "--dp", "2", "--ep", "4"]
    assert drawn(tmp_path, "memory", "qwen3-30b-a3b", *layout, "--tp", "2,4", "--pp", "2")
    # Experts in 4 shares need 4 devices: TP 1 x DP 2 is left out.
    assert drawn(tmp_path, "pareto", "qwen3-30b-a3b", *layout)


def test_speculation_is_drawn_for_one_target_and_for_several(tmp_path):
    asked = ["--gpu", "h100", "--acceptance", "0.8"]
    alone = drawn(tmp_path, "speculation", "llama3-8b", "--draft", "llama3.2-1b", *asked)
    assert drawn(tmp_path, "speculation", "llama3-8b", "llama2-7b", "--draft", "llama3.2-1b", *asked) != alone
    assert drawn(tmp_path, "speculation", "deepseek-v3", "--tp", "8", "--method", "mtp", *asked)
    measured = ["--acceptance", "2.8", "--acceptance-kind", "length-with-bonus", "--acceptance-at", "4"]
    assert drawn(tmp_path, "speculation", "llama3-8b", "--draft-cost", "0.1", "--gpu", "h100", *measured)


def test_notes_go_to_stderr(tmp_path, capsys):
    assert run(["plot", "memory", "gpt-oss-20b", "--gpu", "h100", "-o", str(tmp_path / "a.svg")]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "note: 'h100' is taken as H100-SXM5-80GB" in said.err
    assert "note: experts are chosen" in said.err


MISTAKES = [
    (["latency", "llama3-8b", "--gpu", "h100", "-o", "a.jpg"], "a.jpg: '.jpg' is no format of figures"),
    (["latency", "llama3-8b", "--gpu", "h100", "-o", "figure"], "figure: the name has no suffix"),
    (["latency", "llama3-8b", "--gpu", "h100", "-o", "no/such/folder/a.svg"], "cannot be written"),
    (["latency", "llama3-8b", "--gpu", "h100"], "Missing option '--output'"),
    (["latency", "llama3-8b", "-o", "a.svg"], "--gpu is missing"),
    (["latency", "llama3-8b", "--gpu", "h100", "--prompt", "1:8", "-o", "a.svg"], "--prompt: latency draws decoding"),
    (["prefill", "llama3-8b", "--gpu", "h100", "--prompt", "64", "-o", "a.svg"], "a curve needs at least two values"),
    (["latency", "llama3-8b", "--gpu", ",", "-o", "a.svg"], "--gpu is missing"),
    (["pie", "llama3-8b", "--gpu", "h100", "-o", "a.svg"], "'pie' is not one of"),
    (["latency", "llama3-8b", "--gpu", "h100", "--batch", "8", "-o", "a.svg"], "a curve needs at least two values"),
    (["crossover", "llama3-8b", "--gpu", "h100", "--batch", "1:8", "-o", "a.svg"], "crossover looks for the batch"),
    (["memory", "llama3-8b", "--gpu", "h100", "--batch", "1:8", "-o", "a.svg"], "--batch: '1:8' names 4 points"),
    (["roofline", "llama3-8b", "--gpu", "h100", "--context", "1k:8k", "-o", "a.svg"], "--context: '1k:8k' names 4"),
    (["latency", "llama3-8b", "--gpu", "h100", "--tp", "3", "-o", "a.svg"], "tensor parallelism 3 does not divide"),
    (["pareto", "llama3-8b", "--gpu", "h100", "--tp", "3", "-o", "a.svg"], "tensor parallelism 3 does not divide"),
    (["latency", "llama3-8b", "--gpu", "h100", "--tp", "1:128", "-o", "a.svg"], "give at most 7"),
    (["latency", "llama3-8b", "llama3-8b", "--gpu", "h100", "-o", "a.svg"], "two of the deployments are the same"),
    (["latency", "no-such-model", "--gpu", "h100", "-o", "a.svg"], "unknown model 'no-such-model'"),
    (["speculation", "llama3-8b", "--gpu", "h100", "-o", "a.svg"], "--acceptance is missing"),
    (["speculation", "llama3-8b", "--gpu", "h100", "--acceptance", "0.8", "-o", "a.svg"], "draft-model needs a draft"),
    (
        ["speculation", "llama3-8b", "--gpu", "h100", "--acceptance", "0.8,0.6", "-o", "a.svg"],
        "'0.8,0.6' has several numbers",
    ),
    (
        ["speculation", "llama3-8b", "llama2-7b", "--gpu=h100", "--method=eagle", "--acceptance=0.8", "-o", "a.svg"],
        "a head belongs to one model",
    ),
    (["validation", "no-such-file.csv", "-o", "a.svg"], "no-such-file.csv"),
]


@pytest.mark.parametrize(("command", "words"), MISTAKES)
def test_mistakes_end_in_one_line_and_leave_no_file(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["plot", *command]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert words in said.err
    assert list(tmp_path.iterdir()) == []


def test_measured_deployments_are_drawn_by_any_column(shared, tmp_path, capsys):
    file = shared / "data" / "e2e" / "decode.csv"
    assert drawn(tmp_path, "validation", file, "--by", "gpu").startswith(b"<?xml")
    assert run(["plot", "validation", str(file), "--by", "colour", "-o", str(tmp_path / "b.svg")]) == 2
    assert "no column 'colour' to group by; there are" in capsys.readouterr().err


def test_measured_speed_ups_are_drawn_as_ratios_and_not_among_times(shared, tmp_path, capsys):
    file = shared / "data" / "e2e" / "specdec.csv"
    assert drawn(tmp_path, "validation", file, "--by", "source").startswith(b"<?xml")
    assert run(["plot", "validation", str(file), "published", "-o", str(tmp_path / "b.svg")]) == 2
    assert "the measurements are in 1 and s; draw files of one kind at a time" in capsys.readouterr().err


def test_answers_draw_themselves():
    import rooflinesim as rs

    asked = {
        "model": rs.load_model("llama3-8b"),
        "hardware": rs.load_hardware("h100"),
        "stack": rs.load_stack("generic"),
    }
    answers = {
        rs.decode(batch=[1, 8, 64], context=2048, **asked): "Latency and throughput of decoding",
        rs.decode(batch=8, context=2048, **asked): "Latency and throughput of decoding",
        rs.prefill(prompt=512, **asked): "Time to first token",
        rs.decode_ops(batch=8, **asked): "Roofline of a decode step, one device",
        rs.crossover(**asked): "Batch at which decoding flips, over context",
        rs.memory(**asked): "Memory of one device",
        rs.speculate(
            drafting=rs.Drafting(draft=rs.load_model("llama3.2-1b")), acceptance=0.8, batch=[1, 64], **asked
        ): "Speed-up of speculation",
    }
    for answer, title in answers.items():
        assert title in [text.get_text() for text in answer.plot().findobj(Text)]
