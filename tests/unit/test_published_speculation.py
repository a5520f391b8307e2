"""Rows of published speculation become facts, or say why they cannot."""

from pathlib import Path

import pytest

from rooflinesim.api.measured_speculation import (
    compared_speculation,
    compared_speedups,
    device_of,
    laid_out,
    round_ratio,
    timed_rounds,
)
from rooflinesim.validation.published_speculation import SpeculativeRun, speculative_runs
from rooflinesim.validation.speedups import rule_errors, speedup_scores
from rooflinesim.validation.tables import Table, read_table
from rooflinesim.validation.task_acceptance import task_share

HEADER = (
    "id,source,gpu,target,draft_or_method,batch,context_len,gamma_or_tree,acceptance_rate_or_mean_accept_len,"
    "draft_cost_ratio_if_given,measured_speedup,task,temperature,notes"
)
CHAIN = "a-1,vLLM issue 1,H100,Llama-3.1-8B bf16,EAGLE-3 chain,1,,3,mean_accept_len=2.79,,1.729,MT-bench,0,"
FORGE = (
    "b-1,SGLang SpecForge data.json [Llama-3.3-70B-Instruct][gsm8k],H200 (TP/EP per dashboard; not in data file),"
    "Llama-3.3-70B-Instruct,EAGLE-3: SGLang-EAGLE3-Llama-3.3-70B-Instruct-Specforge,8,,"
    "steps=5 topk=3 draft_tokens=6,mean_accept_len=3.0,,2.1,gsm8k,,580 -> 1200 output tok/s at batch 8"
)
BENCH = (
    "c-1,Spec-Bench Leaderboard.md,A100-80GB,Vicuna-7B-v1.3 fp16,EAGLE2,1,,method default,"
    "mean_accept_len=4.34 (over all tasks),,2.0,Translation,0,"
)


def table(tmp_path: Path, *rows: str) -> Table:
    file = tmp_path / "runs.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return read_table(file)


def run_of(tmp_path: Path, row: str) -> SpeculativeRun:
    runs, skipped = speculative_runs(table(tmp_path, row))
    assert not skipped
    return runs[0]


def test_a_chain_in_an_engine(tmp_path: Path) -> None:
    run = run_of(tmp_path, CHAIN)
    assert (run.harness, run.engine, run.drafting) == ("engine", "vllm", "eagle3")
    assert (run.drafted, run.passes, run.devices, run.tensor) == (3.0, 3.0, 1, 1)
    assert run.acceptance is not None
    assert (run.acceptance.kind, run.acceptance.value, run.acceptance.temperature) == ("length-with-bonus", 2.79, 0.0)
    assert run.notes == ("context not stated: 512 tokens",)


def test_a_budget_counts_the_root(tmp_path: Path) -> None:
    run = run_of(tmp_path, FORGE)
    assert (run.drafted, run.passes, run.devices) == (5.0, 5.0, None)
    # 8 sequences emit 580 tokens/s together: one token of each takes 8 / 580 s.
    assert run.plain_time == pytest.approx(8 / 580)


def test_devices_that_are_not_stated_are_those_that_meet_the_plain_step(tmp_path: Path) -> None:
    rows, skipped = laid_out(speculative_runs(table(tmp_path, FORGE))[0])
    assert not skipped
    assert rows[0].speculation.target.tensor_parallel == 4


def test_research_code_drafts_what_its_released_code_does(tmp_path: Path) -> None:
    run = run_of(tmp_path, BENCH)
    assert (run.harness, run.engine, run.drafted, run.passes) == ("benchmark", "transformers", 59.0, 6.0)
    assert run.of_all_tasks
    # Heads keep fewer tokens of translations than of the mean of all tasks.
    assert task_share(run) < 0.8


def test_a_label_may_name_devices_by_the_size_of_the_target(tmp_path: Path) -> None:
    label = '"not stated in table (paper uses RTX 3090 for 7B, A100-40G x4 for 70B in Sec 4.4)"'
    found = []
    for target in ("Vicuna-7B fp16", "LLaMA2-Chat-70B fp16", "Vicuna-13B fp16"):
        row = f"d-1,arXiv 1,{label},{target},EAGLE-1 tree,1,,static tree,mean_accept_len=3.5,,2.5,GSM8K,0,"
        found.append(device_of(run_of(tmp_path, row)))
    assert found == [("RTX-3090", 1), ("a100-sxm-40gb", 4), ("a100-sxm-40gb", None)]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",,1.729,", ",,,", "measured_speedup '' is no positive number"),
        ("chain,1,,3", "chain,7 vs 8,,3", "batch '7 vs 8' is no number of sequences"),
        ("chain,1,,3", "chain,1,,some", "gamma_or_tree 'some' is not understood"),
        ("MT-bench,0,", "MT-bench,0,SUSPECT", "marked SUSPECT by its source"),
        ("EAGLE-3 chain", "DFlash block drafter", "drafts all tokens in one pass, which is not modelled"),
        (
            "EAGLE-3 chain",
            "MTP + relaxed acceptance",
            "not a speed-up over plain decoding with the target's own output",
        ),
    ],
)
def test_rows_that_cannot_be_used_say_why(tmp_path: Path, old: str, new: str, reason: str) -> None:
    runs, skipped = speculative_runs(table(tmp_path, CHAIN.replace(old, new)))
    assert not runs
    assert reason in skipped[0].reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("mean_accept_len=2.79", "", "no acceptance is published for this row"),
        ("Llama-3.1-8B bf16", "T5-XXL 11B", "unknown model 'T5-XXL 11B'"),
        ("H100", "not stated", "the device is not stated"),
        ("EAGLE-3 chain", "small draft model (size not restated)", "the draft 'small draft model"),
        ("H100", "3x H100 TP3", "tensor parallelism 3 does not divide 32 heads"),
    ],
)
def test_runs_that_cannot_be_described_say_why(tmp_path: Path, old: str, new: str, reason: str) -> None:
    found = compared_speedups(speculative_runs(table(tmp_path, CHAIN.replace(old, new)))[0])
    assert found.ids.size == 0
    assert reason in found.skipped[0].reason


def test_a_comparison_has_bands_rules_and_scores(tmp_path: Path) -> None:
    runs, _ = speculative_runs(table(tmp_path, CHAIN, FORGE, BENCH))
    found = compared_speedups(runs)
    assert list(found.ids) == ["a-1", "b-1", "c-1"]
    assert (found.low < found.predicted).all()
    assert (found.predicted < found.high).all()
    assert found.constant == pytest.approx([0.67 * 2.79, 0.67 * 3.0, 0.67 * 4.34])
    assert list(found.labels["regime"]) == [
        "engine, dense, batch 1",
        "engine, dense, batched",
        "research code, a benchmark",
    ]
    assert [score.n for score in speedup_scores(found, ["harness"])] == [3, 2, 1]


def series(*batches: int) -> list[str]:
    return [
        f"s-{batch},arXiv 1 Table 5,A100-80GB,Llama-3.1-8B-Instruct,EAGLE chain,{batch},,2,,,{1.4 - batch / 100},"
        "MT-bench,,vLLM"
        for batch in batches
    ]


def test_a_series_over_batch_takes_its_tokens_from_its_first_row(tmp_path: Path) -> None:
    runs, _ = speculative_runs(table(tmp_path, *series(2, 8, 32)))
    found = compared_speedups(runs)
    assert list(found.ids) == ["s-8", "s-32"]
    assert found.skipped[0].id == "s-2"
    assert "those of its series are read from it" in found.skipped[0].reason
    # Gains fall with batch; rules that know no batch stay at the first row's.
    assert 1.38 > found.predicted[0] > found.predicted[1]
    assert found.leviathan == pytest.approx([1.38, 1.38])


def test_two_batches_make_no_series(tmp_path: Path) -> None:
    found = compared_speedups(speculative_runs(table(tmp_path, *series(2, 8)))[0])
    assert found.ids.size == 0
    assert {one.reason for one in found.skipped} == {"no acceptance is published for this row"}


def test_tables_of_speculation_are_validated_beside_simple_rules(tmp_path: Path) -> None:
    found = compared_speculation(table(tmp_path, CHAIN, FORGE, BENCH), limit=2)
    assert found.ids.size == 2
    assert set(found.labels["unit"]) == {"1"}
    errors = rule_errors(found)
    constant = found.labels["constant_rule"].astype(float)
    assert errors["constant_mape"] == pytest.approx(abs(constant / found.measured - 1.0).mean())
    assert set(errors) == {"leviathan_mape", "constant_mape"}


def test_one_device_that_does_not_hold_a_target_stands_for_the_fewest_that_do(tmp_path: Path) -> None:
    row = "d-1,arXiv 1,A100-40GB,LLaMA2-Chat-70B fp16,EAGLE-1 tree,1,,static tree,mean_accept_len=3.5,,2.5,GSM8K,0,"
    rows, skipped = laid_out(speculative_runs(table(tmp_path, row))[0])
    assert not skipped
    # 140 GB of weights; research code splits layers.
    assert rows[0].speculation.target.pipeline_parallel == 4


def test_a_round_costs_more_than_a_plain_step(tmp_path: Path) -> None:
    rows, _ = laid_out(speculative_runs(table(tmp_path, CHAIN, FORGE, BENCH))[0])
    assert (round_ratio(timed_rounds(rows)[1]) > 1.0).all()
