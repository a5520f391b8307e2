"""What a model is made of: parameters by part, and what its cache and states take per token and sequence."""

import dataclasses

from rooflinesim.nouns import Noun
from rooflinesim.specs.model import Attention, Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.units import quantity
from rooflinesim.workload import attention as attend
from rooflinesim.workload.footprint import Storage, cache_bytes, state_bytes
from rooflinesim.workload.parameters import (
    active_parameters,
    model_parameters,
    streamed_parameters,
    total_parameters,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelShape(Noun):
    """Counts of a model; `active` for one token, `streamed` what a decode step of one token reads.

    Cache sizes per token are those of 16-bit elements while the context is below every window; those per
    sequence are in the checkpoint's own formats, windows and states included.
    """

    name: str
    layers: int
    hidden_size: int
    vocab_size: int
    tied_embeddings: bool
    total_params: int
    text_params: int
    active_params: int
    active_params_streamed: int
    input_embedding_params: int
    lm_head_params: int
    attention_params_total: int
    dense_mlp_params_total: int
    routed_expert_params_total: int
    shared_expert_params_total: int
    router_params_total: int
    norm_params_total: int
    mtp_layers_in_config: int
    kv_bytes_per_token: float = quantity("B", column="kv_bytes_per_token_bf16")
    kv_bytes_per_token_full_layers: float = quantity("B", column="kv_bytes_per_token_bf16_full_layers")
    kv_bytes_per_token_window_layers: float = quantity("B", column="kv_bytes_per_token_bf16_window_layers")
    indexer_key_bytes_per_token: float = quantity("B", column="indexer_key_bytes_per_token_bf16")
    conv_state_elems_per_sequence: float = quantity("1")
    recurrent_state_elems_per_sequence: float = quantity("1")
    kv_bytes_per_sequence_at_8k: float = quantity("B", column="kv_bytes_per_sequence_at_8k")
    kv_bytes_per_sequence_at_128k: float = quantity("B", column="kv_bytes_per_sequence_at_128k")
    state_bytes_per_sequence: float = quantity("B", column="state_bytes_per_sequence")


def model_shape(model: Model) -> ModelShape:
    """Counts of a model, exact to the unit."""
    parts = model_parameters(model)

    def total(part: str) -> int:
        found = next((elements for name, elements in parts.items() if name == part), None)
        return found.total if found else 0

    full = window = indexer = convolution = state = 0.0
    for group in model.layers:
        mixer = group.mixer
        if mixer is None:
            continue
        per_token = 2.0 * group.count * attend.cached_elements(mixer)
        if isinstance(mixer, Attention) and mixer.window is not None:
            window += per_token
        else:
            full += per_token
        indexer += 2.0 * group.count * attend.indexer_elements(mixer)
        if group.recurrent:
            convolution += group.count * attend.convolution_elements(group.recurrent)
            state += group.count * attend.state_elements(group.recurrent)
    precision = precision_of(model)
    table = model.vocabulary * (model.embedding_size or model.hidden_size)
    return ModelShape(
        name=model.name,
        layers=model.layer_count,
        hidden_size=model.hidden_size,
        vocab_size=model.vocabulary,
        tied_embeddings=model.has_tied_embeddings,
        total_params=total_parameters(model) + model.vision_parameters,
        text_params=total_parameters(model),
        active_params=active_parameters(model),
        active_params_streamed=streamed_parameters(model),
        input_embedding_params=table,
        lm_head_params=total("head"),
        attention_params_total=total("attention"),
        dense_mlp_params_total=total("mlp"),
        routed_expert_params_total=total("experts"),
        shared_expert_params_total=total("shared_experts"),
        router_params_total=total("router"),
        norm_params_total=total("norms"),
        mtp_layers_in_config=model.draft_layers,
        kv_bytes_per_token=full + window,
        kv_bytes_per_token_full_layers=full,
        kv_bytes_per_token_window_layers=window,
        indexer_key_bytes_per_token=indexer,
        conv_state_elems_per_sequence=convolution,
        recurrent_state_elems_per_sequence=state,
        kv_bytes_per_sequence_at_8k=float(cache_bytes(model, precision, 8.0 * 1024, Storage())),
        kv_bytes_per_sequence_at_128k=float(cache_bytes(model, precision, 128.0 * 1024, Storage())),
        state_bytes_per_sequence=state_bytes(model, precision),
    )
