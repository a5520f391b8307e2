"""One figure of each kind, drawn from small made-up nouns that no profile or fit can move."""

import dataclasses
from collections.abc import Callable

import numpy as np
from conftest import deployed, device, serving_stack, small_model

from rooflinesim.analysis.breakdown import breakdown, difference
from rooflinesim.analysis.decode import decode
from rooflinesim.analysis.flips import flips
from rooflinesim.analysis.memory import memory
from rooflinesim.analysis.pareto import pareto
from rooflinesim.analysis.prefill import prefill
from rooflinesim.analysis.roofline import roofline
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
from rooflinesim.plots.breakdown import draw_breakdown, draw_breakdowns, draw_waterfall
from rooflinesim.plots.canvas import Sheet
from rooflinesim.plots.crossover import draw_crossover
from rooflinesim.plots.latency import draw_latency
from rooflinesim.plots.memory import draw_memory
from rooflinesim.plots.pareto import draw_pareto
from rooflinesim.plots.prefill import draw_prefill
from rooflinesim.plots.roofline import draw_roofline
from rooflinesim.plots.speculation import draw_speculation, draw_speculations
from rooflinesim.plots.validation import MeasuredPoints, draw_validation
from rooflinesim.specs.model import Attention, DenseMlp, LayerGroup

BATCHES = 2.0 ** np.arange(0, 11)
CONTEXTS = 2.0 ** np.arange(5, 15)
CAPTION = "A small model on a made-up device."
MODEL = small_model(
    hidden_size=2048,
    vocabulary=32_000,
    final_norm_parameters=2048,
    layers=(
        LayerGroup(
            count=24,
            attention=Attention(heads=16, kv_heads=4, key_size=128, value_size=128),
            mlp=DenseMlp(width=8192),
            norm_parameters=4096,
        ),
    ),
)
SLOW = device(name="slow", memory_capacity=8e9, dense_flop_rate={"bf16": 50e12})
FAST = device(name="fast", memory_bandwidth=2e12, memory_capacity=16e9)
CASES = {one.name: deployed(MODEL, one, serving_stack()) for one in (SLOW, FAST)}
ALONE = {"slow": CASES["slow"]}


def measured_points(points: int = 12) -> MeasuredPoints:
    """Predictions 10 % too long and twice too long in turn, bands of a quarter, three groups."""
    measured = np.geomspace(1e-3, 1e-1, points)
    predicted = measured * np.where(np.arange(points) % 2, 1.1, 2.0)
    group = np.array(["eager", "graphs", "offload"])[np.arange(points) % 3]
    return MeasuredPoints(
        measured=measured, predicted=predicted, low=0.8 * predicted, high=1.25 * predicted, group=group
    )


def _prefill(cases: dict) -> Sheet:
    return draw_prefill({label: prefill(one, prompt=CONTEXTS) for label, one in cases.items()}, caption=CAPTION)


def _latency(cases: dict) -> Sheet:
    return draw_latency(
        {label: decode(one, batch=BATCHES, context=512) for label, one in cases.items()},
        {label: flips(one, context=512) for label, one in cases.items()},
        caption=CAPTION,
    )


def _pareto(cases: dict) -> Sheet:
    splits = {
        label: [deployed(MODEL, one.hardware, one.stack, ranks=ranks) for ranks in (1, 2)]
        for label, one in cases.items()
    }
    return draw_pareto(
        {label: pareto(case, batch=BATCHES, context=512) for label, case in splits.items()}, caption=CAPTION
    )


def _waterfall() -> Sheet:
    first, second = (breakdown(one, batch=64, context=512) for one in CASES.values())
    return draw_waterfall(difference(first, second), labels=("slow", "fast"), caption=CAPTION)


def speculated(lengths: np.ndarray, rates: np.ndarray, batches: np.ndarray = BATCHES) -> SpeculateResult:
    """Rounds of the slow case with a draft of two of its layers, at all combinations."""
    draft = deployed(dataclasses.replace(MODEL, layers=(dataclasses.replace(MODEL.layers[0], count=2),)), SLOW)
    asked = Speculation(target=CASES["slow"], method=DraftModel(draft=draft))
    batch, length, rate = (part.ravel() for part in np.meshgrid(batches, lengths, rates))
    return speculate(asked, batch=batch, context=512, draft_length=length, acceptance=Acceptance(value=rate))


def _speculation() -> Sheet:
    chains = speculated(np.arange(0.0, 6.0), np.array([0.7]))
    surface = speculated(np.arange(1.0, 6.0), np.linspace(0.3, 0.9, 7))
    return draw_speculation(chains, surface, caption=CAPTION)


def _speculations() -> Sheet:
    rates = {"chat": 0.6, "code": 0.8}
    return draw_speculations(
        {label: speculated(np.arange(0.0, 6.0), np.array([rate])) for label, rate in rates.items()}, caption=CAPTION
    )


FIGURES: dict[str, Callable[[], Sheet]] = {
    "breakdown": lambda: draw_breakdown(breakdown(CASES["slow"], batch=BATCHES, context=512), caption=CAPTION),
    "breakdowns": lambda: draw_breakdowns(
        {label: breakdown(one, batch=64, context=512) for label, one in CASES.items()}, caption=CAPTION
    ),
    "waterfall": _waterfall,
    "crossover": lambda: draw_crossover({"slow": flips(CASES["slow"], context=CONTEXTS)}, caption=CAPTION),
    "crossovers": lambda: draw_crossover(
        {label: flips(one, context=CONTEXTS) for label, one in CASES.items()}, caption=CAPTION
    ),
    "latency": lambda: _latency(ALONE),
    "latencies": lambda: _latency(CASES),
    "prefills": lambda: _prefill(CASES),
    "memory": lambda: draw_memory(
        {label: memory(one, batch=64, context=512) for label, one in CASES.items()}, caption=CAPTION
    ),
    "pareto": lambda: _pareto(ALONE),
    "paretos": lambda: _pareto(CASES),
    "roofline": lambda: draw_roofline(
        {"slow": roofline(CASES["slow"], batch=[1, 16, 256], context=512)}, caption=CAPTION
    ),
    "rooflines": lambda: draw_roofline(
        {label: roofline(one, batch=[1, 16, 256], context=512) for label, one in CASES.items()}, caption=CAPTION
    ),
    "speculation": _speculation,
    "speculations": _speculations,
    "validation": lambda: draw_validation(measured_points(), caption=CAPTION),
    "validation_of_many": lambda: draw_validation(measured_points(3000), caption=CAPTION),
}
