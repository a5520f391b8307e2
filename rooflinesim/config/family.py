"""What a model family fixes that its configuration files do not say."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from rooflinesim.config.fields import Fields
from rooflinesim.specs.model import LayerGroup, Mixer, Mlp

Switch = bool | str
"""A claim: true or false for the whole family, or the key of the file that says so."""

MixerRule = Callable[[Fields, "Family", int], tuple[Mixer | None, int]]
"""Block of a layer that mixes tokens, and the parameters of the norms inside it."""

FeedForwardRule = Callable[[Fields, "Family", int], tuple[Mlp | None, int]]
"""Block of a layer that works on each token alone, and the parameters of the norms inside it."""

LayersRule = Callable[[Fields, "Family"], tuple[LayerGroup, ...]]
"""All layers of a model in their order, one group each."""

NormsRule = Callable[[Fields, int], int]
"""Norms of the model's width in a layer."""

ExtrasRule = Callable[[Fields], Mapping[str, int]]
"""Fields of `Model` beyond its layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """How the models of one model_type are built.

    `defaults` and `spellings` complete the keys of a file. `norm_vectors` is 1 for RMS norms and 2 for norms
    with a bias. `query_key_norm` is none, over each head, or over all heads together; `window` says which
    layers a sliding window covers: none, all, those after max_window_layers, or all but every n-th.
    """

    layers: LayersRule
    mixer: MixerRule
    feed_forward: FeedForwardRule
    norms: NormsRule
    extras: ExtrasRule
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)
    spellings: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    norm_vectors: int = 1
    has_final_norm: bool = True
    input_bias: Switch = "attention_bias"
    output_bias: Switch = "attention_bias"
    mlp_bias: Switch = "mlp_bias"
    head_bias: Switch = False
    query_key_norm: Literal["none", "head", "biased head", "all"] = "none"
    has_query_key_norm: Switch = True
    query_key_norm_part: Literal["attention", "norms"] = "attention"
    has_sinks: bool = False
    has_output_gate: Switch = False
    has_shared_gate: bool = False
    is_gated: bool = True
    window: Literal["none", "all", "late", "pattern"] = "none"
    assumptions: tuple[str, ...] = ()


def holds(switch: Switch, fields: Fields) -> bool:
    """Whether a claim is true of the model of a file."""
    return fields.flag(switch) if isinstance(switch, str) else switch
