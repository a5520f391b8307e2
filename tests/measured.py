"""A device with measured kernels whose numbers are round, for tests of laws and of validation."""

import dataclasses

from rooflinesim.specs.hardware import Calibration, Hardware, Measurement
from rooflinesim.specs.measured_kernels import (
    AttentionSample,
    GemmSamples,
    MeasuredAttention,
    MeasuredGemm,
    MeasuredKernels,
    MeasuredSmall,
    RoofLaw,
)
from rooflinesim.specs.stack import Band
from tests.conftest import device

ADDED = RoofLaw(fixed_time=1e-5, memory_efficiency=0.5, flop_efficiency=0.5, overlap_exponent=1.0)
"""Half of both rates, memory and compute one after the other, 10 us per kernel."""


def kernels(law: RoofLaw = ADDED, *, factor: float = 1.0) -> MeasuredKernels:
    """Kernels that follow one law; a second shape departs from it by a factor."""
    return MeasuredKernels(
        gemm=MeasuredGemm(
            law=law,
            rows=(1.0, 16.0),
            shapes=(
                GemmSamples(inputs=512, outputs=512, factors=(1.0, 1.0)),
                GemmSamples(inputs=4096, outputs=4096, factors=(factor, 2.0 * factor)),
            ),
        ),
        attention=MeasuredAttention(
            law=law,
            head_time=1e-6,
            samples=(
                AttentionSample(
                    sequences=1.0,
                    kv_heads=4.0,
                    group=4.0,
                    head_size=64.0,
                    new_tokens=1.0,
                    read_tokens=512.0,
                    factor=1.0,
                ),
            ),
        ),
        small={
            name: MeasuredSmall(law=law, moved_bytes=(1e3, 1e6), factors=(1.0, 1.0))
            for name in ("norm", "rope_append", "activation", "embedding", "sampling")
        },
    )


def measured_device(name: str = "measured", **changes: object) -> Hardware:
    """A device of 20 GB/s and 100 GFLOP/s in fp32, 50 in bf16, with the kernels above in both formats."""
    calibration = Calibration(
        source="made up",
        kernels={"fp32": kernels(), "bf16": kernels()},
        bands={kind: Band(low=0.9, high=1.1, source="made up") for kind in ("single", "batched", "prompt", "experts")},
        measurement=Measurement(
            device=name,
            software="torch",
            clock="thread CPU time",
            date="2026-01-01",
            rounds=3,
            spread=0.02,
            verdict="quiet",
        ),
    )
    hardware = device(
        name=name,
        memory_type="DDR",
        memory_bandwidth=20e9,
        dense_flop_rate={"fp32": 100e9, "bf16": 50e9},
        link=None,
        calibration=calibration,
    )
    return dataclasses.replace(hardware, **changes)
