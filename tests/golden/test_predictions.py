"""Did any prediction move? Numbers are updated on purpose, with the reason in CHANGELOG.md.

`ROOFLINESIM_UPDATE_GOLDEN=1 python -m pytest tests/golden` writes them anew. What is right stands in tests/reference.
"""

import json
import os
from pathlib import Path

import pytest

from rooflinesim.analysis.crossover import crossover
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.prefill import prefill
from rooflinesim.api.answers import deployment
from rooflinesim.config import load_hardware, load_model, load_stack

FILE = Path(__file__).with_name("predictions.json")
DEPLOYMENTS = [
    ("llama3-8b", "h100", "generic", 1, None),
    ("llama3-8b", "4090", "generic", 1, "int4"),
    ("llama3-70b", "h100", "generic", 8, None),
    ("llama3-70b", "h100", "ideal", 8, None),
    ("llama3.1-405b", "mi300x", "generic", 8, "fp8"),
    ("deepseek-v3", "h200", "generic", 8, None),
    ("gpt-oss-120b", "h100", "generic", 1, None),
    ("qwen3-next-80b", "b200", "generic", 1, None),
    ("gemma3-27b", "a100", "generic", 2, None),
    ("kimi-k3", "gb300", "generic", 32, None),
    ("vicuna-68m", "rtx-pro-6000", "generic", 1, "int8"),
    ("llama3-8b", "epyc", "generic", 1, "q4_k_m"),
]


def predictions(model: str, gpu: str, stack: str, tp: int, weights: str | None) -> dict[str, float | None]:
    asked = deployment(
        model=load_model(model), hardware=load_hardware(gpu), stack=load_stack(stack), tp=tp, weights=weights
    )
    steps = decode(asked, batch=[1, 64, 1, 64], context=[2048, 2048, 32768, 32768])
    flips = crossover(asked, context=1024)
    return {
        **{
            f"step_time_s at batch {b:.0f}, context {c:.0f}": float(t)
            for b, c, t in zip(steps.batch, steps.context, steps.step_time, strict=True)
        },
        "ttft_s of 2048 tokens": float(prefill(asked, prompt=2048).ttft[0]),
        **{f"batch of {scope}": flips.row(scope).batch for scope in ("weight_gemms", "step", "half_elasticity")},
    }


@pytest.mark.parametrize("asked", DEPLOYMENTS, ids=lambda asked: "-".join(map(str, asked)))
def test_predictions_are_those_of_the_last_release(asked: tuple[str, str, str, int, str | None]) -> None:
    name = " ".join(map(str, asked))
    found = predictions(*asked)
    recorded = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if os.environ.get("ROOFLINESIM_UPDATE_GOLDEN"):
        FILE.write_text(json.dumps({**recorded, name: found}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    for quantity, value in recorded[name].items():
        # Other processors round the last digits differently.
        assert found[quantity] == (None if value is None else pytest.approx(value, rel=1e-9)), quantity
