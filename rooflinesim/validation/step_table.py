"""Operations of many measured steps side by side, so that one evaluation of the laws times all of them."""

import dataclasses
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from rooflinesim.analysis.requests import Part
from rooflinesim.analysis.timing import step_ops
from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.step import op_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.hardware import math_format
from rooflinesim.workload.experts import distinct_experts, independent_sequences
from rooflinesim.workload.op import ExpertShape, Op
from rooflinesim.workload.step import Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TimedRun(Noun):
    """One measured time [s], and the forward passes behind it; `engine` names the stack that it is fitted to.

    `noise` is the relative error beyond which the run pulls a fit linearly, not quadratically.
    """

    id: str
    engine: str
    deployment: Deployment
    parts: tuple[Part, ...]
    time: float
    noise: float = 0.08


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OpGroup(Noun):
    """Operations of one kind and format from many runs: arrays of shape (operations,) in place of numbers.

    `runs` says which run each belongs to, `counts` how often it runs per measured time, `is_prompt` in which phase.
    """

    op: Op
    math: str
    machine: Machine
    rates: np.ndarray
    runs: np.ndarray
    counts: np.ndarray
    is_prompt: np.ndarray


class RowMachine(Machine):
    """A machine whose constants are arrays, one value per operation of a group."""

    rates: np.ndarray
    efficiency: np.ndarray
    gemm_constants: Any

    def dense_rate(self, _form: NumberFormat) -> Any:
        """Dense rate of each operation's device [FLOP/s]."""
        return self.rates

    def flop_efficiency(self, _math: str) -> Any:
        """Share of the dense rate that large products reach, each operation's own [1]."""
        return self.efficiency

    def flop_rate(self, _form: NumberFormat) -> Any:
        """Rate that large products reach, each operation's own [FLOP/s]."""
        return self.rates * self.efficiency

    def gemm_law(self, form: NumberFormat) -> Any:
        """Constants of products, arrays in place of numbers."""
        quantization = self.quantization.get(form.family)
        input_time = quantization.input_time if quantization else self.gemm.input_time
        return SimpleNamespace(**{**vars(self.gemm), "input_time": input_time})


def row_machine(base: Machine, rates: np.ndarray, efficiency: np.ndarray, **constants: Any) -> RowMachine:
    """A machine with arrays for some constants and those of a base for the rest."""
    machine = object.__new__(RowMachine)
    for field in dataclasses.fields(Machine):
        object.__setattr__(machine, field.name, constants.get(field.name, getattr(base, field.name)))
    object.__setattr__(machine, "rates", rates)
    object.__setattr__(machine, "efficiency", efficiency)
    return machine


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Members(Noun):
    """One operation of the runs that share a deployment: its columns, and which run each value belongs to."""

    op: Op
    machine: Machine
    rate: float
    runs: np.ndarray
    counts: np.ndarray
    is_prompt: bool


def grouped(runs: Sequence[TimedRun]) -> tuple[OpGroup, ...]:
    """Operations of all runs, gathered by everything that a law cannot take as an array.

    Runs of one deployment are counted together: one pass over the model for all of them.
    """
    gathered: dict[Any, list[_Members]] = defaultdict(list)
    for (deployment, place, is_prompt), indices in _alike(runs).items():
        machine = machine_of(deployment)
        parts = [runs[index].parts[place] for index in indices]
        times = np.array([float(part.times) for part in parts])
        asked = np.flatnonzero(times > 0)
        if not asked.size:
            continue
        at = np.array(indices)[asked]
        for op in step_ops(deployment, joined_step([parts[index].step for index in asked])):
            if op.ranks > 1 or op.kind not in ("all_reduce", "all_gather", "all_to_all"):
                members = _Members(
                    op=op,
                    machine=machine,
                    rate=deployment.hardware.dense_flop_rate[math_format(op.form, deployment.hardware)],
                    runs=at,
                    counts=times[asked] * op.count,
                    is_prompt=is_prompt,
                )
                gathered[_key(op, machine)].append(members)
    return tuple(_group(members) for members in gathered.values())


def _alike(runs: Sequence[TimedRun]) -> Mapping[tuple[Deployment, int, bool], list[int]]:
    """Runs by their deployment, and the place and phase of a forward pass among theirs."""
    found: dict[tuple[Deployment, int, bool], list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        for place, part in enumerate(run.parts):
            found[run.deployment, place, part.is_prompt].append(index)
    return found


def joined_step(steps: Sequence[Step]) -> Step:
    """Steps side by side, one point each."""
    names = ("batch", "new_tokens", "context")
    scored = [step.logit_tokens for step in steps]
    return Step(
        **{name: np.array([float(getattr(step, name)) for step in steps]) for name in names},
        logit_tokens=None if scored[0] is None else np.array([float(one) for one in scored if one is not None]),
    )


def _key(op: Op, machine: Machine) -> tuple[Any, ...]:
    network = (op.ranks, machine.host_devices, machine.collectives) if op.ranks > 1 else ()
    math = math_format(op.form, machine.hardware)
    flags = math, machine.attention.tensor_groups, machine.gemm.vector_rows
    return op.kind, type(op.shape), op.form.name, bool(np.any(op.flops)), *flags, *network


def _group(members: list[_Members]) -> OpGroup:
    first = members[0].op

    def column(values: Callable[[_Members], Any]) -> np.ndarray:
        parts = [np.broadcast_to(np.asarray(values(one), dtype=np.float64), one.runs.shape) for one in members]
        return np.concatenate(parts)

    def shaped(name: str) -> np.ndarray:
        return column(lambda one: getattr(one.op.shape, name))

    numbers = ("flops", "weight_bytes", "kv_bytes", "activation_bytes", "network_bytes")
    columns: dict[str, Any] = {name: column(operator.attrgetter(f"op.{name}")) for name in numbers}
    if first.shape is not None:
        names = [field.name for field in dataclasses.fields(first.shape)]
        kind: Any = type(first.shape)
        columns["shape"] = kind(**{name: shaped(name) for name in names})
    return OpGroup(
        op=dataclasses.replace(first, count=1, **columns),
        math=math_format(first.form, members[0].machine.hardware),
        machine=members[0].machine,
        rates=column(lambda one: one.rate),
        runs=np.concatenate([one.runs for one in members]),
        counts=column(lambda one: one.counts),
        is_prompt=column(lambda one: one.is_prompt) > 0,
    )


def group_time(group: OpGroup, machine: RowMachine, independence: np.ndarray) -> np.ndarray:
    """Time of each operation of a group, once, for how independently each run's sequences choose experts [s]."""
    op = group.op
    if isinstance(op.shape, ExpertShape):
        shape = op.shape
        share = np.where(group.is_prompt, 1.0, independence[group.runs])
        sequences = independent_sequences(shape.sequences, np.minimum(share, 1.0))
        choosers = sequences * shape.tokens / shape.sequences
        awake = distinct_experts(shape.experts, shape.active, choosers) / shape.ranks
        weight_bytes = op.weight_bytes / shape.awake * awake
        op = dataclasses.replace(op, weight_bytes=weight_bytes, shape=dataclasses.replace(shape, awake=awake))
    return np.broadcast_to(op_cost(op, machine).time, group.runs.shape)


def summed(groups: Sequence[OpGroup], times: Sequence[np.ndarray], runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Time of each run's decode steps and of its prompts, all operations together [s]."""
    totals = np.zeros((2, runs))
    for group, time in zip(groups, times, strict=True):
        weighted = group.counts * time
        for phase in (0, 1):
            mine = group.is_prompt == bool(phase)
            totals[phase] += np.bincount(group.runs[mine], weights=weighted[mine], minlength=runs)
    return totals[0], totals[1]


def spread(values: Mapping[str, np.ndarray], group: OpGroup) -> Mapping[str, np.ndarray]:
    """Constants of each run, dealt to the operations of a group."""
    return {name: value[group.runs] for name, value in values.items()}
