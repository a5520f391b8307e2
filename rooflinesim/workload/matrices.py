"""The weight matrices of each block: the one list that parameters, bytes and FLOPs are all counted from."""

import dataclasses
from typing import Literal

from rooflinesim.nouns import Noun
from rooflinesim.specs.model import (
    Attention,
    DenseMlp,
    LatentAttention,
    LayerGroup,
    Mixer,
    Mlp,
    MoeMlp,
    PartName,
    RecurrentMixer,
    SparseIndexer,
)

Split = Literal["columns", "rows", "copied"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Matrix(Noun):
    """A weight matrix of `inputs` x `outputs` elements, `copies` of them per layer.

    `split` says how tensor parallelism shares it: by output columns, by input rows (an all-reduce
    follows), or not at all. `heads` is the number of pieces that columns or rows can be cut into, and
    `shared_outputs` the columns that belong to `shared_heads` key/value heads, which are copied when
    there are more ranks than heads. A copy is one expert; `active` copies serve one token.
    """

    name: str
    part: PartName
    inputs: int
    outputs: int
    split: Split = "copied"
    heads: int = 0
    shared_outputs: int = 0
    shared_heads: int = 0
    copies: int = 1
    active: int = 1

    @property
    def parameters(self) -> int:
        """Elements of all copies."""
        return self.inputs * self.outputs * self.copies

    @property
    def active_parameters(self) -> int:
        """Elements that one token is multiplied with."""
        return self.inputs * self.outputs * self.active


def mixer_matrices(mixer: Mixer, hidden_size: int) -> tuple[Matrix, ...]:
    """Matrices of the block that mixes tokens, fused as serving engines fuse them."""
    match mixer:
        case Attention():
            return _attention(mixer, hidden_size)
        case LatentAttention():
            return _latent_attention(mixer, hidden_size)
        case RecurrentMixer():
            return _recurrent(mixer, hidden_size)


def mlp_matrices(mlp: Mlp, hidden_size: int) -> tuple[Matrix, ...]:
    """Matrices of the block that works on each token alone; gate and up are one matrix."""
    match mlp:
        case DenseMlp():
            return _gated_pair("mlp", "mlp", hidden_size, mlp.width, is_gated=mlp.is_gated)
        case MoeMlp():
            return _moe(mlp, hidden_size)


def layer_matrices(group: LayerGroup, hidden_size: int) -> tuple[Matrix, ...]:
    """All matrices of one layer of a group."""
    mixer = mixer_matrices(group.mixer, hidden_size) if group.mixer else ()
    mlp = mlp_matrices(group.feed_forward, hidden_size) if group.feed_forward else ()
    return mixer + mlp


def _attention(attention: Attention, hidden_size: int) -> tuple[Matrix, ...]:
    query_columns = attention.heads * attention.key_size
    gate_size = attention.gate_size or attention.value_size
    gate_columns = attention.heads * gate_size if attention.has_output_gate else 0
    if attention.shares_kv_cache:
        kv_columns = 0
    elif attention.keys_are_values:
        kv_columns = attention.kv_heads * attention.key_size
    else:
        kv_columns = attention.kv_heads * (attention.key_size + attention.value_size)
    indexer = _indexer(attention.indexer, hidden_size) if attention.indexer else ()
    return (
        Matrix(
            name="attention.qkv",
            part="attention",
            inputs=hidden_size,
            outputs=query_columns + gate_columns + kv_columns,
            split="columns",
            heads=attention.heads,
            shared_outputs=kv_columns,
            shared_heads=attention.kv_heads,
        ),
        Matrix(
            name="attention.out",
            part="attention",
            inputs=attention.heads * attention.value_size,
            outputs=hidden_size,
            split="rows",
            heads=attention.heads,
        ),
        *indexer,
    )


def _latent_attention(attention: LatentAttention, hidden_size: int) -> tuple[Matrix, ...]:
    head_size = attention.nope_size + attention.rope_size
    heads = attention.heads
    query_input = attention.query_rank or hidden_size
    matrices = [
        Matrix(
            name="attention.q_b" if attention.query_rank else "attention.q",
            part="attention",
            inputs=query_input,
            outputs=heads * head_size,
            split="columns",
            heads=heads,
        ),
        Matrix(
            name="attention.kv_a",
            part="attention",
            inputs=hidden_size,
            outputs=attention.latent_size + attention.rope_size,
        ),
        *_latent_output(attention, hidden_size),
    ]
    if attention.query_rank:
        matrices.insert(
            0,
            Matrix(name="attention.q_a", part="attention", inputs=hidden_size, outputs=attention.query_rank),
        )
    if attention.has_output_gate:
        matrices.append(
            Matrix(
                name="attention.gate",
                part="attention",
                inputs=hidden_size,
                outputs=heads * attention.value_size,
                split="columns",
                heads=heads,
            )
        )
    if attention.pooling:
        matrices.append(
            Matrix(
                name="attention.pooling",
                part="attention",
                inputs=hidden_size,
                outputs=attention.pooling.input_width,
            )
        )
    if attention.indexer:
        matrices.extend(_indexer(attention.indexer, hidden_size))
    return tuple(matrices)


def _latent_output(attention: LatentAttention, hidden_size: int) -> tuple[Matrix, ...]:
    """Expansion of the latent, and the projection of what the heads read back to the model's width."""
    heads, columns = attention.heads, attention.heads * attention.value_size
    expansion = Matrix(
        name="attention.kv_b",
        part="attention",
        inputs=attention.latent_size,
        outputs=heads * (attention.nope_size + attention.value_size),
        split="columns",
        heads=heads,
    )
    groups = attention.output_groups
    grouped = Matrix(
        name="attention.out_a",
        part="attention",
        inputs=columns // groups,
        outputs=groups * (attention.output_rank or 0),
        split="columns",
        heads=groups,
    )
    out = Matrix(
        name="attention.out",
        part="attention",
        inputs=grouped.outputs or columns,
        outputs=hidden_size,
        split="rows",
        heads=groups if attention.output_rank else heads,
    )
    return (
        *([expansion] if attention.has_expansion else []),
        *([grouped] if attention.output_rank else []),
        out,
    )


def _indexer(indexer: SparseIndexer, hidden_size: int) -> tuple[Matrix, ...]:
    if not indexer.heads:
        return ()
    return (
        Matrix(
            name="indexer.q",
            part="attention",
            inputs=indexer.query_rank or hidden_size,
            outputs=indexer.heads * indexer.head_size,
        ),
        Matrix(
            name="indexer.k",
            part="attention",
            inputs=hidden_size,
            outputs=indexer.input_width or indexer.head_size + indexer.heads,
        ),
    )


def _recurrent(mixer: RecurrentMixer, hidden_size: int) -> tuple[Matrix, ...]:
    heads = max(mixer.state_heads, 1)
    matrices = [
        Matrix(
            name="recurrent.in",
            part="attention",
            inputs=hidden_size,
            outputs=mixer.input_width,
            split="columns",
            heads=heads,
        ),
        Matrix(
            name="recurrent.out",
            part="attention",
            inputs=mixer.output_width,
            outputs=hidden_size,
            split="rows",
            heads=heads,
        ),
    ]
    if mixer.inner_parameters:
        matrices.insert(1, Matrix(name="recurrent.inner", part="attention", inputs=mixer.inner_parameters, outputs=1))
    return tuple(matrices)


def _gated_pair(
    name: str, part: PartName, inputs: int, width: int, *, is_gated: bool, copies: int = 1, active: int = 1
) -> tuple[Matrix, ...]:
    return (
        Matrix(
            name=f"{name}.gate_up" if is_gated else f"{name}.up",
            part=part,
            inputs=inputs,
            outputs=width * (2 if is_gated else 1),
            split="columns",
            heads=width,
            copies=copies,
            active=active,
        ),
        Matrix(
            name=f"{name}.down",
            part=part,
            inputs=width,
            outputs=inputs,
            split="rows",
            heads=width,
            copies=copies,
            active=active,
        ),
    )


def _moe(moe: MoeMlp, hidden_size: int) -> tuple[Matrix, ...]:
    expert_size = moe.latent_size or hidden_size
    choices = moe.experts + moe.idle_experts
    matrices = [Matrix(name="moe.router", part="router", inputs=hidden_size, outputs=choices)]
    if moe.latent_size:
        matrices.append(Matrix(name="moe.latent_down", part="mlp", inputs=hidden_size, outputs=moe.latent_size))
    matrices.extend(
        _gated_pair(
            "moe.experts",
            "experts",
            expert_size,
            moe.width,
            is_gated=moe.is_gated,
            copies=moe.experts,
            active=moe.active_experts,
        )
    )
    if moe.latent_size:
        matrices.append(Matrix(name="moe.latent_up", part="mlp", inputs=moe.latent_size, outputs=hidden_size))
    if moe.shared_width:
        is_gated = moe.is_gated if moe.is_shared_gated is None else moe.is_shared_gated
        matrices.extend(_gated_pair("moe.shared", "shared_experts", hidden_size, moe.shared_width, is_gated=is_gated))
    if moe.dense_width:
        matrices.extend(_gated_pair("mlp", "mlp", hidden_size, moe.dense_width, is_gated=moe.is_gated))
    return tuple(matrices)
