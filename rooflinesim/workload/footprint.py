"""Bytes that stay in one device's memory: weights part by part, and what each sequence adds."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.nouns import Noun
from rooflinesim.specs.model import Model, PartName, RecurrentMixer
from rooflinesim.specs.precision import Precision
from rooflinesim.workload import attention as attend
from rooflinesim.workload.forward import format_of, shard
from rooflinesim.workload.matrices import layer_matrices
from rooflinesim.workload.parameters import Parts, model_parameters
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Storage(Noun):
    """How a deployment lays out memory: devices per layer, and the cache's block and window rules.

    `experts_over` devices share the experts, `head_over` the output head; a stage holds `stage_share` of the layers.
    """

    ranks: int = 1
    experts_over: int = 1
    head_over: int = 1
    stage_share: float = 1.0
    block: int = 1
    has_rolling_window: bool = True


def resident_weight_bytes(
    model: Model,
    precision: Precision,
    ranks: int = 1,
    experts_over: int | None = None,
    head_over: int | None = None,
) -> Mapping[str, float]:
    """Bytes of weights on one device, by part; parts that are not simulated are `vision` and `draft` [B].

    Matrices split over the ranks as they do in `forward`; embedding and head split by vocabulary; vectors
    and small shared projections are copied to every rank. Experts split over `experts_over` devices and the head
    over `head_over`, which are the ranks unless given.
    """
    parts = model_parameters(model)
    sizes: dict[str, float] = dict.fromkeys(parts, 0.0)
    for group in model.layers:
        for matrix in layer_matrices(group, model.hidden_size):
            over = experts_over or ranks if matrix.part == "experts" else ranks
            inputs, outputs = shard(matrix, over)
            elements = inputs * outputs * matrix.copies * group.count
            sizes[matrix.part] += format_of(matrix.part, precision).bytes * elements
    for part in ("embedding", "head", "other"):
        if part in parts:
            over = head_over or ranks if part == "head" else ranks
            sizes[part] += format_of(part, precision).bytes * parts[part].matrices / over
    _add_vectors(sizes, parts, precision)
    if model.vision_parameters:
        sizes["vision"] = precision.vision.bytes * model.vision_parameters
    if model.draft_parameters:
        sizes["draft"] = precision.draft.bytes * model.draft_parameters / ranks
    return {part: size for part, size in sizes.items() if size}


def _add_vectors(sizes: dict[str, float], parts: Parts, precision: Precision) -> None:
    part: PartName
    for part, elements in parts.items():
        sizes[part] += precision.vectors.bytes * elements.vectors


def cache_bytes(model: Model, precision: Precision, context: Array, storage: Storage) -> Array:
    r"""Keys and values that one sequence keeps on one device [B].

    .. math:: 2 \kappa G d_h (n_{global}\, s + n_{local} \min(s, w))

    in whole blocks of the paged cache. Without a rolling window cache, local layers keep everything.
    """
    total: Array = 0.0
    for group in model.layers:
        mixer = group.mixer
        if mixer is None or isinstance(mixer, RecurrentMixer):
            continue
        kept = attend.kept_tokens(mixer, context, has_rolling_window=storage.has_rolling_window)
        keys = attend.indexer_elements(mixer) * attend.paged_tokens(attend.scored_tokens(mixer, context), storage.block)
        held = attend.cached_elements(mixer, storage.ranks) * attend.paged_tokens(kept, storage.block)
        total = total + group.count * precision.kv_cache.bytes * (held + keys)
    return total


def state_bytes(model: Model, precision: Precision, ranks: int = 1) -> float:
    """Recurrent and convolution states that one sequence keeps on one device, whatever its context [B]."""
    total = 0.0
    for group in model.layers:
        if group.recurrent:
            state = precision.state.bytes * attend.state_elements(group.recurrent, ranks)
            state += precision.activations.bytes * attend.convolution_elements(group.recurrent, ranks)
            total += group.count * state
    return total


def activation_bytes(model: Model, precision: Precision, tokens: Array, logit_rows: Array, ranks: int = 1) -> Array:
    """Largest activations that are alive at once on one device: one layer's inputs and inner state, or logits [B]."""
    widest = 0.0
    for group in model.layers:
        for matrix in layer_matrices(group, model.hidden_size):
            inputs, outputs = shard(matrix, ranks)
            widest = max(widest, (inputs + outputs) * matrix.active)
    hidden = precision.activations.bytes * tokens * (model.hidden_size + widest)
    return hidden + precision.logits.bytes * logit_rows * model.vocabulary
