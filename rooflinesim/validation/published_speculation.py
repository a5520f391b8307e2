"""Rows of published speculative runs as facts: what drafted for what, on what, how much was kept, what was gained."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.validation.published import weight_format
from rooflinesim.validation.tables import Table, number

Harness = Literal["engine", "paper", "benchmark"]
"""Where a speed-up was measured: in a serving engine or compiled runner, by the authors of a method in their research
code, or by a benchmark that runs many methods' research code. Research code is compared with a plain eager baseline."""

Drafting = Literal["eagle", "eagle3", "mtp", "medusa", "hydra", "draft-model", "self", "lookup", "lookahead"]
"""How tokens are drafted, as far as their cost tells them apart."""

UNSTATED_CONTEXT = 512.0
"""Mean cached tokens of a chat-like request whose lengths are not stated: a short prompt, half of its answer."""


class TreeDefault(NamedTuple):
    """Drafted tokens beside the root and draft passes of a method's released code."""

    drafted: float
    passes: float


class _MethodRule(NamedTuple):
    pattern: str
    drafting: Drafting
    default: TreeDefault | None


_METHODS = (
    _MethodRule(r"p-eagle|parallel draft|dflash|dspark|block draft", "eagle3", None),
    _MethodRule(r"eagle[- ]?3", "eagle3", TreeDefault(59, 8)),
    _MethodRule(r"eagle[- ]?2|samd|hass", "eagle", TreeDefault(59, 6)),
    _MethodRule(r"eagle(?! path)", "eagle", TreeDefault(25, 5)),
    _MethodRule(r"mtp|nextn|eagle path", "mtp", None),
    _MethodRule(r"medusa", "medusa", TreeDefault(63, 0)),
    _MethodRule(r"hydra", "hydra", TreeDefault(63, 4)),
    _MethodRule(r"lookahead", "lookahead", TreeDefault(56, 0)),
    _MethodRule(r"^pld|prompt lookup|n-?gram", "lookup", TreeDefault(10, 0)),
    _MethodRule(r"^rest\b", "lookup", TreeDefault(63, 0)),
    _MethodRule(r"recycling", "lookup", TreeDefault(79, 0)),
    _MethodRule(r"self-?spec", "self", None),
    _MethodRule(r"", "draft-model", TreeDefault(5, 5)),
)
"""Spellings of methods, tried in this order, with what their released code drafts where a row says "default".

EAGLE-1: a static tree of 26 nodes and depth 5; EAGLE-2 and 3: 60 nodes; Medusa and Hydra: 64 nodes of 5 and 4 heads;
lookahead: level 5, window and guesses 7; prompt lookup: 10 tokens; token recycling: 80 nodes; draft models: 5 tokens.
"""

_ENGINES = (
    (r"specforge|sglang", "sglang"),
    (r"tensorrt|trt-?llm", "tensorrt-llm"),
    (r"vllm", "vllm"),
    (r"gpt-fast|magicdec", "gpt-fast"),
    (r"lmdeploy|turbomind", "lmdeploy"),
    (r"llama\.?cpp", "llama.cpp"),
)

RESEARCH_ENGINE = "transformers"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculativeRun(Noun):
    """One measured speed-up, and everything that the row says about it.

    `devices` and `tensor` are None where the row does not say; `plain_time` is that of a plain step per token where
    it does [s]. `drafted` tokens are verified beside the root in `passes` draft passes. `acceptance` is None where none
    was published; it is one `of_all_tasks` where the row's task has none of its own. `notes` say what was assumed.
    """

    id: str
    labels: Mapping[str, str]
    device: str
    devices: int | None
    tensor: int | None
    engine: str
    harness: Harness
    target: str
    weights: str | None
    draft: str
    drafting: Drafting
    batch: float
    context: float
    drafted: float
    passes: float
    acceptance: Acceptance | None
    of_all_tasks: bool
    cost_ratio: float | None
    speedup: float
    plain_time: float | None
    notes: tuple[str, ...] = ()


def speculative_runs(table: Table) -> tuple[tuple[SpeculativeRun, ...], tuple[Skipped, ...]]:
    """Runs of a table of speculation, and the rows that are none, each with its reason."""
    runs: list[SpeculativeRun] = []
    skipped = list(table.skipped)
    for row in table.rows:
        try:
            runs.append(_run(row))
        except (UnsupportedError, DomainError) as error:
            skipped.append(Skipped(id=row["id"], reason=str(error)))
    return tuple(runs), tuple(skipped)


def _run(row: Mapping[str, str]) -> SpeculativeRun:
    """Facts of one row.

    Raises
    ------
    UnsupportedError : with the reason why it cannot be used.
    DomainError : if its acceptance has no meaning.
    """
    notes = row.get("notes", "")
    for mark in ("SUSPECT", "SECONDARY"):
        if mark in notes:
            raise UnsupportedError(f"marked {mark} by its source")
    speedup = number(row["measured_speedup"])
    if speedup is None or speedup <= 0:
        raise UnsupportedError(f"measured_speedup {row['measured_speedup']!r} is no positive number")
    batch = number(row.get("batch"))
    if batch is None or batch < 1:
        raise UnsupportedError(f"batch {row.get('batch')!r} is no number of sequences")
    draft = row["draft_or_method"]
    if re.search(r"not vs no-spec|relaxed", draft, re.I):
        raise UnsupportedError(f"{draft}: not a speed-up over plain decoding with the target's own output")
    harness, engine = _harness(row)
    drafting, shape, assumed = _drafting(draft, row["gamma_or_tree"])
    context = number(row.get("context_len"))
    if context is None:
        assumed = (*assumed, f"context not stated: {UNSTATED_CONTEXT:g} tokens")
    devices, tensor = _devices(row, harness)
    text = row.get("acceptance_rate_or_mean_accept_len", "")
    weights = _weights(row["target"])
    return SpeculativeRun(
        id=row["id"],
        labels={**row, "source_table": re.sub(r"\]\[[^\]]*\]$", "]", row["source"]), "harness": harness},
        device=row["gpu"],
        devices=devices,
        tensor=tensor,
        engine=engine,
        harness=harness,
        target=re.sub(r"\s+\((gpt-fast|fp8 kv)\)$", "", row["target"], flags=re.I),
        weights=weights,
        draft=draft,
        drafting=drafting,
        batch=batch,
        context=UNSTATED_CONTEXT if context is None else context,
        drafted=shape.drafted,
        passes=shape.passes,
        acceptance=_acceptance(text, shape, number(row.get("temperature"))),
        of_all_tasks="over all tasks" in text,
        cost_ratio=number(row.get("draft_cost_ratio_if_given")),
        speedup=speedup,
        plain_time=_plain_time(notes, batch),
        notes=assumed,
    )


def _harness(row: Mapping[str, str]) -> tuple[Harness, str]:
    """Kind of harness and engine label of a row."""
    words = f"{row['target']} {row['source']}".lower()
    if "table 5" in words and "vllm" in row.get("notes", "").lower():
        words += " vllm"
    for pattern, engine in _ENGINES:
        if re.search(pattern, words):
            return "engine", engine
    is_benchmark = re.search(r"spec-?bench|leaderboard", words) is not None
    return ("benchmark" if is_benchmark else "paper"), RESEARCH_ENGINE


def _drafting(draft: str, text: str) -> tuple[Drafting, TreeDefault, tuple[str, ...]]:
    """Kind of drafting, what a round drafts, and what was assumed about it.

    Raises
    ------
    UnsupportedError : if the row's shape of the draft is not understood.
    """
    rule = next(rule for rule in _METHODS if re.search(rule.pattern, draft.strip(), re.I))
    if rule.default is None and rule.drafting == "eagle3":
        raise UnsupportedError(f"{draft}: drafts all tokens in one pass, which is not modelled")
    shape = text.strip().lower()
    budget = re.search(r"steps=(\d+).*draft_tokens=(\d+)", shape) or re.search(r"(\d+) steps,? (\d+) draft", shape)
    if budget:
        return rule.drafting, TreeDefault(float(budget[2]) - 1.0, float(budget[1])), ()
    if re.search(r"depth ?1\b", draft, re.I) and (length := number(shape)):
        return rule.drafting, TreeDefault(length, 1.0), ()
    length = number(shape)
    if length is not None and length >= 0:
        no_passes = rule.drafting in ("medusa", "lookup", "lookahead")
        return rule.drafting, TreeDefault(length, 0.0 if no_passes else length), ()
    is_default = "tree" in shape or "default" in shape or not shape
    if rule.default is not None and is_default:
        said = f"draft of the released code assumed: {rule.default.drafted:g} tokens in {rule.default.passes:g} passes"
        return rule.drafting, rule.default, (said,)
    raise UnsupportedError(f"gamma_or_tree {text!r} is not understood; write a length or steps, topk and draft_tokens")


def _acceptance(text: str, shape: TreeDefault, temperature: float | None) -> Acceptance | None:
    """The published acceptance; None where there is none.

    Raises
    ------
    DomainError : if it exceeds what the draft allows.
    """
    emitted = re.search(r"mean_accept_len=([\d.]+)", text)
    # A method that drafts without passes (heads, lookups) keeps at most as many tokens as it drafts.
    deepest = shape.passes or shape.drafted
    if emitted:
        # A measured mean can exceed the chain by what the first token of a request adds.
        value = min(float(emitted[1]), deepest + 1.0)
        return Acceptance(kind="length-with-bonus", value=value, measured_length=int(deepest), temperature=temperature)
    rate = re.match(r"alpha=([\d.]+)(?![\d.]*-)", text)
    if rate:
        return Acceptance(kind="conditional", value=float(rate[1]), temperature=temperature)
    return None


def _weights(target: str) -> str | None:
    """Number format that a target's label names; None follows the checkpoint."""
    found = re.search(r"\b(bf16|fp16|fp8|int8|int4|nvfp4|mxfp4)\b(?! kv)", target, re.I)
    if found is None:
        return None
    return "fp8-block" if found[1].lower() == "fp8" and "deepseek" in target.lower() else weight_format(found[1])[0]


def _devices(row: Mapping[str, str], harness: Harness) -> tuple[int | None, int | None]:
    """Devices and the tensor-parallel group among them, None where not stated; research code splits by layers."""
    label = row["gpu"]
    tensor = re.search(r"\bTP\s?(\d+)", f"{label} {row['source']}")
    count = re.match(r"(\d+)\s*x\s", label)
    if tensor:
        return int(tensor[1]), int(tensor[1])
    if count:
        return int(count[1]), int(count[1]) if harness == "engine" else 1
    if re.search(r"not in data file|not stated|count not", label, re.I):
        return None, None
    # A label without a count is one device in all tables that state counts.
    return 1, 1


_PLAIN = (
    (r"([\d.]+) -> [\d.]+ output tok/s", "total"),
    (r"([\d.]+) -> [\d.]+ tok/s/user", "user"),
    (r"tpot ([\d.]+) -> [\d.]+ ms", "step"),
    (r"([\d.]+) ms/token -> ", "step"),
)


def _plain_time(notes: str, batch: float) -> float | None:
    """Time per token of plain decoding that the notes state [s]."""
    for pattern, meaning in _PLAIN:
        found = re.search(pattern, notes, re.I)
        if found:
            value = float(found[1])
            return {"total": batch / value, "user": 1.0 / value, "step": value * 1e-3}[meaning]
    return None
