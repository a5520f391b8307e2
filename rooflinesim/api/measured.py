"""Measured runs read as deployments of the catalogue."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped
from rooflinesim.analysis.requests import Serving, request_parts, request_time
from rooflinesim.config.catalogue import load_hardware, load_model, load_stack
from rooflinesim.config.labels import device_reading, engine_reading, model_reading
from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.published import MeasuredRun
from rooflinesim.validation.step_table import TimedRun

FIRST_TOKENS = {
    "first_token": "first token",
    "queued_first_token": "first token, queued",
    "disaggregated_first_token": "first token, disaggregated",
}
"""Kinds of run by what a first token waits for."""

known_model = functools.cache(load_model)
known_hardware = functools.cache(load_hardware)
known_stack = functools.cache(load_stack)


def deployment_of(run: MeasuredRun, stack: Stack) -> Deployment:
    """The deployment that a measured run stands for.

    Raises
    ------
    RooflinesimError : if its device, model or layout is not known or not possible.
    """
    hardware: Hardware = known_hardware(device_reading(run.device).name)
    model: Model = known_model(model_reading(run.model).name)
    weights = run.weights
    if weights == "nvfp4" and model.checkpoint.experts == "mxfp4":
        weights = None  # fp4 of a checkpoint that is of four bits already
    elif weights == "nvfp4" and any(group.latent_attention for group in model.layers):
        weights = "nvfp4,attention=bf16"
    if weights == "bf16" and "bf16" not in hardware.dense_flop_rate:
        weights = "fp16"
    return Deployment(
        model=model,
        hardware=hardware,
        stack=stack,
        precision=precision_of(model, weights=weights, kv_cache=run.kv_cache),
        tensor_parallel=run.layout.tensor,
        pipeline_parallel=run.layout.pipeline,
        expert_parallel=run.layout.expert,
        data_parallel=run.layout.data,
    )


def stack_name(run: MeasuredRun) -> str:
    """Name of the stack that a run's engine stands for."""
    return engine_reading(run.engine, run.year).name


def model_name(label: str) -> str:
    """Name of the model that a label stands for, or the label where it stands for none."""
    try:
        return known_model(model_reading(label).name).name
    except RooflinesimError:
        return label


def timed_runs(runs: Sequence[MeasuredRun], base: Stack) -> tuple[list[TimedRun], list[MeasuredRun], list[Skipped]]:
    """Runs with the forward passes behind them, on a stack's switches; those that cannot be laid out are skipped."""
    timed, kept, skipped = [], [], []
    for run in runs:
        engine = stack_name(run)
        try:
            own = switches(base, known_stack(engine))
            asked = deployment_of(run, own)
            parts = request_parts(
                asked, serving=run.serving, batch=run.batch, prompt=run.prompt, output=run.output, context=run.context
            )
        except RooflinesimError as error:
            skipped.append(Skipped(id=run.id, reason=str(error)))
            continue
        timed.append(
            TimedRun(id=run.id, engine=engine, deployment=asked, parts=parts, time=run.time, noise=noise_of(run))
        )
        kept.append(run)
    return timed, kept, skipped


def noise_of(run: MeasuredRun) -> float:
    """How far apart two careful measurements of the same may lie: steps of one user, of a batch, or whole requests."""
    if run.serving == "decode" and run.labels.get("kind") == "batch1":
        return 0.045
    return 0.065 if run.serving in ("decode", "static") and "derived" not in run.labels.get("notes", "") else 0.08


def switches(base: Stack, own: Stack) -> Stack:
    """A base stack with what another does differently by design: no fitted number, only how its kernels work.

    First tokens wait for no others, so that their share is fitted beside the rest.
    """
    return dataclasses.replace(
        base,
        attention=dataclasses.replace(base.attention, tensor_groups=own.attention.tensor_groups),
        gemm=dataclasses.replace(base.gemm, vector_rows=own.gemm.vector_rows),
        shards_head=own.shards_head,
        layer_time=own.layer_time,
        waiting_share=0.0,
    )


def compared(runs: Sequence[MeasuredRun], stack: Stack | None = None) -> Comparison:
    """Runs beside their predictions, by their own engines' stacks or by one given; deployments are timed together."""
    skipped: list[Skipped] = []
    groups: dict[tuple[Deployment, Serving], list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        try:
            asked = deployment_of(run, stack or known_stack(stack_name(run)))
        except RooflinesimError as error:
            skipped.append(Skipped(id=run.id, reason=str(error)))
            continue
        groups[asked, run.serving].append(index)
    names = ("predicted", "low", "high", "roofline", "prompt_share")
    columns = {name: np.full(len(runs), np.nan) for name in names}
    ideal = known_stack("ideal")
    for (asked, serving), members in groups.items():
        mine = [runs[index] for index in members]
        points = {
            name: np.array([float(getattr(run, name)) for run in mine])
            for name in ("batch", "prompt", "output", "context")
        }
        try:
            times = request_time(asked, serving=serving, **points)
            bound = request_time(dataclasses.replace(asked, stack=ideal), serving=serving, **points).time
        except RooflinesimError as error:
            skipped.extend(Skipped(id=run.id, reason=str(error)) for run in mine)
            continue
        found = (times.time, times.low, times.high, bound, times.prompt_share)
        for name, values in zip(names, found, strict=True):
            columns[name][members] = values
    kept = [int(index) for index in np.flatnonzero(~np.isnan(columns["predicted"]))]
    return Comparison(
        ids=np.array([runs[index].id for index in kept], dtype=object),
        measured=np.array([runs[index].time for index in kept]),
        **{name: columns[name][kept] for name in names[:4]},
        labels={**_labels([runs[index] for index in kept]), "phase": _phase(columns["prompt_share"][kept])},
        skipped=tuple(skipped),
    )


def _phase(prompt_share: np.ndarray) -> np.ndarray:
    """What dominates a time: decoding where prompts are below a tenth of it, prompts above half."""
    names = np.array(["decode-dominant", "mixed", "prompt-dominant"], dtype=object)
    return np.asarray(names[np.digitize(prompt_share, (0.1, 0.5))])


def _labels(runs: Sequence[MeasuredRun]) -> dict[str, np.ndarray]:
    """Columns of the rows by which they can be grouped, and what they were read as."""
    names = tuple(dict.fromkeys(name for run in runs for name in run.labels))
    found = {name: np.array([run.labels.get(name, "") for run in runs], dtype=object) for name in names}
    found["stack"] = np.array([stack_name(run) for run in runs], dtype=object)
    found["serving"] = np.array([run.serving for run in runs], dtype=object)
    found["regime"] = np.array([regime(run) for run in runs], dtype=object)
    return found


def regime(run: MeasuredRun) -> str:
    """Kind of run by which accuracy is told apart."""
    hardware, model = known_hardware(device_reading(run.device).name), known_model(model_reading(run.model).name)
    has_experts = any(group.moe for group in model.layers)
    if run.serving in FIRST_TOKENS:
        return FIRST_TOKENS[run.serving]
    if hardware.memory_class == "DDR":
        return "CPU"
    if run.labels.get("kind") == "serving":
        return "serving, MoE" if has_experts else "serving, dense"
    if has_experts:
        return "MoE, offline"
    if run.batch > 1 or run.serving == "static":
        return "batched"
    if run.layout.tensor > 1:
        return "batch 1, tensor parallel"
    return "batch 1, 16-bit" if run.weights in ("bf16", "fp16", None) else "batch 1, quantised"
