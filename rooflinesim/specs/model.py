"""A model as a list of layer groups built from blocks: shapes only, no counts and no formats of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from rooflinesim import units
from rooflinesim.errors import DomainError, FieldError, UnknownNameError
from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import NumberFormat, number_format
from rooflinesim.units import quantity


def _count(default: object = dataclasses.MISSING, minimum: int = 1) -> int:
    """Declare a whole number of things."""
    return quantity("1", default=default, minimum=minimum, maximum=2.0**50)  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SparseIndexer(Noun):
    """Scores all cached tokens cheaply so that attention reads only the best `top_k` of them.

    A layer that reuses an earlier layer's choice has 0 heads of size 0: no weights, no keys of its own.
    `input_width` is the columns of the projections of the hidden state; None is one key and one weight per
    head. Keys are pooled where the attention's cache is.
    """

    heads: int = _count(minimum=0)
    head_size: int = _count(minimum=0)
    top_k: int = _count()
    query_rank: int | None = _count(None)
    input_width: int | None = _count(None)
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CachePooling(Noun):
    """Keeps one cache entry for every `rate` tokens that have left the window.

    `input_width` is the columns of the projections that make an entry.
    """

    rate: int = _count()
    input_width: int = _count(minimum=0)
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Attention(Noun):
    """Softmax attention: MHA when kv_heads = heads, MQA when kv_heads = 1, GQA between.

    `window` counts the query itself; None sees all tokens. `is_chunked` windows restart at multiples of
    their width. `keys_are_values`: one projection makes both. `shares_kv_cache`: reads the cache of an
    earlier layer and has none. `gate_size` is the output gate's columns per head, None value_size.
    `vector_parameters` counts biases, q/k norms and sinks: streamed, but no matrix.
    """

    heads: int = _count()
    kv_heads: int = _count()
    key_size: int = _count()
    value_size: int = _count()
    window: int | None = _count(None)
    is_chunked: bool = False
    has_output_gate: bool = False
    gate_size: int | None = _count(None)
    keys_are_values: bool = False
    shares_kv_cache: bool = False
    indexer: SparseIndexer | None = None
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)
        if self.heads % self.kv_heads:
            raise DomainError(f"heads {self.heads} is no multiple of kv_heads {self.kv_heads}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LatentAttention(Noun):
    """Multi-head latent attention (MLA): one compressed latent per token serves all heads.

    `query_rank` None means a plain query projection. `nope_size` and `rope_size` are the two parts of a
    query head; the cache holds latent_size + rope_size elements per token. `has_expansion` False: heads
    attend to the latent itself and no matrix expands it to keys and values. `output_rank` is set where each
    of `output_groups` groups of heads is projected to that many columns before the output projection.
    With `pooling` the cache holds the tokens in the window and pooled entries for those before it.
    """

    heads: int = _count()
    latent_size: int = _count()
    rope_size: int = _count(minimum=0)
    nope_size: int = _count()
    value_size: int = _count()
    query_rank: int | None = _count(None)
    has_output_gate: bool = False
    has_expansion: bool = True
    output_rank: int | None = _count(None)
    output_groups: int = _count(1)
    window: int | None = _count(None)
    pooling: CachePooling | None = None
    indexer: SparseIndexer | None = None
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)
        if self.heads % self.output_groups:
            raise DomainError(f"heads {self.heads} is no multiple of output_groups {self.output_groups}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RecurrentMixer(Noun):
    """A layer with a fixed state instead of a cache: linear attention, gated delta rule, Mamba, LRU.

    The state of one sequence holds state_heads x key_size x value_size elements; `state_flops` is the
    work per state element and token (4 linear attention, 5 Mamba-2, 8 gated delta rule).
    `input_width` and `output_width` are the columns of all input projections and the rows of the output
    projection; `inner_parameters` counts further small matrices inside the mixer.
    """

    state_heads: int = _count(minimum=0)
    key_size: int = _count(minimum=0)
    value_size: int = _count(minimum=0)
    input_width: int = _count()
    output_width: int = _count()
    state_flops: float = quantity("1", default=5.0)
    convolution_channels: int = _count(0, minimum=0)
    convolution_width: int = _count(1)
    inner_parameters: int = _count(0, minimum=0)
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DenseMlp(Noun):
    """Two matrices and an activation, or three when gated."""

    width: int = _count()
    is_gated: bool = True
    vector_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MoeMlp(Noun):
    """Mixture of experts: a router picks `active_experts` of `experts` for each token.

    `shared_width` is the width of all shared experts together; `dense_width` that of a dense MLP that
    runs beside the experts. `latent_size` is set when routed experts work at a smaller width than the
    model, behind a down and an up projection. `idle_experts` can be picked too, but compute nothing.
    `vector_parameters` counts vectors of the router, `shared_vector_parameters` those of the shared experts
    and their gate, `vector_parameters_per_expert` the biases of one expert.
    """

    experts: int = _count()
    active_experts: int = _count()
    width: int = _count()
    is_gated: bool = True
    shared_width: int = _count(0, minimum=0)
    is_shared_gated: bool | None = None
    dense_width: int = _count(0, minimum=0)
    latent_size: int | None = _count(None)
    idle_experts: int = _count(0, minimum=0)
    vector_parameters: int = _count(0, minimum=0)
    shared_vector_parameters: int = _count(0, minimum=0)
    vector_parameters_per_expert: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)
        if self.active_experts > self.experts:
            raise DomainError(f"active_experts {self.active_experts} is above experts {self.experts}")
        if self.shared_vector_parameters and not self.shared_width:
            raise DomainError("shared_vector_parameters belong to shared experts, but shared_width is 0")


Mixer = Attention | LatentAttention | RecurrentMixer
Mlp = DenseMlp | MoeMlp


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayerGroup(Noun):
    """A number of equal layers, wherever they stand in the stack; exactly one field per block kind is set."""

    count: int = _count()
    attention: Attention | None = None
    latent_attention: LatentAttention | None = None
    recurrent: RecurrentMixer | None = None
    mlp: DenseMlp | None = None
    moe: MoeMlp | None = None
    norm_parameters: int = _count(0, minimum=0)

    def __post_init__(self) -> None:
        units.check(self)
        mixers = [name for name in ("attention", "latent_attention", "recurrent") if getattr(self, name)]
        if len(mixers) > 1:
            raise DomainError(f"a layer has one mixer, but this one has {' and '.join(mixers)}")
        if self.mlp and self.moe:
            raise DomainError(
                "a layer has mlp or moe, but this one has both; a dense MLP beside experts is moe.dense_width"
            )
        if not mixers and not self.mlp and not self.moe:
            raise DomainError("a layer needs a mixer or an MLP, but this one has neither")

    @property
    def mixer(self) -> Mixer | None:
        """The block that mixes tokens, if any."""
        return self.attention or self.latent_attention or self.recurrent

    @property
    def feed_forward(self) -> Mlp | None:
        """The block that works on each token alone, if any."""
        return self.mlp or self.moe


PartName = Literal["embedding", "attention", "mlp", "experts", "shared_experts", "router", "norms", "head", "other"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CheckpointFormats(Noun):
    """Names of the number formats in which a checkpoint stores its parts; None follows `weights`.

    `exact` holds the formats of those parts whose bytes were summed from the headers of a file: its bits are
    the mean over the part, and it wins over the name. Its keys are the parts above, `vision` and `draft`.
    """

    weights: str = "bf16"
    attention: str | None = None
    mlp: str | None = None
    experts: str | None = None
    shared_experts: str | None = None
    head: str | None = None
    embedding: str | None = None
    vectors: str = "bf16"
    kv_cache: str | None = None
    exact: Mapping[str, NumberFormat] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name = getattr(self, field.name)
            # What a GGUF file calls its mix of types is a label; its parts are in `exact`.
            if isinstance(name, str) and not name.startswith("gguf"):
                try:
                    number_format(name)
                except UnknownNameError as error:
                    raise FieldError(field.name, str(error)) from None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Model(Noun):
    """A decoder: embedding, layer groups, head; the rest is resident but not streamed.

    `embedding_size` differs from hidden_size where a projection stands between.
    `position_parameters` and `per_layer_embedding_parameters` are tables that are gathered, not
    streamed; `other_parameters` are streamed matrices and vectors outside layers and head;
    `vision_parameters` and `draft_parameters` (multi-token-prediction layers) are resident only.
    `assumptions` says what the description does not rest on a source for.
    """

    name: str
    source: str
    hidden_size: int = _count()
    vocabulary: int = _count()
    layers: tuple[LayerGroup, ...]
    aliases: tuple[str, ...] = ()
    has_tied_embeddings: bool = False
    maximum_context: int | None = _count(None)
    embedding_size: int | None = _count(None)
    head_vector_parameters: int = _count(0, minimum=0)
    final_norm_parameters: int = _count(0, minimum=0)
    position_parameters: int = _count(0, minimum=0)
    per_layer_embedding_parameters: int = _count(0, minimum=0)
    other_parameters: int = _count(0, minimum=0)
    vision_parameters: int = _count(0, minimum=0)
    draft_parameters: int = _count(0, minimum=0)
    draft_layers: int = _count(0, minimum=0)
    checkpoint: CheckpointFormats = CheckpointFormats()
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units.check(self)
        if not self.layers:
            raise DomainError("layers is empty; a model has at least one layer group")

    @property
    def layer_count(self) -> int:
        """Layers of all groups together."""
        return sum(group.count for group in self.layers)
