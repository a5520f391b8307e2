"""The scoreboard of docs/accuracy.md: predictions beside every measurement at hand, fitted and transferred.

Run: python benchmarks/accuracy.py [DATA_FOLDER]. It writes docs/accuracy.md and tests/golden/accuracy.json, and takes
about a quarter of an hour, nearly all of it for fits that leave something out; --fitted skips those, and keeps what the
last full run found.
DATA_FOLDER holds e2e/decode.csv, e2e/decode_grid.csv and kernels/.
"""

import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Score, score
from rooflinesim.api.calibrate import LEAVE_OUTS, group_names, read_all, run_data
from rooflinesim.api.calibration import transfer
from rooflinesim.api.stack_files import band_kinds
from rooflinesim.api.validate import compared_table
from rooflinesim.validation.stack_profiles import BAND_QUANTILES, fitted_constants, weighted_quantiles
from rooflinesim.validation.tables import read_table

HERE = Path(__file__).resolve().parents[1]
DOCUMENT = HERE / "docs" / "accuracy.md"
RECORD = HERE / "tests" / "golden" / "accuracy.json"
NOT_STEPS = ("CPU", "first token", "first token, queued")
LEFT_NAMES = {"model": "new model", "gpu": "new device", "source": "new source", "engine": "new engine"}

DEPLOYMENTS = (
    "batch 1, 16-bit",
    "batch 1, quantised",
    "batch 1, tensor parallel",
    "batched",
    "MoE, offline",
    "serving, dense",
    "serving, MoE",
    "first token",
    "CPU",
)


def run_files(data: Path) -> list[Path]:
    return [data / "e2e" / "decode.csv", data / "e2e" / "decode_grid.csv", data / "kernels" / "e2e_serving.csv.gz"]


def groups_of(found: Comparison) -> dict[str, np.ndarray]:
    """Rows of each line of the scoreboard."""
    labels = found.labels
    regime, is_table = labels["regime"].astype(str), labels["source"].astype(str) == "serving benchmarks"
    is_grid = np.char.find(labels["source"].astype(str), "LLM-Inference-Bench") >= 0
    phase = labels["phase"].astype(str)
    mode = labels.get("mode", np.full(found.ids.size, "")).astype(str)
    published = ~is_table & ~is_grid
    chosen = {name: published & (regime == name) for name in DEPLOYMENTS}
    chosen["gpt-fast, all but one outlier"] = np.array(
        [str(one).startswith("gptfast-") and one != "gptfast-024" for one in found.ids]
    )
    chosen["all but CPU and first tokens"] = published & ~np.isin(regime, NOT_STEPS)
    for kind in ("dense", "MoE"):
        mine = is_table & (regime == f"serving, {kind}") & (mode == "agg")
        chosen[f"serving tables, {kind}, decode-dominant"] = mine & (phase == "decode-dominant")
        chosen[f"serving tables, {kind}, all"] = mine
    chosen["serving tables, throughput"] = is_table & (mode == "agg") & np.char.startswith(regime, "throughput")
    chosen["serving tables, first token"] = is_table & (regime == "first token, queued")
    chosen["serving tables, disaggregated"] = is_table & (mode == "disagg") & np.char.startswith(regime, "serving")
    return chosen


def fitted_scores(data: Path) -> dict[str, Score]:
    """Errors of what ships, by line of the scoreboard."""
    found: dict[str, Score] = {}
    for file in (run_files(data)[0], run_files(data)[2]):
        whole = compared_table(read_table(file))
        for name, mine in groups_of(whole).items():
            one = score(whole, mine, name)
            if one is not None:
                found[name] = one
    return found


def nested_coverage(data: Path, found: Comparison, left_out: str) -> dict[str, float]:
    """Share of left-out runs inside the band that the other groups' left-out residuals give."""
    runs = run_data(read_all(run_files(data)))
    found = found.rows(~np.char.startswith(found.labels["regime"].astype(str), "throughput"))
    place = {run.id: index for index, run in enumerate(runs.runs)}
    at = np.array([place[one] for one in found.ids])
    kinds, weights = band_kinds(runs)[at], np.where(runs.queued, 1.0, runs.weights)[at]
    names = group_names(runs, left_out)[at]
    ratios = found.measured / found.predicted
    inside = np.full(ratios.size, np.nan)
    for name in set(names):
        own = names == name
        for kind in set(kinds[own]):
            others = ~own & (kinds == kind) & (weights > 0) & np.isfinite(ratios)
            if others.sum() < 8:
                continue
            low, high = weighted_quantiles(ratios[others], weights[others], BAND_QUANTILES)
            mine = own & (kinds == kind)
            inside[mine] = (ratios[mine] >= min(low, 0.98)) & (ratios[mine] <= max(high, 1.02))
    return {
        name: float(np.nanmean(inside[mine]))
        for name, mine in groups_of(found).items()
        if np.isfinite(inside[mine]).any()
    }


def transferred_scores(data: Path) -> tuple[dict[str, dict[str, Score]], dict[str, float]]:
    """Errors of predictions that never saw the model, device, source or engine; and the coverage of bands then."""
    scores: dict[str, dict[str, Score]] = {}
    coverage: dict[str, float] = {}
    for left_out in LEAVE_OUTS:
        found: Comparison = transfer(measured=run_files(data), leave_out=left_out).result
        scores[left_out] = {
            name: one for name, mine in groups_of(found).items() if (one := score(found, mine, name)) is not None
        }
        print(f"left out: {left_out}", flush=True)
        if left_out == "gpu":
            coverage = nested_coverage(data, found, left_out)
    return scores, coverage


def recorded_scores() -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """What the last full run found for runs that were left out."""
    whole = json.loads(RECORD.read_text(encoding="utf-8"))
    scores = {
        kind: {name: SimpleNamespace(mape=mape, median_ape=median) for name, (mape, median) in found.items()}
        for kind, found in whole["left_out"].items()
    }
    return scores, whole["coverage"]


def pair(one: Any) -> str:
    return "-" if one is None else f"{100 * one.mape:.1f} / {100 * one.median_ape:.1f}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def step_table(
    fitted: Mapping[str, Score], left: Mapping[str, Mapping[str, Any]], coverage: Mapping[str, float]
) -> str:
    headers = [
        "kind",
        "n",
        "fitted",
        *LEFT_NAMES.values(),
        "roofline",
        "/ 0.75",
        "< 10 %",
        "< 25 %",
        "in band",
        "new device",
    ]
    rows = []
    for name, one in fitted.items():
        rows.append(
            [
                name,
                str(one.n),
                pair(one),
                *(pair(left.get(kind, {}).get(name)) for kind in LEFT_NAMES),
                f"{100 * (one.roofline_mape or 0):.0f}",
                f"{100 * (one.roofline_75_mape or 0):.0f}",
                f"{100 * one.within_10:.0f} %",
                f"{100 * one.within_25:.0f} %",
                f"{one.inside_band:.2f}",
                f"{coverage[name]:.2f}" if name in coverage else "-",
            ]
        )
    return table(headers, rows)


def parameter_lines(data: Path) -> list[str]:
    """How many constants rest on how many runs."""
    runs = run_data(read_all(run_files(data)))
    constants = fitted_constants(runs.fitted())
    stacks: dict[str, list[Any]] = {}
    for one in constants:
        stacks.setdefault(one.stack, []).append(one)
    class_count = len(stacks.pop("generic"))
    listed = ", ".join(f"{name} {len(moved)} ({moved[0].runs} runs)" for name, moved in sorted(stacks.items()))
    text = (
        f"The class (`generic`) has {class_count} constants, fitted to {int((runs.weights > 0).sum()):,} runs together."
        f" Each engine adds those in which its runs differ: {listed}."
    )
    return textwrap.wrap(text, 118)


WORST = """\
- `gptfast-024` (Llama-3.1-405B int8 on eight A100): 26 % slower than predicted, as other predictors say; left out of
  the line of gpt-fast above.
- `gptfast-026`, `gptfast-025` (MI250X): one device and two rows of an early ROCm build.
- `trt09-057` to `-060` (Falcon-180B on eight L40S): all-reduces over PCIe, whose topology is not modelled.
- `trt09-072` (Mixtral on A100, 32 requests of 2,048 tokens): faster than all experts can be read; prompts were alike.
- `autoawq-009`, `-010`: a GEMV kernel that loops over the batch; the row's engine label does not tell it apart.
- `dsr1b200-001` to `-006`: six tunings of one system, 14.9 to 9.0 ms; one stack predicts one of them.
- `aicsil-025`, `-027`, `-037`, `-038`, `-001`: DeepSeek and Kimi rows that are faster than a plain step; multi-token
  prediction is probably on and not stated.
- `geerling-*`: one GPU in three hosts differs by a third: consumer cards wait for their host.
- CPU: one source and one processor; its kernels reach 16 to 48 % of the bandwidth, depending on model and length.
"""


def document(data: Path, fitted: Mapping[str, Score], left: Any, coverage: Any) -> str:
    lines = "\n".join(parameter_lines(data))
    return f"""\
# How far predictions are from measurements

Made by `python benchmarks/accuracy.py`; anyone can repeat a part of it without other data:

```sh
rooflinesim validate --against published
```

Errors are |predicted / measured - 1| in %, written mean / median. *Fitted* is what ships. *New model, device, source,
engine*: everything with that model (on that engine), device, source or engine was left out of the fit that predicts
it. *In band* is the share of measurements inside the printed band, which is meant to be 0.8; the last column is that of
runs on devices that were left out, with bands from the other devices. *Roofline*: bytes and FLOPs at datasheet rates.

## Whole steps

{step_table(fitted, left, coverage)}

Rows are published runs (gpt-fast, LMDeploy, TensorRT-LLM, llama.cpp, exllamav2, AutoAWQ, vLLM, SGLang and others), and,
where they say so, tables of serving benchmarks: time per output token at a concurrency, prompts of others inside;
output tokens per second, which follow from both times of a row; time to the first token of servers that are not
disaggregated, whose clients start all at once or not, which the tables do not say.
{lines}

Kernels timed alone: [kernel-accuracy.md](kernel-accuracy.md). Speculation: `python benchmarks/speculation_fit.py`.

## The worst rows, and why

{WORST}
## What the bands are

Each stack holds a band per kind of step: the weighted 10 and 90 % quantiles of measured over predicted time. On
devices that it was fitted on they come from its own residuals, on others from fits that left each device out in turn,
for an unknown engine (`generic`) from fits that left each engine out. Runs weigh as in the fit, so that one long table
does not decide; a band of other devices is never narrower than that of known ones. Beyond the largest batch and
context that were fitted both ends are raised to the power 1.5.
"""


def record(fitted: Mapping[str, Score], left: Any, coverage: Mapping[str, float]) -> dict[str, Any]:
    return {
        "fitted": {name: [round(one.mape, 4), round(one.median_ape, 4), one.n] for name, one in fitted.items()},
        "left_out": {
            kind: {name: [round(one.mape, 4), round(one.median_ape, 4)] for name, one in scores.items()}
            for kind, scores in left.items()
        },
        "coverage": {name: round(value, 3) for name, value in coverage.items()},
    }


def main() -> None:
    arguments = [one for one in sys.argv[1:] if not one.startswith("--")]
    data = Path(arguments[0]) if arguments else HERE.parent / "shared" / "data"
    if not run_files(data)[0].is_file():
        sys.exit(f"no e2e/decode.csv in {data}; name the data folder")
    fitted = fitted_scores(data)
    left, coverage = recorded_scores() if "--fitted" in sys.argv else transferred_scores(data)
    DOCUMENT.write_text(document(data, fitted, left, coverage), encoding="utf-8")
    RECORD.write_text(json.dumps(record(fitted, left, coverage), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
