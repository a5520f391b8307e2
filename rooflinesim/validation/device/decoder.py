"""A Llama-style decoder in torch with random weights: what a model's shapes say, run for real."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.specs.model import Attention, LayerGroup, Model
from rooflinesim.validation.device.placement import DTYPES as DTYPES
from rooflinesim.validation.device.placement import Placement as Placement
from rooflinesim.validation.device.placement import placed as placed
from rooflinesim.workload.parameters import total_parameters

AMPLITUDE = 0.04
"""Half width of the uniform weights: scores of about 4 at most over 32000 tokens, as trained models have near ties."""

ROTARY_BASE = 10000.0

Mark = Callable[[str], None]
"""Told the name of each operation when it is done, as predictions name them."""


class WeightPool:
    """Random numbers of which every weight matrix is a view, so that many decoders share one allocation.

    Decoders overlap in it: a step reads every weight once, so what another left in a cache is long gone.
    """

    def __init__(self, elements: int, form: str, *, device: str = "cpu", seed: int = 0) -> None:
        self.form = form
        self.values = random_values(elements, DTYPES[form], device, seed).mul_(AMPLITUDE)

    def views(self) -> Callable[[Sequence[int]], Tensor]:
        """A function that deals out views of given shapes, one after another from the start of the pool.

        Each begins at a page: rows as long as pages stream up to a sixth faster where they do not straddle two.
        """
        width = self.values.element_size()
        address, used = self.values.data_ptr(), 0

        def view(shape: Sequence[int]) -> Tensor:
            nonlocal used
            size = math.prod(shape)
            used += -(address + used * width) % PAGE // width
            if used + size > self.values.numel():
                raise DomainError(f"the weight pool has {self.values.numel():,} elements, too few for this decoder")
            used += size
            return self.values[used - size : used].view(*shape)

        return view


PAGE = 4096
"""Bytes at multiples of which weights begin [B]."""


def pool_elements(model: Model) -> int:
    """Elements of a pool that has room for a model's weights, each from a page on [1]."""
    return total_parameters(model) + (4 * model.layer_count + 4) * PAGE


BLOCK = 4_194_301
"""Random numbers that are drawn, a prime: repeated, no row of a matrix is another one, which would tie their scores."""


def random_values(elements: int, dtype: torch.dtype, device: str, seed: int) -> Tensor:
    """Uniform numbers from -1 to 1, every page touched: one block again and again, since drawing takes longest."""
    generator = torch.Generator(device=device).manual_seed(seed)
    block = torch.empty(min(elements, BLOCK), dtype=torch.float32, device=device).uniform_(-1, 1, generator=generator)
    block = block.to(dtype)
    values = torch.empty(elements, dtype=dtype, device=device)
    for part in values.split(BLOCK):
        part.copy_(block[: part.numel()])
    return values


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """Keys and values of every layer, each of shape (layers, batch, kv_heads, capacity, head_size)."""

    keys: Tensor
    values: Tensor

    @property
    def capacity(self) -> int:
        """Tokens of one sequence that it can hold."""
        return int(self.keys.shape[3])

    def move(self, rows: Sequence[int], sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy entries of rows from slots to other slots, in all layers: aligned columns, all read before any write."""
        if not rows:
            return
        row, source, target = (torch.tensor(one, device=self.keys.device) for one in (rows, sources, targets))
        for held in (self.keys, self.values):
            held[:, row, :, target] = held[:, row, :, source]


class CachePool:
    """Memory of caches, viewed anew for each batch and context; its random numbers are a context nobody computed."""

    def __init__(self, elements: int, form: str, *, device: str = "cpu", seed: int = 1) -> None:
        self.form = form
        self.values = random_values(elements, DTYPES[form], device, seed)

    def view(self, model: Model, batch: int, capacity: int) -> Cache:
        """A cache of so many sequences and tokens each.

        Raises
        ------
        DomainError : if the pool is too small for it.
        """
        attention = attention_group(model)
        shape = (model.layer_count, batch, attention.kv_heads, capacity, attention.key_size)
        size = math.prod(shape)
        if 2 * size > self.values.numel():
            raise DomainError(
                f"a cache of {batch} x {capacity} tokens takes {2 * size:,} elements: make the pool larger"
            )
        return Cache(keys=self.values[:size].view(*shape), values=self.values[size : 2 * size].view(*shape))


def cache_elements(model: Model, batch: int, capacity: int) -> int:
    """Elements of a cache of so many sequences and tokens each."""
    attention = attention_group(model)
    return 2 * model.layer_count * batch * attention.kv_heads * capacity * attention.key_size


@dataclasses.dataclass(kw_only=True, eq=False)
class LayerWeights:
    """Weights of one layer, outputs x inputs as torch multiplies them; those of experts stacked."""

    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor
    router: Tensor | None = None

    def tensors(self) -> Iterator[Tensor]:
        """All weights."""
        for field in dataclasses.fields(self):
            if (weight := getattr(self, field.name)) is not None:
                yield weight


class Decoder:
    """A decoder of a model's shapes: RMS norms, rotary positions, grouped attention, SwiGLU or experts, a head.

    Query, key and value are one product, gate and up another. Weights are views of a pool; norms are ones.

    Raises
    ------
    UnsupportedError : if the model has blocks other than full softmax attention, a gated MLP and routed experts.
    """

    def __init__(self, model: Model, pool: WeightPool, *, longest: int = 8192) -> None:
        attention = attention_group(model)
        device, dtype = pool.values.device, pool.values.dtype
        self.model, self.form = model, pool.form
        self.heads, self.kv_heads, self.head_size = attention.heads, attention.kv_heads, attention.key_size
        self.group = self.heads // self.kv_heads
        view = pool.views()
        ones = torch.ones(model.hidden_size, dtype=dtype, device=device)
        self.embedding = view((model.vocabulary, model.hidden_size))
        self.layers = [
            _layer_weights(group, model.hidden_size, view, ones) for group in model.layers for _ in range(group.count)
        ]
        self.active_experts = next((group.moe.active_experts for group in model.layers if group.moe), 0)
        self.final_norm = ones.clone()
        self.head = view((model.vocabulary, model.hidden_size))
        halves = torch.arange(0, self.head_size, 2, dtype=torch.float64) / self.head_size
        angles = torch.outer(torch.arange(longest, dtype=torch.float64), ROTARY_BASE**-halves).repeat(1, 2)
        self.cosine, self.sine = (wave.to(dtype).to(device) for wave in (angles.cos(), angles.sin()))

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.head.device)

    def parameters(self) -> Iterator[Tensor]:
        """All weights, each once."""
        yield self.embedding
        for layer in self.layers:
            yield from layer.tensors()
        yield self.final_norm
        yield self.head

    def step(
        self,
        tokens: Tensor,
        placement: Placement,
        cache: Cache,
        *,
        scored: int | None = None,
        mark: Mark | None = None,
    ) -> Tensor:
        """Scores of the token after each new one, shape (batch, scored, vocabulary); keys and values are cached.

        Parameters
        ----------
        tokens : shape (batch, new_tokens)
        scored : how many of each row's last tokens are scored; None scores all
        mark : told the name of each operation when it is issued
        """
        mark = mark or _unmarked
        hidden = functional.embedding(tokens, self.embedding)
        waves = self.cosine[placement.positions][:, :, None], self.sine[placement.positions][:, :, None]
        mark("embedding")
        for index, layer in enumerate(self.layers):
            normed = self._norm(hidden, layer.attention_norm)
            mark("attention.norm")
            hidden = hidden + self._attention(normed, layer, waves, placement, cache, index, mark)
            normed = self._norm(hidden, layer.mlp_norm)
            mark("mlp.norm")
            hidden = hidden + (self._mlp(normed, layer, mark) if layer.router is None else self._experts(normed, layer))
            mark("mlp.down" if layer.router is None else "moe.experts")
        if scored is not None:
            hidden = hidden[:, -scored:]
        normed = self._norm(hidden, self.final_norm)
        mark("head.norm")
        scores = functional.linear(normed, self.head)
        mark("head")
        return scores

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, weight.shape, weight, 1e-5)

    def _attention(
        self,
        normed: Tensor,
        layer: LayerWeights,
        waves: tuple[Tensor, Tensor],
        placement: Placement,
        cache: Cache,
        index: int,
        mark: Mark,
    ) -> Tensor:
        batch, new = normed.shape[:2]
        projected = functional.linear(normed, layer.qkv).view(batch, new, -1, self.head_size)
        mark("attention.qkv")
        turned = _turned(projected[:, :, : self.heads + self.kv_heads], *waves)
        query, key = turned[:, :, : self.heads], turned[:, :, self.heads :]
        value = projected[:, :, self.heads + self.kv_heads :]
        keys, values = cache.keys[index], cache.values[index]
        if placement.first is None:
            row = torch.arange(batch, device=keys.device)[:, None]
            keys[row, :, placement.slots] = key
            values[row, :, placement.slots] = value
        else:
            own = slice(placement.first, placement.first + new)
            keys[:, :, own] = key.transpose(1, 2)
            values[:, :, own] = value.transpose(1, 2)
        mark("attention.rope_append")
        mixed = self._mixed(query, keys[:, :, : placement.read], values[:, :, : placement.read], placement)
        mark("attention.core")
        out = functional.linear(mixed, layer.out)
        mark("attention.out")
        return out

    def _mixed(self, query: Tensor, keys: Tensor, values: Tensor, placement: Placement) -> Tensor:
        """Attention of (batch, new, heads, head_size) queries: those that share a KV head are its rows.

        So the cache is read once per KV head, whatever the group. Only a prompt, whose scores are many more than its
        cached values, repeats the keys and lets the kernel leave out what is not seen.
        """
        batch, new = query.shape[:2]
        if placement.is_prompt:
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), keys, values, is_causal=True, enable_gqa=True
            )
            return mixed.transpose(1, 2).reshape(batch, new, -1)
        rows = query.view(batch, new, self.kv_heads, self.group, self.head_size).transpose(1, 2)
        mask = placement.mask
        if mask is not None:
            mask = mask[:, :, :, None].expand(-1, -1, -1, self.group, -1).reshape(batch, 1, new * self.group, -1)
        mixed = functional.scaled_dot_product_attention(
            rows.reshape(batch, self.kv_heads, new * self.group, self.head_size), keys, values, attn_mask=mask
        )
        return mixed.view(batch, self.kv_heads, new, -1).transpose(1, 2).reshape(batch, new, -1)

    def _mlp(self, normed: Tensor, layer: LayerWeights, mark: Mark) -> Tensor:
        gate, up = functional.linear(normed, layer.gate_up).chunk(2, dim=-1)
        mark("mlp.gate_up")
        active = functional.silu(gate) * up
        mark("mlp.activation")
        return functional.linear(active, layer.down)

    def _experts(self, normed: Tensor, layer: LayerWeights) -> Tensor:
        """Experts one after another, each on the tokens that chose it: which ones wake is known only on the host."""
        flat = normed.flatten(0, 1)
        shares, chosen = functional.linear(flat, layer.router).float().softmax(-1).topk(self.active_experts)
        shares = (shares / shares.sum(-1, keepdim=True)).to(flat.dtype)
        mixed = torch.zeros_like(flat)
        for expert in chosen.unique().tolist():
            token, place = torch.where(chosen == expert)
            gate, up = functional.linear(flat[token], layer.gate_up[expert]).chunk(2, dim=-1)
            own = functional.linear(functional.silu(gate) * up, layer.down[expert])
            mixed.index_add_(0, token, own * shares[token, place, None])
        return mixed.view_as(normed)

    def exit_after(self, layers: int) -> "Decoder":
        """The decoder of the first layers and the head, on the same weights.

        Raises
        ------
        DomainError : if it would exit after the last layer or before the first.
        """
        from rooflinesim.analysis.speculation.early_exit import first_layers

        early = object.__new__(Decoder)
        early.__dict__.update(self.__dict__)
        early.model = first_layers(self.model, layers)
        early.layers = self.layers[:layers]
        return early

    def quieten(self, first: int, share: float) -> None:
        """Scale what the layers from `first` on add to the hidden state, so that an exit before them agrees more.

        Their output weights become copies: other decoders of the pool keep theirs.
        """
        for layer in self.layers[first:]:
            layer.out = layer.out * share
            layer.down = layer.down * share


def attention_group(model: Model) -> Attention:
    """The attention that all layers of a decoder share.

    Raises
    ------
    UnsupportedError : if the model has blocks that the decoders do not have.
    """
    found = {_runnable(group, model.name) for group in model.layers}
    if len(found) > 1 or model.embedding_size or model.has_tied_embeddings:
        raise UnsupportedError(f"{model.name}: only models of equal layers with a head of their own can be run")
    return found.pop()


def _runnable(group: LayerGroup, name: str) -> Attention:
    attention = group.attention
    is_plain = attention is not None and not (
        attention.window or attention.has_output_gate or attention.indexer or attention.vector_parameters
    )
    mlp, moe = group.mlp, group.moe
    is_gated = (mlp is not None and mlp.is_gated) or (
        moe is not None and moe.is_gated and not moe.shared_width and not moe.dense_width and moe.latent_size is None
    )
    if attention is None or not is_plain or not is_gated or attention.key_size != attention.value_size:
        raise UnsupportedError(f"{name}: only full attention with gated MLPs or routed experts can be run")
    return attention


def _layer_weights(
    group: LayerGroup, hidden_size: int, view: Callable[[Sequence[int]], Tensor], ones: Tensor
) -> LayerWeights:
    attention, moe = group.attention, group.moe
    assert attention is not None
    inner = attention.heads * attention.key_size
    width = moe.width if moe else group.mlp.width if group.mlp else 0
    stacked = (moe.experts,) if moe else ()
    return LayerWeights(
        attention_norm=ones.clone(),
        qkv=view((inner + 2 * attention.kv_heads * attention.key_size, hidden_size)),
        out=view((hidden_size, inner)),
        mlp_norm=ones.clone(),
        gate_up=view((*stacked, 2 * width, hidden_size)),
        down=view((*stacked, hidden_size, width)),
        router=view((moe.experts, hidden_size)) if moe else None,
    )


def _turned(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Heads turned by the angles of their positions, first and second halves together."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat((-second, first), dim=-1) * sine


def _unmarked(_name: str) -> None:
    pass
