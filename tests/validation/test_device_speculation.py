"""Validation of speculation on the device at hand, with tiny decoders: every cell runs, and its run is read again."""

import json
import shlex

import pytest

from rooflinesim.errors import UnsupportedError

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("scipy", reason="scipy is not installed, which fits need")

from rooflinesim.api import device_speculation  # noqa: E402
from rooflinesim.api.validate import validate  # noqa: E402
from rooflinesim.cli.app import run  # noqa: E402
from rooflinesim.config import load_hardware  # noqa: E402
from rooflinesim.report.files import write_text  # noqa: E402
from rooflinesim.validation.device import speculation_cells  # noqa: E402
from rooflinesim.validation.device.clock import HostClock  # noqa: E402
from rooflinesim.validation.device.kernels import SHAPES, Benchmark  # noqa: E402
from rooflinesim.validation.device.measure import Measured  # noqa: E402
from rooflinesim.validation.device.noise import Noise  # noqa: E402
from rooflinesim.validation.device.pooling import pooled  # noqa: E402
from rooflinesim.validation.device.speculation_cells import chain_cells, measured_cells, other_cells  # noqa: E402
from rooflinesim.validation.measured_fit import TimedOp  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


class Ticks:
    """A clock of which every reading is a second later."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        self.at += 1.0
        return self.at


def run_cells(asked, seconds=60.0):
    return list(measured_cells(asked, HostClock(), seconds=seconds, fewest_time=len, now=Ticks()))


@pytest.mark.parametrize("form", ["fp32", "bf16"])
def test_all_cells_run_with_rows_that_advance_unevenly_and_emit_plain_decodings_tokens(form):
    asked = [*chain_cells("tiny", "tiny", form, context=24), *other_cells("tiny", "tiny", form, context=24)]
    found = run_cells(asked)
    assert {one.cell.id for one in found} == {one.id for one in asked}
    assert len(asked) == 18 + 5
    for one in found:
        assert len(one.rounds) == speculation_cells.FEWEST_ROUNDS
        assert 1.0 <= one.tokens_per_round <= 1.0 + one.cell.draft_length
        assert all(gap <= 4.0 for gap in one.gaps)
        assert (one.compared > 0) != one.cell.is_sampled
    if form == "fp32":
        assert all(not one.gaps for one in found)
    uneven = [one for one in found if one.cell.batch == 16 and one.cell.ranks == (0.6,)]
    assert any(len(set(own.kept)) > 1 for one in uneven for own in one.rounds)


def test_the_same_cells_keep_the_same_tokens_again():
    asked = chain_cells("tiny", "tiny", "fp32", context=24)[:6]
    kept = [[one.kept for cell in run_cells(asked) for one in cell.rounds] for _ in range(2)]
    assert kept[0] == kept[1]


def test_batches_for_which_no_time_is_left_are_left_out():
    asked = chain_cells("tiny", "tiny", "fp32", context=24)
    found = run_cells(asked, seconds=1.0)
    assert {one.cell.batch for one in found} == {1}


def test_an_interrupt_keeps_what_was_measured(monkeypatch):
    whole = speculation_cells.measured_cells

    def interrupted(*asked, **rest):
        for done, one in enumerate(whole(*asked, **rest)):
            if done == 4:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(speculation_cells, "measured_cells", interrupted)
    monkeypatch.setattr(speculation_cells, "MOST_ROUNDS", 3)
    answer = answered(seconds=60.0)
    assert (answer.summary["n"], answer.summary["skipped"]) == (4, 19)
    assert answer.extra["skipped"][0]["reason"] == "interrupted"
    assert any("interrupted" in note for note in answer.notes)


def test_cells_for_which_memory_runs_out_are_left_out_with_the_reason(monkeypatch):
    whole = speculation_cells.measured_cells

    def short(cells, *asked, **rest):
        if cells[0].exit_layer is None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return whole(cells, *asked, **rest)

    monkeypatch.setattr(speculation_cells, "measured_cells", short)
    monkeypatch.setattr(speculation_cells, "MOST_ROUNDS", 3)
    answer = answered(seconds=60.0)
    assert (answer.summary["n"], answer.summary["skipped"]) == (3, 20)
    assert answer.extra["skipped"][0]["reason"].startswith("out of memory: DefaultCPUAllocator")


def test_an_exit_is_right_often_enough_to_be_worth_a_cell():
    asked = other_cells("tiny", "tiny", "fp32", context=24)
    found = run_cells([one for one in asked if one.exit_layer])
    greedy = [one for one in found if not one.cell.is_sampled]
    assert sum(one.tokens_per_round for one in greedy) / len(greedy) > 1.3


def answered(**changes):
    """Speculation of the tiny decoder beside a profile of the catalogue: only its form is looked at."""
    asked = {"seconds": 1.0, "forms": ["fp32"], "pair": ("tiny", "tiny"), "is_other_device": True}
    return device_speculation.validate_speculation(profile=load_hardware("epyc-9654"), **{**asked, **changes})


def test_a_run_has_the_fields_of_the_interface_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(speculation_cells, "MOST_ROUNDS", 3)
    monkeypatch.setattr(device_speculation, "CALIBRATION_SHARE", 0.001)
    kept = {}
    answer = answered(seconds=3600.0, keep=kept.update)
    whole = json.loads(answer.to_json())
    names = {"id", "group", "measured", "predicted", "low", "high", "unit", "ratio", "tokens_per_round"}
    assert names <= set(whole["rows"][0])
    assert len(whole["rows"]) == 23
    assert kept == {row["id"]: row["predicted"] for row in whole["rows"]}
    assert whole["summary"]["differences"] == {"fp32": 0}
    assert whole["summary"]["sampling_probability"]["fp32"] > 0.001
    assert {one["group"] for one in whole["summary"]["groups"]} == {
        "chain fp32",
        "tree fp32",
        "early exit fp32",
        "sampled fp32",
    }
    file = tmp_path / "run.json"
    write_text(file, answer.to_json())
    again = validate(against=[file])
    assert again.summary["mape"] == pytest.approx(answer.summary["mape"])
    assert again.summary["n"] == 23


def test_the_profile_of_another_device_is_refused_unless_asked_for():
    with pytest.raises(UnsupportedError, match="--other-device compares all the same"):
        answered(is_other_device=False)


def test_a_pair_is_two_decoders(capsys):
    assert run(shlex.split("validate --speculation --sizes 350M")) == 2
    assert "give a target and its draft, such as 350M,40M" in capsys.readouterr().err


def test_a_budget_takes_the_largest_pair_that_it_has_room_for():
    hardware = load_hardware("epyc-9654")
    cells = {pair: chain_cells(*pair, "bf16") for pair in device_speculation.PAIRS}
    costs = [device_speculation.fewest_rounds_time(hardware, own) for own in cells.values()]
    assert costs == sorted(costs, reverse=True)


def part(seconds, rounds=2, wall=1.0):
    """A measurement of one product."""
    benchmark = Benchmark(model=SHAPES["w512"], form="fp32", batch=1, new_tokens=1, context=64)
    op = benchmark.ops()["mlp.down"]
    return Measured(
        machinery=None,
        kernels=(TimedOp(form="fp32", op=op, times=tuple((n, seconds) for n in range(rounds))),),
        experts=((benchmark, ((0, seconds),)),),
        reads={4e6: (seconds,)},
        launch_times=(seconds,),
        graph_time=0.0,
        exchanges=(),
        cells=(),
        as_clocked=(),
        pace_spread=0.01 * wall,
        scatter=0.02 * wall,
        marked=(),
        skipped=(),
        noise=Noise(wall_ratio=wall, other_cores=None, stolen_cores=0.0, drift=0.01),
        date="2026-01-01",
        rounds=rounds,
        seconds=10.0,
        is_interrupted=False,
    )


def test_several_measurements_are_one_with_all_samples_and_the_worst_noise():
    found = pooled([part(1e-3), part(3e-3, wall=2.5)])
    assert found.kernels[0].times == ((0, 1e-3), (1, 1e-3), (2, 3e-3), (3, 3e-3))
    assert found.kernels[0].time == 2e-3
    assert found.experts[0][1] == ((0, 1e-3), (2, 3e-3))
    assert found.reads == {4e6: (1e-3, 3e-3)}
    assert (found.noise.wall_ratio, found.noise.other_cores) == (2.5, None)
    assert (found.pace_spread, found.scatter) == (0.025, 0.05)
    assert (found.rounds, found.seconds) == (4, 20.0)
