"""The scoreboard of docs/kernel-accuracy.md: measured kernels beside the laws that time them.

Run: python benchmarks/kernel_accuracy.py [DATA_FOLDER] [--left-out]
DATA_FOLDER holds kernels/. Scores of what ships take half a minute; --left-out also fits the laws to all devices but
one, for each in turn, which takes many minutes.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Score, joined, score
from rooflinesim.api.kernel_profiles import kernels_left_out
from rooflinesim.api.validate import compared_table
from rooflinesim.validation.doublings import doublings
from rooflinesim.validation.tables import read_table

HERE = Path(__file__).resolve().parents[1]
DOCUMENT = HERE / "docs" / "kernel-accuracy.md"
GPUS = ("a100_sxm", "h100_sxm", "l40s", "b200_sxm")
KINDS = ("gemm", "decode_attention", "context_attention", "moe")

Labels = Mapping[str, np.ndarray]
Chosen = Callable[[Labels], np.ndarray]


def is_value(name: str, *values: str) -> Chosen:
    return lambda labels: np.isin(labels[name].astype(str), values)


def together(*parts: Chosen) -> Chosen:
    return lambda labels: np.logical_and.reduce([part(labels) for part in parts])


def product(gpu: str, rows: str) -> Chosen:
    return together(
        is_value("kind", "gemm"),
        is_value("dtype", "bfloat16"),
        is_value("regime", f"cold, {rows}"),
        is_value("gpu", gpu),
    )


def starts(name: str, start: str) -> Chosen:
    return lambda labels: np.char.startswith(labels[name].astype(str), start)


LINES: dict[str, Chosen] = {
    **{
        f"product bf16, weights beyond L2, {rows}, {gpu}": product(gpu, rows)
        for rows in ("m 1-64", "m 65-256")
        for gpu in GPUS
    },
    "product fp8, weights beyond L2, m 1-64": together(
        is_value("kind", "gemm"), is_value("dtype", "fp8"), is_value("regime", "cold, m 1-64")
    ),
    "decode attention bf16, KV beyond L2, grouped heads": together(
        is_value("kind", "decode_attention"),
        is_value("dtype", "bfloat16"),
        is_value("regime", "KV beyond L2, grouped heads"),
    ),
    "all-reduce up to 2 MB, NVLink": is_value("regime", "all_reduce <= 2 MB, NVLink"),
    "all-reduce beyond 2 MB, NVLink": is_value("regime", "all_reduce > 2 MB, NVLink"),
    "experts, up to 256 tokens": together(is_value("kind", "moe"), starts("regime", "tokens <= 256")),
    "prompt attention": is_value("kind", "context_attention"),
}


def compared(data: Path) -> Comparison:
    names = [f"{kind}_{gpu}" for kind in KINDS for gpu in GPUS]
    files = [data / "kernels" / f"{name}.csv.gz" for name in (*names, "collectives_aic")]
    return joined([compared_table(read_table(file)) for file in files])


def flips(found: Comparison, gpu: str) -> tuple[int, float]:
    """Shapes whose time doubles, and the median error of the rows at which it does."""
    labels = found.labels
    mine = np.flatnonzero(product_shapes(labels, gpu))
    columns = {
        "rows": labels["m"][mine].astype(float),
        "outputs": labels["n"][mine].astype(float),
        "inputs": labels["k"][mine].astype(float),
        "time": found.measured[mine],
    }
    table = doublings(columns, found.predicted[mine])
    apart = np.abs(table["predicted"] / table["measured"] - 1.0)
    return int(apart.size), float(np.median(apart)) if apart.size else float("nan")


def product_shapes(labels: Labels, gpu: str) -> np.ndarray:
    """Rows of bf16 products of shapes that stream their weights at every count of rows."""
    mine = (labels["kind"] == "gemm") & (labels["dtype"] == "bfloat16") & (labels["gpu"] == gpu)
    shapes = np.char.add(np.char.add(labels["n"].astype(str), "x"), labels["k"].astype(str))
    warm = set(shapes[mine & (labels["cache"] == "warm")])
    return mine & ~np.isin(shapes, list(warm))


def pair(one: Score | None) -> str:
    return "-" if one is None else f"{100 * one.mape:.1f} / {100 * one.median_ape:.1f}"


def main() -> None:
    arguments = [one for one in sys.argv[1:] if not one.startswith("--")]
    data = Path(arguments[0]) if arguments else HERE.parent / "shared" / "data"
    found = compared(data)
    left: Comparison | None = None
    if "--left-out" in sys.argv:
        names = [f"{kind}_{gpu}" for kind in ("gemm", "decode_attention", "moe") for gpu in GPUS] + ["collectives_aic"]
        tables = [read_table(data / "kernels" / f"{name}.csv.gz") for name in names]
        left = kernels_left_out(tables, report=lambda done, whole: print(f"device {done} of {whole}", flush=True))
    rows = []
    for name, chosen in LINES.items():
        one = score(found, chosen(found.labels), name)
        if one is None:
            continue
        other = score(left, chosen(left.labels), name) if left is not None else None
        rows.append(
            f"| {name} | {one.n:,} | {pair(one)} | {pair(other)} | {100 * (one.roofline_mape or 0):.0f} |"
            f" {100 * (one.roofline_75_mape or 0):.0f} | {100 * one.within_10:.0f} % | {100 * one.within_25:.0f} % |"
            f" {one.inside_band:.2f} |"
        )
    doubled = []
    for gpu in GPUS:
        count, middle = flips(found, gpu)
        doubled.append(f"| {gpu} | {count} | {100 * middle:.1f} |")
    DOCUMENT.write_text(text("\n".join(rows), "\n".join(doubled)), encoding="utf-8")


def text(rows: str, doubled: str) -> str:
    return f"""\
# How far the laws of single kernels are from measurements

Made by `python benchmarks/kernel_accuracy.py --left-out` from the kernel tables of ai-dynamo/aiconfigurator (commit
095f58a): kernels timed alone, in loops, on four GPUs. Errors are |predicted / measured - 1| in %, mean / median.
*Fitted* is what ships; *new device*: the device was left out of every fit. The band is meant to hold 0.8.

| kernel | n | fitted | new device | roofline | / 0.75 | < 10 % | < 25 % | in band |
|---|---|---|---|---|---|---|---|---|
{rows}

## The flip seen in data

Rows (tokens) at which the time of one matrix has doubled over one row, measured and predicted, for shapes that stream
their weights: median error in %.

| GPU | shapes | median error |
|---|---|---|
{doubled}

## What these figures rest on, and what they do not show

Products have six constants per device and format; attention, experts and collectives have laws per engine, architecture
and secondary kernel, some 750 constants in all: far more than whole steps use, which take none of them (see
[model.md](model.md)). Bands are quantiles of the rows they are scored on, so their coverage is 0.8 by construction and
uneven inside. No GPU beyond these four was at hand. Skipped: products of no rows, eagerly launched collectives,
fp8-block products of vLLM 0.24 (timed without graphs), and decode attention of TensorRT-LLM 1.0.0 on A100 (1.6 times
the bandwidth of its memory).
"""


if __name__ == "__main__":
    main()
