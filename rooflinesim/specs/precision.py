"""Number formats of one run, part by part."""

import dataclasses

from rooflinesim.errors import UnknownNameError
from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import FORMATS, NumberFormat, number_format
from rooflinesim.specs.model import Model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Precision(Noun):
    """The number format of each kind of data that a step moves.

    `vectors` holds norms, biases and the router; `vision` and `draft` what is only resident; `state` recurrent
    states; `messages` what devices send each other; `logits` the scores that are sampled from.
    """

    attention: NumberFormat
    mlp: NumberFormat
    experts: NumberFormat
    shared_experts: NumberFormat
    head: NumberFormat
    embedding: NumberFormat
    vectors: NumberFormat
    kv_cache: NumberFormat
    activations: NumberFormat
    messages: NumberFormat
    vision: NumberFormat = FORMATS["bf16"]
    draft: NumberFormat = FORMATS["bf16"]
    state: NumberFormat = FORMATS["fp32"]
    logits: NumberFormat = FORMATS["fp32"]


_PARTS = ("attention", "mlp", "experts", "shared_experts", "head")


def _part_format(text: str) -> tuple[str, NumberFormat]:
    """A part of a model and its number format, from part=format."""
    part, _, name = text.partition("=")
    if part.strip() not in _PARTS or not name:
        raise UnknownNameError(f"{text!r} names no part's format; write experts=mxfp4, with one of {', '.join(_PARTS)}")
    return part.strip(), number_format(name)


def precision_of(model: Model, *, weights: str | None = None, kv_cache: str | None = None) -> Precision:
    """Number formats of a run: what the checkpoint says, or else what is asked for.

    Asking for `weights` re-quantises every matrix of the layers; embedding and head follow only where the
    format is one that covers them (16 and 32 bits, GGUF, gpt-fast int4), and vectors stay at 16 bits. Parts
    can differ: "q8_0,experts=mxfp4" names attention, mlp, experts, shared_experts or head after the first format.
    Activations are bf16, or fp16/fp32 where the weights are.

    Raises
    ------
    UnknownNameError : if a format is unknown.
    """
    stored = model.checkpoint
    kv_name = kv_cache or stored.kv_cache
    if weights is None:
        attention, mlp, experts, shared_experts, head, embedding = (
            stored.exact.get(part) or number_format(name or stored.weights)
            for part, name in (
                ("attention", stored.attention),
                ("mlp", stored.mlp),
                ("experts", stored.experts),
                ("shared_experts", stored.shared_experts),
                ("head", stored.head),
                ("embedding", stored.embedding),
            )
        )
        named = number_format(stored.vectors)
        vectors = stored.exact.get("vectors", named)
        vision, draft = stored.exact.get("vision", vectors), stored.exact.get("draft", mlp)
    else:
        first, *others = weights.split(",")
        matrices = number_format(first)
        own = dict(_part_format(one) for one in others)
        attention, mlp = own.get("attention", matrices), own.get("mlp", matrices)
        experts, shared_experts = own.get("experts", matrices), own.get("shared_experts", matrices)
        draft = matrices
        is_wide = matrices.group == 0 and matrices.name in ("fp32", "fp16", "bf16")
        named = vectors = vision = matrices if is_wide else FORMATS["bf16"]
        embedding = matrices if matrices.covers_head else vectors
        head = own.get("head", embedding)
    # Vectors that a file holds in 32 bits do not make its activations so.
    wide = named if named.name in ("fp32", "fp16") else FORMATS["bf16"]
    return Precision(
        attention=attention,
        mlp=mlp,
        experts=experts,
        shared_experts=shared_experts,
        head=head,
        embedding=embedding,
        vectors=vectors,
        vision=vision,
        draft=draft,
        kv_cache=number_format(kv_name) if kv_name else wide,
        activations=wide,
        messages=wide,
    )
