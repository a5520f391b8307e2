"""One forward pass of a model as a list of operations on one device of a tensor-parallel group."""

import dataclasses
from collections.abc import Iterator

from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.model import (
    Attention,
    LatentAttention,
    LayerGroup,
    Model,
    MoeMlp,
    PartName,
    RecurrentMixer,
)
from rooflinesim.specs.precision import Precision
from rooflinesim.specs.routing import UNIFORM, Routing
from rooflinesim.workload import attention as attend
from rooflinesim.workload.experts import awake_experts, distinct_ranks
from rooflinesim.workload.matrices import Matrix, mixer_matrices, mlp_matrices
from rooflinesim.workload.op import AttentionShape, ExpertShape, GemmShape, Op, gemm
from rooflinesim.workload.parameters import layer_parameters
from rooflinesim.workload.step import Array, Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pass(Noun):
    """Everything that decides the operations of one forward pass on one device.

    `ranks` devices share each layer, each for its part of every token. `replicas` such groups, each with the
    sequences of its own `step`, share the experts: every device holds `1 / expert_ranks` of them, cut into
    `ranks x replicas / expert_ranks` slices. With `shards_head` false every device computes the whole head.
    """

    model: Model
    precision: Precision
    step: Step
    ranks: int = 1
    replicas: int = 1
    expert_ranks: int = 1
    shards_head: bool = True
    routing: Routing = UNIFORM

    @property
    def together(self) -> Step:
        """The step of all replicas, whose tokens meet at the experts."""
        return dataclasses.replace(self.step, batch=self.step.batch * self.replicas)

    @property
    def expert_slices(self) -> int:
        """Devices that share each expert."""
        return self.ranks * self.replicas // self.expert_ranks

    def __post_init__(self) -> None:
        if self.ranks * self.replicas % self.expert_ranks:
            raise DomainError(
                f"expert parallelism {self.expert_ranks} does not divide the {self.ranks * self.replicas} devices"
                " of a group; give a divisor"
            )
        for group in self.model.layers:
            mixer = group.mixer
            if isinstance(mixer, Attention):
                _check_split(mixer.heads, mixer.kv_heads, self.ranks)
            elif isinstance(mixer, LatentAttention):
                _check_split(mixer.heads, mixer.heads, self.ranks)
            elif isinstance(mixer, RecurrentMixer) and mixer.state_heads:
                _check_split(mixer.state_heads, mixer.state_heads, self.ranks)


def _check_split(heads: int, kv_heads: int, ranks: int) -> None:
    """Refuse ranks over which heads cannot be dealt evenly."""
    if ranks < 1:
        raise DomainError(f"tensor parallelism {ranks} is below 1")
    if heads % ranks or (kv_heads % ranks and ranks % kv_heads):
        fitting = [
            t for t in range(1, min(heads, 256) + 1) if heads % t == 0 and (kv_heads % t == 0 or t % kv_heads == 0)
        ]
        raise DomainError(
            f"tensor parallelism {ranks} does not divide {heads} heads with {kv_heads} KV heads;"
            f" these do: {', '.join(map(str, fitting))}"
        )


def forward(work: Pass) -> tuple[Op, ...]:
    """Operations of one forward pass on one device, in the order in which they first run.

    Equal layers appear once, with their number as `count`. Weight bytes of all operations sum to the
    streamed parameters times their formats; norms, rotary embedding and activations count bytes, no FLOPs.
    """
    ops = [_embedding(work)]
    for index, group in enumerate(work.model.layers):
        ops.extend(_layer(work, group, _prefix(work.model, index)))
    ops.extend(_head(work))
    return tuple(ops)


def _prefix(model: Model, index: int) -> str:
    """Name of a layer group among its model's; nothing where there is only one."""
    return f"layers{index}." if len(model.layers) > 1 else ""


def shard(matrix: Matrix, ranks: int) -> tuple[float, float]:
    """Inputs and outputs of one device's share of a matrix."""
    match matrix.split:
        case "columns":
            own = (matrix.outputs - matrix.shared_outputs) / ranks
            shared = matrix.shared_outputs / min(ranks, matrix.shared_heads) if matrix.shared_outputs else 0.0
            return float(matrix.inputs), own + shared
        case "rows":
            return matrix.inputs / ranks, float(matrix.outputs)
        case "copied":
            return float(matrix.inputs), float(matrix.outputs)


def format_of(part: PartName, precision: Precision) -> NumberFormat:
    """Number format of the matrices of a part."""
    match part:
        case "attention":
            return precision.attention
        case "mlp" | "other":
            return precision.mlp
        case "experts":
            return precision.experts
        case "shared_experts":
            return precision.shared_experts
        case "head":
            return precision.head
        case "embedding":
            return precision.embedding
        case "router" | "norms":
            return precision.vectors


def _layer(work: Pass, group: LayerGroup, prefix: str) -> Iterator[Op]:
    """Operations of one layer of a group, vectors charged to the first operation of their part."""
    vectors: dict[PartName, Array] = {
        part: float(elements.streamed_vectors)
        for part, elements in layer_parameters(group, work.model.hidden_size).items()
        if elements.streamed_vectors
    }
    halves = 2 if group.mixer and group.feed_forward else 1
    norm_elements = vectors.pop("norms", 0.0) / halves
    if group.moe and "experts" in vectors:
        awake = awake_experts(group.moe.experts, group.moe.active_experts, work.together, work.routing)
        vectors["experts"] = vectors["experts"] / group.moe.active_experts * awake / work.expert_ranks
    blocks = []
    if group.mixer:
        blocks.append(("attention" if not group.recurrent else "recurrent", list(_mixer(work, group))))
    if group.feed_forward:
        blocks.append(("mlp" if group.mlp else "moe", list(_feed_forward(work, group))))
    for name, ops in blocks:
        yield _norm(work, f"{prefix}{name}.norm", norm_elements, group.count)
        if name == "moe" and work.replicas > 1 and group.moe:
            ops = _exchanged(work, group.moe, ops, group.count)
        for op in ops:
            carried = vectors.pop(op.part, 0.0) if op.part else 0.0
            weight_bytes = op.weight_bytes + work.precision.vectors.bytes * carried
            yield dataclasses.replace(op, name=prefix + op.name, weight_bytes=weight_bytes)
        if work.ranks > 1:
            yield _all_reduce(work, f"{prefix}{name}.all_reduce", group.count)


def _norm(work: Pass, name: str, elements: Array, count: float) -> Op:
    """Norm fused with the residual sum: two reads and two writes of the hidden state."""
    hidden = work.model.hidden_size
    return Op(
        name=name,
        kind="elementwise",
        count=count,
        form=work.precision.activations,
        part="norms",
        weight_bytes=work.precision.vectors.bytes * elements,
        activation_bytes=4.0 * work.precision.activations.bytes * hidden * work.step.tokens,
    )


def _all_reduce(work: Pass, name: str, count: float) -> Op:
    """Sum of the hidden state over the ranks."""
    return Op(
        name=name,
        kind="all_reduce",
        count=count,
        form=work.precision.messages,
        network_bytes=work.precision.messages.bytes * work.model.hidden_size * work.step.tokens,
        ranks=work.ranks,
    )


def _matrix_op(work: Pass, matrix: Matrix, count: float) -> Op:
    """Product of the step's tokens with one matrix of a layer."""
    inputs, outputs = shard(matrix, work.ranks)
    return gemm(
        matrix.name,
        rows=work.step.tokens,
        inputs=inputs,
        outputs=outputs,
        weights=format_of(matrix.part, work.precision),
        activations=work.precision.activations,
        count=count,
        part=matrix.part,
    )


def _expert_op(work: Pass, moe: MoeMlp, matrix: Matrix, count: float) -> Op:
    r"""Product of each token with its experts' matrices; every awake expert's weights are read once.

    .. math:: F = 2 n k \cdot in \cdot out, \qquad Q_w = w \cdot in \cdot out \cdot A(n)

    of which each of the expert ranks does an equal share; the busiest rank is not singled out.
    """
    inputs, outputs = shard(matrix, work.expert_slices)
    awake = awake_experts(moe.experts, moe.active_experts, work.together, work.routing) / work.expert_ranks
    form = format_of(matrix.part, work.precision)
    rows = work.together.tokens * moe.active_experts / work.expert_ranks
    one = gemm(
        matrix.name,
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        weights=form,
        activations=work.precision.activations,
        count=count,
        part=matrix.part,
    )
    shape = ExpertShape(
        rows=rows,
        remote_rows=rows * (work.expert_ranks - 1.0),
        awake=awake,
        tokens=work.together.tokens,
        sequences=work.together.batch,
        experts=float(moe.experts),
        active=float(moe.active_experts),
        ranks=float(work.expert_ranks),
        inputs=inputs,
        outputs=outputs,
    )
    return dataclasses.replace(one, kind="experts", weight_bytes=one.weight_bytes * awake, shape=shape)


def _exchanged(work: Pass, moe: MoeMlp, ops: list[Op], count: float) -> list[Op]:
    r"""Operations of a block of experts with the exchange of tokens among the replicas around the experts.

    Each device sends a token once to every other device that holds one of its experts, and gets the sum back:
    :math:`n h \cdot D` elements, D the expected other devices. A device among the token's own tensor-parallel
    group has the token already.
    """
    devices = min(distinct_ranks(moe.experts, moe.active_experts, work.expert_ranks), work.replicas)
    width = moe.latent_size or work.model.hidden_size
    sent = work.step.tokens / work.ranks * width * (devices if work.expert_ranks > 1 else work.replicas)

    def exchange(name: str, element_bytes: float) -> Op:
        return Op(
            name=f"moe.{name}",
            kind="all_to_all",
            count=count,
            form=work.precision.messages,
            network_bytes=element_bytes * sent,
            ranks=work.ranks * work.replicas,
        )

    first = next(index for index, op in enumerate(ops) if op.kind == "experts")
    last = max(index for index, op in enumerate(ops) if op.kind == "experts")
    element_bytes = work.precision.messages.bytes
    return [
        *ops[:first],
        exchange("dispatch", element_bytes),
        *ops[first : last + 1],
        exchange("combine", element_bytes),
        *ops[last + 1 :],
    ]


def _mixer(work: Pass, group: LayerGroup) -> Iterator[Op]:
    """Operations of the block that mixes tokens: projections, the core, the output projection."""
    mixer = group.mixer
    if mixer is None:
        return
    *before, out = (
        _matrix_op(work, matrix, group.count) for matrix in _out_last(mixer_matrices(mixer, work.model.hidden_size))
    )
    yield from before
    match mixer:
        case Attention():
            yield _position(work, mixer, group.count)
            yield from _indexer(work, mixer, group.count)
            yield _attention(work, mixer, group.count)
        case LatentAttention():
            yield _latent_append(work, mixer, group.count)
            yield from _indexer(work, mixer, group.count)
            yield _latent_attention(work, mixer, group.count)
        case RecurrentMixer():
            yield _recurrence(work, mixer, group.count)
    yield out


def _out_last(matrices: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """Matrices in running order: the one split by rows closes the block."""
    return tuple(sorted(matrices, key=lambda matrix: matrix.split == "rows"))


def _position(work: Pass, mixer: Attention, count: float) -> Op:
    """Rotary embedding of queries and keys, and the append of new keys and values to the cache."""
    heads = mixer.heads / work.ranks
    own = attend.cached_elements(mixer, work.ranks)
    moved = 2.0 * heads * mixer.key_size + own
    appended = own + attend.indexer_elements(mixer)
    return Op(
        name="attention.rope_append",
        kind="elementwise",
        count=count,
        form=work.precision.activations,
        kv_bytes=work.precision.kv_cache.bytes * appended * work.step.tokens,
        activation_bytes=work.precision.activations.bytes * moved * work.step.tokens,
    )


def _attention(work: Pass, mixer: Attention, count: float) -> Op:
    """Scores and weighted values; every sequence brings its own keys and values."""
    step = work.step
    read = attend.seen_tokens(mixer, step)
    elements = attend.read_elements(mixer, work.ranks)
    ends = mixer.heads / work.ranks * (mixer.key_size + mixer.value_size)
    return Op(
        name="attention.core",
        kind="attention",
        count=count,
        form=work.precision.activations,
        flops=attend.attention_flops(mixer, step, work.ranks),
        kv_bytes=work.precision.kv_cache.bytes * elements * step.batch * read,
        activation_bytes=work.precision.activations.bytes * ends * step.tokens,
        shape=_attention_shape(
            work,
            read,
            elements / (mixer.key_size + mixer.value_size),
            mixer.heads / work.ranks,
            mixer.key_size + mixer.value_size,
        ),
    )


def _attention_shape(work: Pass, read: Array, kv_heads: float, heads: float, width: float) -> AttentionShape:
    """Shape of attention whose heads are dealt evenly over the KV heads; keys and values have `width` elements."""
    return AttentionShape(
        batch=work.step.batch,
        new_tokens=work.step.new_tokens,
        read_tokens=read,
        kv_heads=kv_heads,
        group=heads / kv_heads,
        pair_flops=2.0 * heads * width,
        value_bytes=work.precision.kv_cache.bytes,
    )


def _latent_append(work: Pass, mixer: LatentAttention, count: float) -> Op:
    """Rotary embedding and the append of the new latents to the cache."""
    keys = attend.scored_tokens(mixer, attend.indexer_elements(mixer))
    elements = attend.kept_tokens(mixer, 1.0) * attend.cached_elements(mixer) + keys
    moved = 2.0 * mixer.heads / work.ranks * mixer.rope_size + elements
    return Op(
        name="attention.rope_append",
        kind="elementwise",
        count=count,
        form=work.precision.activations,
        kv_bytes=work.precision.kv_cache.bytes * elements * work.step.tokens,
        activation_bytes=work.precision.activations.bytes * moved * work.step.tokens,
    )


def _indexer(work: Pass, mixer: Attention | LatentAttention, count: float) -> Iterator[Op]:
    """Scores of every cached key by the layer's own sparse indexer, which reads all of them."""
    elements = attend.indexer_elements(mixer)
    if not elements:
        return
    step = work.step
    read = attend.scored_tokens(mixer, attend.read_tokens(step.new_tokens, step.context))
    yield Op(
        name="indexer.scores",
        kind="attention",
        count=count,
        form=work.precision.activations,
        flops=attend.indexer_flops(mixer, step),
        kv_bytes=work.precision.kv_cache.bytes * elements * step.batch * read,
        shape=_attention_shape(work, read, 1.0, float(mixer.indexer.heads if mixer.indexer else 1), elements),
    )


def _latent_attention(work: Pass, mixer: LatentAttention, count: float) -> Op:
    """Attention of all heads to one latent per token, absorbed or expanded, whichever takes fewer FLOPs."""
    step = work.step
    read = attend.seen_tokens(mixer, step)
    heads = mixer.heads / work.ranks
    ends = heads * (2.0 * mixer.latent_size + mixer.rope_size)
    return Op(
        name="attention.core",
        kind="attention",
        count=count,
        form=work.precision.activations,
        flops=attend.latent_attention_flops(mixer, step, work.ranks),
        kv_bytes=work.precision.kv_cache.bytes * attend.cached_elements(mixer) * step.batch * read,
        activation_bytes=work.precision.activations.bytes * ends * step.tokens,
        shape=_attention_shape(work, read, 1.0, heads, 2.0 * mixer.latent_size + mixer.rope_size),
    )


def _recurrence(work: Pass, mixer: RecurrentMixer, count: float) -> Op:
    r"""Update and read-out of the state, read and written once per step whatever the context is.

    .. math:: Q = 2 b \cdot heads \cdot d_k d_v \cdot bytes, \qquad F = c\, n \cdot heads \cdot d_k d_v
    """
    state = attend.state_elements(mixer, work.ranks)
    convolution = attend.convolution_elements(mixer, work.ranks)
    taps = mixer.convolution_channels / work.ranks * mixer.convolution_width
    kept = work.precision.state.bytes * state + work.precision.activations.bytes * convolution
    ends = (mixer.input_width + mixer.output_width) / work.ranks
    return Op(
        name="recurrent.core",
        kind="recurrent",
        count=count,
        form=work.precision.activations,
        flops=work.step.tokens * (mixer.state_flops * state + 2.0 * taps),
        kv_bytes=2.0 * work.step.batch * kept,
        activation_bytes=work.precision.activations.bytes * ends * work.step.tokens,
    )


def _feed_forward(work: Pass, group: LayerGroup) -> Iterator[Op]:
    """Operations of the block that works on each token alone."""
    mlp = group.feed_forward
    if mlp is None:
        return
    for matrix in mlp_matrices(mlp, work.model.hidden_size):
        if isinstance(mlp, MoeMlp) and matrix.part == "experts":
            op = _expert_op(work, mlp, matrix, group.count)
        else:
            op = _matrix_op(work, matrix, group.count)
        yield op
        if matrix.name.endswith(("up", "gate_up")) and matrix.split == "columns":
            yield _activation(work, matrix, group.count)


def _activation(work: Pass, matrix: Matrix, count: float) -> Op:
    """Activation function, and the product with the gate where there is one."""
    moved = matrix.outputs + matrix.heads
    if matrix.part == "experts":
        rows = work.together.tokens * matrix.active / work.expert_ranks
        share = moved / work.expert_slices
    else:
        rows, share = work.step.tokens, moved / work.ranks
    return Op(
        name=f"{matrix.name.rpartition('.')[0]}.activation",
        kind="elementwise",
        count=count,
        form=work.precision.activations,
        activation_bytes=work.precision.activations.bytes * share * rows,
    )


def _embedding(work: Pass) -> Op:
    """Rows of the embedding tables, gathered: resident, but not streamed."""
    model = work.model
    width = model.embedding_size or model.hidden_size
    gathered = width + model.per_layer_embedding_parameters / model.vocabulary
    if model.position_parameters:
        gathered += model.hidden_size
    stored = work.precision.embedding.bytes * gathered
    written = work.precision.activations.bytes * model.hidden_size
    return Op(
        name="embedding",
        kind="elementwise",
        count=1,
        form=work.precision.activations,
        activation_bytes=(stored + written) * work.step.tokens,
    )


def _head(work: Pass) -> Iterator[Op]:
    """Final norm, the product with the vocabulary, and the choice of the next token."""
    model, precision, rows = work.model, work.precision, work.step.logit_rows
    yield _norm(work, "head.norm", float(model.final_norm_parameters), 1)
    if model.other_parameters:
        yield Op(
            name="other",
            kind="gemm",
            count=1,
            form=precision.mlp,
            part="other",
            flops=2.0 * work.step.tokens * model.other_parameters / work.ranks,
            weight_bytes=precision.mlp.bytes * model.other_parameters / work.ranks,
            shape=GemmShape(rows=work.step.tokens, inputs=1.0, outputs=model.other_parameters / work.ranks),
        )
    ranks = work.ranks if work.shards_head else 1
    columns = model.vocabulary / ranks
    product = gemm(
        "head",
        rows=rows,
        inputs=float(model.embedding_size or model.hidden_size),
        outputs=columns,
        weights=precision.head,
        activations=precision.activations,
        part="head",
    )
    biases = precision.vectors.bytes * model.head_vector_parameters / ranks
    yield dataclasses.replace(product, weight_bytes=product.weight_bytes + biases)
    if ranks > 1:
        yield Op(
            name="head.all_gather",
            kind="all_gather",
            count=1,
            form=precision.messages,
            network_bytes=precision.messages.bytes * columns * rows,
            ranks=ranks,
        )
    yield Op(
        name="sampling",
        kind="elementwise",
        count=1,
        form=precision.logits,
        activation_bytes=precision.logits.bytes * model.vocabulary * rows,
    )
