"""The doors of validation and calibration: what they show, write, skip and refuse."""

import gzip
import json
import shlex
from pathlib import Path

import pytest

from rooflinesim.cli.app import run

HEADER = (
    "id,source,year,gpu,n_gpus,parallelism,engine,model,weight_dtype,kv_dtype,batch_or_concurrency,prompt_len,"
    "output_len,context_len_mean,metric,value,kind,notes"
)
# pytorch-labs/gpt-fast README: Llama-2-7B and Llama-3.1-8B in bf16 on an A100, prompt of 5 and 200 new tokens.
ROWS = tuple(
    f"{name},gpt-fast README,2023,A100-SXM4-80GB,1,none,gpt-fast,{model},bf16,,1,5,200,105,tok_per_s_per_user,{rate},"
    "batch1,"
    for name, model, rate in (("g-1", "Llama-2-7B", 104.9), ("g-2", "Llama-3.1-8B", 93.9))
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "runs.csv"
    file.write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return file


def ask(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run(shlex.split(line))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_published_runs_that_ship_are_predicted_within_what_the_scoreboard_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = ask("validate --against published --format json", capsys)
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == "rooflinesim/validate/1"
    assert found["summary"]["n"] == 150
    assert found["summary"]["median_ape"] < 0.08
    assert 0.7 < found["summary"]["inside_band"] < 0.9
    assert found["summary"]["mape"] < 0.5 * found["summary"]["roofline_75_mape"]


def test_rows_have_the_fields_of_the_interface(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask(f"validate --against {table} --format json", capsys)
    found = json.loads(out)
    assert list(found["rows"][0])[:8] == ["id", "group", "measured", "predicted", "low", "high", "unit", "ratio"]
    row = found["rows"][0]
    assert row["measured"] == pytest.approx(1 / 104.9)
    assert row["ratio"] == pytest.approx(row["predicted"] / row["measured"])
    assert row["low"] < row["predicted"] < row["high"]
    assert {"n", "skipped", "mape", "median_ape", "p90_ape", "bias", "inside_band"} <= set(found["summary"])
    assert found["skipped"] == []


def test_several_files_gzipped_or_not_are_read_together(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = table.with_name("more.csv.gz")
    packed.write_bytes(gzip.compress(table.read_bytes().replace(b"g-", b"h-")))
    _, out, _ = ask(f"validate --against {table} {packed} --by engine,model --format json", capsys)
    found = json.loads(out)
    assert found["summary"]["n"] == 4
    assert {one["group"] for one in found["summary"]["groups"]} == {"gpt-fast, Llama-2-7B", "gpt-fast, Llama-3.1-8B"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("104.9", "-104.9"), "value '-104.9' is no positive number"),
        (("tok_per_s_per_user", "furlongs"), "metric 'furlongs' is not known"),
        (("A100-SXM4-80GB", "Z9000"), "unknown GPU 'z9000'"),
        (("Llama-2-7B", "Nobody-7B"), "unknown model 'nobody-7b'"),
        ((",bf16,", ",bf17x,"), "bf17x"),
        ((",1,none,", ",2,row-split2,"), "a row split through the host is not tensor parallelism"),
        (("README,2023", "README SUSPECT,2023"), ""),
        (("g-1", "g-2"), "the id stands twice"),
    ],
)
def test_rows_that_cannot_be_predicted_are_counted_with_the_reason(
    table: Path, change: tuple[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace(*change)
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, out, _ = ask(f"validate --against {table} --format json", capsys)
    found = json.loads(out)
    assert code == 0
    if reason:
        assert found["summary"]["n"] == 1
        assert reason.lower() in found["skipped"][0]["reason"].lower()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "fits no kind of measurements"),
        (HEADER.replace(",metric", ",metrik") + "\n", "is 'metrik' meant as 'metric'?"),
        (HEADER + "\n", "has no rows below its header"),
        ("", "is empty"),
        (HEADER + "\n" + ROWS[0].replace("104.9", "0") + "\n", "no row can be predicted: 1 x value '0'"),
    ],
)
def test_files_that_hold_no_measurements_are_refused_in_one_line(
    tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(content, encoding="utf-8")
    code, out, err = ask(f"validate --against {file}", capsys)
    assert code == 2
    assert not out
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("validate --against nowhere.csv", "nowhere.csv"),
        ("validate --against published --by colour", "no file has a column 'colour'"),
        ("validate --against published --fail-above x", "--fail-above: 'x' is no share"),
        ("validate --against published --plot p.bmp", ".bmp"),
        ("validate --against published --stack nobody", "nobody"),
        ("calibrate --from nowhere.csv", "nowhere.csv"),
    ],
)
def test_mistakes_are_named_in_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ask(line, capsys)
    assert code == 2
    assert not out
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_mape_above_the_limit_exits_one(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(f"validate --against {table} --fail-above 20%", capsys)[0] == 0
    code, _, err = ask(f"validate --against {table} --stack ideal --fail-above 0.2", capsys)
    assert code == 1
    assert "is above 20.0%" in err


def test_what_a_run_wrote_is_read_again(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.csv"
    assert ask(f"validate --against {table} -o {own}", capsys)[0] == 0
    first = json.loads(ask(f"validate --against {table} --format json", capsys)[1])
    again = json.loads(ask(f"validate --against {own} --format json", capsys)[1])
    assert again["summary"]["mape"] == pytest.approx(first["summary"]["mape"])


def test_a_limit_takes_the_same_rows_every_time(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (ask("validate --against published --limit 20 --format csv", capsys)[1] for _ in range(2))
    assert first == second
    assert len(first.splitlines()) == 21


def test_a_figure_is_drawn(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(f"validate --against {table} --plot {tmp_path / 'v.png'}", capsys)[0] == 0
    assert (tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")


def test_calibration_writes_profiles_that_check_accepts(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fitted"
    folder.mkdir()
    code, out, err = ask(f"calibrate --from {table} --no-bands -o {folder}", capsys)
    assert code == 0
    assert "memory_efficiency.HBM" in out
    assert "torch-compile: 2 runs, fewer than 5: the class values stay" in err
    written = sorted(file.name for file in folder.iterdir())
    assert written == ["generic.yaml", "torch-compile.yaml"]
    assert ask(f"check {folder / 'generic.yaml'} {folder / 'torch-compile.yaml'}", capsys)[0] == 0


def test_leaving_each_model_out_scores_models_that_no_fit_saw(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ask(f"calibrate --from {table} --leave-out model --format json", capsys)
    found = json.loads(out)
    assert code == 0
    assert found["inputs"]["leave_out"] == "model"
    assert found["summary"]["n"] == 2
    assert found["summary"]["mape"] < 0.25


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("decode llama3-8b --gpu mi300x --stack vllm --batch 1", "stack vllm was not fitted on MI300X"),
        ("decode llama3-8b --gpu h100 --batch 1", "stack generic is no one engine"),
        ("decode llama3-8b --gpu h100 --stack vllm --batch 2000", "beyond batch 1,024 or 32,768 tokens"),
    ],
)
def test_an_answer_says_what_its_band_rests_on(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in ask(line, capsys)[2]


def test_bands_widen_from_known_devices_to_others(capsys: pytest.CaptureFixture[str]) -> None:
    def width(gpu: str, batch: int) -> float:
        line = f"decode llama3-8b --gpu {gpu} --stack vllm --batch {batch} --format json"
        row = json.loads(ask(line, capsys)[1])["rows"][0]
        return row["step_time_high_s"] / row["step_time_low_s"]

    assert width("h100", 8) < width("mi300x", 8)
    assert width("h100", 8) < width("h100", 2000)


def all_reduces() -> str:
    """A table of all-reduces over NVLink that take 8 us and one per 50 kB, a microsecond more per further rank."""
    lines = ["gpu,library,version,op,kernel,dtype,num_gpus,message_bytes,latency_us"]
    for gpu, first in (("h100_sxm", 8.0), ("a100_sxm", 12.0)):
        for ranks in (2, 4, 8):
            for size in (2**power for power in range(9, 26)):
                taken = first + (ranks - 2) + size / 50e3
                lines.append(f"{gpu},nccl,2.27,all_reduce,NCCL,half,{ranks},{size},{taken:.4g}")
    return "\n".join(lines) + "\n"


def test_tables_of_kernels_give_laws_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "all_reduces.csv", tmp_path / "fitted"
    file.write_text(all_reduces(), encoding="utf-8")
    folder.mkdir()
    code, out, _ = ask(f"calibrate --from {file} --no-bands -o {folder}", capsys)
    assert code == 0
    assert "collectives" in out
    written = sorted(folder.iterdir())
    assert written
    assert ask("check " + " ".join(map(str, written)), capsys)[0] == 0


def test_a_device_can_be_left_out_of_the_kernels_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all_reduces.csv"
    file.write_text(all_reduces(), encoding="utf-8")
    code, out, _ = ask(f"calibrate --from {file} --leave-out gpu --by gpu --format json", capsys)
    assert code == 0
    assert json.loads(out)["summary"]["n"] > 0
    code, _, err = ask(f"calibrate --from {file} --leave-out engine", capsys)
    assert code == 2
    assert "of kernels only the gpu can be left out" in err
