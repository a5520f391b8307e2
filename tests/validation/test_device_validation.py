"""Validation of the device at hand: planted errors are caught, a short run holds together, mistakes are one line."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("scipy", reason="scipy is not installed, which fits need")

from rooflinesim.api.answers import deployment  # noqa: E402
from rooflinesim.api.device_calibration import calibrate_device  # noqa: E402
from rooflinesim.api.device_validation import kernel_paces, predicted, validate_device  # noqa: E402
from rooflinesim.cli.app import run  # noqa: E402
from rooflinesim.config import load_hardware, load_stack  # noqa: E402
from rooflinesim.config.writing import plain_data, profile_text  # noqa: E402
from rooflinesim.cost.machine import machine_of  # noqa: E402
from rooflinesim.cost.step import op_cost  # noqa: E402
from rooflinesim.errors import UnsupportedError  # noqa: E402
from rooflinesim.specs.hardware import Hardware  # noqa: E402
from rooflinesim.validation.device import measure as measuring  # noqa: E402
from rooflinesim.validation.device.cells import cells  # noqa: E402
from rooflinesim.validation.device.machinery import machinery  # noqa: E402
from rooflinesim.validation.device.noise import Noise  # noqa: E402
from rooflinesim.validation.device.sizes import known_decoder  # noqa: E402
from rooflinesim.validation.measured_fit import TimedOp  # noqa: E402
from tests.measured import measured_device  # noqa: E402

QUIET = Noise(wall_ratio=1.0, other_cores=0.1, stolen_cores=0.0, drift=0.01)


def ask(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run(shlex.split(line))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def truth() -> Hardware:
    return measured_device(machinery("cpu").name)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of three rounds in which every step takes what the round device predicts, give or take 2 %."""
    ordered = list(cells([known_decoder("100M")], ("fp32", "bf16")))
    drawn = np.random.default_rng(0)
    times = predicted(truth(), ordered).time

    def played(own, **_asked):
        return measuring.Measured(
            machinery=own,
            kernels=(),
            experts=(),
            reads={},
            launch_times=(),
            graph_time=0.0,
            exchanges=(),
            as_clocked=tuple(times.tolist()),
            cells=tuple(
                (cell, tuple((n, float(time * np.exp(0.02 * drawn.normal()))) for n in range(3)))
                for cell, time in zip(ordered, times, strict=True)
            ),
            marked=(),
            skipped=(),
            noise=QUIET,
            pace_spread=0.0,
            scatter=0.02,
            date="2026-01-01",
            rounds=3,
            seconds=1.0,
            is_interrupted=False,
        )

    monkeypatch.setattr(measuring, "measure", played)


def written(hardware: Hardware, folder: Path) -> Path:
    file = folder / "profile.yaml"
    file.write_text(profile_text(plain_data(hardware)), encoding="utf-8")
    return file


def test_the_right_profile_passes_and_says_that_the_machine_was_quiet(
    recorded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = written(truth(), tmp_path)
    code, out, _ = ask(f"validate --profile {profile} --fail-above 4%", capsys)
    assert code == 0
    assert out.splitlines()[0] == "Machine: quiet."
    assert "Half-throughput batch" in out


def test_half_the_bandwidth_in_the_profile_is_caught(
    recorded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = written(dataclasses.replace(truth(), memory_bandwidth=10e9), tmp_path)
    code, _, err = ask(f"validate --profile {profile} --fail-above 10%", capsys)
    assert code == 1
    assert "failed: MAPE" in err


def test_attention_left_out_is_caught(recorded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hardware = truth()
    assert hardware.calibration is not None
    free = {}
    for form, kernels in hardware.calibration.kernels.items():
        assert kernels.attention is not None
        law = dataclasses.replace(kernels.attention.law, fixed_time=0.0, memory_efficiency=100.0, flop_efficiency=10.0)
        free[form] = dataclasses.replace(
            kernels, attention=dataclasses.replace(kernels.attention, law=law, head_time=0.0)
        )
    calibration = dataclasses.replace(hardware.calibration, kernels=free)
    profile = written(dataclasses.replace(hardware, calibration=calibration), tmp_path)
    code, _, err = ask(f"validate --profile {profile} --fail-above 5%", capsys)
    assert code == 1
    assert "failed: MAPE" in err


def test_a_model_one_layer_short_is_caught(
    recorded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rooflinesim.api import device_validation

    whole = device_validation.asked_of

    def short(hardware, cell, stack=None):
        (group,) = cell.model.layers
        fewer = dataclasses.replace(cell.model, layers=(dataclasses.replace(group, count=group.count - 1),))
        return whole(hardware, dataclasses.replace(cell, model=fewer), stack)

    monkeypatch.setattr(device_validation, "asked_of", short)
    profile = written(truth(), tmp_path)
    # One of twelve layers is 6 to 8 % of a step.
    code, _, err = ask(f"validate --profile {profile} --fail-above 4%", capsys)
    assert code == 1
    assert "failed: MAPE" in err


def test_a_run_is_kept_with_its_predictions_and_read_again(
    recorded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, file = written(truth(), tmp_path), tmp_path / "run.json"
    code, _, _ = ask(f"validate --profile {profile} -o {file} --quiet", capsys)
    assert code == 0
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["schema"] == "rooflinesim/validate/1"
    assert list(kept["rows"][0])[:8] == ["id", "group", "measured", "predicted", "low", "high", "unit", "ratio"]
    assert len(kept["predictions"]) == kept["summary"]["n"] == 44
    assert kept["inputs"]["clock"] == "thread CPU time"
    code, out, _ = ask(f"validate --against {file} --format json", capsys)
    again = json.loads(out)
    assert code == 0
    assert again["summary"]["mape"] == pytest.approx(kept["summary"]["mape"])
    assert again["summary"]["roofline_mape"] == pytest.approx(kept["summary"]["roofline_mape"])


def test_terms_of_the_model_bring_the_error_down_to_the_noise(recorded: None) -> None:
    answer = validate_device(profile=truth(), sizes=["100M"])
    errors = [one["mape"] for one in answer.summary["ladder"]]
    assert errors[-1] == pytest.approx(answer.summary["mape"])
    assert errors[-1] < 0.03
    assert errors[0] > 0.3
    low, high = answer.summary["mape_low"], answer.summary["mape_high"]
    assert low < answer.summary["mape"] < high
    for flip in answer.summary["half_throughput_batch"]:
        assert flip["predicted"] == pytest.approx(flip["measured"], rel=0.15)


def test_the_profile_of_another_device_is_refused_unless_asked_for(recorded: None, tmp_path: Path) -> None:
    other = measured_device("Another processor")
    with pytest.raises(UnsupportedError, match=r"measured on Another processor, and this device is .*--other-device"):
        validate_device(profile=other)
    with pytest.raises(UnsupportedError, match="not measured by rooflinesim calibrate"):
        validate_device(profile=load_hardware("h100"))
    assert validate_device(profile=other, is_other_device=True, sizes=["100M"]).summary["n"] == 44


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("validate --budget soon", "--budget: 'soon' is no time of at most a day; write it like 60s, 3m or 10m"),
        ("validate --sizes 9000M", "decoder '9000M' is not known: give one of"),
        ("validate --formats int3", "multiplies none of the formats: int3 is left out: only fp32, bf16, fp16 are run"),
        ("calibrate --budget 10ms", "is no time of at most a day"),
        ("calibrate --budget 1s", "--budget is too short:"),
        ("calibrate --device cuda", "torch sees no CUDA device here"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(
    line: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = ask(line, capsys)
    assert code == 2
    assert not out
    assert said in err
    assert len(err.splitlines()) == 1


def test_without_torch_the_commands_say_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    for line in ("validate", "calibrate"):
        code, _, err = ask(line, capsys)
        assert code == 2
        assert err == ("error: measuring this device needs torch; install: pip install 'rooflinesim[torch]'\n")


@pytest.fixture(scope="module")
def calibrated():
    """This processor, measured for a few seconds in one format."""
    return calibrate_device(seconds=8.0, device="cpu", forms=["fp32"])


def test_a_short_calibration_is_a_profile_that_every_command_takes(calibrated, tmp_path: Path, capsys) -> None:
    file = tmp_path / "this.yaml"
    file.write_text(calibrated.text, encoding="utf-8")
    code, out, _ = ask(f"check {file}", capsys)
    assert (code, out.split()[-1]) == (0, "hardware")
    code, out, _ = ask(
        f"decode tinyllama --gpu {file} --stack torch-eager --weights fp32 --batch 1,16 --format json", capsys
    )
    assert code == 0
    one, many = (row["step_time_s"] for row in json.loads(out)["rows"])
    # 1.1 billion weights of 4 bytes: a core reads 2 to 60 GB/s.
    assert 0.07 < one < 2.2
    assert one < many < 16 * one


def test_a_calibration_says_with_what_it_was_made_and_how_sure_it_is(calibrated) -> None:
    calibration = calibrated.hardware.calibration
    assert calibration.measurement.threads == 1
    assert calibration.measurement.software == f"torch {torch.__version__}"
    assert calibration.measurement.verdict.startswith(("quiet", "noisy"))
    law = calibration.kernels["fp32"].gemm.law
    interval = calibration.intervals["fp32.gemm.flop_efficiency"]
    assert interval.low <= interval.high
    # A core adds memory and compute time to some degree; it never takes more than their sum.
    assert 1.0 <= law.overlap_exponent <= 12.0
    assert calibration.bands["batched"].low < 1.0 < calibration.bands["batched"].high


def test_a_short_validation_runs_real_steps_and_keeps_the_promises_of_its_form() -> None:
    answer = validate_device(seconds=40.0, device="cpu", forms=["fp32"], sizes=["tiny", "tiny-moe"])
    summary = answer.summary
    assert summary["n"] >= 10
    assert summary["run"]["verdict"].startswith(("quiet", "noisy"))
    rows = answer.rows
    assert all(row["measured"] > 0 and row["low"] < row["predicted"] < row["high"] for row in rows)
    assert {row["kind"] for row in rows} == {"decode", "verify", "prefill"}
    by_id = {row["id"]: row for row in rows}
    one, most = by_id["eager/fp32/tiny/b1q1c128"], by_id["eager/fp32/tiny/b16q1c1024"]
    assert most["measured"] > one["measured"]
    assert most["predicted"] > one["predicted"]
    assert len(summary["ladder"]) == 7


def test_a_stored_profile_says_at_what_pace_the_device_is_today() -> None:
    hardware = truth()
    from rooflinesim.validation.device.kernels import SHAPES, Benchmark

    op = Benchmark(model=SHAPES["w1024"], form="fp32", batch=4, new_tokens=1, context=64).ops()["mlp.gate_up"]
    model = known_decoder("tiny")
    machine = machine_of(deployment(model=model, hardware=hardware, stack=load_stack("torch-eager"), weights="fp32"))
    usual = float(op_cost(op, machine).time)
    slower = [TimedOp(form="fp32", op=op, times=((0, 1.25 * usual), (1, 1.25 * usual)))]
    assert kernel_paces(hardware, slower) == {"fp32": pytest.approx(1.25)}


def test_at_the_pace_of_today_a_profile_of_a_quicker_day_errs_no_more(
    recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rooflinesim.api import device_validation

    monkeypatch.setattr(device_validation, "kernel_paces", lambda *_: {"fp32": 1.0, "bf16": 1.1})
    summary = validate_device(profile=truth(), sizes=["100M"]).summary
    assert summary["kernel_paces"] == {"fp32": 1.0, "bf16": 1.1}
    # Half of the steps are said to take a tenth longer than they did.
    assert summary["mape_at_kernel_paces"] == pytest.approx(0.5 * 0.1 + 0.5 * summary["mape"], abs=0.01)
    assert summary["mape_as_clocked"] < 1e-12
