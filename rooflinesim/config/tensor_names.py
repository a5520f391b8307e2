"""Names of the tensors of a checkpoint -> where their bytes belong, by Hugging Face and by GGUF names."""

import dataclasses
import functools
import re
from typing import Literal

Store = Literal[
    "attention",
    "mlp",
    "experts",
    "shared_experts",
    "head",
    "embedding",
    "tables",
    "vectors",
    "vision",
    "draft",
    "buffers",
]
"""Where bytes belong.

`embedding` is the table of tokens and `tables` are all others that are gathered; `vectors` are norms, biases and
the router; `mlp` holds matrices outside the layers too; `buffers` are constants that no engine keeps.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor belongs; scales and zero points have bytes, but are no parameters of their own."""

    store: Store
    is_scale: bool = False


_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer|blk)\.(\d+)\.(.*)$", re.DOTALL)
_NUMBER = re.compile(r"\.\d+(?=\.)")
# Starts of parts of names.
_VISION = (
    "vision",
    "visual",
    "audio",
    "sound",
    "multi_modal",
    "mm_projector",
    "image",
    "img_",
    "patch_",
    "embed_vision",
    "embed_audio",
)
_DRAFT = ("mtp", "nextn", "eagle", "medusa", "draft")
# Ends of the last part of a name.
_BUFFER = ("inv_freq", "masked_bias", "position_ids")
_SCALE = (
    "scale",
    "scales",
    "scale_inv",
    "scale_2",
    "zero_point",
    "qzeros",
    "g_idx",
    "weight_shape",
    "weight_format",
    "SCB",
    "absmax",
    "quant_map",
)
_VECTOR = ("bias", "A_log", "ape", "layer_scalar")
# Whole parts of names.
_HEAD = frozenset(("lm_head", "embed_out", "output_layer", "head", "output"))
_TOKEN_TABLE = frozenset(
    ("embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", "embeddings", "embedding", "embed")
)
_OTHER_TABLE = frozenset(
    ("wpe", "embed_positions", "position_embeddings", "position_embedding", "embed_tokens_per_layer")
)
_SHARED = frozenset(("shared_experts", "shared_expert", "share_expert", "shared_mlp"))
_ROUTER = frozenset(("gate", "router", "moe_statics", "router_bias", "expert_bias"))
_MLP = frozenset(("mlp", "mlps", "mlp_block", "feed_forward", "ffn", "moe", "block_sparse_moe"))
_MLP_MATRIX = frozenset(
    (
        *("fc1", "fc2", "c_fc", "w1", "w2", "w3", "fc1_latent_proj", "fc2_latent_proj"),
        *("up_proj", "down_proj", "gate_proj", "per_layer_input_gate", "per_layer_projection"),
    )
)


def layer_number(name: str) -> int | None:
    """Layer that a tensor belongs to, None outside the layers."""
    found = _LAYER.search(name)
    return int(found[1]) if found and len(found[1]) < 8 else None


def place_of(name: str, shape: tuple[int, ...]) -> Place:
    """Where a tensor of a Hugging Face checkpoint belongs."""
    # The kernel of a convolution over time has one input channel.
    is_kernel = len(shape) == 3 and shape[1] == 1
    return _place_of(_NUMBER.sub(".0", name), 1 if is_kernel else len(shape))


@functools.lru_cache(maxsize=4096)
def _place_of(name: str, dimensions: int) -> Place:
    """Place of all tensors whose names differ in the numbers of layers and experts only."""
    parts = name.split(".")
    is_scale = parts[-1].endswith(_SCALE) or "quant_state" in parts
    for part in parts:
        # InternVL calls its projector mlp1.
        if part.startswith(_VISION) or (part == "mlp1" and part is parts[0]):
            return Place(store="vision", is_scale=is_scale)
        if part.startswith(_DRAFT):
            return Place(store="draft", is_scale=is_scale)
    # A causal mask is stored as a bias of four dimensions.
    if parts[-1].endswith(_BUFFER) or "rotary_pos_emb" in parts or (dimensions == 4 and parts[-1] == "bias"):
        return Place(store="buffers")
    found = _LAYER.search(name)
    inner = found[2].split(".") if found else parts
    is_router = bool(found) and not _ROUTER.isdisjoint(inner) and "experts" not in inner
    if is_router or any("norm" in part or part.startswith("ln_") or part in ("ln", "ln1", "ln2") for part in inner):
        return Place(store="vectors", is_scale="weight_scale" in parts[-1])
    if inner[0].startswith("hc_"):
        return Place(store="mlp")
    store = _layer_store(inner, dimensions) if found else _outer_store(inner)
    if is_scale:
        return Place(store=store, is_scale=True)
    if dimensions < 2 or parts[-1].endswith(_VECTOR) or "shared_expert_gate" in inner:
        return Place(store="vectors")
    return Place(store=store)


def _layer_store(inner: list[str], dimensions: int) -> Store:
    if not _SHARED.isdisjoint(inner):
        return "shared_experts"
    is_mlp = not _MLP.isdisjoint(inner)
    if "experts" in inner or (dimensions == 3 and is_mlp):
        return "experts"
    return "mlp" if is_mlp or not _MLP_MATRIX.isdisjoint(inner) else "attention"


def _outer_store(parts: list[str]) -> Store:
    if not _HEAD.isdisjoint(parts):
        return "head"
    if not _OTHER_TABLE.isdisjoint(parts):
        return "tables"
    return "mlp" if _TOKEN_TABLE.isdisjoint(parts) else "embedding"


_GGUF_VECTOR = re.compile(
    r"norm|\.bias$|sinks|^ffn_gate_inp|exp_probs_b|^ssm_(?:a|d|conv1d\w*)(?:\.|$)|^layer_output_scale|^rope_f"
)
_GGUF_OUTER: dict[str, Store] = {
    "token_embd": "embedding",
    "output": "head",
    "position_embd": "tables",
    "token_types": "tables",
    "per_layer_token_embd": "tables",
}


def gguf_place_of(name: str, shape: tuple[int, ...]) -> Place:
    """Where a tensor of a GGUF file belongs."""
    if name.startswith(("v.", "mm.", "a.")):
        return Place(store="vision")
    if "nextn" in name:
        return Place(store="draft")
    found = _LAYER.search(name)
    inner = found[2] if found else name
    if len(shape) < 2 or _GGUF_VECTOR.search(inner):
        return Place(store="vectors")
    stem, _, tail = inner.partition(".")
    if not found:
        return Place(store=_GGUF_OUTER.get(stem, "mlp"))
    # Older files hold each expert in a tensor of its own: ffn_gate.0.weight.
    if stem.endswith("exps") or tail[:1].isdigit():
        return Place(store="experts")
    if stem.endswith("shexp"):
        return Place(store="shared_experts")
    return Place(store="mlp" if stem.startswith("ffn") or stem in ("inp_gate", "proj") else "attention")
