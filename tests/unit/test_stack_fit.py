"""Constants of stacks from measured runs: what was put in comes out again, and nothing leaks from what is left out."""

from pathlib import Path

import numpy as np
import pytest

from rooflinesim.api.calibrate import RunData, left_out_times, read_all, run_data
from rooflinesim.validation.stack_fit import NAMES, NUDGE, PARAMETERS, fit_stacks, touches

HEADER = (
    "id,source,year,gpu,n_gpus,parallelism,engine,model,weight_dtype,kv_dtype,batch_or_concurrency,prompt_len,"
    "output_len,context_len_mean,metric,value,kind,notes"
)
CASES = [
    (gpu, devices, engine, model, form, batch)
    for gpu, devices in (("H100", 1), ("H100", 4), ("RTX 4090", 1), ("A100-SXM4-80GB", 1))
    for engine in ("vLLM 0.15", "SGLang 0.5")
    for model, form in (("Llama-3.1-8B", "bf16"), ("Llama-3.1-8B", "int4"), ("Qwen3-30B-A3B", "bf16"))
    for batch in (1, 8, 64)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    lines = [
        f"r-{index},made up,2026,{gpu},{devices},{f'TP{devices}' if devices > 1 else 'none'},{engine},{model},{form},,"
        f"{batch},0,0,1024,tpot_ms,10,static_batch,"
        for index, (gpu, devices, engine, model, form, batch) in enumerate(CASES)
    ]
    file: Path = tmp_path_factory.mktemp("runs") / "runs.csv"
    file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return run_data(read_all([file]))


def measured_as(data: RunData, logarithms: np.ndarray) -> RunData:
    """The same runs, timed by the model itself with given constants."""
    times = data.table.predicted(logarithms)
    data.table.measured = times
    data.fitting_table.measured = times[data.weights > 0]
    return data


def class_constants(data: RunData, **changes: float) -> np.ndarray:
    logarithms = np.log([[changes.get(one.name, one.start) for one in PARAMETERS]])
    return np.repeat(logarithms, len(data.runs), axis=0)


def test_a_slope_is_the_change_of_a_run_that_its_constant_makes(data: RunData) -> None:
    start = class_constants(data)
    slopes = data.table.slopes(start)
    base = np.log(data.table.predicted(start))
    for name in ("memory_efficiency.GDDR", "elementwise.fixed_time", "collectives.latency", "routing.independence"):
        moved = start.copy()
        moved[:, NAMES.index(name)] += NUDGE
        apart = (np.log(data.table.predicted(moved)) - base) / NUDGE
        assert slopes[:, NAMES.index(name)] == pytest.approx(apart, abs=1e-6)
        assert np.abs(apart).max() > 1e-3


def test_a_constant_touches_only_operations_of_its_kind(data: RunData) -> None:
    kinds = {group.op.kind for group in data.table.groups if touches("experts.fixed_time", group)}
    assert kinds == {"experts"}
    assert {group.op.kind for group in data.table.groups if touches("collectives.latency", group)} <= {
        "all_reduce", "all_gather", "all_to_all",
    }  # fmt: skip
    formats = {group.op.form.family for group in data.table.groups if touches("weight_efficiency.int4", group)}
    assert formats == {"int4"}


def test_constants_that_made_the_times_are_found_again(data: RunData) -> None:
    truth = class_constants(data, **{"elementwise.fixed_time": 5e-6})
    vllm = data.table.engines == "vllm"
    truth[vllm, NAMES.index("sequence_time")] += np.log(2.0)
    measured_as(data, truth)
    fitted = fit_stacks(data.fitting_table, data.weights[data.weights > 0])
    again = data.table.predicted(fitted.logarithms(data.table.engines))
    assert np.abs(again / data.table.measured - 1).max() < 0.02
    place = fitted.engines.index("vllm")
    other = fitted.engines.index("sglang")
    gap = fitted.deviations[place] - fitted.deviations[other]
    assert gap[NAMES.index("sequence_time")] == pytest.approx(np.log(2.0), abs=0.35)


def test_what_is_left_out_has_no_say(data: RunData) -> None:
    truth = class_constants(data)
    measured_as(data, truth)
    before = left_out_times(data, "engine")
    spoiled = np.where(data.table.engines == "vllm", 3.0, 1.0)
    data.table.measured = data.table.measured * spoiled
    data.fitting_table.measured = data.table.measured[data.weights > 0]
    after = left_out_times(data, "engine")
    vllm = data.table.engines == "vllm"
    # vLLM's runs are predicted from SGLang's alone, which did not change.
    assert after[vllm] == pytest.approx(before[vllm], rel=1e-6)
    assert np.abs(after[~vllm] / before[~vllm] - 1).max() > 0.05


def test_an_engine_of_few_runs_stays_near_the_class(data: RunData) -> None:
    measured_as(data, class_constants(data))
    weights = np.where(data.table.engines == "vllm", 0.0, data.weights)
    first = int(np.flatnonzero(data.table.engines == "vllm")[0])
    weights[first] = 0.05
    data.table.measured = data.table.measured * np.where(np.arange(weights.size) == first, 1.5, 1.0)
    fitted = fit_stacks(data.table, weights)
    place = fitted.engines.index("vllm")
    widths = np.array([one.engine_width for one in PARAMETERS])
    assert np.abs(fitted.deviations[place][widths > 0] / widths[widths > 0]).max() < 0.5


def test_less_evidence_never_narrows_a_band() -> None:
    from rooflinesim.validation.stack_profiles import enclosing

    known = {"single": {"low": 0.8, "high": 1.1, "source": "own"}}
    prompt = {"low": 0.7, "high": 1.2, "source": ""}
    other = {"single": {"low": 0.9, "high": 1.3, "source": "left out"}, "prompt": prompt}
    found = enclosing(other, known)
    assert found["single"] == {"low": 0.8, "high": 1.3, "source": "left out"}
    assert found["prompt"] == prompt
