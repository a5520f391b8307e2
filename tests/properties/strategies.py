"""Random models, devices, stacks and steps, all of them such as the product must accept."""

import dataclasses
import math

from hypothesis import strategies as st

from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.formats import FORMATS
from rooflinesim.specs.gemm_law import GemmLaw, QuantizationLaw
from rooflinesim.specs.hardware import Hardware, Link, OnChipMemory
from rooflinesim.specs.model import (
    Attention,
    CachePooling,
    DenseMlp,
    LatentAttention,
    LayerGroup,
    Mixer,
    Mlp,
    Model,
    MoeMlp,
    RecurrentMixer,
    SparseIndexer,
)
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.routing import Routing
from rooflinesim.specs.stack import Band, KernelLaw, Stack
from rooflinesim.workload.step import Step

RANKS = (1, 1, 1, 2, 4, 8)
VECTORS = st.integers(0, 5000)
NOTHING = st.just(0)


def shares(low: float = 0.05) -> st.SearchStrategy[float]:
    return st.floats(low, 1.0)


def seconds(largest: float) -> st.SearchStrategy[float]:
    return st.one_of(st.just(0.0), st.floats(1e-8, largest))


def divisible_heads(draw: st.DrawFn, kv_heads: int, ranks: int) -> int:
    heads = kv_heads * draw(st.sampled_from((1, 2, 3, 7, 8)))
    return heads * (ranks // math.gcd(heads, ranks))


def sparse_indexers(vectors: st.SearchStrategy[int]) -> st.SearchStrategy[SparseIndexer]:
    """Cheap scores of all cached tokens, of which attention reads the best."""
    return st.builds(
        SparseIndexer,
        heads=st.integers(1, 8),
        head_size=st.sampled_from((32, 128)),
        top_k=st.integers(1, 4096),
        query_rank=st.one_of(st.none(), st.integers(16, 512)),
        vector_parameters=vectors,
    )


@st.composite
def attentions(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> Attention:
    """Softmax attention with grouped heads, key and value sizes that differ, windows and gates."""
    kv_heads = draw(st.sampled_from((1, 2, 4, 8)))
    return Attention(
        heads=divisible_heads(draw, kv_heads, ranks),
        kv_heads=kv_heads,
        key_size=draw(st.sampled_from((16, 64, 80, 128, 192))),
        value_size=draw(st.sampled_from((16, 64, 80, 128))),
        window=draw(st.one_of(st.none(), st.integers(1, 8192))),
        has_output_gate=draw(st.booleans()),
        keys_are_values=draw(st.booleans()),
        shares_kv_cache=draw(st.booleans()),
        indexer=draw(st.one_of(st.none(), sparse_indexers(vectors))),
        vector_parameters=draw(vectors),
    )


@st.composite
def latent_attentions(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> LatentAttention:
    """MLA with and without a compressed query and a sparse indexer."""
    indexers = sparse_indexers(vectors)
    return LatentAttention(
        heads=ranks * draw(st.integers(1, 16)),
        latent_size=draw(st.integers(16, 512)),
        rope_size=draw(st.sampled_from((0, 32, 64))),
        nope_size=draw(st.sampled_from((32, 128))),
        value_size=draw(st.sampled_from((32, 128))),
        query_rank=draw(st.one_of(st.none(), st.integers(16, 512))),
        has_output_gate=draw(st.booleans()),
        indexer=draw(st.one_of(st.none(), indexers)),
        vector_parameters=draw(vectors),
    )


@st.composite
def pooled_attentions(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> LatentAttention:
    """Attention to the latents in a window and to pooled entries for the tokens before it."""
    pooling = CachePooling(rate=draw(st.sampled_from((4, 128))), input_width=draw(st.integers(0, 512)))
    latent = draw(latent_attentions(ranks, vectors))
    return dataclasses.replace(
        latent, window=draw(st.integers(1, 512)), pooling=pooling, has_expansion=draw(st.booleans())
    )


@st.composite
def recurrent_mixers(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> RecurrentMixer:
    """Layers with a fixed state, with and without a convolution before it."""
    heads = ranks * draw(st.integers(1, 16))
    size = draw(st.sampled_from((16, 64, 128)))
    return RecurrentMixer(
        state_heads=heads,
        key_size=draw(st.sampled_from((16, 64, 128))),
        value_size=size,
        input_width=ranks * draw(st.integers(1, 2048)),
        output_width=heads * size,
        state_flops=draw(st.sampled_from((4.0, 5.0, 8.0))),
        convolution_channels=0 if vectors is NOTHING else ranks * draw(st.integers(0, 512)),
        convolution_width=draw(st.integers(1, 4)),
        inner_parameters=draw(st.integers(0, 10_000)),
        vector_parameters=draw(vectors),
    )


@st.composite
def dense_mlps(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> DenseMlp:
    return DenseMlp(
        width=ranks * draw(st.integers(1, 4096)),
        is_gated=draw(st.booleans()),
        vector_parameters=draw(vectors),
    )


@st.composite
def moe_mlps(draw: st.DrawFn, ranks: int = 1, vectors: st.SearchStrategy[int] = VECTORS) -> MoeMlp:
    """Experts with and without shared, dense and latent parts beside them."""
    experts = draw(st.integers(1, 300))
    shared_width = ranks * draw(st.integers(0, 512))
    return MoeMlp(
        experts=experts,
        active_experts=draw(st.integers(1, min(experts, 16))),
        width=ranks * draw(st.integers(1, 512)),
        is_gated=draw(st.booleans()),
        shared_width=shared_width,
        is_shared_gated=draw(st.sampled_from((None, True, False))),
        dense_width=ranks * draw(st.integers(0, 512)),
        latent_size=draw(st.one_of(st.none(), st.integers(16, 512))),
        idle_experts=draw(st.sampled_from((0, 0, 8))),
        vector_parameters=draw(vectors),
        shared_vector_parameters=draw(vectors) if shared_width else 0,
        vector_parameters_per_expert=draw(st.sampled_from((0, 0, 100))) if vectors is VECTORS else 0,
    )


def group_of(mixer: Mixer | None, mlp: Mlp | None, count: int, norms: int) -> LayerGroup:
    """A layer group, each block under the field of its kind."""
    return LayerGroup(
        count=count,
        attention=mixer if isinstance(mixer, Attention) else None,
        latent_attention=mixer if isinstance(mixer, LatentAttention) else None,
        recurrent=mixer if isinstance(mixer, RecurrentMixer) else None,
        mlp=mlp if isinstance(mlp, DenseMlp) else None,
        moe=mlp if isinstance(mlp, MoeMlp) else None,
        norm_parameters=norms,
    )


MIXERS = (attentions, latent_attentions, pooled_attentions, recurrent_mixers)


@st.composite
def layer_groups(
    draw: st.DrawFn,
    ranks: int = 1,
    mixers: tuple = MIXERS,
    mlps: tuple = (dense_mlps, moe_mlps),
    vectors: st.SearchStrategy[int] = VECTORS,
) -> LayerGroup:
    """Equal layers: mostly a mixer and an MLP, sometimes only one of them."""
    blocks = draw(st.sampled_from(("both", "both", "both", "mixer", "mlp")))
    mixer = None if blocks == "mlp" else draw(draw(st.sampled_from(mixers))(ranks, vectors))
    mlp = None if blocks == "mixer" else draw(draw(st.sampled_from(mlps))(ranks, vectors))
    return group_of(mixer, mlp, draw(st.integers(1, 80)), draw(vectors))


@st.composite
def models(
    draw: st.DrawFn,
    ranks: int = 1,
    mixers: tuple = MIXERS,
    mlps: tuple = (dense_mlps, moe_mlps),
    vectors: st.SearchStrategy[int] = VECTORS,
) -> Model:
    """Decoders of one to three kinds of layers."""
    groups = layer_groups(ranks, mixers, mlps, vectors)
    return Model(
        name="random",
        source="drawn by Hypothesis",
        hidden_size=draw(st.integers(16, 8192)),
        vocabulary=ranks * draw(st.integers(16, 30_000)),
        layers=tuple(draw(st.lists(groups, min_size=1, max_size=3))),
        has_tied_embeddings=draw(st.booleans()),
        embedding_size=draw(st.sampled_from((None, None, 64))),
        final_norm_parameters=draw(vectors),
        head_vector_parameters=draw(vectors),
        other_parameters=draw(st.sampled_from((0, 0, 12_345))),
        position_parameters=draw(st.sampled_from((0, 0, 2048))),
        per_layer_embedding_parameters=draw(st.sampled_from((0, 0, 30_000))),
        vision_parameters=draw(st.sampled_from((0, 0, 1_000_000))),
        draft_parameters=draw(st.sampled_from((0, 0, 1_000_000))),
    )


@st.composite
def on_chip_memories(draw: st.DrawFn) -> OnChipMemory:
    """No cache, one of known size only, or one of known size and bandwidth."""
    kind = draw(st.sampled_from(("none", "size", "size and bandwidth")))
    if kind == "none":
        return OnChipMemory()
    size = draw(st.floats(1e5, 1e10))
    bandwidth = draw(st.floats(1e11, 1e14)) if kind == "size and bandwidth" else None
    return OnChipMemory(l2_capacity=size, bandwidth=bandwidth)


@st.composite
def devices(draw: st.DrawFn, *, has_cache: bool | None = None) -> Hardware:
    """Devices from a laptop to more than any that is sold; fp32 math at least, so that every format runs."""
    maths = draw(st.lists(st.sampled_from(("fp16", "bf16", "fp8", "int8", "fp4")), unique=True))
    rates = {math: draw(st.floats(1e12, 1e16)) for math in ("fp32", *maths)}
    return Hardware(
        name="random",
        vendor="-",
        architecture="-",
        memory_type=draw(st.sampled_from(("HBM3", "GDDR6", "LPDDR5X", "DDR5", "SRAM"))),
        memory_bandwidth=draw(st.floats(2e10, 2e13)),
        memory_capacity=draw(st.floats(1e9, 1e13)),
        dense_flop_rate=rates,
        on_chip=OnChipMemory() if has_cache is False else draw(on_chip_memories()),
        cores=draw(st.one_of(st.none(), st.integers(1, 500))),
        clock_rate=draw(st.one_of(st.none(), st.floats(5e8, 5e9))),
        link=Link(name="-", bandwidth=draw(st.floats(1e9, 1e12)), devices=8),
        source="drawn by Hypothesis",
    )


@st.composite
def stacks(draw: st.DrawFn, *, has_fixed_times: bool | None = None) -> Stack:
    """Stacks from the pure roofline to eager kernels with poor efficiencies."""
    has_times = draw(st.booleans()) if has_fixed_times is None else has_fixed_times
    time = seconds if has_times else lambda _: st.just(0.0)

    other = draw(st.builds(KernelLaw, fixed_time=time(1e-4), flop_efficiency=shares()))
    exchanges = st.builds(
        Exchange, latency=time(1e-5), rank_latency=time(1e-6), bandwidth_efficiency=shares(), copies=st.floats(0.0, 2.0)
    )
    orders = st.one_of(st.none(), st.just(1.0), st.floats(1.0, 20.0))
    kinds = ("single", "single_quantised", "batched", "parallel", "experts", "prompt")
    has_bands = draw(st.booleans())
    return Stack(
        name="random",
        source="drawn by Hypothesis",
        memory_efficiency=dict.fromkeys(("HBM", "GDDR", "LPDDR", "Apple", "DDR", "SRAM"), draw(shares())),
        weight_efficiency={"int4": draw(shares()), "fp8": draw(shares())} if has_times else {},
        unpack_operations=draw(st.one_of(st.just(0.0), st.floats(0.1, 20.0))) if has_times else 0.0,
        quantization={
            "fp8": QuantizationLaw(
                fixed_time=draw(time(1e-5)), value_bytes=draw(st.floats(0.0, 8.0)), input_time=draw(time(1e-7)) * 1e-2
            )
        }
        if has_times
        else {},
        on_chip_efficiency=draw(shares()),
        on_chip_share=draw(st.one_of(st.just(0.0), shares())),
        on_chip_bandwidth_per_core_clock=draw(st.one_of(st.none(), st.floats(1.0, 100.0))),
        gemm=GemmLaw(
            fixed_time=draw(time(1e-4)),
            split_time=draw(time(1e-5)),
            exposed_share=draw(st.floats(0.0, 1.0)) if has_times else 0.0,
            idle_core_loss=draw(st.floats(0.0, 0.2)) if has_times else 0.0,
            tile_rows=64 if has_times else 1,
            row_step=16 if has_times else 1,
            vector_rows=draw(st.sampled_from((0, 1, 8))),
        ),
        gemm_flop_efficiency={"bf16": draw(shares())},
        attention=AttentionLaw(
            fixed_time=draw(time(1e-4)),
            ramp_time=draw(time(1e-5)),
            memory_efficiency=draw(shares()),
            flop_efficiency=draw(shares()),
            start_time=draw(time(2e-6)),
            start_tokens=draw(st.floats(0.0, 200.0)) if has_times else 0.0,
            tile_rows=64 if has_times else 1,
            row_step=16 if has_times else 1,
            overlap_exponent=draw(orders) if has_times else None,
        ),
        experts=ExpertLaw(
            fixed_time=draw(time(1e-4)),
            depth_time=draw(time(1e-7)) * 1e-2,
            memory_efficiency=draw(shares()),
            flop_efficiency=draw(shares()),
            tile=draw(st.sampled_from((16.0, 64.0))) if has_times else 0.0,
            overlap_exponent=draw(orders) if has_times else None,
            grouping_passes=draw(st.floats(0.0, 4.0)) if has_times else 0.0,
            remote_share=draw(st.sampled_from((0.0, 1.0))),
            batch_slowdown=draw(st.floats(1.0, 3.0)) if has_times else 1.0,
        ),
        recurrent=other,
        elementwise=other,
        collectives={
            "default": CollectiveLaw(
                bulk=draw(exchanges),
                one_shot=draw(st.one_of(st.none(), exchanges)),
                two_shot=draw(st.one_of(st.none(), exchanges)),
                gather=draw(exchanges),
                all_to_all=draw(exchanges),
            )
        },
        launch=draw(st.sampled_from(("graphs", "eager"))),
        launch_time=draw(time(1e-5)),
        step_time=draw(time(1e-3)),
        sequence_time=draw(time(1e-4)),
        layer_time=draw(time(1e-4)),
        memory_utilization=draw(shares(0.3)),
        cache_block=draw(st.sampled_from((1, 16, 64))),
        has_rolling_window_cache=draw(st.booleans()),
        uses_cores=has_times and draw(st.booleans()),
        bands={kind: Band(low=0.7, high=1.5, source="made up") for kind in kinds} if has_bands else {},
    )


@st.composite
def deployments(
    draw: st.DrawFn,
    *,
    ranks: tuple[int, ...] = RANKS,
    mixers: tuple = MIXERS,
    mlps: tuple = (dense_mlps, moe_mlps),
    has_cache: bool | None = None,
    has_fixed_times: bool | None = None,
) -> Deployment:
    """Random models on random devices under random stacks, in any number format that the product knows."""
    devices_per_layer = draw(st.sampled_from(ranks))
    model = draw(models(devices_per_layer, mixers, mlps))
    names = st.one_of(st.none(), st.sampled_from(sorted(FORMATS)))
    return Deployment(
        model=model,
        hardware=draw(devices(has_cache=has_cache)),
        stack=draw(stacks(has_fixed_times=has_fixed_times)),
        precision=precision_of(model, weights=draw(names), kv_cache=draw(names)),
        tensor_parallel=devices_per_layer,
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Decodes, verifications, chunks and prefills."""
    return Step(
        batch=float(draw(st.one_of(st.integers(1, 64), st.integers(1, 100_000)))),
        new_tokens=float(draw(st.one_of(st.just(1), st.integers(1, 8), st.integers(1, 20_000)))),
        context=float(draw(st.one_of(st.just(0), st.integers(0, 10_000), st.integers(0, 10_000_000)))),
    )


routings = st.one_of(
    st.just(Routing()),
    st.builds(Routing, zipf_exponent=st.floats(0.1, 2.0), overlap=st.floats(0.0, 1.0)),
)


def grown(step: Step, axis: str, by: int) -> Step:
    """The step with more of one axis."""
    return dataclasses.replace(step, **{axis: getattr(step, axis) + by})
