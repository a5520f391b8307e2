"""Number formats of one run, part by part."""

import dataclasses

from rooflinesim.specs.formats import FORMATS, NumberFormat, number_format
from rooflinesim.specs.model import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """The number format of each kind of data that a step moves.

    `vectors` holds norms, biases and the router; `state` recurrent states; `messages` what devices send
    each other; `logits` the scores that are sampled from.
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
    state: NumberFormat = FORMATS["fp32"]
    logits: NumberFormat = FORMATS["fp32"]


def precision_of(model: Model, *, weights: str | None = None, kv_cache: str | None = None) -> Precision:
    """Number formats of a run: what the checkpoint says, or else what is asked for.

    Asking for `weights` re-quantises every matrix of the layers; embedding and head follow only where the
    format is one that covers them (16 and 32 bits, GGUF, gpt-fast int4), and vectors stay at 16 bits.
    Activations are bf16, or fp16/fp32 where the weights are.

    Raises
    ------
    UnknownNameError : if a format is unknown.
    """
    stored = model.checkpoint
    kv_name = kv_cache or stored.kv_cache
    if weights is None:
        matrices = number_format(stored.weights)
        attention, mlp, experts, shared_experts, head, embedding = (
            matrices if name is None else number_format(name)
            for name in (
                stored.attention,
                stored.mlp,
                stored.experts,
                stored.shared_experts,
                stored.head,
                stored.embedding,
            )
        )
        vectors = number_format(stored.vectors)
    else:
        matrices = number_format(weights)
        attention = mlp = experts = shared_experts = matrices
        vectors = matrices if matrices.group == 0 and matrices.name in ("fp32", "fp16", "bf16") else FORMATS["bf16"]
        head = embedding = matrices if matrices.covers_head else vectors
    wide = vectors if vectors.name in ("fp32", "fp16") else FORMATS["bf16"]
    return Precision(
        attention=attention,
        mlp=mlp,
        experts=experts,
        shared_experts=shared_experts,
        head=head,
        embedding=embedding,
        vectors=vectors,
        kv_cache=number_format(kv_name) if kv_name else wide,
        activations=wide,
        messages=wide,
    )
