"""Tables of attention of one or of many new tokens per sequence as operations."""

import dataclasses

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
from rooflinesim.specs.formats import number_format
from rooflinesim.validation import attention_shapes
from rooflinesim.validation.tables import Table
from rooflinesim.workload.op import AttentionShape, Op

FORMATS = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8"}

Q_RANGES = ((63, "q 1-63"), (512, "q 64-512"), (2048, "q 513-2k"), (np.inf, "q above 2k"))

UNPHYSICAL = ("a100_sxm", "trtllm", "1.0.0")
"""GPU, framework and version whose times beat the memory's datasheet bandwidth by up to 1.6 on caches of gigabytes."""


def attention_rows(table: Table) -> KernelRows:
    """Rows of a table of decode attention, or of attention of prompts and of chunks on a cache."""
    sheet = Sheet(table)
    hardware = sheet.devices()
    gpu, framework, version, kernel = (sheet.words(name) for name in ("gpu", "framework", "version", "kernel"))
    math, cache = sheet.words("attn_dtype", "bfloat16"), sheet.words("kv_dtype", "bfloat16")
    batch, heads, kv_heads, size = (sheet.counts(n) for n in ("batch", "num_heads", "num_kv_heads", "head_dim"))
    window = np.nan_to_num(sheet.numbers("window"))
    is_decode = table.kind == "decode_attention"
    if is_decode:
        new, past = np.ones(batch.size), sheet.counts("kv_len") - 1.0
    else:
        new, past = sheet.counts("q_len"), sheet.counts("past_kv_len", 0.0)
    time = 1e-6 * sheet.numbers("latency_us")
    sheet.drop(~(time > 0), "latency_us is no positive time")
    sheet.drop(~np.isin(math, list(FORMATS)), lambda index: f"attn_dtype {math[index]!r} is not known")
    sheet.drop(~np.isin(cache, list(FORMATS)), lambda index: f"kv_dtype {cache[index]!r} is not known")
    sheet.drop(heads % kv_heads != 0, "num_heads is no multiple of num_kv_heads")
    odd = is_decode & (gpu == UNPHYSICAL[0]) & (framework == UNPHYSICAL[1]) & (version == UNPHYSICAL[2])
    sheet.drop(odd, "faster than the memory's datasheet bandwidth on caches of gigabytes: the timing is in doubt")
    at = sheet.kept
    values = np.array([number_format(FORMATS.get(str(one), "bf16")).bytes for one in cache])
    columns = {
        "batch": batch[at],
        "new_tokens": new[at],
        "context": past[at],
        "heads": heads[at],
        "kv_heads": kv_heads[at],
        "head_size": size[at],
        "window": window[at],
        "kv_value_bytes": values[at],
    }
    groups = []
    beyond = np.zeros(at.size, dtype=bool)
    for key, members in grouped((gpu[at], framework[at], math[at], cache[at], kernel[at]), np.arange(at.size)):
        device = hardware[str(key[0])]
        op = attention_op(attention_shapes.chosen(columns, members), FORMATS[str(key[2])], str(key[4]))
        kv_bytes = np.asarray(op.kv_bytes)
        beyond[members] = is_cold(kv_bytes, device)
        groups.append(
            KernelGroup(
                hardware=device,
                stack=STACKS.get(str(key[1]), "generic"),
                ops=(op,),
                members=members,
                on_chip=resident_share(kv_bytes, device),
            )
        )
    single = heads[at] == kv_heads[at]
    ranges = in_ranges(new[at], Q_RANGES)
    where = np.where(beyond, "KV beyond L2", "KV in L2").astype(object)
    if is_decode:
        regime = where + np.where(single, ", single heads", ", grouped heads").astype(object)
        bands = np.where(beyond, "decode_attention_cold", "decode_attention_warm").astype(object)
    else:
        regime, bands = ranges, np.full(at.size, "context_attention", dtype=object)
    return KernelRows(
        ids=sheet.ids[at],
        time=time[at],
        labels={
            "kind": np.full(at.size, table.kind, dtype=object),
            "gpu": gpu[at],
            "dtype": np.where(math[at] == cache[at], cache[at], math[at] + ", KV " + cache[at]).astype(object),
            "framework": framework[at],
            "version": version[at],
            "kernel": kernel[at],
            "regime": regime,
            "cache": where,
            "heads": np.where(single, "single", "grouped").astype(object),
            "head_dim": size[at],
            "window": np.where(window[at] > 0, "window", "full").astype(object),
            "batch": batch[at],
            "new_tokens": new[at],
            "context": past[at],
        },
        bands=bands,
        groups=tuple(groups),
        skipped=sheet.skipped(),
    )


def attention_op(columns: attention_shapes.Columns, math: str, kernel: str) -> Op:
    """Attention of one layer of ordinary heads by a kernel, queries and outputs in 16 bits."""
    form = number_format(math)
    read = attention_shapes.tokens_read(columns)
    return Op(
        name="attention",
        kind="attention",
        count=1.0,
        form=dataclasses.replace(form, name=f"{form.name}/{kernel}"),
        flops=attention_shapes.attention_flops(columns),
        kv_bytes=attention_shapes.kv_bytes(columns),
        activation_bytes=attention_shapes.activation_bytes(columns),
        shape=AttentionShape(
            batch=columns["batch"],
            new_tokens=columns["new_tokens"],
            read_tokens=read,
            kv_heads=columns["kv_heads"],  # type: ignore[arg-type]
            group=columns["heads"] / columns["kv_heads"],  # type: ignore[arg-type]
            pair_flops=attention_shapes.pair_flops(columns),  # type: ignore[arg-type]
            value_bytes=columns["kv_value_bytes"],  # type: ignore[arg-type]
        ),
    )
