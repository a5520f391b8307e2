"""A GGUF file -> Model: its metadata for the shape, its tensors for the bytes."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rooflinesim.config.checkpoint import shards_of
from rooflinesim.config.families import FAMILIES
from rooflinesim.config.family import Family
from rooflinesim.config.fields import Fields
from rooflinesim.config.gguf_header import GgufHeader, LongArray, read_header
from rooflinesim.config.stacks import equal_layers_together
from rooflinesim.config.stored_sizes import StoredTensor, with_stored_sizes
from rooflinesim.config.tensor_names import gguf_place_of
from rooflinesim.errors import DomainError, ProfileError, UnsupportedError
from rooflinesim.specs.model import CheckpointFormats, Model

# Architecture of a GGUF file -> the family of Hugging Face files with the same blocks.
_FAMILIES = {
    "llama": "llama",
    "mistral3": "mistral",
    "qwen2": "qwen2",
    "qwen2vl": "qwen2_vl",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3vl": "qwen3_vl",
    "qwen3moe": "qwen3_moe",
    "qwen3vlmoe": "qwen3_vl_moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "phi3": "phi3",
    "gpt-oss": "gpt_oss",
    "deepseek2": "deepseek_v3",
    "glm4": "glm4",
    "glm4moe": "glm4_moe",
    "granite": "granite",
    "smollm3": "smollm3",
    "olmo2": "olmo2",
    "command-r": "cohere",
    "seed_oss": "seed_oss",
    "minimax-m2": "minimax_m2",
    "internlm2": "internlm2",
    "arcee": "arcee",
}
# Keys of configuration files, as GGUF spells them after the name of the architecture.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("embedding_length",),
    "max_position_embeddings": ("context_length",),
    "num_attention_heads": ("attention.head_count",),
    "num_key_value_heads": ("attention.head_count_kv",),
    "head_dim": ("attention.key_length",),
    "v_head_dim": ("attention.value_length",),
    "intermediate_size": ("feed_forward_length",),
    "sliding_window": ("attention.sliding_window",),
    "num_experts": ("expert_count",),
    "num_experts_per_tok": ("expert_used_count",),
    "moe_intermediate_size": ("expert_feed_forward_length", "feed_forward_length"),
    "num_shared_experts": ("expert_shared_count",),
    "shared_expert_intermediate_size": ("expert_shared_feed_forward_length",),
    "first_k_dense_replace": ("leading_dense_block_count",),
    "draft_layers": ("nextn_predict_layers",),
    "q_lora_rank": ("attention.q_lora_rank",),
    "kv_lora_rank": ("attention.kv_lora_rank",),
    "qk_rope_head_dim": ("rope.dimension_count",),
}
_REQUIRED = ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
# Parts of keys that no Llama-like decoder has.
_UNUSUAL = ("ssm", "expert", "wkv", "lora", "kda", "shortconv", "per_layer", "altup", "decoder_block", "indexer")
_WIDTHS = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
# Key of the file's own name for its mix of types -> LlamaFileType of the package gguf.
_FILE_TYPE = "general.file_type"


def read_gguf(path: Path) -> Model:
    """The model of a GGUF file, with the other files of its set where it is split.

    Raises
    ------
    FileError : if a file is missing or cannot be read.
    ProfileError : if a key is missing, malformed or out of range.
    UnsupportedError : if the version, architecture or a tensor's type is not known.
    """
    files = shards_of(path)
    headers = [read_header(file) for file in files]
    tensors = [tensor for header in headers for tensor in header.tensors]
    _check_split(files, headers, tensors)
    fields, family, notes = _described(headers[0].metadata, tensors, files[0].name)
    try:
        model = _model(fields, family)
        model = dataclasses.replace(
            model,
            name=_name(headers[0].metadata, files[0]),
            checkpoint=CheckpointFormats(weights="fp16", vectors="fp16"),
            assumptions=(*notes, *family.assumptions),
        )
        model = with_stored_sizes(
            model, tensors, gguf_place_of, files[0].name, stored_as=_stored_as(headers[0].metadata)
        )
    except DomainError as error:
        raise ProfileError([f"{files[0].name}: {error}; fetch the file again"]) from None
    short = [(file, header.missing_bytes) for file, header in zip(files, headers, strict=True) if header.missing_bytes]
    cut = tuple(f"{file.name} is cut off: {count:,} B are missing; sizes are its header's" for file, count in short)
    return dataclasses.replace(model, assumptions=(*model.assumptions, *cut))


def _check_split(files: list[Path], headers: list[GgufHeader], tensors: list[StoredTensor]) -> None:
    """Refuse one file of a set that was renamed, and a tensor that stands in two files."""
    count = headers[0].metadata.get("split.count", 1)
    if isinstance(count, int) and count > 1 and len(files) != count:
        what = f"{count}, but the name does not tell the other files"
        raise ProfileError([f"{files[0].name}: split.count: {what}; name it like model-00001-of-{count:05d}.gguf"])
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise ProfileError([f"{files[0].name}: tensors: one stands in two files of the set; fetch them again"])


def _name(metadata: Mapping[str, object], file: Path) -> str:
    """The file's own name for its model, on one line, or that of the file."""
    given = metadata.get("general.name")
    return " ".join(given.split()) if isinstance(given, str) and given.strip() else file.stem


def _stored_as(metadata: Mapping[str, object]) -> str:
    """What the file calls its mix of types, like `gguf q4_k_m`."""
    from gguf.constants import LlamaFileType

    kinds = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower() for kind in LlamaFileType}
    kind = metadata.get(_FILE_TYPE)
    return f"gguf {kinds[kind]}" if isinstance(kind, int) and kind in kinds else "gguf"


def _described(
    metadata: Mapping[str, object], tensors: list[StoredTensor], file: str
) -> tuple[Fields, Family, tuple[str, ...]]:
    """The metadata under the names of configuration files, the family, and what was assumed to find it."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[\w.-]{1,64}", architecture):
        raise ProfileError([f"{file}: general.architecture: {architecture!r:.40} is no name of a family"])
    start = f"{architecture}."
    own = {
        key.removeprefix(start): _one_width(value, f"{file}: {key}") if key.removeprefix(start) in _WIDTHS else value
        for key, value in metadata.items()
        if key.startswith(start)
    }
    fields = Fields(file=file, values=own, section=start)
    family, notes = _family(architecture, own, fields)
    for key in _REQUIRED:
        if own.get(key) is None:
            raise fields.problem(key, "missing; fetch the file again")
    values = {**own, **_derived(fields, tensors, metadata)}
    if not values.get("attention.sliding_window") or architecture == "llama":
        values.pop("attention.sliding_window", None)
    spellings = {key: names for key, names in _SPELLINGS.items() if key not in values}
    return dataclasses.replace(fields, values=values, spellings=spellings, defaults=family.defaults), family, notes


def _one_width(value: object, place: str) -> object:
    """A width of all layers; a list of equal ones is one."""
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise UnsupportedError(f"{place}: differs between layers; describe the model in a YAML profile")
        return value[0]
    return value


def _family(architecture: str, own: Mapping[str, object], fields: Fields) -> tuple[Family, tuple[str, ...]]:
    """The family of an architecture; an unknown one is read as a Llama where no key speaks against it.

    Raises
    ------
    UnsupportedError : if one does.
    """
    name = _FAMILIES.get(architecture)
    if name == "llama" and own.get("expert_count"):
        name = "mixtral"
    if name is not None:
        return FAMILIES[name], ()
    place = f"{fields.file}: general.architecture: {architecture!r:.40}"
    missing = [key for key in _REQUIRED if own.get(key) is None]
    unusual = [key for key, value in own.items() if value and any(part in key for part in _UNUSUAL)]
    if missing or unusual:
        doubt = f"it lacks {missing[0]}" if missing else f"{unusual[0]!r:.40} is no key of a Llama-like decoder"
        raise UnsupportedError(f"{place} is not known, and {doubt}; give the config.json of the model")
    note = f"unknown architecture {architecture!r:.40}: read as a Llama-like decoder; counts may be off"
    return FAMILIES["llama"], (note,)


def _derived(fields: Fields, tensors: list[StoredTensor], metadata: Mapping[str, object]) -> dict[str, object]:
    """Keys that GGUF says by tensors, or by other numbers."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    layers = fields.count("block_count") - fields.quantity("nextn_predict_layers", 0)
    has_bias = any(f"blk.0.{name}.bias" in shapes for name in ("attn_q", "attn_qkv"))
    derived: dict[str, object] = {
        "num_hidden_layers": layers,
        "vocab_size": _vocabulary(fields, shapes, metadata),
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": has_bias,
        "bias": has_bias,
        "attention_out_bias": "blk.0.attn_output.bias" in shapes,
        "mlp_bias": "blk.0.ffn_up.bias" in shapes,
        "use_qk_norm": "blk.0.attn_q_norm.weight" in shapes,
        "router_correction": any("exp_probs_b" in name for name in shapes),
        "use_sliding_window": fields.quantity("attention.sliding_window", 0) > 0,
    }
    pattern = fields.value("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        kinds = ["sliding_attention" if one else "full_attention" for one in pattern]
        derived["layer_types"] = kinds
    elif pattern is not None and not isinstance(pattern, LongArray):
        derived["sliding_window_pattern"] = pattern
    if fields.has("attention.kv_lora_rank"):
        rope = fields.count("rope.dimension_count")
        derived["qk_nope_head_dim"] = _first(fields, "attention.key_length_mla", "attention.key_length") - rope
        derived["v_head_dim"] = _first(fields, "attention.value_length_mla", "attention.value_length")
    return derived


def _first(fields: Fields, *keys: str) -> int:
    """The first of some counts that the file gives."""
    return fields.count(next((key for key in keys if fields.has(key)), keys[-1]))


def _vocabulary(fields: Fields, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, object]) -> object:
    """Rows of the table of tokens, or else what the metadata say."""
    table = shapes.get("token_embd.weight")
    if table is not None and len(table) == 2:
        if table[1] != fields.value("embedding_length"):
            what = f"{fields.value('embedding_length')!r:.40}, but token_embd.weight has rows of {table[1]:,}"
            raise fields.problem("embedding_length", f"{what}; fetch the file again")
        return table[0]
    tokens = metadata.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, LongArray) else fields.value("vocab_size")


def _model(fields: Fields, family: Family) -> Model:
    """The shape that the metadata describe."""
    hidden = fields.count("hidden_size")
    layers = family.layers(fields, family)
    extras: dict[str, Any] = {"final_norm_parameters": family.norm_vectors * hidden, **family.extras(fields)}
    return Model(
        name=fields.file,
        source=fields.file,
        hidden_size=hidden,
        vocabulary=fields.count("vocab_size"),
        layers=equal_layers_together(layers),
        has_tied_embeddings=fields.flag("tie_word_embeddings"),
        maximum_context=fields.optional_count("max_position_embeddings"),
        draft_layers=fields.quantity("draft_layers", 0),
        **extras,
    )
