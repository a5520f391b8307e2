"""Names that people type, and labels of published tables, find the right shipped model and device."""

import csv
from pathlib import Path

import pytest

from rooflinesim.config import load_hardware, load_model, resolve
from rooflinesim.config.catalogue import entries, profile_folder
from rooflinesim.config.checking import check_file

LABELS = Path(__file__).parents[2].parent / "shared" / "data" / "e2e" / "model_labels.csv"

# DeepSeek-R1 and V3 have one shape; a quantised form that is shipped is more exact than its base.
SAME_SHAPE = {"DeepSeek-R1": {"DeepSeek-V3", "DeepSeek-V3.1-NVFP4"}, "DeepSeek-V3": {"DeepSeek-R1"}}


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("llama3-70b", "Meta-Llama-3-70B"),
        ("Meta-Llama-3-70B-Instruct", "Meta-Llama-3-70B"),
        ("meta-llama/Meta-Llama-3-70B", "Meta-Llama-3-70B"),
        ("LLAMA3_70B", "Meta-Llama-3-70B"),
        ("llama-3.1-8b", "Meta-Llama-3.1-8B"),
        ("mixtral", "Mixtral-8x7B-v0.1"),
        ("qwen2.5-coder-32b", "QwQ-32B"),
        ("qwen3-next-80b", "Qwen3-Next-80B-A3B-Instruct"),
        ("deepseek-v3.1", "DeepSeek-V3"),
        ("r1-distill-llama-70b", "Llama-3.3-70B-Instruct"),
        ("kimi-k2", "Kimi-K2-Instruct"),
        ("gemma-3-27b-it", "gemma-3-27b-it"),
        ("phi-3-mini", "Phi-3-mini-4k-instruct"),
        ("gpt2", "gpt2"),
    ],
)
def test_typed_model_names_find_their_preset(typed: str, name: str) -> None:
    assert load_model(typed).name == name


@pytest.mark.parametrize(
    ("typed", "weights", "head"),
    [
        ("llama3-70b-fp8", "fp8", "bf16"),
        ("llama3-8b-awq", "int4-awq", "bf16"),
        ("llama3-8b:q4", "q4_k_m", None),
        ("Llama-3-8B-Instruct-Q4_K_M", "q4_k_m", None),
    ],
)
def test_a_number_format_in_a_name_is_that_of_the_weights(typed: str, weights: str, head: str | None) -> None:
    checkpoint = load_model(typed).checkpoint
    assert (checkpoint.weights, checkpoint.head) == (weights, head)


def test_a_bare_name_of_several_versions_says_which_was_taken() -> None:
    note = resolve("model", "mistral-7b").note
    assert note == "'mistral-7b' is taken as Mistral-7B-v0.1; there are also mistral-7b-v0.3"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("h100", "H100-SXM5-80GB"),
        ("nvidia-h100-pcie", "H100-PCIe-80GB"),
        ("a100", "A100-SXM4-80GB"),
        ("a100-40gb", "A100-SXM4-40GB"),
        ("4090", "RTX-4090"),
        ("rtx 4090", "RTX-4090"),
        ("mi300x", "MI300X"),
        ("m3-max", "M3-Max-40"),
        ("ai-max-395", "Strix-Halo-Ryzen-AI-Max+395"),
        ("dgx-spark", "GB10-DGX-Spark"),
        ("trillium", "TPU-v6e"),
        ("epyc", "EPYC-9654"),
        ("cpu", "Xeon-8480+"),
    ],
)
def test_typed_device_names_find_their_profile(typed: str, name: str) -> None:
    assert load_hardware(typed).name == name


@pytest.mark.parametrize("kind", ["model", "hardware", "stack", "draft"])
def test_every_shipped_profile_passes_check(kind: str) -> None:
    files = sorted(profile_folder(kind).glob("*.yaml"))
    assert len(files) == len(entries(kind))
    for file in files:
        assert check_file(file) == kind


def labels() -> list[object]:
    if not LABELS.is_file():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=f"no labels at {LABELS}"), id="absent")]
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["config"] and "draft" not in row["kind"]]
    return [pytest.param(row["label"], row["config"], id=row["label"]) for row in rows]


@pytest.mark.parametrize(("label", "config"), labels())
def test_every_label_of_the_published_tables_has_a_preset(label: str, config: str) -> None:
    name = config.removesuffix(".json").split("--", maxsplit=1)[1]
    assert load_model(label).name in {name, *SAME_SHAPE.get(name, set())}
