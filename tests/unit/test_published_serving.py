"""Rows of serving benchmarks read as facts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rooflinesim.api.measured import deployment_of, known_stack, model_name
from rooflinesim.validation.published_serving import serving_runs
from rooflinesim.validation.tables import read_table

HEADER = (
    "id,backend,backend_version,model_path,gpu,precision,mode,isl,osl,batch_size,tp_size,pp_size,attention_dp_size,"
    "moe_tp_size,moe_ep_size,decode_num_workers,decode_batch_size,decode_tp_size,decode_pp_size,"
    "decode_attention_dp_size,decode_moe_tp_size,decode_moe_ep_size,ttft_ms,tpot_ms"
)
AGGREGATED = "a_c16_1,vllm,0.15,meta-llama/Llama-3.1-70B,h100_sxm,fp8,agg,1024,512,16,4,1,,1,1,,,,,,,,120,14"


def runs_of(tmp_path: Path, *lines: str, more: str = "", model_name: Callable[[str], str] = str):
    file = tmp_path / "serving.csv"
    file.write_text("\n".join([HEADER + more, *lines]) + "\n", encoding="utf-8")
    return serving_runs(read_table(file), model_name)


def test_a_row_holds_a_time_per_token_and_one_to_the_first(tmp_path: Path) -> None:
    (per_token, first), skipped = runs_of(tmp_path, AGGREGATED)
    assert not skipped
    assert (per_token.time, per_token.serving, per_token.batch) == (0.014, "closed_loop", 16)
    assert (first.time, first.serving) == (0.120, "queued_first_token")
    assert per_token.context == 1024 + 512 / 2
    assert (per_token.layout.tensor, per_token.weights, per_token.kv_cache) == (4, "fp8", "fp8")


def test_equal_ranks_of_experts_that_multiply_to_the_devices_are_one_group(tmp_path: Path) -> None:
    line = "b_c64_1,sglang,0.5,deepseek-ai/DeepSeek-V3,b200_sxm,fp4,agg,1024,1024,64,64,1,1,8,8,,,,,,,,,16.3"
    (run,), _ = runs_of(tmp_path, line)
    assert (run.layout.tensor, run.layout.expert, run.layout.data) == (8, 8, 1)
    assert "64 devices are read as 8" in run.notes[-1]


def test_attention_ranks_share_the_requests_of_a_row_without_a_stated_concurrency(tmp_path: Path) -> None:
    line = "c,trtllm,1.0,deepseek-ai/DeepSeek-V3,b200_sxm,fp4,agg,1024,1024,4,1,1,8,1,8,,,,,,,,,20"
    (run,), _ = runs_of(tmp_path, line)
    assert (run.batch, run.layout.data, run.layout.expert) == (4 * 8, 8, 8)


def test_decode_workers_of_a_disaggregated_row_share_its_requests(tmp_path: Path) -> None:
    stated = "d_c256_1,sglang,0.5,deepseek-ai/DeepSeek-V3,b200_sxm,fp8,disagg,1024,1024,,,,,,,2,,8,1,1,8,1,,30"
    unstated = stated.replace("d_c256_1", "e_c256_1").replace(",,,,,,,2,,8,", ",,,,,,,,,8,")
    (run,), skipped = runs_of(tmp_path, stated, unstated)
    assert (run.batch, run.serving, run.layout.replicas) == (128, "decode", 2)
    assert [one.id for one in skipped] == ["e_c256_1"]
    assert "decode workers" in skipped[0].reason


def test_the_first_token_of_a_disaggregated_row_is_made_by_the_prefill_workers(tmp_path: Path) -> None:
    line = "d_c256_1,sglang,0.5,deepseek-ai/DeepSeek-V3,b200_sxm,fp8,disagg,1024,1024,,,,,,,2,,8,1,1,8,1,900,30,4,4"
    (rest, first), _ = runs_of(tmp_path, line, more=",prefill_num_workers,prefill_tp_size")
    assert (rest.batch, rest.layout.tensor, rest.layout.replicas) == (128, 8, 2)
    assert (first.batch, first.layout.tensor, first.layout.replicas) == (64, 4, 4)
    assert first.serving == "disaggregated_first_token"


def test_a_concurrency_of_several_batches_was_spread_over_replicas(tmp_path: Path) -> None:
    line = AGGREGATED.replace("a_c16_1", "a_c128_1").replace(",16,4,1,,", ",16,4,1,1,")
    (run, _), _ = runs_of(tmp_path, line)
    assert (run.batch, run.layout.replicas, run.layout.tensor) == (16, 8, 4)


def test_attention_ranks_that_a_row_leaves_open_follow_from_its_batch(tmp_path: Path) -> None:
    line = "e_c448_1,trtllm,1.3,deepseek-ai/DeepSeek-V3,b200_sxm,fp4,agg,4000,1000,56,8,1,,1,8,,,,,,,,,21"
    (run,), _ = runs_of(tmp_path, line)
    assert (run.batch, run.layout.data, run.layout.tensor, run.layout.expert) == (448, 8, 1, 8)


def test_the_faster_of_two_times_of_one_setup_is_not_plain_decoding(tmp_path: Path) -> None:
    fast = AGGREGATED.replace("a_c16_1", "a_c16_2").replace(",120,14", ",,9")
    close = AGGREGATED.replace("a_c16_1", "a_c16_3").replace(",120,14", ",,13")
    again = AGGREGATED.replace("a_c16_1", "a_c16_4").replace(",120,14", ",,14")
    runs, skipped = runs_of(tmp_path, AGGREGATED, fast, close, again)
    assert {run.id for run in runs} == {"a_c16_1:tpot", "a_c16_1:ttft", "a_c16_3:tpot"}
    assert {one.id: one.reason.split(":")[0] for one in skipped} == {
        "a_c16_2:tpot": "the same setup with as many requests also took 1.56 times as long",
        "a_c16_4:tpot": "the same measurement as a_c16_1",
    }


def test_more_requests_at_once_do_not_shorten_a_plain_step(tmp_path: Path) -> None:
    more = AGGREGATED.replace("a_c16_1", "a_c64_2").replace(",512,16,", ",512,64,").replace(",120,14", ",,10")
    fewer = AGGREGATED.replace("a_c16_1", "a_c8_3").replace(",512,16,", ",512,8,").replace(",120,14", ",,9")
    runs, (skipped,) = runs_of(tmp_path, AGGREGATED, more, fewer)
    assert {run.id for run in runs} == {"a_c16_1:tpot", "a_c16_1:ttft", "a_c8_3:tpot"}
    assert skipped.id == "a_c64_2:tpot"
    assert "fewer requests also took 1.40 times as long" in skipped.reason


def test_a_fine_tuned_model_does_the_same_work_as_the_one_that_it_is_of(tmp_path: Path) -> None:
    line = "f_c8_1,trtllm,1.2,deepseek-ai/DeepSeek-V3,b200_sxm,fp4,agg,1024,1024,8,8,1,1,8,1,,,,,,,,,9"
    tuned = line.replace("f_c8_1", "g_c8_1").replace("DeepSeek-V3", "DeepSeek-R1")
    quick = tuned.replace("g_c8_1", "h_c8_1").replace(",,9", ",,6")
    runs, skipped = runs_of(tmp_path, line, tuned, quick, model_name=model_name)
    assert [run.id for run in runs] == ["f_c8_1:tpot"]
    assert [one.reason.split(":")[0] for one in skipped] == [
        "the same measurement as f_c8_1",
        "the same setup with as many requests also took 1.50 times as long",
    ]


def test_four_bits_of_a_checkpoint_that_has_them_are_its_own(tmp_path: Path) -> None:
    line = AGGREGATED.replace("meta-llama/Llama-3.1-70B", "openai/gpt-oss-120b").replace(",fp8,", ",fp4,")
    (run, _), _ = runs_of(tmp_path, line)
    precision = deployment_of(run, known_stack("vllm")).precision
    assert (precision.experts.name, precision.attention.name) == ("mxfp4", "bf16")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((",fp8,", ",fp7,"), "precision 'fp7' is not known"),
        ((",1024,512,", ",-1024,512,"), "no lengths in tokens"),
        ((",120,14", ",120,-14"), "tpot_ms '-14' is no positive number"),
        ((",120,14", ",,"), "neither tpot_ms nor ttft_ms"),
        ((",16,4,1,", ",16,0,1,"), "tp_size '0' is no number of devices"),
        (("a_c16_1", "a_c_1"), None),
        (("a_c16_1", "a"), None),
    ],
)
def test_rows_that_say_too_little_are_skipped_with_the_reason(
    tmp_path: Path, change: tuple[str, str], reason: str | None
) -> None:
    runs, skipped = runs_of(tmp_path, AGGREGATED.replace(*change))
    if reason is None:
        assert runs[0].batch == 16
    else:
        assert not runs
        assert reason in skipped[0].reason
