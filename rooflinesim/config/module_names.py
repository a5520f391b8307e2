"""Names that checkpoints give to the matrices of a layer, and the patterns by which files speak of them."""

import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping

from rooflinesim.errors import ProfileError
from rooflinesim.workload.matrices import Matrix

_MIXERS = ("self_attn", "linear_attn", "mamba", "mixer", "attention", "attn")
_LAYER_PREFIXES = (
    "model.layers",
    "language_model.model.layers",
    "model.language_model.layers",
    "backbone.layers",
    "transformer.h",
)
_EXPERTS = (
    "mlp.experts",
    "block_sparse_moe.experts",
    "feed_forward.experts",
    "mixer.experts",
    "moe.experts",
    "experts",
)
_SHARED = (
    "mlp.shared_experts",
    "mlp.shared_expert",
    "feed_forward.shared_expert",
    "mixer.shared_experts",
    "share_expert",
)
_DENSE = ("mlp", "feed_forward", "mixer")

# Matrix -> the modules it is fused from, each by its last name.
_LEAVES: Mapping[str, tuple[str, ...]] = {
    "attention.qkv": ("q_proj", "k_proj", "v_proj"),
    "attention.out": ("o_proj",),
    "attention.q": ("q_proj",),
    "attention.q_a": ("q_a_proj",),
    "attention.q_b": ("q_b_proj",),
    "attention.kv_a": ("kv_a_proj_with_mqa",),
    "attention.kv_b": ("kv_b_proj",),
    "attention.out_a": ("o_a_proj",),
    "attention.gate": ("g_proj",),
    "attention.pooling": ("compressor.kv_proj",),
    "indexer.q": ("indexer.wq_b",),
    "indexer.k": ("indexer.wk",),
    "recurrent.in": ("in_proj",),
    "recurrent.inner": ("x_proj",),
    "recurrent.out": ("out_proj",),
    "moe.latent_down": ("fc1_latent_proj",),
    "moe.latent_up": ("fc2_latent_proj",),
}
_GATED = {"gate_up": ("gate_proj", "up_proj"), "up": ("up_proj",), "down": ("down_proj",)}
_NESTED_REPETITION = re.compile(r"[*+}]\)+[*+{]")
_LAYER_NUMBER = re.compile(r"(?:layers|h)\.(\d+)(?=\.|$)")


def module_names(matrix: Matrix, layer: int) -> tuple[tuple[str, ...], ...]:
    """For each module of a matrix, the full names that checkpoints give it."""
    owner, _, leaf = matrix.name.rpartition(".")
    if owner == "moe.experts":
        places = tuple(f"{place}.0" for place in _EXPERTS)
        # Fused checkpoints hold all experts in one module.
        return tuple((*_full(places, name, layer), *_full(_EXPERTS, name, layer)) for name in _GATED[leaf])
    if owner == "moe.shared":
        return tuple(_full(_SHARED, name, layer) for name in _GATED[leaf])
    if owner == "mlp":
        return tuple(_full(_DENSE, name, layer) for name in _GATED[leaf])
    return tuple(_full(_MIXERS, name, layer) for name in _LEAVES.get(matrix.name, (leaf,)))


def _full(places: Iterable[str], name: str, layer: int) -> tuple[str, ...]:
    return tuple(f"{prefix}.{layer}.{place}.{name}" for prefix in _LAYER_PREFIXES for place in places)


@functools.cache
def layer_number(pattern: str) -> int | None:
    """The layer that a pattern names; None where it names none, or is a regular expression."""
    if pattern.startswith("re:"):
        return None
    found = _LAYER_NUMBER.search(pattern)
    return int(found[1]) if found and len(found[1]) < 6 else None


def speaks_of(pattern: str, names: Iterable[str], layer: int | None, place: str) -> bool:
    """Whether a pattern means a module by any of its names.

    `re:` starts a regular expression, `*` is any text, and a plain pattern is whole parts of the name.

    Raises
    ------
    ProfileError : if a regular expression is malformed or could run for ever.
    """
    if pattern.startswith("re:"):
        expression = _expression(pattern, place)
        return any(expression.match(name) for name in names)
    number = _LAYER_NUMBER.search(pattern)
    if number and layer is not None and number[1] != str(layer):
        return False
    if "*" in pattern:
        return any(fnmatch.fnmatchcase(name, form) for name in names for form in (pattern, f"{pattern}.*"))
    return any(f".{pattern}." in f".{name}." for name in names)


def _expression(pattern: str, place: str) -> re.Pattern[str]:
    text = pattern.removeprefix("re:")
    if len(text) > 1000 or _NESTED_REPETITION.search(text):
        raise ProfileError([f"{place}: {pattern!r:.60} repeats a repetition, which may run for ever; simplify it"])
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ProfileError([f"{place}: {pattern!r:.60} is no regular expression: {error}"]) from None
