"""What first tokens wait for: constants that made the times are found again, by engine and for all."""

from pathlib import Path

import numpy as np
import pytest

from rooflinesim.api.calibrate import read_all, run_data
from rooflinesim.api.stack_files import stack_files
from rooflinesim.validation.waiting_fit import FEWEST_WAITS, Waits, fitted_waiting, fitted_waitings, waited_times

REQUESTS = np.tile([1.0, 4.0, 16.0, 64.0, 128.0], 8)
PROMPT = np.repeat([0.02, 0.05, 0.1, 0.4], 10)


def waits_of(admission_time: float, share: float, stuck: int = 0) -> Waits:
    alone = PROMPT + 0.01
    measured = admission_time + alone + share * (REQUESTS - 1) * PROMPT
    measured[:stuck] *= 30
    return Waits(measured=measured, alone=alone, prompt=PROMPT, others=REQUESTS - 1)


def test_constants_that_made_the_times_are_found_again() -> None:
    # The grid's steps are 8 % in time and 7 % in share.
    found = fitted_waiting(waits_of(0.12, 0.09))
    assert found.admission_time == pytest.approx(0.12, rel=0.08)
    assert found.share == pytest.approx(0.09, rel=0.07)


def test_servers_that_are_still_starting_do_not_move_the_constants() -> None:
    assert fitted_waiting(waits_of(0.12, 0.09, stuck=5)).share == pytest.approx(0.09, rel=0.07)


def test_one_request_waits_for_no_other_and_a_known_engine_by_its_own_constants() -> None:
    slow, quick = waits_of(0.2, 0.5), waits_of(0.05, 0.06)
    both = Waits(
        **{
            name: np.concatenate([getattr(slow, name), getattr(quick, name)])
            for name in ("measured", "alone", "prompt", "others")
        }
    )
    engines = np.repeat(["slow", "quick"], REQUESTS.size)
    found = fitted_waitings(both, engines, np.ones(engines.size, dtype=bool))
    assert found["slow"].share > 5 * found["quick"].share
    times = waited_times(both, engines, found)
    assert times == pytest.approx(both.measured, rel=0.1)
    alone = times[both.others == 0] - both.alone[both.others == 0]
    assert set(np.round(alone, 6)) == {round(one.admission_time, 6) for name, one in found.items() if name != "generic"}


def test_an_engine_with_few_first_tokens_takes_the_constants_of_all() -> None:
    waits = waits_of(0.1, 0.1)
    engines = np.array(["many"] * (REQUESTS.size - FEWEST_WAITS + 1) + ["few"] * (FEWEST_WAITS - 1))
    found = fitted_waitings(waits, engines, np.ones(engines.size, dtype=bool))
    assert set(found) == {"generic", "many"}
    assert np.isfinite(waited_times(waits, engines, found)).all()


def test_calibrate_writes_what_first_tokens_wait_for_with_its_source(tmp_path: Path) -> None:
    header = (
        "id,backend,model_path,gpu,precision,mode,isl,osl,batch_size,tp_size,pp_size,attention_dp_size,moe_tp_size,"
        "moe_ep_size,ttft_ms,tpot_ms"
    )
    lines = [
        f"r_c{batch}_{prompt}_{ranks},vllm,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,bf16,agg,{prompt},256,{batch},"
        f"{ranks},1,1,1,1,100,{8 + batch / 10}"
        for batch in (1, 4, 16, 64)
        for prompt in (512, 1024, 2048)
        for ranks in (1, 2)
    ]
    file = tmp_path / "serving.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    data = run_data(read_all([file]))
    fitted = data.fitted()
    logarithms = fitted.logarithms(data.table.engines)
    batch = np.array([run.batch for run in data.runs])
    waited = 0.1 + 0.2 * (batch - 1) * data.table.prompt_time(logarithms)
    data.table.measured = np.where(data.queued, waited, 0.0) + data.table.predicted(logarithms)
    made = stack_files(data, fitted, {}, "made up")["vllm"]
    assert float(made["admission_time"].removesuffix(" ms")) == pytest.approx(100, rel=0.08)
    assert made["waiting_share"] == pytest.approx(0.2, rel=0.07)
    assert made["sources"]["waiting_share"] == (
        "least absolute deviations of 24 first tokens of closed loops (made up)"
    )
    assert made["bands"]["first_token"]["low"] == pytest.approx(0.98, abs=0.05)
