"""Profile sections from kernel tables: what made the times is found again, and what cannot be found is said."""

from pathlib import Path

import numpy as np
import pytest

from rooflinesim.api.kernel_fits import sample_of
from rooflinesim.api.kernel_laws import GEMM_SHARES, attention_change, gemm_change
from rooflinesim.api.kernel_profiles import (
    NOTHING_LEFT,
    kernel_bands,
    kernel_profiles,
    kernels_left_out,
    noun_data,
    with_sections,
)
from rooflinesim.api.kernel_rows import KernelRows, group_time, machine_of_group
from rooflinesim.api.kernel_slots import GEMM, Slot, fit_slot, samples_of, slot_of
from rooflinesim.api.measured_kernels import kernel_rows
from rooflinesim.config.declared import build
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.validation.tables import Table, read_table

TRUE = {"memory_efficiency": 0.7, "flop_efficiency": 0.6, "exposed_share": 0.25}
LAW = AttentionLaw(fixed_time=9e-6, memory_efficiency=0.95, flop_efficiency=0.7, start_tokens=120.0)


def gemm_table(folder: Path, gpu: str, dtype: str = "bfloat16") -> Table:
    """A table whose 16-bit times are those of a device that reaches less than it should."""
    lines = ["gpu,dtype,m,n,k,latency_us_vllm_1"]
    shapes = [(m, n, k) for m in (1, 16, 64, 200, 1000, 5000) for n in (4096, 8192, 16384) for k in (4096, 8192, 16384)]
    lines += [f"{gpu},{dtype},{m},{n},{k},1" for m, n, k in shapes]
    return timed(folder / f"gemm_{gpu}_{dtype}.csv", lines)


def timed(path: Path, lines: list[str]) -> Table:
    """The table with its last column replaced by the law's times [us]."""
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = kernel_rows(read_table(path))
    time = np.ones(rows.time.size)
    for group in rows.groups:
        change = gemm_change if slot_of(group) == GEMM else attention_change(LAW)
        values = TRUE if slot_of(group) == GEMM else {}
        time[group.members] = group_time(group, change(machine_of_group(group), values))
    cells = [f"{line.rpartition(',')[0]},{1e6 * one:.6f}" for line, one in zip(lines[1:], time, strict=True)]
    path.write_text("\n".join([lines[0], *cells]), encoding="utf-8")
    return read_table(path)


def test_a_device_s_products_give_back_what_made_them(tmp_path: Path) -> None:
    found = kernel_profiles([gemm_table(tmp_path, "h100_sxm")], source="a made-up table")
    data = found.hardware["H100-SXM5-80GB"]["calibration"]
    assert data["memory_efficiency"] == pytest.approx(0.7, rel=0.02)
    assert data["flop_efficiency"]["bf16"] == pytest.approx(0.6, rel=0.02)
    assert data["exposed_share"] == pytest.approx(0.25, rel=0.05)
    assert "a made-up table" in data["source"]


def test_a_device_that_is_left_out_is_predicted_by_the_others(tmp_path: Path) -> None:
    tables = [gemm_table(tmp_path, gpu) for gpu in ("h100_sxm", "b200_sxm")]
    found = kernels_left_out(tables)
    assert found.ids.size == 108
    # Both were made with the same constants: the other device tells them, up to those of the class that it also moves.
    assert np.median(np.abs(found.predicted / found.measured - 1.0)) < 0.03


def test_what_no_other_device_has_is_skipped_not_guessed(tmp_path: Path) -> None:
    found = kernels_left_out([gemm_table(tmp_path, "h100_sxm")])
    assert found.ids.size == 0
    assert {one.reason for one in found.skipped} == {NOTHING_LEFT}


def test_too_few_rows_keep_the_class_value_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("gpu,dtype,m,n,k,latency_us_vllm_1\nh100_sxm,fp8,1,16384,16384,100\n", encoding="utf-8")
    found = kernel_profiles([read_table(path)])
    assert found.laws == {}
    assert "vllm quantization fp8 on H100-SXM5-80GB: 1 rows are too few" in found.notes[0]


def test_files_without_kernels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,group,measured,predicted,low,high,unit\n1,a,1,1,1,1,s\n", encoding="utf-8")
    with pytest.raises(UnsupportedError, match="none of the files is a table of kernels"):
        kernel_profiles([read_table(path)])


def attention_rows(folder: Path) -> KernelRows:
    columns = "gpu,framework,version,kernel,batch,num_heads,num_kv_heads,head_dim,window,attn_dtype,kv_dtype,kv_len"
    lines = [
        f"h100_sxm,vllm,1,fa3,{batch},{heads},{kv_heads},128,0,bfloat16,bfloat16,{tokens},1"
        for batch in (1, 8, 64, 256)
        for heads, kv_heads in ((32, 8), (16, 2), (8, 8))
        for tokens in (128, 1024, 8192, 32768)
    ]
    lines.insert(0, f"{columns},latency_us")
    return kernel_rows(timed(folder / "decode.csv", lines))


def test_attention_gives_back_the_times_of_the_law_that_made_them(tmp_path: Path) -> None:
    samples = samples_of([attention_rows(tmp_path)])
    slot = Slot("vllm", "attention")
    fitted = fit_slot(slot, samples[slot]["H100-SXM5-80GB"])
    assert fitted.fit.median_ape < 0.02
    # 48 rows tell the fixed time from those that pass with it (filling the pipeline, starting tiles) only roughly.
    assert fitted.law.fixed_time == pytest.approx(9e-6, rel=0.3)


def test_a_sample_gives_each_regime_its_share_of_the_weight(tmp_path: Path) -> None:
    rows = kernel_rows(gemm_table(tmp_path, "h100_sxm"))
    sample = sample_of(rows, rows.groups[0], GEMM_SHARES)
    assert sample is not None
    few = np.asarray(sample.group.ops[0].shape.rows) <= 64  # type: ignore[union-attr]
    assert sample.weights[few].sum() == pytest.approx(0.5)
    assert sample.weights.sum() == pytest.approx(1.0)
    assert sample_of(rows, rows.groups[0], {"nothing": 1.0}) is None


def test_laws_survive_the_way_through_a_profile() -> None:
    exchange = Exchange(latency=8.25e-6, rank_latency=84e-9, bandwidth_efficiency=0.6, copies=0.5)
    for law in (LAW, CollectiveLaw(bulk=exchange, one_shot=exchange, gather=exchange, all_to_all=exchange)):
        assert build(type(law), noun_data(law), "law") == law


def test_sections_replace_laws_whole_and_leave_other_keys_alone() -> None:
    own = {"name": "x", "architectures": {"sm_90": {"attention": {"fixed_time": "1 us", "ramp_time": "2 us"}}}}
    found = with_sections(own, {"architectures": {"sm_90": {"attention": {"fixed_time": "3 us"}}}})
    assert found == {"name": "x", "architectures": {"sm_90": {"attention": {"fixed_time": "3 us"}}}}


def test_bands_hold_four_of_five_rows_of_each_stack(tmp_path: Path) -> None:
    tables = [gemm_table(tmp_path, gpu) for gpu in ("h100_sxm", "b200_sxm")]
    bands = kernel_bands(kernels_left_out(tables))
    assert set(bands) == {"generic"}
    assert bands["generic"]["gemm_cold"]["low"] < 1.0 < bands["generic"]["gemm_cold"]["high"]
