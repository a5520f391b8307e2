"""Labels of published measurements -> names of the catalogue: what a table calls a device, a model or an engine."""

import re
from typing import NamedTuple

from rooflinesim.errors import UnknownNameError


class Reading(NamedTuple):
    """What a label is taken for, and what was assumed; an empty note means that nothing was."""

    name: str
    note: str = ""


_DEVICE_READINGS = (
    (r"40GB or 80GB not stated", "a100-sxm-40gb", "memory size not stated: 40 GB"),
    (r"mi250x?\b.*\b1 gcd|mi250x?-gcd", "mi250x-gcd", ""),
    (r"mi250\b.*whole card", "mi250", ""),
    (r"a100.*pcie.*40", "a100-pcie-40gb", ""),
    (r"a100.*pcie", "a100-pcie-80gb", "80 GB assumed unless stated"),
    (r"a100.*(40\s?gb?)", "a100-sxm-40gb", "form factor: SXM assumed unless stated"),
    (r"a100.*cap", "a100-sxm-80gb", "a power cap is not modelled"),
    (r"^a100", "a100-sxm-80gb", "SXM 80 GB assumed unless stated"),
    (r"^h100.*pcie", "h100-pcie", ""),
    (r"^h100.*nvl", "h100-nvl", ""),
    (r"^h100", "h100-sxm", "SXM 80 GB assumed unless stated"),
    (r"^gaudi \(", "gaudi2", "Gaudi2 assumed"),
    (r"rtx 3060$", "rtx-3060-12gb", "12 GB assumed"),
    (r"rtx.?pro.?6000", "rtx-pro-6000", ""),
    (r"max 1550", "max-1550", "the whole card"),
    (r"xeon gen4|spr|sapphire", "xeon-spr-48core", ""),
    (r"dgx spark|^gb10", "gb10", ""),
)
"""Labels that leave something open, in the order in which they are tried, with the reading and what it assumes."""

_MODEL_READINGS = {
    r"vicuna-?7b": "llama-2-7b",
    r"vicuna-?13b": "llama-2-13b",
    r"vicuna-?33b": "llama-30b",
    r"llama2-chat-(\d+b)": r"llama-2-\1",
    r"llama-?33b": "llama-30b",
    r"^llama-?7b": "llama-2-7b",
    r"^llama-?13b": "llama-2-13b",
    r"qwen3-coder-30b-a3b": "qwen3-30b-a3b",
    r"qwen3-30b-a3b": "qwen3-30b-a3b",
    r"qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    r"qwen3-235b": "qwen3-235b-a22b",
    r"deepseek-r1-distill-qwen-14b": "qwen2.5-14b",
    r"deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    r"qwen2\.5-coder-7b|^qwen2-7b": "qwen2.5-7b",
    r"deepseek-(v3/r1|r1)": "deepseek-v3",
    r"deepseek-v3": "deepseek-v3",
    r"mistral-7b": "mistral-7b-v0.1",
    r"mixtral-8x7b": "mixtral-8x7b",
    r"kimi-k2\.6": "kimi-k2.5",
}
"""Fine-tunes and older names that share a shape with a shipped preset."""

_FORMAT_SUFFIX = re.compile(r"[ -](bf16|fp16|fp8|int4|int8|nvfp4|mxfp4)\b.*$|\s*\(.*\)$", re.I)


def device_reading(label: str) -> Reading:
    """What a published device label is taken for; counts, parallelism and remarks in it are left out.

    Raises
    ------
    UnknownNameError : if the label says that the device is not stated.
    """
    text = re.sub(r"^\d+\s*x\s+", "", label.strip(), flags=re.I)
    text = re.sub(r"\s+TP\s?\d+$", "", text)
    inside = re.search(r"(same author reports|same author's [^)]*)", text)
    if "not stated" in text.lower() and not re.match(r"[a-z0-9-]+ ?[a-z0-9-]* \(", text, re.I) and not inside:
        raise UnknownNameError(f"the device is not stated: {label!r}")
    if inside and "H100" in text:
        return Reading("h100-sxm", "not stated: H100 of the same author assumed")
    if text.lower().startswith(("not stated", "gpu not stated")) or re.match(r"\d+ gpus", text, re.I):
        raise UnknownNameError(f"the device is not stated: {label!r}")
    for pattern, name, note in _DEVICE_READINGS:
        if re.search(pattern, text, re.I):
            return Reading(name, note)
    plain = re.sub(r"\s*\([^)]*\)", "", text)
    plain = re.sub(r"[\s-]*(\d+)[- ]?core( gpu)?$", r"-\1core", plain, flags=re.I)
    plain = re.sub(r"[_\s]+", "-", plain.strip())
    return Reading(plain)


def model_reading(label: str) -> Reading:
    """What a published model label is taken for: a preset with the same shape."""
    text = _FORMAT_SUFFIX.sub("", label.strip())
    text = text.rpartition("/")[2]
    for pattern, name in _MODEL_READINGS.items():
        found = re.search(pattern, text, re.I)
        if found:
            return Reading(found.expand(name).lower(), f"{label} is read as {found.expand(name)}")
    return Reading(text)


_ENGINES = (
    (r"gpt-fast", "torch-compile"),
    (r"transformers|\bhf\b|huggingface|hugging face", "torch-eager"),
    (r"lmdeploy|turbomind", "lmdeploy"),
    (r"exllama", "exllamav2"),
    (r"autoawq", "autoawq"),
    (r"deepspeed", "deepspeed-mii"),
    (r"sglang", "sglang"),
)
_LAST_OF_OLD = 2024


def engine_reading(label: str, year: int | None) -> Reading:
    """Stack that a published engine label stands for; its age decides where engines were rewritten."""
    text = label.lower()
    is_old = year is not None and year <= _LAST_OF_OLD
    if re.search(r"llama\.?cpp|ollama|ggml", text):
        return Reading("llama.cpp-2024" if is_old else "llama.cpp")
    if re.search(r"tensorrt|trt-?llm", text):
        if not is_old:
            return Reading("tensorrt-llm")
        return Reading("tensorrt-llm-2023" if re.search(r"\b0\.[56]\b|pre-release", text) else "tensorrt-llm-2024")
    if "vllm" in text:
        return Reading("vllm-2024" if is_old else "vllm")
    for pattern, stack in _ENGINES:
        if re.search(pattern, text):
            return Reading(stack)
    return Reading("generic", f"no stack was fitted to {label!r}: generic")
