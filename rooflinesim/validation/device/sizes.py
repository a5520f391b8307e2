"""Sizes of the decoders that are run: each a model like any other, so that predictions count what torch multiplies."""

from collections.abc import Mapping

from rooflinesim.errors import UnknownNameError
from rooflinesim.specs.model import Attention, CheckpointFormats, DenseMlp, LayerGroup, Model, MoeMlp

SOURCE = "shapes chosen for validation; random weights"


def decoder_model(
    name: str,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    width: int,
    vocabulary: int = 32000,
    experts: int = 0,
    active_experts: int = 0,
) -> Model:
    """A Llama-style model: grouped attention, gated MLP or experts, norms without biases, a head of its own."""
    head_size = hidden_size // heads
    dense = None if experts else DenseMlp(width=width)
    moe = MoeMlp(experts=experts, active_experts=active_experts, width=width) if experts else None
    return Model(
        name=name,
        source=SOURCE,
        hidden_size=hidden_size,
        vocabulary=vocabulary,
        layers=(
            LayerGroup(
                count=layers,
                attention=Attention(heads=heads, kv_heads=kv_heads, key_size=head_size, value_size=head_size),
                mlp=dense,
                moe=moe,
                norm_parameters=2 * hidden_size,
            ),
        ),
        final_norm_parameters=hidden_size,
        checkpoint=CheckpointFormats(weights="bf16"),
    )


DECODERS: Mapping[str, Model] = {
    model.name: model
    for model in (
        decoder_model("tiny", hidden_size=64, layers=4, heads=4, kv_heads=2, width=160, vocabulary=256),
        decoder_model(
            "tiny-moe",
            hidden_size=64,
            layers=2,
            heads=4,
            kv_heads=2,
            width=96,
            vocabulary=256,
            experts=4,
            active_experts=2,
        ),
        decoder_model("40M", hidden_size=512, layers=8, heads=8, kv_heads=4, width=1408),
        decoder_model("100M", hidden_size=768, layers=12, heads=12, kv_heads=4, width=2048),
        decoder_model("350M", hidden_size=1024, layers=28, heads=16, kv_heads=4, width=2816),
        decoder_model("1B", hidden_size=2048, layers=22, heads=32, kv_heads=4, width=5632),
        decoder_model("moe", hidden_size=768, layers=12, heads=12, kv_heads=4, width=1024, experts=8, active_experts=2),
    )
}
"""Decoders by name, named by the parameters that a step reads; the tiny ones are for tests."""


def known_decoder(name: str) -> Model:
    """A decoder by its name.

    Raises
    ------
    UnknownNameError : if there is none of that name.
    """
    if name not in DECODERS:
        raise UnknownNameError(f"decoder {name!r} is not known: give one of {', '.join(DECODERS)}")
    return DECODERS[name]
