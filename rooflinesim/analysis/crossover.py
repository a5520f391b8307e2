"""At which batch does decoding flip from memory-bound to compute-bound? Five meanings, five answers."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from rooflinesim.analysis.bracketing import reached_between
from rooflinesim.analysis.residency import max_batch
from rooflinesim.analysis.timing import main_format, step_op_costs, step_ops, step_time
from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.roofline import ridge_intensity
from rooflinesim.cost.step import op_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step

Scope = Literal["weight_gemms", "step", "half_share", "half_elasticity", "op", "fits"]
Reason = Literal["flips", "never_at_this_context", "never", "always", "memory_limit", "unknown_capacity"]

LARGEST_BATCH = 2.0**40
LONGEST_CONTEXT = 2.0**40
BATCH_GRID = np.concatenate([np.arange(1.0, 2048.0), np.geomspace(2048.0, LARGEST_BATCH, 257)])
"""Batches at which every flip is looked for before it is narrowed down."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Crossing(Noun):
    """Real batch at which a ratio first reaches 1, and from which on it stays there; None is never."""

    first: float | None
    stay: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CrossoverRow(Noun):
    """One meaning of the flip, or the batch that fits.

    `batch` is where it first happens, `batch_stay` from where on it holds; they differ in stepped models.
    `context_limit` is the longest context at which the whole step flips at any batch; None is no limit.
    """

    scope: Scope
    op: str | None
    batch: float | None = quantity("1")
    batch_stay: float | None = quantity("1")
    context_limit: float | None = quantity("tokens")
    reason: Reason


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CrossoverResult(Noun):
    """All flips of a deployment at one context.

    `flop_rate` and `bandwidth` are the achievable rates of one device that the scopes weight_gemms
    and step rest on, and `ridge` their quotient, so that they can be checked by hand.
    """

    rows: tuple[CrossoverRow, ...]
    context: float = quantity("tokens")
    new_tokens: float = quantity("tokens")
    flop_rate: float = quantity("FLOP/s")
    bandwidth: float = quantity("B/s")
    ridge: float = quantity("FLOP/B")

    def row(self, scope: Scope) -> CrossoverRow:
        """The row of a scope that has only one."""
        return next(row for row in self.rows if row.scope == scope)


def crossing(ratio: Callable[[np.ndarray], Array], on_grid: Array | None = None) -> Crossing:
    """Where a ratio of batch, evaluated on aligned batches, first reaches 1, and from where on it stays.

    Every whole batch up to a bound is looked at, then ever wider steps up to 2^40; between two
    neighbours the root is narrowed down. `on_grid` is the ratio at BATCH_GRID where it is known already.
    """
    grid = BATCH_GRID
    reached = np.broadcast_to(np.asarray(ratio(grid) if on_grid is None else on_grid) >= 1.0, grid.shape)
    if not reached.any():
        return Crossing(first=None, stay=None)

    def root(index: int, *, is_last: bool = False) -> float:
        low = 1e-9 if index == 0 else float(grid[index - 1])

        def is_reached(values: np.ndarray) -> np.ndarray:
            return np.broadcast_to(ratio(values), values.shape) >= 1.0

        return reached_between(is_reached, low, float(grid[index]), is_last=is_last)

    below = np.flatnonzero(~reached)
    last_below = int(below[-1]) if below.size else -1
    stay = root(last_below + 1, is_last=True) if last_below + 1 < grid.size else None
    return Crossing(first=root(int(np.argmax(reached))), stay=stay)


def op_crossing(op_of_batch: Callable[[np.ndarray], Op], machine: Machine, on_grid: Op | None = None) -> Crossing:
    """Batch at which one operation's compute time reaches its memory time, all of its traffic counted."""

    def ratio(op: Op) -> Array:
        cost = op_cost(op, machine)
        return _quotient(cost.compute_time, cost.memory_time)

    return crossing(lambda batch: ratio(op_of_batch(batch)), None if on_grid is None else ratio(on_grid))


def _quotient(compute: Array, memory: Array) -> Array:
    """Compute over memory time; infinite where nothing is moved, 0 where nothing is done either."""
    compute, memory = np.asarray(compute), np.asarray(memory)
    empty = np.where(compute > 0, np.inf, 0.0)
    return np.where(memory > 0, compute / np.where(memory > 0, memory, 1.0), empty)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Headline(Noun):
    """Weight and KV traffic of steps against the achievable rates of their math, as hand formulas count."""

    deployment: Deployment
    machine: Machine
    routing: Routing | None
    new_tokens: float

    def _ops(self, batch: Array, context: Array) -> tuple[Op, ...]:
        step = Step(batch=batch, new_tokens=self.new_tokens, context=context)
        return step_ops(self.deployment, step, self.routing)

    def _compute(self, op: Op) -> Array:
        return op.count * op.flops / self.machine.flop_rate(op.form)

    def gemm_ratio(self, batch: Array) -> Array:
        """Compute over weight-read time of all weight GEMMs."""
        gemms = [op for op in self._ops(batch, 0.0) if op.kind in ("gemm", "experts")]
        compute = sum(self._compute(op) for op in gemms)
        weights = sum(op.count * op.weight_bytes for op in gemms)
        return _quotient(compute, weights / self.machine.bandwidth)

    def step_ratio(self, batch: Array, context: Array) -> Array:
        """Compute over memory time of the whole step: all weights, and the cached tokens' attention."""
        compute: Array = 0.0
        moved: Array = 0.0
        for op, own in zip(self._ops(batch, context), self._ops(batch, 0.0), strict=True):
            moved = moved + op.count * op.weight_bytes
            if op.kind in ("gemm", "experts"):
                compute = compute + self._compute(op)
            elif op.kind == "attention":
                compute = compute + self._compute(op) - self._compute(own)
                moved = moved + op.count * (op.kv_bytes - own.kv_bytes)
            elif op.kind == "recurrent":
                compute = compute + self._compute(op)
                moved = moved + op.count * op.kv_bytes
        return _quotient(compute, moved / self.machine.bandwidth)

    def context_limit(self) -> float | None:
        """Longest context at which some batch is compute-bound; None if every context has one, 0 if none."""

        def flips(context: float) -> bool:
            return bool(np.all(self.step_ratio(1e15, context) >= 1.0))

        if flips(LONGEST_CONTEXT):
            return None
        if not flips(0.0):
            return 0.0
        low, high = 0.0, LONGEST_CONTEXT
        while high - low > 1e-12 * high:
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            low, high = (middle, high) if flips(middle) else (low, middle)
        return low


def crossover(
    deployment: Deployment, *, context: float = 2048, new_tokens: float = 1, routing: Routing | None = None
) -> CrossoverResult:
    r"""Batches at which decoding flips, by every meaning of the word.

    ``weight_gemms`` and ``step`` count weight and KV traffic only, at the stack's achievable rates P and BW:

    .. math:: B_{gemm} = \frac{w R}{2 q}, \qquad
              B_{step} = \frac{w N_w}{(2 N_w + \varphi s) / R - kv\, s}, \qquad R = P / BW

    and the step flips only at contexts below :math:`2 N_w / (R\, kv - \varphi)`. The other scopes use all
    traffic and the timing laws: ``half_share`` is where compute-bound operations take half of the step,
    ``half_elasticity`` where one percent more batch costs half a percent more time, ``op`` the flip of each
    operation. ``fits`` is the batch that memory allows.

    Parameters
    ----------
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    new_tokens : tokens per sequence and step; the flips divide by it. [tokens] >= 1

    References
    ----------
    .. [1] Austin et al. How to Scale Your Model. 2025, chapter on transformer inference (critical batch).
    """
    machine = machine_of(deployment)
    head = Headline(deployment=deployment, machine=machine, routing=routing, new_tokens=float(new_tokens))
    gemms = crossing(head.gemm_ratio)
    limit = head.context_limit()
    whole = crossing(lambda batch: head.step_ratio(batch, float(context)))
    fitting = max_batch(deployment, int(context))
    flop_rate = machine.flop_rate(main_format(deployment))
    rows = [
        _row("weight_gemms", gemms, None),
        dataclasses.replace(
            _row("step", whole, None),
            context_limit=limit,
            reason=_reason(whole) if whole.first is not None or limit == 0.0 else "never_at_this_context",
        ),
        _row("half_share", _half_share(deployment, context, new_tokens, routing), None),
        _row(
            "half_elasticity",
            crossing(lambda b: 2.0 * elasticity(deployment, b, context, new_tokens, routing)),
            None,
        ),
        *_op_rows(deployment, machine, context, new_tokens, routing),
        CrossoverRow(
            scope="fits",
            op=None,
            batch=fitting,
            batch_stay=None,
            context_limit=None,
            reason="unknown_capacity" if fitting is None else "memory_limit",
        ),
    ]
    return CrossoverResult(
        rows=tuple(rows),
        context=float(context),
        new_tokens=float(new_tokens),
        flop_rate=float(flop_rate),
        bandwidth=float(machine.bandwidth),
        ridge=float(ridge_intensity(flop_rate, machine.bandwidth)),
    )


def _reason(found: Crossing) -> Reason:
    if found.first is None:
        return "never"
    return "always" if found.first <= 2e-9 else "flips"


def _row(scope: Scope, found: Crossing, op: str | None) -> CrossoverRow:
    return CrossoverRow(
        scope=scope,
        op=op,
        batch=found.first,
        batch_stay=found.stay,
        context_limit=None,
        reason=_reason(found),
    )


def elasticity(
    deployment: Deployment, batch: Array, context: Array, new_tokens: float = 1, routing: Routing | None = None
) -> Array:
    r"""Percent of step time that one percent of batch costs, :math:`d \ln T / d \ln B` [1].

    Where products are computed in steps of rows, it is taken from half of the batch to twice the batch: over
    a nudge it would be zero within a step and endless at its edge.
    """
    is_stepped = deployment.stack.gemm.row_step > 1
    lower, upper = (0.5, 2.0) if is_stepped else (1.0 - 1e-4, 1.0 + 1e-4)

    def time(factor: float) -> Array:
        step = Step(batch=batch * factor, new_tokens=new_tokens, context=context)
        return step_time(deployment, step, routing).time

    growth: Array = np.log(time(upper) / time(lower))
    return growth / (math.log(upper) - math.log(lower))


def _half_share(deployment: Deployment, context: float, new_tokens: float, routing: Routing | None) -> Crossing:
    """Where operations that compute bounds take half of the step's time."""

    def doubled_share(batch: np.ndarray) -> Array:
        step = Step(batch=batch, new_tokens=new_tokens, context=context)
        whole = step_time(deployment, step, routing).time
        bound: Array = 0.0
        for op, cost in step_op_costs(deployment, step, routing):
            is_compute_bound = np.asarray(cost.compute_time) >= np.asarray(cost.memory_time)
            has_work = np.asarray(op.flops) > 0
            bound = bound + np.where(is_compute_bound & has_work, op.count * cost.time, 0.0)
        return 2.0 * bound / whole

    return crossing(doubled_share)


def _op_rows(
    deployment: Deployment, machine: Machine, context: float, new_tokens: float, routing: Routing | None
) -> list[CrossoverRow]:
    """The flip of each operation that computes, by name."""

    def ops_at(batch: np.ndarray) -> tuple[Op, ...]:
        return step_ops(deployment, Step(batch=batch, new_tokens=new_tokens, context=context), routing)

    def named(name: str) -> Callable[[np.ndarray], Op]:
        return lambda batch: next(op for op in ops_at(batch) if op.name == name)

    return [
        _row("op", op_crossing(named(op.name), machine, op), op.name)
        for op in ops_at(BATCH_GRID)
        if op.kind in ("gemm", "experts", "attention", "recurrent")
    ]
