"""What the tests share: small nouns with round numbers, the settings of Hypothesis, and the hand-out folder."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.gemm_law import GemmLaw
from rooflinesim.specs.hardware import Hardware, Link
from rooflinesim.specs.model import Attention, DenseMlp, LayerGroup, Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Band, KernelLaw, Stack

# The same examples in every run, and few of them: the suite is run often, on two cores.
settings.register_profile(
    "rooflinesim",
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("rooflinesim")

MEMORY_CLASSES = ("HBM", "GDDR", "LPDDR", "Apple", "DDR", "SRAM")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the hand-out, which lies beside the checkout on some machines only."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the hand-out folder {folder} is not on this machine")
    return folder


def small_model(**changes: Any) -> Model:
    """A Llama-like model of two layers whose counts can be worked by hand.

    Per layer: qkv 64 x (64 + 2 x 32) = 8,192; out 64 x 64 = 4,096; gate and up 64 x 256 = 16,384;
    down 128 x 64 = 8,192; norms 128. Twice 36,992, and the head 64 x 1,000 and the final norm 64:
    138,048 streamed, and 64,000 of the embedding beside them.
    """
    model = Model(
        name="small",
        source="made up",
        hidden_size=64,
        vocabulary=1000,
        final_norm_parameters=64,
        layers=(
            LayerGroup(
                count=2,
                attention=Attention(heads=4, kv_heads=2, key_size=16, value_size=16),
                mlp=DenseMlp(width=128),
                norm_parameters=128,
            ),
        ),
    )
    return dataclasses.replace(model, **changes)


def device(**changes: Any) -> Hardware:
    """A device of 1 TB/s and 100 TFLOP/s without a cache: the ridge is 100 FLOP/B."""
    hardware = Hardware(
        name="device",
        vendor="-",
        architecture="-",
        memory_type="HBM",
        memory_bandwidth=1e12,
        memory_capacity=80e9,
        dense_flop_rate={"bf16": 100e12, "fp32": 50e12},
        link=Link(name="-", bandwidth=100e9, devices=8),
        source="made up",
    )
    return dataclasses.replace(hardware, **changes)


KINDS = ("single", "single_quantised", "batched", "parallel", "experts", "prompt")


def kernel(fixed_time: float = 0.0, flop_efficiency: float = 1.0) -> KernelLaw:
    """Constants of a small kernel."""
    return KernelLaw(fixed_time=fixed_time, flop_efficiency=flop_efficiency)


def plain_gemm(fixed_time: float = 0.0, **changes: Any) -> GemmLaw:
    """Products at their roofs, every row computed once."""
    return GemmLaw(**{"fixed_time": fixed_time, "tile_rows": 1, "row_step": 1, **changes})


def plain_attention(fixed_time: float = 0.0, **changes: Any) -> AttentionLaw:
    """Attention at its roofs."""
    free = {"memory_efficiency": 1.0, "flop_efficiency": 1.0, "start_time": 0.0, "start_tokens": 0.0}
    tiles = {"tile_rows": 1, "row_step": 1, "overlap_exponent": None}
    return AttentionLaw(**{"fixed_time": fixed_time, **free, **tiles, **changes})


def plain_experts(fixed_time: float = 0.0, **changes: Any) -> ExpertLaw:
    """Experts at their roofs."""
    free = {"memory_efficiency": 1.0, "flop_efficiency": 1.0, "tile": 0.0, "overlap_exponent": None}
    return ExpertLaw(**{"fixed_time": fixed_time, **free, **changes})


def plain_collectives(efficiency: float = 1.0, latency: float = 0.0) -> CollectiveLaw:
    """Exchanges at a share of the link's bandwidth."""
    exchange = Exchange(latency=latency, bandwidth_efficiency=efficiency)
    return CollectiveLaw(bulk=exchange, one_shot=exchange, gather=exchange, all_to_all=exchange)


def ideal_stack(**changes: Any) -> Stack:
    """The pure roofline: efficiencies 1, no overheads, one byte never moved twice."""
    stack = Stack(
        name="ideal",
        source="by definition",
        memory_efficiency=dict.fromkeys(MEMORY_CLASSES, 1.0),
        on_chip_efficiency=1.0,
        on_chip_share=1.0,
        gemm=plain_gemm(),
        gemm_flop_efficiency={"bf16": 1.0},
        attention=plain_attention(),
        experts=plain_experts(),
        recurrent=kernel(),
        elementwise=kernel(),
        collectives={"default": plain_collectives()},
        memory_utilization=1.0,
        uses_calibration=False,
        uses_cores=False,
    )
    return dataclasses.replace(stack, **changes)


def serving_stack(**changes: Any) -> Stack:
    """A stack with every kind of overhead, in the sizes that serving engines have."""
    stack = Stack(
        name="serving",
        source="made up",
        memory_efficiency=dict.fromkeys(MEMORY_CLASSES, 0.8),
        on_chip_efficiency=0.9,
        on_chip_share=0.9,
        on_chip_bandwidth_per_core_clock=28.0,
        gemm=GemmLaw(fixed_time=3e-6, split_time=2e-6, exposed_share=0.3, idle_core_loss=0.09),
        gemm_flop_efficiency={"bf16": 0.74},
        attention=AttentionLaw(fixed_time=8e-6, memory_efficiency=1.0, flop_efficiency=0.35),
        experts=ExpertLaw(fixed_time=8e-6, memory_efficiency=1.0, flop_efficiency=0.4, tile=16.0),
        recurrent=kernel(8e-6, 0.35),
        elementwise=kernel(2.5e-6),
        collectives={"default": plain_collectives(0.65, 5e-6)},
        step_time=120e-6,
        sequence_time=10e-6,
        memory_utilization=0.9,
        cache_block=16,
        bands={kind: Band(low=0.5, high=2.0, source="made up") for kind in KINDS},
    )
    return dataclasses.replace(stack, **changes)


def deployed(
    model: Model | None = None,
    hardware: Hardware | None = None,
    stack: Stack | None = None,
    *,
    weights: str | None = None,
    kv: str | None = None,
    ranks: int = 1,
) -> Deployment:
    """A deployment of the small nouns above, or of others."""
    model = model or small_model()
    return Deployment(
        model=model,
        hardware=hardware or device(),
        stack=stack or ideal_stack(),
        precision=precision_of(model, weights=weights, kv_cache=kv),
        tensor_parallel=ranks,
    )
