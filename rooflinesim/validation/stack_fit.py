"""Constants of software stacks from measured runs: one set for all engines, and what each engine does differently."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from rooflinesim.cost.machine import machine_of, memory_kind
from rooflinesim.nouns import Noun
from rooflinesim.specs.stack import Stack
from rooflinesim.validation.step_table import OpGroup, RowMachine, TimedRun, group_time, grouped, row_machine, summed

MOVED = 0.25
"""Share of its width that an engine's constant must move to be told apart from the class's [1]."""

NUDGE = 1e-4
"""Change of a constant's logarithm from which its slope is taken [1]."""

COLLECTIVES = ("all_reduce", "all_gather", "all_to_all")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StackParameter(Noun):
    """A positive constant of a stack file, its class value, and how far the class and an engine may move it.

    `width` is the standard deviation of the logarithm of the class value about its start, which kernel tables
    give; `engine_width` that of an engine's value about the class's, 0 where engines do not differ.
    """

    name: str
    start: float
    width: float
    engine_width: float = 0.0


PARAMETERS = (
    StackParameter(name="memory_efficiency.HBM", start=0.845, width=0.03),
    StackParameter(name="memory_efficiency.AMD HBM", start=0.75, width=0.1),
    StackParameter(name="memory_efficiency.GDDR", start=0.86, width=0.04),
    StackParameter(name="memory_efficiency.LPDDR", start=0.85, width=0.08),
    StackParameter(name="memory_efficiency.Apple", start=0.70, width=0.15),
    StackParameter(name="memory_efficiency.DDR", start=0.5, width=0.3),
    StackParameter(name="memory_share", start=1.0, width=1e-4, engine_width=0.06),
    StackParameter(name="weight_efficiency.int8", start=0.87, width=0.1, engine_width=0.1),
    StackParameter(name="weight_efficiency.int4", start=0.90, width=0.1, engine_width=0.12),
    StackParameter(name="weight_efficiency.q4", start=0.97, width=0.1, engine_width=0.1),
    StackParameter(name="weight_efficiency.q8_0", start=1.0, width=0.08, engine_width=0.08),
    StackParameter(name="weight_efficiency.mxfp4", start=0.97, width=0.1, engine_width=0.1),
    StackParameter(name="weight_efficiency.fp8", start=0.95, width=0.05, engine_width=0.08),
    StackParameter(name="weight_efficiency.nvfp4", start=0.95, width=0.08, engine_width=0.08),
    StackParameter(name="unpack_operations", start=5.0, width=0.3, engine_width=0.4),
    StackParameter(name="quantization.fp8.fixed_time", start=4e-6, width=0.2, engine_width=0.4),
    StackParameter(name="quantization.nvfp4.fixed_time", start=7e-6, width=0.2, engine_width=0.4),
    StackParameter(name="gemm.fixed_time", start=2.88e-6, width=0.05),
    StackParameter(name="gemm.exposed_share", start=0.29, width=0.1, engine_width=0.5),
    StackParameter(name="gemm_flop_efficiency", start=0.746, width=0.04),
    StackParameter(name="flop_share", start=1.0, width=1e-4, engine_width=0.2),
    StackParameter(name="attention.fixed_time", start=10e-6, width=0.15, engine_width=0.3),
    StackParameter(name="attention.memory_efficiency", start=1.08, width=0.05, engine_width=0.2),
    StackParameter(name="attention.vector_efficiency", start=0.25, width=0.4),
    StackParameter(name="experts.fixed_time", start=9e-6, width=0.2, engine_width=0.4),
    StackParameter(name="experts.flop_efficiency", start=0.45, width=0.1, engine_width=0.3),
    StackParameter(name="experts.memory_efficiency", start=1.05, width=0.06, engine_width=0.15),
    StackParameter(name="experts.batch_slowdown", start=1.25, width=0.1, engine_width=0.3),
    StackParameter(name="elementwise.fixed_time", start=3e-6, width=0.3, engine_width=0.5),
    StackParameter(name="step_time", start=120e-6, width=0.3, engine_width=0.5),
    StackParameter(name="sequence_time", start=10e-6, width=0.4, engine_width=0.8),
    StackParameter(name="stage_time", start=120e-6, width=0.4, engine_width=0.4),
    StackParameter(name="collectives.latency", start=7e-6, width=0.3, engine_width=0.4),
    StackParameter(name="collectives.rank_latency", start=0.5e-6, width=0.4, engine_width=0.3),
    StackParameter(name="collectives.PCIe.latency", start=6.24e-6, width=0.2, engine_width=0.2),
    StackParameter(name="collectives.PCIe.sharing", start=0.5, width=0.4),
    StackParameter(name="routing.independence", start=0.6, width=0.3, engine_width=0.3),
    StackParameter(name="prompt_efficiency", start=0.9, width=0.06, engine_width=0.35),
)
"""Starts are those of the kernel tables (GEMM, attention, experts, collectives) or a first look at published runs."""

NAMES = tuple(parameter.name for parameter in PARAMETERS)
MEMORY_KINDS = tuple(name.partition(".")[2] for name in NAMES if name.startswith("memory_efficiency."))
_INDEX = {name: index for index, name in enumerate(NAMES)}
_START = np.log([parameter.start for parameter in PARAMETERS])
_WIDTH = np.array([parameter.width for parameter in PARAMETERS])
_ENGINE_WIDTH = np.array([parameter.engine_width for parameter in PARAMETERS])


class RunTable:
    """Measured runs laid out for fitting: their operations by group, and the datasheet numbers of each run."""

    def __init__(self, runs: Sequence[TimedRun], base: Stack) -> None:
        self.runs = tuple(runs)
        self.base = base
        self.groups = grouped(runs)
        self.engines = np.array([run.engine for run in runs])
        self.measured = np.array([run.time for run in runs])
        self.noise = np.array([run.noise for run in runs])
        deployments = [run.deployment for run in runs]
        machines = [machine_of(deployment) for deployment in deployments]
        self.memory_kind = np.array([memory_kind(d.hardware, d.stack) for d in deployments])
        self.peak_bandwidth = np.array([d.hardware.memory_bandwidth for d in deployments])
        self.cores = np.array([m.cores or np.nan for m in machines])
        self.clock_rate = np.array([m.clock_rate or np.nan for m in machines])
        self.vector_rate = np.array([m.vector_rate or np.nan for m in machines])
        self.link_bandwidth = np.array([m.link_bandwidth for m in machines])
        self.calibrated = np.array([_calibrated(d.hardware.calibration, "memory_efficiency") for d in deployments])
        self.calibrated_rate = {
            math: np.array([_calibrated(d.hardware.calibration, "flop_efficiency", math) for d in deployments])
            for math in ("bf16", "fp16", "fp8", "fp4", "int8", "fp32")
        }
        self.exposed = np.array([_calibrated(d.hardware.calibration, "exposed_share") for d in deployments])
        self.layers = np.array([d.model.layer_count for d in deployments], dtype=np.float64)
        self.stages = np.array([d.pipeline_parallel - 1.0 for d in deployments])
        self.layer_time = np.array([d.stack.layer_time for d in deployments])
        self.passes = np.zeros((2, len(runs)))
        self.sequences = np.zeros((2, len(runs)))
        for index, run in enumerate(runs):
            for part in run.parts:
                self.passes[int(part.is_prompt), index] += float(part.times)
                local = float(part.step.batch) / run.deployment.data_parallel
                self.sequences[int(part.is_prompt), index] += float(part.times) * local

    def predicted(self, logarithms: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Time of each run for logarithms of constants, shape (runs, parameters) [s].

        Runs of `known` false are timed without what was measured on their device.
        """
        value = _values(logarithms)
        return self._total(value, [self._group_time(group, value, known) for group in self.groups])

    def slopes(self, logarithms: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Change of the logarithm of each run's time per change of each constant's, shape (runs, parameters) [1].

        A constant is nudged for all runs at once, and only operations that it touches are timed again.
        """
        value = _values(logarithms)
        times = [self._group_time(group, value, known) for group in self.groups]
        base = np.log(self._total(value, times))
        found = np.empty(logarithms.shape)
        for name, index in _INDEX.items():
            moved = {**value, name: value[name] * np.exp(NUDGE)}
            again = [
                self._group_time(group, moved, known) if touches(name, group) else time
                for group, time in zip(self.groups, times, strict=True)
            ]
            found[:, index] = (np.log(self._total(moved, again)) - base) / NUDGE
        return found

    def prompt_time(self, logarithms: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Time of one prompt of each run that has one, alone; nan for others [s]."""
        value = _values(logarithms)
        times = [self._group_time(group, value, known) for group in self.groups]
        _, prompt = summed(self.groups, times, len(self.runs))
        passes = np.where(self.passes[1] > 0, self.passes[1], np.nan)
        software = value["step_time"] + self.layer_time * self.layers + value["stage_time"] * self.stages
        return np.asarray((prompt / passes + software) / value["prompt_efficiency"])

    def _group_time(self, group: OpGroup, value: Mapping[str, np.ndarray], known: np.ndarray | None) -> np.ndarray:
        return group_time(group, self._machine(group, value, known), value["routing.independence"])

    def _total(self, value: Mapping[str, np.ndarray], times: Sequence[np.ndarray]) -> np.ndarray:
        decode, prompt = summed(self.groups, times, len(self.runs))
        software = value["step_time"] + self.layer_time * self.layers + value["stage_time"] * self.stages
        decode = decode + self.passes[0] * software + self.sequences[0] * value["sequence_time"]
        prompt = prompt + self.passes[1] * software + self.sequences[1] * value["sequence_time"]
        return np.asarray(decode + prompt / value["prompt_efficiency"])

    def _machine(self, group: OpGroup, value: Mapping[str, np.ndarray], known: np.ndarray | None) -> RowMachine:
        """The machine of a group's operations: each run's constants, dealt to its operations."""
        at = group.runs
        base = group.machine
        trusted = np.ones(at.size, dtype=bool) if known is None else known[at]

        def constant(name: str) -> np.ndarray:
            return np.asarray(value[name][at])

        reached = np.ones(len(self.runs))
        for name in MEMORY_KINDS:
            mine = self.memory_kind == name
            reached[mine] = value[f"memory_efficiency.{name}"][mine]
        memory = _preferred(self.calibrated[at], reached[at], trusted) * constant("memory_share")
        clock = self.clock_rate[at]
        gemm = dict(vars_of(base.gemm))
        gemm.update(
            fixed_time=constant("gemm.fixed_time") * 1.8e9 / clock,
            split_time=self.base.gemm.split_time * 1.8e9 / clock,
            exposed_share=_preferred(self.exposed[at], constant("gemm.exposed_share"), trusted),
        )
        shares = self.base.gemm_flop_efficiency
        own_flops = constant("gemm_flop_efficiency") * shares.get(group.math, shares["bf16"]) / shares["bf16"]
        flops = _preferred(self.calibrated_rate[group.math][at], own_flops, trusted) * constant("flop_share")
        attention = dict(vars_of(base.attention))
        attention.update(
            fixed_time=constant("attention.fixed_time"),
            ramp_time=base.attention.ramp_time * constant("attention.fixed_time") / self.base.attention.fixed_time,
            memory_efficiency=constant("attention.memory_efficiency"),
            vector_efficiency=constant("attention.vector_efficiency"),
        )
        experts = dict(vars_of(base.experts))
        experts.update(
            fixed_time=constant("experts.fixed_time"),
            memory_efficiency=constant("experts.memory_efficiency"),
            flop_efficiency=constant("experts.flop_efficiency"),
            batch_slowdown=np.maximum(constant("experts.batch_slowdown"), 1.0),
        )
        return row_machine(
            base,
            group.rates,
            np.minimum(1.0, flops),
            peak_bandwidth=self.peak_bandwidth[at],
            bandwidth=np.minimum(memory, 1.0) * self.peak_bandwidth[at],
            weight_efficiency={
                name.removeprefix("weight_efficiency."): constant(name)
                for name in NAMES
                if name.startswith("weight_efficiency.")
            },
            unpack_operations=constant("unpack_operations"),
            vector_rate=self.vector_rate[at],
            quantization={
                family: SimpleNamespace(
                    fixed_time=constant(f"quantization.{family}.fixed_time"),
                    value_bytes=self.base.quantization[family].value_bytes,
                    input_time=self.base.quantization[family].input_time * 1.8e9 / clock,
                )
                for family in ("fp8", "nvfp4")
            },
            on_chip_bandwidth=None,
            cores=self.cores[at],
            clock_rate=clock,
            gemm=SimpleNamespace(**gemm),
            attention=SimpleNamespace(**attention),
            experts=SimpleNamespace(**experts),
            elementwise=SimpleNamespace(fixed_time=constant("elementwise.fixed_time"), flop_efficiency=1.0),
            collectives=self._collectives(group, constant),
            link_bandwidth=self.link_bandwidth[at],
        )

    def _collectives(self, group: OpGroup, constant: Any) -> Any:
        law = group.machine.collectives
        parts = vars_of(law)
        if group.op.kind != "all_reduce":
            return (
                law
                if law.two_shot is None or law.one_shot
                else SimpleNamespace(**{**parts, "sharing": constant("collectives.PCIe.sharing")})
            )
        if law.one_shot is not None:
            own = {"latency": constant("collectives.latency"), "rank_latency": constant("collectives.rank_latency")}
            parts["one_shot"] = SimpleNamespace(**{**vars_of(law.one_shot), **own})
        elif law.two_shot is not None and (paired := self.base.collectives["PCIe"].two_shot) is not None:
            scale = constant("collectives.PCIe.latency") / paired.latency
            own = {"latency": law.two_shot.latency * scale, "rank_latency": law.two_shot.rank_latency * scale}
            parts["two_shot"] = SimpleNamespace(**{**vars_of(law.two_shot), **own})
            parts["sharing"] = constant("collectives.PCIe.sharing")
        return SimpleNamespace(**parts)


def _values(logarithms: np.ndarray) -> dict[str, np.ndarray]:
    """Constants of each run by name."""
    return {name: np.exp(logarithms[:, index]) for name, index in _INDEX.items()}


def touches(name: str, group: OpGroup) -> bool:
    """Whether the time of a group's operations depends on a constant."""
    kind, form = group.op.kind, group.op.form
    first, _, rest = name.partition(".")
    match first:
        case "memory_efficiency" | "memory_share":
            return kind not in COLLECTIVES
        case "weight_efficiency" | "unpack_operations":
            return kind in ("gemm", "experts") and (form.is_weight_only if not rest else form.family == rest)
        case "quantization":
            return kind == "gemm" and form.family == rest.partition(".")[0]
        case "gemm" | "gemm_flop_efficiency" | "flop_share":
            return kind == "gemm"
        case "routing":
            return kind == "experts"
        case "collectives":
            return kind in COLLECTIVES
        case _:
            return kind == first.rstrip("s") or kind == first


def vars_of(noun: Any) -> dict[str, Any]:
    """Fields of a noun by name."""
    return {field.name: getattr(noun, field.name) for field in dataclasses.fields(noun)}


def _calibrated(calibration: Any, name: str, math: str = "") -> float:
    value = getattr(calibration, name) if calibration else None
    if isinstance(value, Mapping):
        value = value.get(math)
    return np.nan if value is None else float(value)


def _preferred(measured: np.ndarray, own: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(trusted & ~np.isnan(measured), measured, own))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StackFit(Noun):
    """Fitted class constants and each engine's deviations, as logarithms; shapes (parameters,), (engines, parameters).

    `class_errors` and `engine_errors` are standard errors of the same shapes; `rows` counts runs per engine.
    """

    engines: tuple[str, ...]
    class_values: np.ndarray
    deviations: np.ndarray
    class_errors: np.ndarray
    engine_errors: np.ndarray
    rows: Mapping[str, int]

    def logarithms(self, engines: np.ndarray) -> np.ndarray:
        """Logarithms of the constants of runs, those of the class for an engine that was not fitted."""
        padded = np.vstack([self.deviations, np.zeros_like(self.class_values)])
        order = {engine: index for index, engine in enumerate(self.engines)}
        return np.asarray(self.class_values + padded[[order.get(engine, len(self.engines)) for engine in engines]])

    def moved(self, engine: str) -> dict[str, float]:
        """Constants of an engine that its runs moved by a quarter of a width or more, by name."""
        index = self.engines.index(engine)
        far = np.abs(self.deviations[index]) > MOVED * np.where(_ENGINE_WIDTH > 0, _ENGINE_WIDTH, np.inf)
        return {NAMES[k]: float(np.exp(self.class_values[k] + self.deviations[index, k])) for k in np.flatnonzero(far)}


def fit_stacks(table: RunTable, weights: np.ndarray, *, known: np.ndarray | None = None, rounds: int = 25) -> StackFit:
    r"""Class constants and engine deviations that bring predictions closest to measured runs.

    Minimises the soft absolute value of :math:`\ln(\hat t / t)` over each run's noise, plus the squared distances of
    class constants from their starts and of engine deviations from zero, each in its width; damped
    Gauss-Newton steps. An engine with few runs stays near the class.

    Parameters
    ----------
    weights : of runs, 0 leaves a run out. [1] shape (runs,)
    known : runs whose device's own measurements may be used; None is all. shape (runs,)
    """
    names = sorted(set(table.engines[weights > 0]))
    order = {name: index for index, name in enumerate(names)}
    engine = np.array([order.get(name, -1) for name in table.engines])
    free = np.flatnonzero(_ENGINE_WIDTH > 0)
    size, engines, moving = len(NAMES), len(names), free.size
    target = np.log(table.measured)
    shared = _START.copy()
    own = np.zeros((engines + 1, size))

    def residuals(shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return np.asarray((np.log(table.predicted(shared + own[engine], known)) - target) / table.noise)

    def cost(rest: np.ndarray, shared: np.ndarray, own: np.ndarray) -> float:
        priors = np.sum(((shared - _START) / _WIDTH) ** 2) + np.sum((own[:engines][:, free] / _ENGINE_WIDTH[free]) ** 2)
        return float(np.sum(weights * 2.0 * (np.sqrt(1.0 + rest**2) - 1.0)) + priors)

    rest = residuals(shared, own)
    best = cost(rest, shared, own)
    damping = 1e-2
    normal = np.eye(size + engines * moving)
    for _ in range(rounds):
        normal, gradient = _normal_equations(table, shared, own, engine, weights, rest, known, free, engines)
        for _ in range(6):
            move = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient).clip(-0.5, 0.5)
            tried = shared + move[:size]
            tried_own = own.copy()
            tried_own[:engines, free] = own[:engines][:, free] + move[size:].reshape(engines, moving)
            tried_rest = residuals(tried, tried_own)
            tried_cost = cost(tried_rest, tried, tried_own)
            if tried_cost < best:
                break
            damping *= 5.0
        else:
            break
        gain, best = best - tried_cost, tried_cost
        shared, own, rest = tried, tried_own, tried_rest
        damping = max(damping / 5.0, 1e-6)
        if gain < 1e-3 * best:
            break
    spread = np.sqrt(np.diag(np.linalg.inv(normal)))
    errors = np.zeros((engines, size))
    errors[:, free] = spread[size:].reshape(engines, moving)
    return StackFit(
        engines=tuple(names),
        class_values=shared,
        deviations=own[:engines],
        class_errors=spread[:size],
        engine_errors=errors,
        rows={name: int(np.sum((table.engines == name) & (weights > 0))) for name in names},
    )


def _normal_equations(
    table: RunTable,
    shared: np.ndarray,
    own: np.ndarray,
    engine: np.ndarray,
    weights: np.ndarray,
    rest: np.ndarray,
    known: np.ndarray | None,
    free: np.ndarray,
    engines: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Curvature and gradient of the cost; one nudge of a constant moves it for the class and for every engine."""
    slopes = table.slopes(shared + own[engine], known) / table.noise[:, None]
    pull = (weights / np.sqrt(1.0 + rest**2))[:, None] * slopes
    size, moving = shared.size, free.size
    total = size + engines * moving
    normal, gradient = np.zeros((total, total)), np.zeros(total)
    normal[:size, :size] = slopes.T @ pull
    gradient[:size] = pull.T @ rest
    for e in range(engines):
        mine, block = engine == e, slice(size + e * moving, size + (e + 1) * moving)
        normal[block, block] = slopes[mine][:, free].T @ pull[mine][:, free]
        normal[:size, block] = slopes[mine].T @ pull[mine][:, free]
        normal[block, :size] = normal[:size, block].T
        gradient[block] = pull[mine][:, free].T @ rest[mine]
    stiffness = np.concatenate([_WIDTH**-2, np.tile(_ENGINE_WIDTH[free] ** -2, engines)])
    offset = np.concatenate([shared - _START, own[:engines][:, free].ravel()])
    normal[np.diag_indices(total)] += stiffness
    return normal, gradient + stiffness * offset
