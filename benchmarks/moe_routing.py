"""How expert routing fits the growth of a mixture-of-experts step with batch: behind `routing` in generic.yaml.

Run: python benchmarks/moe_routing.py [DATA_FOLDER]
Reads the llama.cpp batched-bench rows of DATA_FOLDER/e2e/decode.csv (ids dgxspark-...), and compares measured and
predicted step times relative to batch 1 and relative to batch 2. The two ask for different exponents: from batch 1 to 2
the engine changes kernels, which no routing explains and this model does not have.
"""

import csv
import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.decode import decode
from rooflinesim.api.answers import deployment
from rooflinesim.specs.routing import Routing

MODELS = {
    "gpt-oss-20B": ("gpt-oss-20b", None),
    "gpt-oss-120B": ("gpt-oss-120b", None),
    "Qwen3-Coder-30B-A3B": ("qwen3-30b-a3b", "q8_0"),
}
EXPONENTS = (0.0, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)


def measured(data: Path) -> dict[tuple[str, float], dict[int, float]]:
    """Seconds per step by model, context and batch."""
    curves: dict[tuple[str, float], dict[int, float]] = defaultdict(dict)
    with (data / "e2e" / "decode.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["id"].startswith("dgxspark") and row["model"] in MODELS:
                batch, value = int(row["batch_or_concurrency"]), float(row["value"])
                seconds = batch / value if row["metric"] == "tok_per_s_total" else 1 / value
                curves[row["model"], float(row["context_len_mean"])][batch] = seconds
    return {place: curve for place, curve in curves.items() if len(curve) > 2}


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "shared" / "data"
    if not (data / "e2e" / "decode.csv").is_file():
        sys.exit(f"no e2e/decode.csv in {data}; name the data folder as the argument")
    curves = measured(data)
    hardware, generic = rs.load_hardware("gb10"), rs.load_stack("generic")
    print("Zipf exponent   mean error from batch 1   mean error from batch 2   signed from batch 2, by model")
    for exponent in EXPONENTS:
        stack = dataclasses.replace(generic, routing=Routing(zipf_exponent=exponent))
        errors: dict[int, dict[str, list[float]]] = {1: defaultdict(list), 2: defaultdict(list)}
        for (name, context), curve in curves.items():
            preset, weights = MODELS[name]
            asked = deployment(model=rs.load_model(preset), hardware=hardware, stack=stack, weights=weights)
            for start, by_model in errors.items():
                batches = sorted(batch for batch in curve if batch >= start)
                predicted = decode(asked, batch=batches, context=context).step_time
                seen = np.array([curve[batch] for batch in batches])
                by_model[name].extend(predicted[1:] / predicted[0] / (seen[1:] / seen[0]) - 1)
        whole = {start: np.mean(np.abs(np.concatenate(list(ones.values())))) for start, ones in errors.items()}
        signed = ", ".join(f"{name} {np.mean(ones):+.1%}" for name, ones in errors[2].items())
        print(f"{exponent:13.1f}   {whole[1]:23.1%}   {whole[2]:23.1%}   {signed}")


if __name__ == "__main__":
    main()
