"""Tables of fused layers of routed experts as operations."""

import dataclasses
import re

import numpy as np

from rooflinesim.api.kernel_rows import STACKS, KernelGroup, KernelRows, Sheet, grouped, resident_share
from rooflinesim.specs.formats import NumberFormat, number_format
from rooflinesim.validation.expert_loads import balanced_load, power_law_load
from rooflinesim.validation.tables import Table
from rooflinesim.workload.op import ExpertShape, Op

FORMATS: dict[str, NumberFormat] = {
    "bfloat16": number_format("bf16"),
    "float16": number_format("fp16"),
    "fp8": number_format("fp8"),
    "fp8_block": number_format("fp8-block"),
    "nvfp4": number_format("nvfp4"),
    "int4_wo": number_format("int4"),
    "int8_wo": number_format("int8"),
    "w4a16_mxfp4": number_format("mxfp4"),
    "w4a8_mxfp4_mxfp8": dataclasses.replace(number_format("mxfp4"), math=("fp8", "bf16", "fp16", "fp32")),
}
"""Number format of the weights by the dtype of a table."""

UNGATED = {(2688.0, 1856.0, 6.0, 128.0), (4096.0, 2688.0, 22.0, 512.0), (2048.0, 5120.0, 22.0, 512.0)}
"""Hidden size, width, experts per token and experts of published models whose experts have no gate (Nemotron 3)."""

FEW = 256.0
"""Tokens up to which a step counts as one of decoding."""


def expert_rows(table: Table) -> KernelRows:
    """Rows of a table of one layer's experts on one device: the busiest of the ranks that share them.

    Experts without a gate are told by their kernel's name, or by the shape of a model that has none.
    """
    sheet = Sheet(table)
    hardware = sheet.devices()
    gpu, framework, version, kernel = (sheet.words(name) for name in ("gpu", "framework", "version", "kernel"))
    dtype, routing = sheet.words("dtype"), sheet.words("distribution")
    hidden, inner, active, experts = (
        sheet.counts(name) for name in ("hidden_size", "inter_size", "topk", "num_experts")
    )
    slices, ranks, tokens = sheet.counts("moe_tp"), sheet.counts("moe_ep"), sheet.counts("num_tokens")
    time = 1e-6 * sheet.numbers("latency_us")
    sheet.drop(~(time > 0), "latency_us is no positive time")
    sheet.drop(~np.isin(dtype, list(FORMATS)), lambda index: f"dtype {dtype[index]!r} is not known")
    sheet.drop(experts % ranks != 0, "moe_ep does not divide num_experts")
    sheet.drop(active > experts, "topk is above num_experts")
    known = np.array([one == "balanced" or _exponent(str(one)) is not None for one in routing], dtype=bool)
    sheet.drop(~known, lambda index: f"distribution {routing[index]!r} is not known")
    at = sheet.kept
    shapes = zip(hidden[at], inner[at], active[at], experts[at], strict=True)
    bare = np.char.find(kernel[at].astype(str), "nongated") >= 0
    gated = ~(bare | np.array([shape in UNGATED for shape in shapes], dtype=bool))
    loads = np.array(
        [
            _load(int(e), int(k), int(r), int(n), str(d))
            for e, k, r, n, d in zip(experts[at], active[at], ranks[at], tokens[at], routing[at], strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    rows, awake = loads.T
    groups = []
    for key, members in grouped((gpu[at], framework[at], dtype[at], kernel[at]), np.arange(at.size)):
        device, form = hardware[str(key[0])], FORMATS[str(key[2])]
        form = dataclasses.replace(form, name=f"{form.name}/{key[3]}")
        places = at[members]
        width = inner[places] / slices[places]
        columns = {
            "rows": rows[members],
            "awake": awake[members],
            "tokens": tokens[places],
            "experts": experts[places],
            "active": active[places],
            "ranks": ranks[places],
        }
        first = expert_op(columns, hidden[places], (1.0 + gated[members]) * width, form)
        second = expert_op(columns, width, hidden[places], form)
        groups.append(
            KernelGroup(
                hardware=device,
                stack=STACKS.get(str(key[1]), "generic"),
                ops=(first, second),
                members=members,
                on_chip=resident_share(np.asarray(first.weight_bytes + second.weight_bytes), device),
            )
        )
    few = tokens[at] <= FEW
    count = np.where(few, "tokens <= 256", "tokens > 256").astype(object)
    spread = np.where(routing[at] == "balanced", "balanced", "skewed").astype(object)
    return KernelRows(
        ids=sheet.ids[at],
        time=time[at],
        labels={
            "kind": np.full(at.size, table.kind, dtype=object),
            "gpu": gpu[at],
            "dtype": dtype[at],
            "framework": framework[at],
            "version": version[at],
            "kernel": kernel[at],
            "regime": count + ", " + spread,
            "tokens": tokens[at],
            "ranks": ranks[at],
            "slices": slices[at],
            "distribution": routing[at],
            "hidden": hidden[at],
            "experts": experts[at],
        },
        bands=np.where(few, "moe_few", "moe_many").astype(object),
        groups=tuple(groups),
        skipped=sheet.skipped(),
    )


def _exponent(routing: str) -> float | None:
    """Exponent of a power law that a routing's name states."""
    found = re.fullmatch(r"power_law_(\d+(?:\.\d+)?)", routing)
    return float(found[1]) if found and float(found[1]) != 1.0 else None


def _load(experts: int, active: int, ranks: int, tokens: int, routing: str) -> tuple[float, float]:
    """Pairs and awake experts of the busiest of the ranks [1]."""
    exponent = _exponent(routing)
    if exponent is None:
        return balanced_load(experts, active, ranks, tokens)
    return power_law_load(experts, active, ranks, tokens, exponent)[:2]


def expert_op(columns: dict[str, np.ndarray], inputs: np.ndarray, outputs: np.ndarray, form: NumberFormat) -> Op:
    """One product of tokens with their experts' matrices, activations in 16 bits as a step has them."""
    rows, awake = columns["rows"], columns["awake"]
    return Op(
        name="experts",
        kind="experts",
        count=1.0,
        form=form,
        flops=2.0 * rows * inputs * outputs,
        weight_bytes=awake * inputs * outputs * form.bytes,
        activation_bytes=2.0 * rows * (inputs + outputs),
        shape=ExpertShape(
            rows=rows,
            remote_rows=np.maximum(columns["active"] * columns["tokens"] - rows, 0.0),
            awake=awake,
            tokens=columns["tokens"],
            sequences=columns["tokens"],
            experts=columns["experts"],  # type: ignore[arg-type]
            active=columns["active"],  # type: ignore[arg-type]
            ranks=columns["ranks"],  # type: ignore[arg-type]
            inputs=inputs,  # type: ignore[arg-type]
            outputs=outputs,  # type: ignore[arg-type]
        ),
    )
