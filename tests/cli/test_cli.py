"""Does the door work: help, formats, files, mistakes, exit codes, and how quick it opens."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.cli.app import run
from rooflinesim.report.answer import Answer

ENTRY = "from rooflinesim.cli.app import main; main()"
QUESTIONS = ("decode", "prefill", "crossover", "memory")
FORMATS = ("table", "json", "csv", "md")

MODEL = """\
name: Tiny-1B
source: made up
hidden_size: 2048
vocabulary: 32000
layers:
  - count: 16
    attention: {heads: 32, kv_heads: 8, key_size: 64, value_size: 64}
    mlp: {width: 8192}
    norm_parameters: 4096
final_norm_parameters: 2048
"""
DEVICE = """\
name: Test-GPU
aliases: [test-gpu]
vendor: Nobody
architecture: none
memory_type: HBM3
memory_capacity: 16 GB
memory_bandwidth: 1 TB/s
dense_flop_rate: {bf16: 100 TFLOP/s, fp32: 50 TFLOP/s}
link: {name: wire, bandwidth: 100 GB/s, devices: 8}
source: made up
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


class Said:
    """What one command line said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Cli = Callable[..., Said]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command line in this process."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = run([str(one) for one in arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MODEL)
    return path


@pytest.fixture
def gpu(tmp_path: Path) -> Path:
    path = tmp_path / "gpu.yaml"
    path.write_text(DEVICE)
    return path


@pytest.fixture
def asked(model: Path, gpu: Path) -> Callable[..., list[object]]:
    """A whole command line for each question."""

    def arguments(question: str, *more: object) -> list[object]:
        needed = ["--prompt", "512"] if question == "prefill" else []
        return [question, model, "--gpu", gpu, *needed, *more]

    return arguments


def mistake(said: Said, *parts: str) -> str:
    """The one line that a mistake of the user ends in, which names these parts."""
    assert said.code == 2
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in said.err
    for part in parts:
        assert part in lines[0]
    return lines[0]


def process(
    *arguments: object, timeout: float = 60, code: str = ENTRY, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


# --- help and start-up -----------------------------------------------------------------------------


def test_help_names_every_command_and_loads_no_numpy():
    code = (
        "import sys; from rooflinesim.cli.app import run; run(['--help'])\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'torch', 'yaml', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = process(code=code)
    assert (done.returncode, done.stderr) == (0, "")
    for command in (*QUESTIONS, "list", "show", "check", "schema"):
        assert command in done.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_decode_loads_neither_pandas_nor_matplotlib_nor_torch(asked, form):
    code = (
        "import sys; from rooflinesim.cli.app import run; code = run(sys.argv[1:])\n"
        "heavy = {'pandas', 'matplotlib', 'torch', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else code)"
    )
    done = process(*asked("decode", "--format", form, "--quiet"), code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", [*QUESTIONS, "list", "show", "check", "schema"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(cli, command, flag):
    said = cli(command, flag)
    assert (said.code, said.err) == (0, "")
    assert f"rooflinesim {command}" in said.out


def test_version_is_that_of_the_package(cli):
    from rooflinesim import __version__

    said = cli("--version")
    assert (said.code, said.out, said.err) == (0, f"rooflinesim {__version__}\n", "")


def test_no_arguments_show_the_help_without_an_empty_error(cli):
    said = cli()
    assert "decode" in said.out + said.err
    assert not re.search(r"^error:\s*(\(|$)", said.err, flags=re.MULTILINE)


def test_a_mistake_in_a_process_of_its_own_exits_2_without_a_traceback(model):
    done = process("decode", model, "--gpu", "h100x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown GPU 'h100x'; did you mean h100")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_failure(asked):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *map(str, asked("decode", "--quiet"))],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert done.stderr == b""
    # 1 is the code of `check` and `validate` for "found a failure"; 141 is the shell's word for SIGPIPE.
    assert done.returncode in (0, 141)


def test_an_interrupt_exits_130(cli, asked, monkeypatch):
    def interrupted(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Answer, "to_text", interrupted)
    said = cli(*asked("decode"))
    assert (said.code, said.out) == (130, "")
    assert "Traceback" not in said.err


def test_a_bug_keeps_its_traceback(asked, monkeypatch):
    def broken(*_: Any, **__: Any) -> str:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Answer, "to_text", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run([str(one) for one in asked("decode")])


# --- output formats --------------------------------------------------------------------------------

INTERFACE_ROWS = {
    "decode": (
        "batch context_tokens step_time_s step_time_low_s step_time_high_s tokens_per_s_per_user tokens_per_s"
        " memory_time_s compute_time_s network_time_s overhead_time_s bound weight_bytes kv_bytes"
        " activation_bytes network_bytes flop resident_bytes fits mbu mfu"
    ),
    "prefill": (
        "batch prompt_tokens ttft_s ttft_low_s ttft_high_s memory_time_s compute_time_s network_time_s"
        " overhead_time_s weight_bytes kv_bytes activation_bytes network_bytes"
    ),
    "crossover": "scope op batch batch_stay context_limit_tokens reason",
    "memory": "part resident_bytes streamed_bytes",
}
OPS_ROW = "op count kind dtype flop weight_bytes kv_bytes activation_bytes network_bytes intensity time_s share bound"


def strict(text: str) -> Any:
    """JSON without the words that JSON does not have."""

    def refused(word: str) -> None:
        raise AssertionError(f"{word} in JSON")

    return json.loads(text, parse_constant=refused)


@pytest.mark.parametrize("question", QUESTIONS)
def test_json_has_the_shape_and_the_names_of_the_interface(cli, asked, question):
    said = cli(*asked(question, "--format", "json"))
    assert said.code == 0
    answer = strict(said.out)
    assert list(answer) == ["schema", "version", "inputs", "provenance", "rows", "summary", "notes"]
    assert answer["schema"] == f"rooflinesim/{question}/1"
    for name in INTERFACE_ROWS[question].split():
        assert name in answer["rows"][0]
    for one in answer["provenance"]:
        assert set(one) == {"what", "value", "unit", "kind", "source"}
        assert one["kind"] in ("datasheet", "measured", "fitted", "assumed")
    assert answer["inputs"]["model"]["name"] == "Tiny-1B"
    assert answer["inputs"]["hardware"]["hash"]


def test_the_operations_have_the_names_of_the_interface_and_sum_to_the_step(cli, asked):
    said = cli(*asked("decode", "--ops", "--batch", "4", "--format", "json"))
    rows = strict(said.out)["rows"]
    assert list(rows[0]) == OPS_ROW.split()
    whole = strict(cli(*asked("decode", "--batch", "4", "--format", "json")).out)["rows"][0]
    assert math.fsum(row["time_s"] for row in rows) == pytest.approx(whole["step_time_s"], rel=1e-12)
    assert math.fsum(row["weight_bytes"] for row in rows) == whole["weight_bytes"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_csv_holds_the_numbers_of_json_under_the_same_names(cli, asked, question):
    rows = strict(cli(*asked(question, "--format", "json")).out)["rows"]
    table = list(csv.DictReader(io.StringIO(cli(*asked(question, "--format", "csv")).out)))
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        assert list(cells) == list(row)
        for name, value in row.items():
            if value is None:
                assert cells[name] == ""
            elif isinstance(value, bool):
                assert cells[name] == str(value).lower()
            elif isinstance(value, (int, float)):
                assert float(cells[name]) == value
            else:
                assert cells[name] == value


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stack", ["ideal", "generic"])
def test_no_output_holds_a_number_that_is_none(cli, asked, question, form, stack):
    said = cli(*asked(question, "--format", form, "--stack", stack))
    assert said.code == 0
    assert said.out.endswith("\n")
    assert not re.search(r"\b(nan|inf|infinity|none)\b", said.out, flags=re.IGNORECASE)


@pytest.mark.parametrize("question", QUESTIONS)
def test_results_go_to_stdout_and_notes_to_stderr_only(cli, asked, question):
    loud, quiet = cli(*asked(question, "--stack", "ideal")), cli(*asked(question, "--stack", "ideal", "--quiet"))
    assert loud.out == quiet.out
    assert "note:" not in loud.out
    assert quiet.err == ""
    assert "note: stack ideal is a bound, not a prediction: it has no error band\n" in loud.err
    assert all(line.startswith("note: ") for line in loud.err.splitlines())


def test_verbose_lists_every_number_that_was_not_counted(cli, asked):
    said = cli(*asked("decode", "--verbose"))
    assert "Test-GPU: memory_bandwidth = 1 TB/s (datasheet: made up)" in said.err
    assert re.search(r"generic: sequence_time = \S+ .?s \(fitted: ", said.err)


def test_a_markdown_table_has_one_rule_and_as_many_cells_in_every_row(cli, asked):
    out = cli(*asked("decode", "--format", "md")).out
    lines = [line.strip("|") for line in out.splitlines() if "|" in line]
    assert re.fullmatch(r"[ :]*-+[ :]*(?:\|[ :]*-+[ :]*)+", lines[1])
    assert {line.count("|") for line in lines} == {9}
    assert len(lines) == 2 + 9


def test_no_colour_is_written_where_no_terminal_is(asked):
    done = process(*asked("decode"), env={**os.environ, "TERM": "xterm-256color"})
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_decode_without_a_batch_shows_1_to_256_at_context_2048(cli, asked):
    rows = strict(cli(*asked("decode", "--format", "json")).out)["rows"]
    assert [row["batch"] for row in rows] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert {row["context_tokens"] for row in rows} == {2048}


def test_ranges_of_batch_and_context_span_a_grid(cli, asked):
    said = cli(*asked("decode", "--batch", "1,8", "--context", "1k:4k", "--format", "json"))
    points = [(row["batch"], row["context_tokens"]) for row in strict(said.out)["rows"]]
    assert points == [(1, 1024), (8, 1024), (1, 2048), (8, 2048), (1, 4096), (8, 4096)]


def test_explain_says_what_binds_and_what_more_would_buy(cli, asked):
    said = cli(*asked("decode", "--batch", "1", "--explain", "--stack", "ideal"))
    assert "the step is bound by memory" in said.out
    assert re.search(r"memory bandwidth +9\.\d % +1\.00", said.out)


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "form"), [("json", "json"), ("csv", "csv"), ("md", "md"), ("txt", "table")])
def test_the_suffix_of_the_output_chooses_the_format(cli, asked, tmp_path, suffix, form):
    file = tmp_path / f"answer.{suffix}"
    said = cli(*asked("decode", "-o", file))
    assert (said.code, said.out) == (0, "")
    assert file.read_text() == cli(*asked("decode", "--format", form)).out
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_a_format_that_is_asked_for_wins_over_the_suffix(cli, asked, tmp_path):
    file = tmp_path / "answer.csv"
    assert cli(*asked("decode", "-o", file, "--format", "json")).code == 0
    assert strict(file.read_text())["schema"] == "rooflinesim/decode/1"


def test_a_written_file_is_one_that_others_may_read(cli, asked, tmp_path):
    file = tmp_path / "answer.csv"
    old = os.umask(0o022)
    try:
        assert cli(*asked("decode", "-o", file)).code == 0
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o644


def test_an_output_in_a_folder_that_is_not_there_is_refused(cli, asked, tmp_path):
    file = tmp_path / "missing" / "answer.csv"
    mistake(cli(*asked("decode", "-o", file)), str(file), "cannot be written", "writable folder")
    assert not file.parent.exists()


def test_an_output_below_a_file_is_refused(cli, asked, model):
    mistake(cli(*asked("decode", "-o", model / "answer.csv")), "cannot be written")
    assert model.read_text() == MODEL


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_in_a_folder_without_permission_is_refused(cli, asked, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    mistake(cli(*asked("decode", "-o", folder / "answer.csv")), "cannot be written")


def test_a_directory_as_output_is_refused_and_left_alone(cli, asked, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    mistake(cli(*asked("decode", "-o", folder)), str(folder), "directory", "name a file")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("failing", ["write", "rename"])
def test_an_existing_file_is_kept_when_writing_fails(cli, asked, tmp_path, monkeypatch, failing):
    file = tmp_path / "answer.csv"
    file.write_text("kept\n")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    if failing == "write":
        from rooflinesim.report import files

        monkeypatch.setattr(files.os, "fdopen", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    mistake(cli(*asked("decode", "-o", file)), str(file), "No space left on device")
    assert file.read_text() == "kept\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["answer.csv", "gpu.yaml", "tiny.yaml"]


def test_an_existing_file_is_kept_when_the_question_is_a_mistake(cli, asked, tmp_path):
    file = tmp_path / "answer.csv"
    file.write_text("kept\n")
    mistake(cli(*asked("decode", "-o", file, "--tp", "3")))
    assert file.read_text() == "kept\n"


def test_a_pipe_or_device_as_output_is_not_replaced_by_a_file(cli, asked, tmp_path):
    """As /dev/null and /dev/stdout are: renaming a file over them would break the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # so that a writer need not wait
    try:
        said = cli(*asked("decode", "--batch", "1", "-o", pipe, "--format", "csv"))
        assert pipe.is_fifo()
        if said.code == 0:
            assert os.read(reader, 1 << 16).startswith(b"batch,context_tokens,")
        else:
            mistake(said, str(pipe))
    finally:
        os.close(reader)


def test_an_output_that_is_a_link_stays_one(cli, asked, tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old\n")
    link.symlink_to(target)
    assert cli(*asked("decode", "-o", link)).code == 0
    assert link.is_symlink()
    assert target.read_text().startswith("batch,")


# --- mistakes on the command line ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["decode"], ["MODEL"]),
        (["decode", "MODEL"], ["--gpu"]),
        (["decod", "MODEL", "--gpu", "GPU"], ["'decod'", "decode"]),
        (["decode", "MODEL", "--gpu", "GPU", "--bacth", "1"], ["--bacth", "--batch"]),
        (["decode", "MODEL", "--gpu", "GPU", "--format", "xml"], ["--format", "'xml'", "json"]),
        (["decode", "MODEL", "--gpu", "h100-sxmm"], ["'h100-sxmm'", "did you mean", "h100-sxm", "list gpus"]),
        (["decode", "lama3-70b", "--gpu", "GPU"], ["'lama3-70b'", "list models"]),
        (["decode", "", "--gpu", "GPU"], ["model ''", "list models"]),
        (["decode", "MODEL", "--gpu", ""], ["GPU ''", "list gpus"]),
        (["decode", "MODEL", "--gpu", "GPU", "--stack", "genric"], ["'genric'", "generic", "list stacks"]),
        (["decode", "MODEL", "--gpu", "GPU", "--weights", "bf61"], ["'bf61'", "bf16"]),
        (["decode", "MODEL", "--gpu", "GPU", "--kv", "int5"], ["'int5'", "int4"]),
        (["decode", "MODEL", "--gpu", "missing.yaml"], ["missing.yaml", "no such file"]),
        (["decode", "missing/config.json", "--gpu", "GPU"], ["missing/config.json", "no such file"]),
        (["decode", "/dev/null.gguf", "--gpu", "GPU"], ["/dev/null.gguf", "no such file"]),
        (["decode", "~nobody-has-this-name/model.yaml", "--gpu", "GPU"], ["~nobody-has-this-name"]),
        (["prefill", "MODEL", "--gpu", "GPU"], ["--prompt"]),
        (["prefill", "MODEL", "--gpu", "GPU", "--prompt", "0"], ["--prompt", "0"]),
        (["prefill", "MODEL", "--gpu", "GPU", "--prompt", "many"], ["--prompt", "'many'", "2k"]),
        (["prefill", "MODEL", "--gpu", "GPU", "--prompt", "8", "--cached", "-1"], ["--cached", "-1"]),
        (["crossover", "MODEL", "--gpu", "GPU", "--context", "1,2"], ["--context", "'1,2'", "2 points"]),
        (["memory", "MODEL", "--gpu", "GPU", "--batch", "0"], ["--batch", "0"]),
        (["memory", "MODEL", "--gpu", "GPU", "--batch", "many"], ["--batch", "many"]),
        (["list", "gpu"], ["'gpu'", "gpus"]),
        (["show", "gpus", "h100"], ["'gpus'", "gpu"]),
        (["show", "gpu", "h100x"], ["'h100x'"]),
        (["schema", "gpu"], ["'gpu'", "hardware"]),
        (["check", "missing.yaml"], ["missing.yaml", "no such file"]),
    ],
)
def test_a_missing_or_misspelt_word_is_answered_in_one_line(cli, model, gpu, arguments, parts):
    words = {"MODEL": str(model), "GPU": str(gpu)}
    mistake(cli(*(words.get(one, one) for one in arguments)), *parts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "''"),
        ("0", "contains 0"),
        ("-1", "'-1'"),
        ("nan", "'nan'"),
        ("inf", "'inf'"),
        ("1.5", "'1.5'"),
        ("1e3", "'1e3'"),
        ("abc", "'abc'"),
        ("1,,2", "'1,,2'"),
        ("64:1", "is empty"),
        ("1:", "'1:'"),
        (":8", "':8'"),
        ("1:8:+0", "never ends"),
        ("1:8:x1", "never ends"),
        ("1:8:*2", "'1:8:*2'"),
        ("1:1000000:+1", "more than 100,000 points"),
        ("1:99999999999999999999", "99999999999999999999"),
        ("9" * 400, "9999"),
        ("2000000000000", "1,099,511,627,776"),
        ("1 TB/s", "'1 TB/s'"),
    ],
)
def test_an_empty_or_absurd_batch_range_is_refused(cli, asked, text, why):
    mistake(cli(*asked("decode", f"--batch={text}")), "--batch", why)


@pytest.mark.parametrize("text", ["", "-1", "nan", "64:1", "1:8:+0", "9" * 400, "1k:2"])
def test_an_empty_or_absurd_context_range_is_refused(cli, asked, text):
    mistake(cli(*asked("decode", f"--context={text}")), "--context")


def test_a_grid_of_too_many_points_is_refused_before_it_is_made(cli, asked):
    said = cli(*asked("decode", "--batch", "1:50000:+1", "--context", "1:50000:+1"))
    mistake(said, "2,500,000,000 points", "1,000,000")


@pytest.mark.parametrize(
    "text",
    ["80", "80 TB/s", "0 GB", "-80 GB", "nan GB", "inf GB", "1e400 GB", "1e999999 GB", "", "GB", "8O GB"],
)
def test_a_memory_size_without_a_sense_or_unit_is_refused(cli, asked, text):
    mistake(cli(*asked("decode", f"--memory={text}")), "--memory", f"'{text}'", "80 GB")


@pytest.mark.parametrize(
    ("ranks", "parts"),
    [
        ("0", ["--tp", "0"]),
        ("-2", ["--tp", "-2"]),
        ("two", ["--tp", "two"]),
        ("3", ["3", "32 heads", "1, 2, 4, 8"]),
        ("99999", ["--tp", "99999"]),
    ],
)
def test_ranks_that_cannot_share_the_heads_or_the_link_are_refused(cli, asked, ranks, parts):
    mistake(cli(*asked("decode", f"--tp={ranks}")), *parts)


def test_a_device_without_a_link_cannot_be_one_of_two(cli, model, gpu):
    gpu.write_text(re.sub(r"link:.*\n", "", DEVICE))
    mistake(cli("decode", model, "--gpu", gpu, "--tp", "2"), "Test-GPU", "no link to other devices")


def test_a_format_that_the_device_cannot_multiply_is_refused_by_name(cli, model, gpu):
    gpu.write_text(DEVICE.replace("{bf16: 100 TFLOP/s, fp32: 50 TFLOP/s}", "{int8: 100 TOP/s}"))
    mistake(cli("decode", model, "--gpu", gpu), "Test-GPU", "bf16", "int8")


def test_many_heads_are_refused_as_quickly_as_few(model, gpu):
    model.write_text(MODEL.replace("heads: 32, kv_heads: 8", "heads: 10000000000, kv_heads: 10000000000"))
    done = process("decode", model, "--gpu", gpu, "--tp", "3", timeout=10)
    assert done.returncode == 2
    assert "10000000000 heads" in done.stderr.replace(",", "")
    assert len(done.stderr) < 1000


# --- mistakes in files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("memory_bandwidth: 1 TB/s", "memory_bandwith: 1 TB/s", ["did you mean 'memory_bandwidth'"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: 1", ["memory_bandwidth", "1 has no unit", "3.35 TB/s"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: 0 TB/s", ["memory_bandwidth", "'0 TB/s'", "above 0"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: -1 TB/s", ["memory_bandwidth", "'-1 TB/s'"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: nan TB/s", ["memory_bandwidth", "'nan TB/s'"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: .nan", ["memory_bandwidth", "nan"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: .inf", ["memory_bandwidth", "inf"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: 1e999999 TB/s", ["memory_bandwidth", "1e999999 TB/s"]),
        ("memory_bandwidth: 1 TB/s", "memory_bandwidth: 1 TB", ["memory_bandwidth", "'1 TB'", "B/s"]),
        ("bf16: 100 TFLOP/s", "bf16: 200 TFLOP/s sparse", ["dense_flop_rate.bf16", "sparse", "dense one"]),
        ("bf16: 100 TFLOP/s", "bf61: 100 TFLOP/s", ["dense_flop_rate.bf61", "bf16"]),
        ("dense_flop_rate:", "sparse_flop_rate:", ["sparse_flop_rate", "only dense rates"]),
        ("devices: 8", "devices: 8.5", ["link.devices", "8.5", "whole number"]),
        ("devices: 8", f"devices: {'9' * 400}", ["link.devices"]),
        ("bandwidth: 100 GB/s", "bandwith: 100 GB/s", ["link.bandwith", "'bandwidth'"]),
        ("vendor: Nobody", "vendor: 5", ["vendor", "5"]),
        ("vendor: Nobody", "vendor: &name Nobody", ["anchors", "line 3"]),
        ("vendor: Nobody", "vendor: !!python/name:os.system", ["line 3", "python/name:os.system"]),
        ("vendor: Nobody", "vendor: Nobody\nvendor: Somebody", ["line 4", "'vendor' stands twice"]),
        ("vendor: Nobody", "vendor: [Nobody", ["line", "YAML"]),
    ],
)
def test_a_mistake_in_a_profile_names_file_value_and_remedy(cli, model, gpu, old, new, parts):
    assert old in DEVICE
    gpu.write_text(DEVICE.replace(old, new))
    said = cli("decode", model, "--gpu", gpu)
    assert said.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    lines = said.err.splitlines()
    assert all(line.startswith("error: gpu.yaml: ") for line in lines), said.err
    assert any(all(part in line for part in parts) for line in lines), said.err


def nested(opening: str, closing: str, depth: int) -> str:
    return f"name: {opening * depth}{closing * depth}\n"


@pytest.mark.parametrize(
    "text",
    [
        nested("[", "]", 100_000),
        nested("{a: ", "}", 20_000),
        f"name: {'[' * 400_000}",
        "- " * 100_000 + "a\n",
        'a: &a ["lol","lol"]\n'
        + "".join(f"{x}: &{x} [{f'*{y},' * 9}]\n" for x, y in zip("bcdefghi", "abcdefgh", strict=True)),
        f"name: {'a' * 2_000_000}\n",
        "",
        "just a text\n",
        "[1, 2]\n",
        "\x00\n",
    ],
    ids=["brackets", "braces", "open", "dashes", "billion laughs", "large", "empty", "text", "list", "null"],
)
def test_a_yaml_that_would_blow_up_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "evil.yaml"
    file.write_text(text)
    done = process("show", "gpu", file, timeout=30)
    assert done.returncode == 2, done.returncode
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "evil.yaml" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1000


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!mkdir"])
def test_a_yaml_tag_runs_no_code(cli, tmp_path, tag):
    file, made = tmp_path / "evil.yaml", tmp_path / "made"
    file.write_text(f"{DEVICE}note: {tag} ['{made}']\n")
    mistake(cli("show", "gpu", file), "evil.yaml", "line 11")
    assert not made.exists()


@pytest.mark.parametrize("kind", ["gpu", "model"])
def test_a_pipe_as_profile_is_refused_without_waiting_for_it(tmp_path, kind):
    """As /dev/zero, which never ends: a profile is a regular file."""
    pipe = tmp_path / "profile.yaml"
    os.mkfifo(pipe)
    done = process("show", kind, pipe, timeout=10)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


CONFIG_MISTAKES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("Infinity where a count belongs", {"num_hidden_layers": math.inf}, ["num_hidden_layers", "inf"]),
    ("NaN where a count belongs", {"hidden_size": math.nan}, ["hidden_size", "nan"]),
    ("text where a count belongs", {"hidden_size": "2048"}, ["hidden_size", "'2048'"]),
    ("a part where a count belongs", {"vocab_size": 32000.5}, ["vocab_size", "32000.5"]),
    ("a truth where a count belongs", {"hidden_size": True}, ["hidden_size", "True"]),
    ("a list where a count belongs", {"hidden_size": [2048]}, ["hidden_size", "[2048]"]),
    ("a billion layers", {"num_hidden_layers": 10**9}, ["num_hidden_layers", "1,000,000,000"]),
    ("a number without end", {"num_hidden_layers": 10**400}, ["num_hidden_layers"]),
    ("no layers", {"num_hidden_layers": 0}, ["num_hidden_layers", "0"]),
    ("fewer than no layers", {"num_hidden_layers": -1}, ["num_hidden_layers", "-1"]),
    ("no width", {"hidden_size": None}, ["hidden_size"]),
    ("KV heads that do not divide", {"num_key_value_heads": 5}, ["num_key_value_heads", "5", "32"]),
]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [pytest.param(changes, parts, id=name) for name, changes, parts in CONFIG_MISTAKES],
)
def test_a_mistake_in_a_config_names_key_and_value(cli, gpu, tmp_path, changes, parts):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**CONFIG, **changes}))
    assert len(mistake(cli("decode", file, "--gpu", gpu), "config.json", *parts)) < 500


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_config_without_a_required_field_names_it(cli, gpu, tmp_path, key):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({name: value for name, value in CONFIG.items() if name != key}))
    mistake(cli("decode", file, "--gpu", gpu), "config.json", key, "missing")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (json.dumps(CONFIG)[:-20], ["JSON"]),
        ("", ["JSON", "ends too early"]),
        ("<!DOCTYPE html>", ["JSON"]),
        ("{'hidden_size': 1}", ["JSON"]),
        ("[]", ["list"]),
        ("null", ["None"]),
        ("[" * 100_000, ["JSON", "deeply"]),
        ('{"a":' * 100_000, ["JSON", "deeply"]),
        ("{}", []),
    ],
    ids=["cut", "empty", "html", "python", "list", "null", "deep list", "deep object", "nothing"],
)
def test_a_config_that_is_no_json_object_is_refused(cli, gpu, tmp_path, text, parts):
    file = tmp_path / "config.json"
    file.write_text(text)
    mistake(cli("decode", file, "--gpu", gpu), "config.json", *parts)


def test_a_config_that_is_no_text_is_refused(cli, gpu, tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(b"\x80\x02}q\x00.")
    mistake(cli("decode", file, "--gpu", gpu), "config.json", "UTF-8")


def test_infinity_in_a_field_that_does_not_matter_is_read(cli, model, gpu, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**CONFIG, "time_step_limit": [0.0, math.inf], "rope_theta": math.inf}))
    assert "Infinity" in file.read_text()
    found, same = (cli("decode", one, "--gpu", gpu, "--format", "json") for one in (file, model))
    assert found.code == 0
    assert strict(found.out)["rows"] == strict(same.out)["rows"]


def test_a_directory_that_holds_a_config_stands_for_it(cli, gpu, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(CONFIG))
    direct = cli("decode", tmp_path / "checkpoint" / "config.json", "--gpu", gpu, "--format", "csv")
    assert cli("decode", tmp_path / "checkpoint", "--gpu", gpu, "--format", "csv").out == direct.out
    (tmp_path / "bare").mkdir()
    mistake(cli("decode", tmp_path / "bare", "--gpu", gpu), "bare", "config.json")


def test_a_stack_without_an_efficiency_for_the_memory_of_the_device_is_refused(cli, asked, tmp_path):
    stack = tmp_path / "stack.yaml"
    stack.write_text(stack_text(memory_efficiency="{GDDR: 0.9}"))
    mistake(cli(*asked("decode", "--stack", stack)), "memory_efficiency", "HBM")


def stack_text(**changes: str) -> str:
    law = "{fixed_time: 0 s, flop_efficiency: 1}"
    roofs = "{fixed_time: 0 s, memory_efficiency: 1, flop_efficiency: 1}"
    free = "{latency: 0 s, bandwidth_efficiency: 1}"
    keys = {
        "name": "own",
        "source": "made up",
        "memory_efficiency": "{HBM: 1}",
        "on_chip_efficiency": "1",
        "on_chip_share": "1",
        "gemm": "{fixed_time: 0 s}",
        "gemm_flop_efficiency": "{bf16: 1}",
        "attention": roofs,
        "experts": roofs,
        "recurrent": law,
        "elementwise": law,
        "collectives": f"{{default: {{bulk: {free}, gather: {free}, all_to_all: {free}}}}}",
        "memory_utilization": "1",
        **changes,
    }
    return "".join(f"{key}: {value}\n" for key, value in keys.items())


def test_a_stack_based_on_nothing_known_is_refused(cli, asked, tmp_path):
    stack = tmp_path / "stack.yaml"
    stack.write_text("name: own\nsource: made up\nbased_on: nobody\n")
    mistake(cli(*asked("decode", "--stack", stack)), "based_on", "nobody", "generic")


def test_a_stack_says_only_what_differs_from_another(cli, asked, tmp_path):
    stack = tmp_path / "stack.yaml"
    stack.write_text("name: own\nsource: made up\nbased_on: ideal\nstep_time: 1 ms\n")
    plain, own = (json.loads(cli(*asked("decode", "--format", "json", "--stack", one)).out) for one in ("ideal", stack))
    for fast, slow in zip(plain["rows"], own["rows"], strict=True):
        assert slow["step_time_s"] == pytest.approx(fast["step_time_s"] + 1e-3)


def test_check_says_what_each_good_file_is(cli, model, gpu, tmp_path):
    stack, config = tmp_path / "stack.yaml", tmp_path / "config.json"
    stack.write_text(stack_text())
    config.write_text(json.dumps(CONFIG))
    said = cli("check", model, gpu, stack, config)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"ok: {model}: model",
        f"ok: {gpu}: hardware",
        f"ok: {stack}: stack",
        f"ok: {config}: config",
    ]


def test_check_names_all_problems_of_all_files_and_exits_1(cli, model, gpu, tmp_path):
    gpu.write_text(DEVICE.replace("memory_bandwidth: 1 TB/s", "memory_bandwith: 1 TB/s").replace("16 GB", "16"))
    model.write_text(MODEL.replace("kv_heads: 8", "kv_heads: 5"))
    good = tmp_path / "good.yaml"
    good.write_text(DEVICE)
    said = cli("check", gpu, good, model)
    assert said.code == 1
    assert said.out == f"ok: {good}: hardware\n"
    text = said.err
    assert "error: gpu.yaml: unknown key 'memory_bandwith'; did you mean 'memory_bandwidth'?" in text
    assert "error: gpu.yaml: required key 'memory_bandwidth' is missing; write it like" in text
    assert "error: gpu.yaml: memory_capacity: 16 has no unit; write it like 80 GB" in text
    assert "error: tiny.yaml: layers.0.attention: heads 32 is no multiple of kv_heads 5" in text
    assert "Traceback" not in text


def test_check_refuses_a_number_format_that_nobody_knows(cli, model):
    model.write_text(f"{MODEL}checkpoint: {{weights: bf61}}\n")
    said = cli("check", model)
    assert said.code == 1
    assert "tiny.yaml: checkpoint.weights" in said.err
    assert "bf61" in said.err


@pytest.mark.parametrize("kind", ["hardware", "model", "stack", "draft"])
def test_every_shipped_profile_passes_check(cli, kind):
    folder = Path(__file__).resolve().parents[2] / f"{kind}_profiles"
    files = sorted(folder.glob("*.yaml"))
    assert files
    said = cli("check", *files)
    assert (said.code, said.err) == (0, "")
    assert said.out.count(f": {kind}\n") == len(files)


@pytest.mark.parametrize("kind", ["hardware", "model", "stack", "draft"])
def test_schema_is_json_and_names_the_keys(cli, kind):
    said = cli("schema", kind)
    assert (said.code, said.err) == (0, "")
    schema = strict(said.out)
    text = json.dumps(schema)
    key = {"hardware": "memory_bandwidth", "model": "hidden_size", "stack": "memory_efficiency", "draft": "generation"}[
        kind
    ]
    assert f'"{key}"' in text
    assert '"additionalProperties": false' in text


# --- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["decode", "prefill", "memory"])
def test_a_model_that_does_not_fit_is_an_answer_that_says_by_how_much_and_what_would(cli, asked, question):
    # 16 layers x (2048 x 3072 + 2048^2 + 3 x 2048 x 8192 + 4096) + 2 x 2048 x 32000 + 2048 = 1,104,218,112
    # parameters: 2.208 GB of weights against 90 % of 1 GB.
    said = cli(*asked(question, "--memory", "1 GB"))
    assert said.code == 0
    text = said.out + said.err
    missing = re.search(r"does not fit: ([\d.]+) ([GM])B too much", text)
    assert missing
    size = float(missing[1]) * {"G": 1e9, "M": 1e6}[missing[2]]
    assert size > 2 * 1_104_218_112 - 0.9e9
    assert "--tp 4 would hold it" in text
    if question == "decode":
        assert re.search(r"\bno$", said.out, flags=re.MULTILINE)


def test_the_ledger_of_a_model_that_does_not_fit_has_the_numbers_in_json(cli, asked):
    summary = strict(cli(*asked("memory", "--memory", "1 GB", "--format", "json")).out)["summary"]
    assert summary["fits"] is False
    assert summary["free_bytes"] == 0
    assert summary["missing_bytes"] == summary["resident_bytes"] - 0.9e9
    assert summary["max_batch"] == 0
    assert summary["max_context_tokens"] == 0
    assert summary["fitting_tensor_parallel"] == 4


def test_a_model_that_no_group_of_devices_holds_is_an_answer(cli, asked):
    said = cli(*asked("memory", "--memory", "100 MB"))
    assert said.code == 0
    assert "does not fit" in said.out
    assert "fewer bits (--weights) or larger devices would" in said.out


def test_a_device_of_unknown_capacity_says_so_and_takes_one(cli, model):
    silent, told = (
        cli("memory", model, "--gpu", "epyc-9654"),
        cli("memory", model, "--gpu", "epyc-9654", "--memory", "768GB", "--format", "json"),
    )
    assert silent.code == told.code == 0
    assert "states no memory capacity" in silent.out
    assert "--memory" in silent.out
    assert strict(told.out)["summary"]["fits"] is True
    unknown = strict(cli("memory", model, "--gpu", "epyc-9654", "--format", "json").out)["summary"]
    assert unknown["fits"] is None
    assert unknown["max_batch"] is None


def test_a_flip_that_never_comes_is_null_with_a_reason(cli, asked):
    rows = strict(cli(*asked("crossover", "--context", "1M", "--format", "json")).out)["rows"]
    step = next(row for row in rows if row["scope"] == "step")
    assert step["batch"] is None
    assert step["batch_stay"] is None
    assert "KV bytes grow faster than FLOPs" in step["reason"]
    assert 0 < step["context_limit_tokens"] < 2**20


def test_the_hand_formula_of_the_weight_gemms_is_met_on_the_command_line(cli, asked):
    # Ideal stack, bf16: n* = w R / 2 = R = 100 TFLOP/s / 1 TB/s; norms are not part of a GEMM.
    said = cli(*asked("crossover", "--stack", "ideal", "--format", "json"))
    summary = strict(said.out)["summary"]
    assert summary["weight_gemms"] == pytest.approx(100.0, rel=1e-9)


def test_an_ambiguous_name_says_which_one_was_picked(cli, model):
    said = cli("decode", model, "--gpu", "h100", "--batch", "1")
    assert said.code == 0
    assert "note: 'h100' is taken as H100-SXM5-80GB; there are also h100-nvl, h100-pcie\n" in said.err
    assert "taken as" not in cli("decode", model, "--gpu", "h100-pcie", "--batch", "1").err


def test_show_gpu_gives_values_with_units_and_sources(cli):
    said = cli("show", "gpu", "h100-sxm")
    assert said.code == 0
    assert "3.35 TB/s" in said.out
    assert "989.4 TFLOP/s" in said.out


def test_show_model_has_the_columns_of_the_reference_table(cli, model, shared):
    reference = shared / "data" / "models" / "reference_params.csv"
    if not reference.is_file():
        pytest.skip(f"{reference} is not on this machine")
    with reference.open(newline="") as file:
        known = set(next(csv.reader(file)))
    row = strict(cli("show", "model", model, "--format", "json").out)["rows"][0]
    names = (
        "total_params text_params active_params active_params_streamed input_embedding_params lm_head_params"
        " attention_params_total dense_mlp_params_total routed_expert_params_total router_params_total"
        " norm_params_total kv_bytes_per_token_bf16 conv_state_elems_per_sequence recurrent_state_elems_per_sequence"
    )
    assert set(names.split()) <= known
    assert set(names.split()) <= set(row)
    assert row["total_params"] == 1_104_218_112


def test_list_gpus_names_every_profile_once(cli):
    said = cli("list", "gpus", "--format", "csv")
    names = [row["name"] for row in csv.DictReader(io.StringIO(said.out))]
    folder = Path(__file__).resolve().parents[2] / "hardware_profiles"
    assert sorted(names) == sorted(file.stem for file in folder.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
