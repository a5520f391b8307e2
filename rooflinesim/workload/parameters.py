"""Parameters of a model, part by part: total, active for one token, and streamed by a decode step."""

import dataclasses
from collections.abc import Mapping

from rooflinesim.nouns import Noun
from rooflinesim.specs.model import LatentAttention, LayerGroup, Mixer, Model, PartName, RecurrentMixer
from rooflinesim.workload.matrices import layer_matrices


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PartParameters(Noun):
    """Elements of one part of a model.

    `matrices` and `vectors` together are resident; a decode step of one token reads
    `active_matrices` and `streamed_vectors` of them.
    """

    matrices: int = 0
    vectors: int = 0
    active_matrices: int = 0
    streamed_vectors: int = 0

    @property
    def total(self) -> int:
        """All elements, resident in memory."""
        return self.matrices + self.vectors

    @property
    def streamed(self) -> int:
        """Elements that a decode step of one token reads."""
        return self.active_matrices + self.streamed_vectors

    def __add__(self, other: "PartParameters") -> "PartParameters":
        return PartParameters(
            matrices=self.matrices + other.matrices,
            vectors=self.vectors + other.vectors,
            active_matrices=self.active_matrices + other.active_matrices,
            streamed_vectors=self.streamed_vectors + other.streamed_vectors,
        )


Parts = Mapping[PartName, PartParameters]


def _vectors(count: int, streamed: int | None = None) -> PartParameters:
    return PartParameters(vectors=count, streamed_vectors=count if streamed is None else streamed)


def layer_parameters(group: LayerGroup, hidden_size: int) -> Parts:
    """Elements of one layer of a group, by part."""
    parts: dict[PartName, PartParameters] = {}

    def add(part: PartName, elements: PartParameters) -> None:
        if elements.total:
            parts[part] = parts.get(part, PartParameters()) + elements

    for matrix in layer_matrices(group, hidden_size):
        add(
            matrix.part,
            PartParameters(matrices=matrix.parameters, active_matrices=matrix.active_parameters),
        )
    if group.mixer:
        add("attention", _vectors(group.mixer.vector_parameters))
        add("attention", _vectors(_inner_vectors(group.mixer)))
    if group.recurrent:
        add("attention", _vectors(group.recurrent.convolution_channels * group.recurrent.convolution_width))
    if group.mlp:
        add("mlp", _vectors(group.mlp.vector_parameters))
    if group.moe:
        moe = group.moe
        add("router", _vectors(moe.vector_parameters))
        add("shared_experts", _vectors(moe.shared_vector_parameters))
        biases = moe.vector_parameters_per_expert
        add("experts", _vectors(biases * moe.experts, biases * moe.active_experts))
    add("norms", _vectors(group.norm_parameters))
    return parts


def _inner_vectors(mixer: Mixer) -> int:
    """Vector elements of the indexer and the cache pooling inside a mixer."""
    if isinstance(mixer, RecurrentMixer):
        return 0
    pooling = mixer.pooling if isinstance(mixer, LatentAttention) else None
    return sum(part.vector_parameters for part in (mixer.indexer, pooling) if part)


def model_parameters(model: Model) -> Parts:
    """Elements of the language model, by part; a tied head counts once, as head.

    Vision towers and draft layers are not in it: `Model` carries them as resident only.
    """
    parts: dict[PartName, PartParameters] = {}
    for group in model.layers:
        for part, one in layer_parameters(group, model.hidden_size).items():
            parts[part] = parts.get(part, PartParameters()) + PartParameters(
                **{field.name: getattr(one, field.name) * group.count for field in dataclasses.fields(one)}
            )
    table = model.vocabulary * (model.embedding_size or model.hidden_size)
    gathered = model.position_parameters + model.per_layer_embedding_parameters
    gathered += 0 if model.has_tied_embeddings else table
    parts["embedding"] = PartParameters(matrices=gathered)
    parts["head"] = PartParameters(
        matrices=table,
        active_matrices=table,
        vectors=model.head_vector_parameters,
        streamed_vectors=model.head_vector_parameters,
    )
    parts["norms"] = parts.get("norms", PartParameters()) + _vectors(model.final_norm_parameters)
    if model.other_parameters:
        parts["other"] = PartParameters(matrices=model.other_parameters, active_matrices=model.other_parameters)
    return parts


def total_parameters(model: Model) -> int:
    """Elements of the language model, tied weights once [parameters]."""
    return sum(part.total for part in model_parameters(model).values())


def active_parameters(model: Model) -> int:
    """Elements that one token uses, the embedding table counted whole [parameters]."""
    parts = model_parameters(model)
    return parts["embedding"].total + sum(part.streamed for part in parts.values())


def streamed_parameters(model: Model) -> int:
    """Elements that a decode step of one token reads from memory [parameters]."""
    return sum(part.streamed for part in model_parameters(model).values())
