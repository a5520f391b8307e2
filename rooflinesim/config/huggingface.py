"""A Hugging Face config.json, with hf_quant_config.json beside it -> Model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rooflinesim.config.families import FAMILIES
from rooflinesim.config.family import Family, holds
from rooflinesim.config.fields import Fields
from rooflinesim.config.json_file import read_object
from rooflinesim.config.quantization import checkpoint_formats, scheme_of
from rooflinesim.config.stacks import equal_layers_together
from rooflinesim.errors import DomainError, ProfileError, UnsupportedError
from rooflinesim.specs.model import CheckpointFormats, LayerGroup, Model

# Where the language model of a multimodal file stands.
_TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
_WIDE_FORMATS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}
# Keys whose family default decides the size of the model.
_SHAPE_KEYS = (
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "global_head_dim",
    "intermediate_size",
    "dense_intermediate_size",
    "shared_expert_intermediate_size",
    "sliding_window",
    "full_attention_interval",
)
_PLAIN_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
# Parts of key names that no Llama-like decoder has.
_UNUSUAL = (
    *(
        "expert",
        "moe",
        "lora_rank",
        "mamba",
        "ssm",
        "linear_attn",
        "linear_key",
        "hybrid",
        "recurrent",
        "lru",
    ),
    *(
        "conv_kernel",
        "conv_l_cache",
        "block_configs",
        "block_types",
        "encoder_layers",
        "decoder_layers",
        "d_ff",
    ),
    *("per_layer", "index_topk", "cross_attention_layers", "is_encoder_decoder", "rwkv", "hyena", "kv_shared"),
    "full_attention_interval",
)
# Activations that stand alone; a Llama has a gated one.
_UNGATED = ("relu", "relu2", "xielu", "gelu_new", "gelu_fast")


def read_config(path: Path) -> Model:
    """The model that a config.json describes, its number formats included.

    `path` may be the folder that holds the file. What rests on no source stands in `assumptions`.

    Raises
    ------
    FileError : if the file cannot be read.
    ProfileError : if a key is missing, malformed or out of range.
    UnsupportedError : if the family or the quantisation is not known.
    """
    path = path / "config.json" if path.is_dir() else path
    top, repeated = read_object(path)
    section = next((name for name in _TEXT_SECTIONS if isinstance(top.get(name), dict)), None)
    file = Fields(file=path.name, values=top)
    text = file.inner(section) if section else file
    family, notes = family_of(text, file)
    fields = _with_family(text, file, family)
    try:
        layers = family.layers(fields, family)
        model = _model(fields, family, layers)
        checkpoint, stored = _checkpoint(path, file, text, layers, model.hidden_size)
    except DomainError as error:
        raise ProfileError([f"{path.name}: {error}; check the file"]) from None
    assumptions = (
        *(f"key {key!r} stands twice: the last one counts" for key in repeated),
        *notes,
        *family.assumptions,
        *_defaults_taken(fields, family, model),
        *_not_counted(model, file, section),
        *stored,
    )
    return dataclasses.replace(
        model, name=model_name(path, top), source=path.name, checkpoint=checkpoint, assumptions=assumptions
    )


def model_name(path: Path, top: Mapping[str, object]) -> str:
    """Name of a model: the file's own, or that of its folder or file without the organisation."""
    given = top.get("_name_or_path")
    own = given.replace("\\", "/").rstrip("/").rpartition("/")[2] if isinstance(given, str) else ""
    stem = path.resolve().parent.name if path.name == "config.json" else path.stem
    return own or stem.rpartition("--")[2] or path.stem


def family_of(text: Fields, file: Fields) -> tuple[Family, tuple[str, ...]]:
    """The family of a model_type, and what was assumed to find it.

    Raises
    ------
    ProfileError : if the file has no model_type and no plain shape.
    UnsupportedError : if the model_type is unknown and the structure is not plainly that of a Llama.
    """
    for source in (text, file):
        kind = source.value("model_type")
        if kind is not None and not isinstance(kind, str):
            raise source.problem("model_type", f"{kind!r:.40} is no text")
        family = FAMILIES.get(_family_name(kind or ""))
        if family is not None:
            return family, ()
    kind = str(text.value("model_type") or file.value("model_type") or "")
    return _unknown_family(text, file, kind)


def _family_name(kind: str) -> str:
    """Key of a model_type in the table of families."""
    return kind.lower().replace("-", "_").removesuffix("_text")


def _unknown_family(text: Fields, file: Fields, kind: str) -> tuple[Family, tuple[str, ...]]:
    for architecture in (*(text.sequence("architectures") or ()), *(file.sequence("architectures") or ())):
        stem = str(architecture).removesuffix("ForCausalLM").removesuffix("ForConditionalGeneration").lower()
        for name, family in FAMILIES.items():
            if stem == name.replace("_", ""):
                return family, (f"unknown model_type {kind!r}: read as {name}, the family of its architecture",)
    missing = [key for key in _PLAIN_KEYS if not text.has(key)]
    doubts = [f"it lacks {', '.join(missing)}"] if missing else _doubts(text)
    if not doubts:
        note = f"unknown model_type {kind!r}: read as a Llama-like decoder; counts may be off"
        return FAMILIES["llama"], (note,)
    where = f"{text.file}: {text.section}model_type"
    what = f"{kind!r:.40} is not known" if kind else "missing"
    raise UnsupportedError(f"{where}: {what}, and {doubts[0]}; describe the model in a YAML profile")


def _doubts(text: Fields) -> list[str]:
    """Signs that a file describes no Llama-like decoder."""
    given = [key for key, value in text.values.items() if value]
    keys = [key for key in given if any(part in key.lower() for part in _UNUSUAL)]
    activations = [key for key in ("hidden_act", "activation_function") if text.value(key) in _UNGATED]
    return [f"{key} is no key of a Llama-like decoder" for key in keys] + [
        f"{key} {text.value(key)!r} is no activation of a Llama-like decoder" for key in activations
    ]


def _with_family(text: Fields, file: Fields, family: Family) -> Fields:
    """Keys of the language model with the family's defaults; the outer claim about tied embeddings wins."""
    tied = file.value("tie_word_embeddings")
    values = text.values if tied is None else {**text.values, "tie_word_embeddings": tied}
    return dataclasses.replace(text, values=values, spellings=family.spellings, defaults=family.defaults)


def _model(fields: Fields, family: Family, layers: tuple[LayerGroup, ...]) -> Model:
    hidden, vocabulary = fields.count("hidden_size"), fields.count("vocab_size")
    extras: dict[str, Any] = {
        "final_norm_parameters": family.norm_vectors * hidden if family.has_final_norm else 0,
        **family.extras(fields),
    }
    return Model(
        name=fields.file,
        source=fields.file,
        hidden_size=hidden,
        vocabulary=vocabulary,
        layers=equal_layers_together(layers),
        has_tied_embeddings=fields.flag("tie_word_embeddings"),
        maximum_context=fields.optional_count("max_position_embeddings"),
        head_vector_parameters=vocabulary if holds(family.head_bias, fields) else 0,
        draft_layers=fields.quantity("draft_layers", 0),
        **extras,
    )


def _defaults_taken(fields: Fields, family: Family, model: Model) -> tuple[str, ...]:
    """What was read from the family, or rounded, because the file leaves it out."""
    taken = [key for key in _SHAPE_KEYS if key in family.defaults and fields.spelling(key) is None]
    notes = []
    if taken:
        listed = ", ".join(f"{key} {family.defaults[key]}" for key in taken)
        notes.append(f"not in the file, default of the family: {listed}")
    attention = next((group.attention for group in model.layers if group.attention), None)
    if attention and not fields.has("head_dim") and model.hidden_size % fields.count("num_attention_heads"):
        notes.append(f"head_dim is not in the file and heads do not divide hidden_size: taken as {attention.key_size}")
    return tuple(notes)


def _not_counted(model: Model, file: Fields, section: str | None) -> tuple[str, ...]:
    notes = []
    if section or file.has("vision_config") or file.has("audio_config"):
        notes.append("vision tower is not counted")
    if model.draft_layers:
        notes.append(f"draft layers for multi-token prediction are not counted: {model.draft_layers}")
    return tuple(notes)


def _checkpoint(
    path: Path, file: Fields, text: Fields, layers: tuple[LayerGroup, ...], hidden_size: int
) -> tuple[CheckpointFormats, tuple[str, ...]]:
    """Formats in which the parts of the checkpoint are stored, and what was assumed about them.

    The first block that says how weights are stored counts; any of them may fix the cache's format.
    """
    wide, notes = _wide_format(text, file)
    blocks = _quantisation_blocks(path, file, text)
    if not blocks:
        vectors = wide if wide in ("fp32", "fp16") else "bf16"
        return CheckpointFormats(weights=wide, vectors=vectors), notes
    if wide == "fp32":
        wide, notes = "bf16", ("float32 beside quantised weights: the rest is taken as bf16",)
    schemes = [scheme_of(block, wide) for block in blocks]
    kv_cache = next((scheme.kv_cache for scheme in schemes if scheme.kv_cache), None)
    scheme = dataclasses.replace(schemes[0], kv_cache=kv_cache)
    formats, more = checkpoint_formats(scheme, layers, hidden_size, wide)
    return formats, (*notes, *more)


def _wide_format(text: Fields, file: Fields) -> tuple[str, tuple[str, ...]]:
    """Format of everything that is not quantised."""
    for source in (text, file):
        for key in ("dtype", "torch_dtype"):
            name = source.value(key)
            if name is None or name == "auto":
                continue
            form = _WIDE_FORMATS.get(str(name).removeprefix("torch."))
            if form is None:
                raise source.problem(key, f"{name!r:.40} is not known; known: {', '.join(_WIDE_FORMATS)}")
            note = ("float32 checkpoint: weights are served as stored, in 32 bits",) if form == "fp32" else ()
            return form, note
    return "bf16", ("no dtype in the file: taken as bf16",)


def _quantisation_blocks(path: Path, file: Fields, text: Fields) -> list[Fields]:
    """What the file, its text section and the side file say about quantisation, in this order."""
    sources = [source for source in (file, text) if source.inner("quantization_config").values]
    blocks = [_with_expert_type(source) for source in (sources if text is not file else sources[:1])]
    side = _side_file(path)
    if side is not None:
        blocks.append(dataclasses.replace(side, values={"quant_method": "modelopt", **side.values}))
    return blocks


def _with_expert_type(source: Fields) -> Fields:
    """A quantization_config, with the experts' type that DeepSeek-V4 gives beside it."""
    block = source.inner("quantization_config")
    if source.value("expert_dtype") is None:
        return block
    return dataclasses.replace(block, values={"expert_dtype": source.value("expert_dtype"), **block.values})


def _side_file(path: Path) -> Fields | None:
    """What hf_quant_config.json beside a file says, if it is there."""
    beside = "hf_quant_config.json" if path.name == "config.json" else f"{path.stem}.hf_quant_config.json"
    side = path.with_name(beside)
    if not side.is_file():
        return None
    values, _ = read_object(side)
    return Fields(file=side.name, values=values).inner("quantization")
