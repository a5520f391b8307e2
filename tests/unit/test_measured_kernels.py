"""Kernel tables of every kind read as operations, and their predictions by the laws of a step."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rooflinesim.analysis.comparison import Comparison
from rooflinesim.api.kernel_rows import group_time, machine_of_group
from rooflinesim.api.measured_kernels import compared_kernels, kernel_rows
from rooflinesim.errors import UnsupportedError
from rooflinesim.validation.tables import Table, read_table

GEMM = "gpu,dtype,m,n,k,latency_us_trtllm_1.0,latency_us_vllm_0.24.0,latency_us_sglang_0.5"
DECODE = (
    "gpu,framework,version,kernel,batch,num_heads,num_kv_heads,head_dim,window,attn_dtype,kv_dtype,kv_len,latency_us"
)
CONTEXT = DECODE.replace("kv_len", "q_len,past_kv_len")
MOE = (
    "gpu,framework,version,kernel,dtype,hidden_size,inter_size,topk,num_experts,moe_tp,moe_ep,distribution,"
    "num_tokens,latency_us"
)
COLLECTIVES = "gpu,library,version,op,kernel,dtype,num_gpus,message_bytes,latency_us"
MLP = "gpu,model,op,tp,num_tokens,num_heads,num_kv_heads,hidden,ffn,vocab,gated,median_us,min_us"


def table(folder: Path, header: str, *lines: str) -> Table:
    path = folder / "table.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return read_table(path)


def reasons(found: Comparison) -> list[str]:
    return [one.reason for one in found.skipped]


def test_products_in_16_bits_take_the_median_of_the_frameworks_that_call_one_library(tmp_path: Path) -> None:
    found = compared_kernels(
        table(tmp_path, GEMM, "h100_sxm,bfloat16,1,8192,8192,50,52,60", "h100_sxm,fp8,1,8192,8192,30,31,")
    )
    assert found.measured * 1e6 == pytest.approx([52.0, 30.0, 31.0])
    assert list(found.labels["framework"]) == ["median", "trtllm", "vllm"]
    assert list(found.labels["stack"]) == ["generic", "tensorrt-llm", "vllm"]
    assert list(found.ids) == ["table.csv:2", "table.csv:3:trtllm", "table.csv:3:vllm"]
    # 128 MiB of weights at 3.35 TB/s: 40 us; no prediction is below the roofline.
    assert found.roofline[0] * 1e6 == pytest.approx(134.25e6 / 3.35e12 * 1e6, rel=1e-3)
    assert (found.predicted > found.roofline).all()


def test_what_the_cache_serves_is_told_from_what_streams(tmp_path: Path) -> None:
    lines = [f"h100_sxm,bfloat16,1,{size},{size},10,10,10" for size in (512, 8192)]
    found = compared_kernels(table(tmp_path, GEMM, *lines))
    # Five copies of 0.5 MiB fit in 50 MiB, five of 128 MiB do not.
    assert list(found.labels["regime"]) == ["warm, m 1-64", "cold, m 1-64"]


def test_rows_that_cannot_be_predicted_are_skipped_with_their_reason(tmp_path: Path) -> None:
    found = compared_kernels(
        table(
            tmp_path,
            GEMM,
            "h100_sxm,bfloat16,0,4096,4096,10,10,10",
            "h100_sxm,int3,1,4096,4096,10,10,10",
            "no_such_gpu,bfloat16,1,4096,4096,10,10,10",
            "h100_sxm,bfloat16,1,4096,4096,,,",
            "h100_sxm,fp8_block,1,4096,4096,,10,",
            "h100_sxm,bfloat16,1,4096,4096,-3,10,10",
            "h100_sxm,bfloat16,1,4096,4096,10,10,10",
        )
    )
    assert found.ids.size == 1
    told = " | ".join(reasons(found))
    for words in ("m is no whole number", "dtype 'int3'", "no-such-gpu", "no framework", "without graphs", "positive"):
        assert words in told, words


def test_one_row_at_a_time_gives_what_the_whole_table_gives(tmp_path: Path) -> None:
    lines = [f"l40s,bfloat16,{m},{n},4096,10,10,10" for m in (1, 100, 3000) for n in (512, 8192)]
    whole = compared_kernels(table(tmp_path, GEMM, *lines)).predicted
    single = [compared_kernels(table(tmp_path, GEMM, line)).predicted[0] for line in lines]
    assert whole == pytest.approx(single, rel=1e-12)


@pytest.mark.parametrize(
    "gpu", ["h100_sxm", "h200_sxm", "gb200", "b200_sxm", "l40s", "a100_sxm", "rtx_pro_6000_server", "b60"]
)
def test_labels_of_measured_devices_resolve(tmp_path: Path, gpu: str) -> None:
    found = compared_kernels(table(tmp_path, GEMM, f"{gpu},bfloat16,1,8192,8192,100,100,100"))
    assert found.ids.size == 1
    assert (found.low <= found.predicted).all()
    assert (found.high >= found.predicted).all()


def test_decode_attention_is_told_by_where_its_cache_lies_and_by_its_heads(tmp_path: Path) -> None:
    common = "vllm,0.24,fa3"
    found = compared_kernels(
        table(
            tmp_path,
            DECODE,
            f"h100_sxm,{common},64,32,8,128,0,bfloat16,bfloat16,8192,900",
            f"h100_sxm,{common},64,8,8,128,0,bfloat16,bfloat16,8192,900",
            f"h100_sxm,{common},1,32,8,128,0,bfloat16,bfloat16,129,8",
            f"h100_sxm,{common},64,32,8,128,128,bfloat16,bfloat16,8192,50",
            f"h100_sxm,{common},1,32,5,128,0,bfloat16,bfloat16,129,8",
            "a100_sxm,trtllm,1.0.0,torch_flow,1,32,8,128,0,bfloat16,bfloat16,129,8",
        )
    )
    regimes = ["KV beyond L2, grouped heads", "KV beyond L2, single heads", "KV in L2, grouped heads"]
    assert list(found.labels["regime"])[:3] == regimes
    # 64 x 8 KV heads x 8192 tokens x 128 x 2 x 2 B = 2.15 GB at 3.35 TB/s, queries and outputs beside: 641 us.
    assert found.roofline[0] * 1e6 == pytest.approx(641.3, rel=2e-3)
    # A window of 128 of 8192 tokens reads a 64th.
    assert found.predicted[3] < found.predicted[0] / 20
    assert "no multiple" in " ".join(reasons(found))
    assert "in doubt" in " ".join(reasons(found))


def test_a_prompt_on_a_cache_is_attention_of_many_queries(tmp_path: Path) -> None:
    line = "h100_sxm,sglang,0.5,fa3,1,32,8,128,0,bfloat16,bfloat16"
    found = compared_kernels(table(tmp_path, CONTEXT, f"{line},4096,0,300", f"{line},128,4096,30"))
    assert list(found.labels["regime"]) == ["q above 2k", "q 64-512"]
    # 4 x 32 heads x 128 x 4096 x 4097 / 2 pairs = 137 GFLOP at 989.4 TFLOP/s: 139 us.
    assert found.roofline[0] * 1e6 == pytest.approx(138.9, rel=1e-3)


def test_experts_are_those_that_the_busiest_rank_wakes(tmp_path: Path) -> None:
    line = "h100_sxm,vllm,0.24,triton,bfloat16,4096,1536,8,128"
    rows = kernel_rows(
        table(
            tmp_path,
            MOE,
            f"{line},1,1,balanced,1,60",
            f"{line},1,4,balanced,1,60",
            f"{line},1,1,power_law_1.2,64,400",
            f"{line},1,1,zipf,64,400",
        )
    )
    awake = rows.groups[0].ops[0].shape.awake  # type: ignore[union-attr]
    # One token wakes 8 experts of 128, 2 of each of 4 ranks; skewed, 64 tokens wake fewer than 512 pairs could.
    assert awake[:2] == pytest.approx([8.0, 2.0])  # type: ignore[index]
    assert 60 < awake[2] < 128  # type: ignore[index]
    assert "distribution 'zipf' is not known" in [one.reason for one in rows.skipped]


def test_experts_without_a_gate_multiply_two_matrices_not_three(tmp_path: Path) -> None:
    lines = [
        f"h100_sxm,trtllm,1.3,{kernel},bfloat16,4096,1536,8,128,1,1,balanced,64,60" for kernel in ("a", "a_nongated")
    ]
    rows = kernel_rows(table(tmp_path, MOE, *lines))
    gated, bare = (sum(float(np.sum(op.weight_bytes)) for op in group.ops) for group in rows.groups)
    assert bare / gated == pytest.approx(2.0 / 3.0)


def test_collectives_of_the_host_are_skipped_and_kernels_name_their_owner(tmp_path: Path) -> None:
    found = compared_kernels(
        table(
            tmp_path,
            COLLECTIVES,
            "h100_sxm,vllm,0.24,all_reduce,vLLM_custom_graph,bfloat16,8,262144,9",
            "h100_sxm,vllm,0.24,all_reduce,vLLM_custom_eager,bfloat16,8,262144,30",
            "h100_sxm,sglang,0.5,all_reduce,TRTLLM,bfloat16,8,16777216,60",
            "h100_sxm,nccl,2.27,all_gather,NCCL,half,4,16777216,60",
            "l40s,nccl,2.27,all_reduce,NCCL,half,8,262144,200",
        )
    )
    assert list(found.labels["stack"]) == ["vllm", "tensorrt-llm", "torch-eager", "torch-eager"]
    assert list(found.labels["regime"]) == [
        "all_reduce <= 2 MB, NVLink",
        "all_reduce > 2 MB, NVLink",
        "all_gather > 2 MB, NVLink",
        "all_reduce <= 2 MB, PCIe",
    ]
    assert "launched by the host" in reasons(found)[0]


def test_projections_of_a_layer_have_the_shapes_of_its_model(tmp_path: Path) -> None:
    model = "a100,meta/llama,{},{},16,32,8,4096,14336,128256,1,100,90"
    ops = ("mlp_up_proj", "mlp_down_proj", "attn_pre_proj", "attn_post_proj", "add")
    rows = kernel_rows(table(tmp_path, MLP, *(model.format(op, 2) for op in ops)))
    assert list(rows.labels["n"]) == [14336, 4096, 3072, 4096]
    assert list(rows.labels["k"]) == [4096, 7168, 4096, 2048]
    assert "whole microseconds" in rows.skipped[0].reason


def test_tables_without_kernels_are_refused_by_name(tmp_path: Path) -> None:
    made = table(tmp_path, GEMM, "h100_sxm,bfloat16,1,4096,4096,10,10,10")
    with pytest.raises(UnsupportedError, match="holds serving, not kernels"):
        kernel_rows(dataclasses.replace(made, kind="serving"))


def test_a_limit_takes_the_same_rows_each_time_and_progress_is_told(tmp_path: Path) -> None:
    made = table(tmp_path, GEMM, *(f"h100_sxm,bfloat16,{m},4096,4096,10,10,10" for m in range(1, 51)))
    told: list[tuple[int, int]] = []
    found = compared_kernels(made, limit=10, report=lambda done, total: told.append((done, total)))
    assert found.ids.size == 10
    assert list(found.ids) == list(compared_kernels(made, limit=10).ids)
    assert told == [(1, 1)]


def test_kernels_are_timed_by_the_machine_of_a_step(tmp_path: Path) -> None:
    rows = kernel_rows(table(tmp_path, GEMM, "h100_sxm,bfloat16,1,8192,8192,50,50,50"))
    group = rows.groups[0]
    machine = machine_of_group(group)
    faster = dataclasses.replace(machine, bandwidth=2.0 * machine.bandwidth)
    assert group_time(group, faster)[0] < group_time(group, machine)[0]
