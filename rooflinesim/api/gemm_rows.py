"""Tables of matrix multiplications, and of the projections of a layer, as operations."""

import re
from collections.abc import Sequence

import numpy as np

from rooflinesim.api.kernel_rows import (
    STACKS,
    KernelGroup,
    KernelRows,
    Sheet,
    grouped,
    in_ranges,
    is_cold,
    resident_share,
)
from rooflinesim.specs.formats import NumberFormat, number_format
from rooflinesim.specs.hardware import Hardware
from rooflinesim.validation.tables import Table
from rooflinesim.workload.op import Op, gemm

COPIES = 5
"""Copies of the weights that a benchmark's loop walks through, so that a small matrix does not stay in the cache."""

PROJECTION_COPIES = 1000
"""The same of a layer's table, whose operations run one after another: nothing of them stays in the cache."""

FORMATS = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "fp8": "fp8",
    "fp8_block": "fp8-block",
    "nvfp4": "nvfp4",
    "int8_wo": "int8",
    "int4_wo": "int4",
}
"""Number format of the weights by the dtype of a table."""

WIDE = ("bfloat16", "float16", "half")
"""Dtypes of 16 bits, whose products all frameworks leave to the same library."""

M_RANGES = ((64, "m 1-64"), (256, "m 65-256"), (2048, "m 257-2k"), (16384, "m 2k-16k"), (np.inf, "m above 16k"))

PROJECTIONS = ("mlp_up_proj", "mlp_down_proj", "attn_pre_proj", "attn_post_proj")
"""Operations of a layer's table that are matrix multiplications."""


def gemm_rows(table: Table) -> KernelRows:
    """Rows of a table of matrix multiplications.

    16-bit products take the median over the frameworks, which call the same library; others one row per framework.
    """
    sheet = Sheet(table)
    hardware = sheet.devices()
    gpu, dtype = sheet.words("gpu"), sheet.words("dtype")
    rows, outputs, inputs = (sheet.counts(name) for name in ("m", "n", "k"))
    sheet.drop(~np.isin(dtype, list(FORMATS)), lambda index: f"dtype {dtype[index]!r} is not known")
    names = [name for name in table.rows[0] if name.startswith("latency_us_")] if table.rows else []
    times = {name: 1e-6 * sheet.numbers(name) for name in names}
    for name, values in times.items():
        sheet.drop(values <= 0, f"{name} is no positive time")
        if re.match(r"latency_us_vllm_0\.24", name):
            times[name] = np.where(dtype == "fp8_block", np.nan, values)
    every = np.stack(list(times.values())) if times else np.full((1, gpu.size), np.nan)
    measured = np.isfinite(every).any(axis=0)
    sheet.drop(~measured & (dtype == "fp8_block"), "vllm 0.24 timed fp8_block without graphs: the host is measured")
    sheet.drop(~measured, "no framework has measured it")
    kept = sheet.kept
    wide = np.isin(dtype[kept], WIDE)
    series = [("median", "", kept[wide], np.nanmedian(every[:, kept[wide]], axis=0))] if wide.any() else []
    for name, column in times.items():
        framework, _, version = name.removeprefix("latency_us_").partition("_")
        mine = kept[~wide & np.isfinite(column[kept])]
        series.append((framework, version, mine, column[mine]))
    at = np.concatenate([np.array([], dtype=int), *(places for _, _, places, _ in series)])
    frameworks = _repeated([(framework, places.size) for framework, _, places, _ in series])
    names_of = zip(sheet.ids[at], frameworks, strict=True)
    return _kernel_rows(
        sheet,
        ids=np.array([one if by == "median" else f"{one}:{by}" for one, by in names_of], dtype=object),
        time=np.concatenate([np.array([]), *(values for _, _, _, values in series)]),
        gpu=gpu[at],
        dtype=dtype[at],
        framework=frameworks,
        version=_repeated([(version, places.size) for _, version, places, _ in series]),
        kernel=np.full(at.size, "gemm", dtype=object),
        rows=rows[at],
        outputs=outputs[at],
        inputs=inputs[at],
        hardware=hardware,
        copies=COPIES,
    )


def _repeated(counts: Sequence[tuple[str, int]]) -> np.ndarray:
    """Each word as often as its count says, one after another."""
    return np.array([word for word, count in counts for _ in range(count)], dtype=object)


def projection_rows(table: Table) -> KernelRows:
    """Rows of a table of a layer's operations that are matrix multiplications in 16 bits."""
    sheet = Sheet(table)
    hardware = sheet.devices()
    gpu, kernel = sheet.words("gpu"), sheet.words("op")
    ranks, rows = sheet.counts("tp"), sheet.counts("num_tokens")
    heads, kv_heads, hidden, ffn = (sheet.counts(name) for name in ("num_heads", "num_kv_heads", "hidden", "ffn"))
    gated = np.isin(sheet.words("gated"), ("1", "True", "true"))
    time = 1e-6 * sheet.numbers("median_us")
    sheet.drop(
        ~np.isin(kernel, PROJECTIONS),
        lambda index: f"{kernel[index]}: a small kernel timed in whole microseconds, and without its place in a step",
    )
    sheet.drop(~(time > 0), "median_us is no positive time")
    size = hidden / heads
    up, before = kernel == "mlp_up_proj", kernel == "attn_pre_proj"
    outputs = np.where(
        up, (1.0 + gated) * ffn / ranks, np.where(before, (heads + 2.0 * kv_heads) * size / ranks, hidden)
    )
    inputs = np.where(up | before, hidden, np.where(kernel == "mlp_down_proj", ffn, hidden) / ranks)
    at = sheet.kept
    return _kernel_rows(
        sheet,
        ids=sheet.ids[at],
        time=time[at],
        gpu=gpu[at],
        dtype=np.full(at.size, "float16", dtype=object),
        framework=np.full(at.size, "median", dtype=object),
        version=np.full(at.size, "", dtype=object),
        kernel=kernel[at],
        rows=rows[at],
        outputs=outputs[at],
        inputs=inputs[at],
        hardware=hardware,
        copies=PROJECTION_COPIES,
    )


def working_set(
    rows: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, form: NumberFormat, copies: int
) -> np.ndarray:
    """Bytes that a benchmark's loop touches: copies of the weights, and the activations [B]."""
    return np.asarray(copies * inputs * outputs * form.bytes + 2.0 * rows * (inputs + outputs))


def _kernel_rows(
    sheet: Sheet,
    *,
    ids: np.ndarray,
    time: np.ndarray,
    gpu: np.ndarray,
    dtype: np.ndarray,
    framework: np.ndarray,
    version: np.ndarray,
    kernel: np.ndarray,
    rows: np.ndarray,
    outputs: np.ndarray,
    inputs: np.ndarray,
    hardware: dict[str, Hardware],
    copies: int,
) -> KernelRows:
    groups = []
    cold = np.zeros(time.size, dtype=bool)
    for key, members in grouped((gpu, dtype, framework), np.arange(time.size)):
        device, form = hardware[str(key[0])], number_format(FORMATS[str(key[1])])
        shape = rows[members], inputs[members], outputs[members]
        touched = working_set(*shape, form, copies)
        cold[members] = is_cold(touched, device)
        groups.append(
            KernelGroup(
                hardware=device,
                stack=STACKS.get(str(key[2]), "generic"),
                ops=(gemm_op(*shape, form),),
                members=members,
                on_chip=resident_share(touched, device),
            )
        )
    warmth = np.where(cold, "cold", "warm").astype(object)
    ranges = in_ranges(rows, M_RANGES)
    kind = np.where(np.isin(dtype, WIDE), sheet.table.kind, "gemm_quantised").astype(object)
    return KernelRows(
        ids=ids,
        time=time,
        labels={
            "kind": np.full(time.size, sheet.table.kind, dtype=object),
            "gpu": gpu,
            "dtype": dtype,
            "framework": framework,
            "version": version,
            "kernel": kernel,
            "regime": np.array([f"{w}, {r}" for w, r in zip(warmth, ranges, strict=True)], dtype=object),
            "cache": warmth,
            "m_range": ranges,
            "m": rows,
            "n": outputs,
            "k": inputs,
        },
        bands=kind + "_" + warmth,
        groups=tuple(groups),
        skipped=sheet.skipped(),
    )


def gemm_op(rows: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, form: NumberFormat) -> Op:
    """Products of tokens with matrices of a format, activations in 16 bits as a step has them."""
    return gemm(
        "gemm",
        rows=rows,
        inputs=inputs,  # type: ignore[arg-type]
        outputs=outputs,  # type: ignore[arg-type]
        weights=form,
        activations=number_format("bf16"),
    )
