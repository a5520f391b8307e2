"""Predictions of a stack against published decode runs: the figures behind the bands of stack_profiles/generic.yaml.

Run: python benchmarks/published_runs.py [STACK] [DATA_FOLDER]
DATA_FOLDER holds e2e/decode.csv, e2e/model_labels.csv, e2e/gpu_labels.csv and models/configs.
Rows are left out where the source marks them as suspect, where the number is a time to first token, where no static
batch is given, where layers are split instead of shared, or where a label or format is not known; each is counted.
"""

import collections
import csv
import sys
from pathlib import Path

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.decode import decode
from rooflinesim.api.answers import deployment
from rooflinesim.errors import RooflinesimError

FORMATS = {
    "fp16": "bf16",
    "bf16": "bf16",
    "f16": "bf16",
    "fp8": "fp8",
    "int8 weight-only": "int8",
    "int4 g32 weight-only": "int4-g32",
    "q8_0": "q8_0",
    "q4_k_m": "q4_k_m",
    "q4_0": "q4_0",
    "nvfp4": "nvfp4",
}
SECONDS = {
    "tpot_ms": lambda value, _: value * 1e-3,
    "tok_per_s_per_user": lambda value, _: 1 / value,
    "tok_per_s_total": lambda value, batch: batch / value,
}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def weight_format(text: str) -> str | None:
    lowered = text.lower().strip()
    if "awq" in lowered or "int4 g128" in lowered or lowered == "int4":
        return "int4-awq"
    return next((form for spelling, form in FORMATS.items() if lowered.startswith(spelling)), None)


def ranks_of(row: dict[str, str]) -> int | None:
    parallelism = row["parallelism"].strip()
    if parallelism in ("", "none"):
        return 1 if (row["n_gpus"] or "1") == "1" else None
    return int(parallelism[2:]) if parallelism.startswith("TP") and parallelism[2:].isdigit() else None


def main() -> None:
    stack = rs.load_stack(sys.argv[1] if len(sys.argv) > 1 else "generic")
    here = Path(__file__).resolve().parents[1]
    data = Path(sys.argv[2]) if len(sys.argv) > 2 else here.parent / "shared" / "data"
    if not (data / "e2e" / "decode.csv").is_file():
        sys.exit(f"no e2e/decode.csv in {data}; name the data folder as the second argument")
    configs = {row["label"]: row["config"] for row in table(data / "e2e" / "model_labels.csv")}
    devices = {row["label"]: row["spec"] for row in table(data / "e2e" / "gpu_labels.csv")}
    skipped: collections.Counter[str] = collections.Counter()
    groups: dict[tuple[str, ...], list[float]] = collections.defaultdict(list)
    for row in table(data / "e2e" / "decode.csv"):
        form, ranks = weight_format(row["weight_dtype"]), ranks_of(row)
        if "SUSPECT" in row["notes"] or "SECONDARY" in row["notes"]:
            skipped["marked suspect or secondary"] += 1
        elif row["metric"] not in SECONDS:
            skipped["a time to first token"] += 1
        elif not row["batch_or_concurrency"].isdigit() or not row["context_len_mean"]:
            skipped["no static batch or context"] += 1
        elif ranks is None:
            skipped["layers split, or attention and experts spread differently"] += 1
        elif form is None:
            skipped["weight format mixed or not known"] += 1
        elif not configs.get(row["model"]) or not devices.get(row["gpu"]):
            skipped["model or device not known"] += 1
        else:
            batch = float(row["batch_or_concurrency"])
            device = "mi250x-gcd" if "GCD" in row["gpu"] and "1" in row["gpu"] else devices[row["gpu"]]
            try:
                hardware = rs.load_hardware(device)
                weights = "fp16" if form == "bf16" and "bf16" not in hardware.dense_flop_rate else form
                asked = deployment(
                    model=rs.load_model(str(data / "models" / "configs" / configs[row["model"]])),
                    hardware=hardware,
                    stack=stack,
                    weights=weights,
                    tp=ranks,
                )
                predicted = float(decode(asked, batch=batch, context=float(row["context_len_mean"])).step_time[0])
            except RooflinesimError as error:
                skipped[str(error).split(":")[0][:60]] += 1
                continue
            ratio = SECONDS[row["metric"]](float(row["value"]), batch) / predicted
            is_single = batch == 1 and ranks == 1
            bits = "16-bit" if form == "bf16" else "quantised"
            groups["batch 1, one device" if is_single else "batched or TP", "all"].append(ratio)
            groups["batch 1, one device" if is_single else "batched or TP", bits, hardware.memory_class].append(ratio)
            groups["batch 1, one device" if is_single else "batched or TP", bits, row["engine"][:24]].append(ratio)
    print(f"measured / predicted, stack {stack.name}")
    print(f"{'group':62s} {'n':>4s} {'10 %':>6s} {'50 %':>6s} {'90 %':>6s} {'MAPE':>7s}")
    for group, ratios in sorted(groups.items()):
        low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
        error = np.mean(np.abs(1 / np.asarray(ratios) - 1))
        print(f"{', '.join(group):62s} {len(ratios):4d} {low:6.2f} {middle:6.2f} {high:6.2f} {error:7.1%}")
    for reason, count in skipped.most_common():
        print(f"skipped {count:4d}: {reason}")


if __name__ == "__main__":
    main()
