"""Rows of published runs as facts: what ran on what, how it was measured, in SI; or why a row cannot be used."""

import dataclasses
import re
from collections.abc import Mapping

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.analysis.requests import Serving
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.validation.tables import Table, number

SHORT_CONTEXT = 64.0
"""Mean context of a single-user run that states no lengths: 128 tokens from nothing, as llama-bench does [tokens]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Layout(Noun):
    """How a replica is spread: tensor, pipeline (also layers one after another), expert and attention data ranks.

    `replicas` of it share the measured concurrency; `is_disaggregated` keeps prompts on other devices.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1
    replicas: int = 1
    is_disaggregated: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredRun(Noun):
    """One measured time of a deployment [s], and everything that the row says about it.

    `weights` is what `precision_of` takes; None follows the checkpoint.
    `batch` counts the requests of one replica. `context` is the mean of cached tokens, `time` that of one step, or
    of the first token. `notes` say what was assumed.
    """

    id: str
    labels: Mapping[str, str]
    device: str
    engine: str
    year: int | None
    model: str
    weights: str | None
    kv_cache: str | None
    layout: Layout
    serving: Serving
    batch: float
    prompt: float
    output: float
    context: float
    time: float
    notes: tuple[str, ...] = ()


def layout_of(parallelism: str, devices: int, engine: str) -> Layout:
    """How a row's devices are used.

    Raises
    ------
    UnsupportedError : if the words are not understood, or rows are split through the host.
    """
    text = parallelism.strip()
    lowered = text.lower()
    if "row-split" in lowered:
        raise UnsupportedError(f"parallelism {text!r}: a row split through the host is not tensor parallelism")
    if re.match(r"layer|pipeline|pp\s?\d+$|sequential", lowered):
        return Layout(pipeline=max(devices, 1))
    is_disaggregated = "disagg" in lowered
    replicas = 1
    if is_disaggregated:
        workers = re.search(r"\+\s*(\d+)\s*decode", lowered)
        replicas = int(workers[1]) if workers else 1
        found = re.search(r"; decode (.*)$", text)
        text = found[1] if found else text
    if lowered in ("", "none", "single", "1"):
        if devices > 1 and "llama" in engine.lower():
            return Layout(pipeline=devices)
        if devices > 1:
            raise UnsupportedError(f"{devices} devices with no parallelism stated")
        return Layout()
    tensor = _count(r"attn\s?TP\s?(\d+)", text) or _count(r"(?<!moe)TP\s?(\d+)", text)
    if tensor is None:
        raise UnsupportedError(f"parallelism {parallelism!r} is not understood; write TP8, PP2, layer-split2 or none")
    data = _count(r"(?:attn)?DP\s?(\d+)", text) or 1
    expert_slices, expert = _count(r"moeTP\s?(\d+)", text), _count(r"EP\s?(\d+)", text) or 1
    if expert_slices and data == 1 and expert_slices * expert > tensor:
        data = expert_slices * expert // tensor
    return Layout(
        tensor=tensor,
        pipeline=_count(r"PP\s?(\d+)", text) or 1,
        expert=min(expert, tensor * data),
        data=data,
        replicas=replicas,
        is_disaggregated=is_disaggregated,
    )


def _count(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text)
    return int(found[1]) if found else None


_FORMATS = (
    (r"^mxfp4", "q8_0,experts=mxfp4"),
    (r"nvfp4 moe.*bf16 attention", "nvfp4,attention=bf16"),
    (r"^exl2 ([\d.]+)", r"exl2-\1"),
    (r"fp8.?block", "fp8-block"),
    (r"nvfp4|^fp4|w4a4", "nvfp4"),
    (r"fp8|^e4m3|w8a8.?fp8", "fp8"),
    (r"smoothquant|w8a8|int8.*(activation|sq)", "int8-w8a8"),
    (r"awq", "int4-awq"),
    (r"int4.*g32", "int4-g32"),
    (r"gptq|^int4|^w4a16|4-?bit|^4bit", "int4"),
    (r"nf4", "nf4"),
    (r"int8|8-?bit", "int8"),
    (r"^q8", "q8_0"),
    (r"^q6", "q6_k"),
    (r"^q5", "q5_k_m"),
    (r"^q4_[01]|^iq4", "q4_0"),
    (r"^q4", "q4_k_m"),
    (r"^q3|^q2|^iq[123]", "q2_k"),
    (r"fp32|float32", "fp32"),
    (r"bf16|fp16|f16|float16|half|16-?bit", "bf16"),
)
"""Spellings of weight formats in published tables, tried in this order."""


def weight_format(label: str) -> tuple[str | None, tuple[str, ...]]:
    """Number format of a published label and what was assumed; no name follows the checkpoint.

    Raises
    ------
    UnsupportedError : if the label is not known.
    """
    text = label.strip().lower()
    if not text:
        return None, ("weights follow the checkpoint: the row does not state a format",)
    for pattern, name in _FORMATS:
        found = re.search(pattern, text)
        if found:
            is_open = "not stated" in text or "assumed" in text or "default" in text
            note = (f"{label} is read as {name}",) if is_open or "," in name else ()
            return found.expand(name) if "\\" in name else name, note
    raise UnsupportedError(f"weight format {label!r} is not known")


def measured_runs(table: Table) -> tuple[tuple[MeasuredRun, ...], tuple[Skipped, ...]]:
    """Runs of a table of deployments, and the rows that are none, each with its reason."""
    runs: list[MeasuredRun] = []
    skipped = list(table.skipped)
    seen: dict[tuple[str, ...], str] = {}
    for row in table.rows:
        try:
            run = _run(row)
        except UnsupportedError as error:
            skipped.append(Skipped(id=row["id"], reason=str(error)))
            continue
        facts = ("gpu", "n_gpus", "engine", "batch_or_concurrency", "prompt_len", "output_len", "metric", "value")
        key = tuple(row[name] for name in facts)
        is_repeat = run.layout.tensor > 1 and key in seen and row["kind"] == "serving"
        if is_repeat:
            skipped.append(Skipped(id=row["id"], reason=f"the same measurement as {seen[key]} under another label"))
            continue
        seen[key] = row["id"]
        runs.append(run)
    return tuple(runs), tuple(skipped)


def _run(row: Mapping[str, str]) -> MeasuredRun:
    """Facts of one row.

    Raises
    ------
    UnsupportedError : with the reason why it cannot be used.
    """
    notes = row.get("notes", "")
    for mark in ("SUSPECT", "SECONDARY"):
        if mark in notes:
            raise UnsupportedError(f"marked {mark} by its source")
    requests = number(row["batch_or_concurrency"])
    if requests is None or requests < 1:
        raise UnsupportedError(f"batch_or_concurrency {row['batch_or_concurrency']!r} is no number of requests")
    value = number(row["value"])
    if value is None or value <= 0:
        raise UnsupportedError(f"value {row['value']!r} is no positive number")
    devices = int(number(row["n_gpus"]) or 1)
    layout = layout_of(row["parallelism"], devices, row["engine"])
    weights, assumed = weight_format(row["weight_dtype"])
    kv_cache, kv_note = _cache_format(row["kv_dtype"], weights)
    prompt, output = number(row["prompt_len"]) or 0.0, number(row["output_len"]) or 0.0
    serving = _serving(row, layout, prompt, output)
    context, context_note = _context(row, serving, requests, prompt, output)
    batch = max(1.0, requests / layout.replicas)
    return MeasuredRun(
        id=row["id"],
        labels={**row, "source_id": row["id"].rpartition("-")[0]},
        device=row["gpu"],
        engine=row["engine"],
        year=int(year) if (year := number(row.get("year"))) else None,
        model=row["model"],
        weights=weights,
        kv_cache=kv_cache,
        layout=layout,
        serving=serving,
        batch=batch,
        prompt=prompt,
        output=output,
        context=context,
        time=_seconds(row["metric"], value, requests),
        notes=(*assumed, *kv_note, *context_note),
    )


def _seconds(metric: str, value: float, requests: float) -> float:
    """Time of a step or of the first token [s].

    Raises
    ------
    UnsupportedError : if the metric, which names the unit, is not known.
    """
    match metric:
        case "tpot_ms" | "ttft_ms":
            return value * 1e-3
        case "tok_per_s_per_user":
            return 1.0 / value
        case "tok_per_s_total":
            return requests / value
    raise UnsupportedError(
        f"metric {metric!r} is not known; give tpot_ms, ttft_ms, tok_per_s_per_user or tok_per_s_total"
    )


def _cache_format(label: str, weights: str | None) -> tuple[str | None, tuple[str, ...]]:
    text = label.lower()
    if text.startswith(("fp8", "int8", "q8")):
        return "fp8" if text.startswith("fp8") else "int8", ()
    if not text and weights and weights.startswith(("fp8", "nvfp4")):
        return "fp8", ("KV cache assumed fp8 beside narrow weights: not stated",)
    return None, ()


def _serving(row: Mapping[str, str], layout: Layout, prompt: float, output: float) -> Serving:
    """How the time was taken: with or without prompts inside."""
    if row["metric"] == "ttft_ms":
        if not prompt:
            raise UnsupportedError("a time to first token without a prompt length")
        if row["kind"] != "serving":
            return "first_token"
        return "disaggregated_first_token" if layout.is_disaggregated else "queued_first_token"
    words = f"{row['source']} {row.get('notes', '')}".lower()
    says_inside = re.search(r"includes? prefill|prefill (is )?(included|inside)|end-to-end", words)
    is_pure = re.search(r"no prefill|pure decode", words)
    if says_inside and not is_pure and prompt and output:
        return "static"
    if row["kind"] == "serving" and prompt and output and not layout.is_disaggregated:
        return "closed_loop"
    is_whole_batch = row["kind"] == "static_batch" and row["metric"] == "tok_per_s_total" and not is_pure
    if (
        is_whole_batch
        and re.search(r"static inference|tensorrt", f"{words} {row['engine']}".lower())
        and prompt
        and output
    ):
        return "static"
    return "decode"


def _context(
    row: Mapping[str, str], serving: Serving, requests: float, prompt: float, output: float
) -> tuple[float, tuple[str, ...]]:
    stated = number(row["context_len_mean"])
    if stated is not None:
        return stated, ()
    if "first_token" in serving:
        return 0.0, ()
    if prompt or output:
        return prompt + output / 2.0, ()
    if requests > 1:
        raise UnsupportedError("several requests and neither their lengths nor their context are stated")
    return SHORT_CONTEXT, (f"lengths not stated: a mean context of {SHORT_CONTEXT:g} tokens assumed",)
