"""Where does a step's time go, by part of the model and by cause, and what makes two deployments differ?"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from rooflinesim.analysis.timing import aligned, step_op_costs, step_time
from rooflinesim.cost.step import Cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step

PARTS = (
    "attention",
    "attention projections",
    "recurrent state",
    "MLP",
    "experts",
    "shared experts",
    "router",
    "head",
    "small kernels",
    "communication",
    "software",
)
"""Parts of a step, in the order in which they are stacked."""
CAUSES = ("weight reads", "KV reads", "activations", "math", "network", "kernel overhead", "software")
"""What a step's time is spent on."""

_GEMM_PARTS = {
    "attention": "attention projections",
    "mlp": "MLP",
    "experts": "experts",
    "shared_experts": "shared experts",
    "router": "router",
    "head": "head",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Term(Noun):
    """What a piece of a step's time belongs to: a part of the model, one of its operations, and a cause."""

    part: str
    op: str
    cause: str


SOFTWARE = Term(part="software", op="software", cause="software")
"""What the software adds to a step besides its operations."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Breakdown(Noun):
    """A step's time term by term, by part, by operation and by cause, each of shape (points,).

    Each of them adds up to `step_time`. An operation's time goes to the larger of its roofs, to its reads by their
    bytes or to its math, and what its law adds to kernel overhead.
    """

    batch: np.ndarray = quantity("1")
    context: np.ndarray = quantity("tokens")
    step_time: np.ndarray = quantity("s")
    terms: Mapping[Term, np.ndarray] = quantity("s")

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Time by part of the model, parts without time left out [s]."""
        return self._summed("part", PARTS)

    @property
    def causes(self) -> dict[str, np.ndarray]:
        """Time by cause, causes without time left out [s]."""
        return self._summed("cause", CAUSES)

    @property
    def ops(self) -> dict[str, np.ndarray]:
        """Time by operation, in the order of the model, the software last [s]."""
        return self._summed("op", tuple(dict.fromkeys(term.op for term in self.terms)))

    def _summed(self, kind: str, order: tuple[str, ...]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for term, time in self.terms.items():
            name = getattr(term, kind)
            found[name] = found[name] + time if name in found else time
        # More than rounding leaves.
        return {name: found[name] for name in order if name in found and np.any(found[name] > 1e-12 * self.step_time)}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Difference(Noun):
    """What makes a second step longer than a first [s].

    The terms, parts, operations and causes each add up to `second` - `first`, exactly.
    """

    first: float = quantity("s")
    second: float = quantity("s")
    terms: Mapping[Term, float] = quantity("s")
    parts: Mapping[str, float] = quantity("s")
    ops: Mapping[str, float] = quantity("s")
    causes: Mapping[str, float] = quantity("s")


def breakdown(
    deployment: Deployment,
    *,
    batch: Array | list[int] | tuple[int, ...] = 1,
    context: Array | list[int] | tuple[int, ...] = 2048,
    prompt: Array | list[int] | tuple[int, ...] | None = None,
    routing: Routing | None = None,
) -> Breakdown:
    """Time of steps by part of the model, by operation and by cause.

    Parameters
    ----------
    batch : sequences in the step. [1] >= 0, scalar or shape (points,)
    context : tokens of each sequence that are cached before the step. [tokens] >= 0
    prompt : new tokens of each sequence, of which the last is scored; None decodes one token. [tokens] >= 1
    """
    columns = aligned(batch=batch, context=context, new_tokens=1.0 if prompt is None else prompt)
    step = Step(**columns, logit_tokens=None if prompt is None else np.ones_like(columns["batch"]))
    # What a prompt's kernels reach beside those of a decode step shows in all of its terms alike.
    pace = 1.0 if prompt is None else deployment.stack.prompt_efficiency
    shape = columns["batch"].shape
    whole = np.broadcast_to(step_time(deployment, step, routing).time / pace, shape)
    terms: dict[Term, np.ndarray] = {}
    for op, cost in step_op_costs(deployment, step, routing):
        for cause, time in _causes(op, cost).items():
            term = Term(part=part_of(op), op=short_name(op), cause=cause)
            terms[term] = terms.get(term, np.zeros(shape)) + op.count * time / pace
    terms[SOFTWARE] = np.maximum(0.0, whole - sum(terms.values()))
    return Breakdown(
        batch=columns["batch"],
        context=columns["context"],
        step_time=whole,
        terms={term: time for term, time in terms.items() if np.any(time > 0.0)},
    )


def part_of(op: Op) -> str:
    """Part of the step that an operation belongs to, one of PARTS."""
    match op.kind:
        case "attention":
            return "attention"
        case "recurrent":
            return "recurrent state"
        case "all_reduce" | "all_gather" | "all_to_all":
            return "communication"
        case "gemm" | "experts":
            return _GEMM_PARTS.get(op.part or "", "MLP")
        case _:
            return "small kernels"


def short_name(op: Op) -> str:
    """Name of an operation without the group of layers that it belongs to."""
    return re.sub(r"^layers\d+\.", "", op.name)


def _causes(op: Op, cost: Cost) -> dict[str, Array]:
    """Time of one operation, once, by cause; the sum is its time."""
    memory, compute = np.asarray(cost.memory_time), np.asarray(cost.compute_time)
    is_memory = memory >= compute
    moved = np.asarray(op.memory_bytes)
    per_byte = np.where(is_memory, memory, 0.0) / np.where(moved > 0, moved, 1.0)
    return {
        "weight reads": per_byte * op.weight_bytes,
        "KV reads": per_byte * op.kv_bytes,
        "activations": per_byte * op.activation_bytes,
        "math": np.where(is_memory, 0.0, compute),
        "network": cost.network_time,
        "kernel overhead": np.maximum(0.0, cost.overhead_time),
    }


def difference(
    first: Breakdown, second: Breakdown, *, point: int = 0, times: tuple[float, float] | None = None
) -> Difference:
    """What makes the second step longer than the first at one point, term by term [s].

    Parameters
    ----------
    times : of both steps to the last bit, where they were also computed another way; None takes those of the breakdowns
    """
    one, other = (
        {term: float(times[point]) for term, times in found.terms.items() if times[point]} for found in (first, second)
    )
    times = times or (float(first.step_time[point]), float(second.step_time[point]))
    apart = {term: other.get(term, 0.0) - one.get(term, 0.0) for term in dict.fromkeys((*one, *other))}
    terms = summing_to(times[1] - times[0], apart)

    def by(kind: str, order: Sequence[str]) -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in order}
        for term, time in terms.items():
            found[getattr(term, kind)].append(time)
        return summing_to(times[1] - times[0], {name: math.fsum(some) for name, some in found.items() if some})

    return Difference(
        first=times[0],
        second=times[1],
        terms=terms,
        parts=by("part", PARTS),
        ops=by("op", list(dict.fromkeys(term.op for term in terms))),
        causes=by("cause", CAUSES),
    )


Name = TypeVar("Name")


def summing_to(whole: float, terms: Mapping[Name, float]) -> dict[Name, float]:
    """Terms whose sum is a whole to the last bit: what rounding leaves goes to the larger ones."""
    found = dict(terms)
    for name in sorted(found, key=lambda name: -abs(found[name])):
        rest = math.fsum([whole, *(-time for time in found.values())])
        if rest == 0.0:
            break
        found[name] += rest
    return found
