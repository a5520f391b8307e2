"""Points that are asked of every deployment of a grid, by question: their axes, and the columns of their results."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from rooflinesim.analysis.decode import DecodeResult, decode_columns
from rooflinesim.analysis.prefill import PrefillResult, prefill_columns
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.drafting import Drafting, speculation_of
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import fields_own_first

GridQuestion = Literal["decode", "prefill", "speculate", "serve"]

Values = Mapping[str, np.ndarray]


def axis(*default: float | None) -> Any:
    """Declare an axis: the values that are combined with those of all others."""
    return dataclasses.field(default=default, metadata={"axis": True})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Points(Noun):
    """Every combination of the values of some axes; the last axis runs fastest."""

    question: ClassVar[GridQuestion]
    result: ClassVar[type[Any]]
    chunk_points: ClassVar[int] = 131_072
    """Points that are evaluated and kept together: little enough memory for many cores, few enough files."""

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Values of each axis that is asked, the slowest first."""
        axes = [field.name for field in dataclasses.fields(self) if "axis" in field.metadata]
        return {name: getattr(self, name) for name in axes if getattr(self, name)}

    @property
    def count(self) -> int:
        """Number of points."""
        return math.prod(len(values) for values in self.axes.values())

    @property
    def fields(self) -> "list[dataclasses.Field[Any]]":
        """Fields of the result that rows have."""
        return fields_own_first(self.result)

    @property
    def added_axes(self) -> tuple[str, ...]:
        """Axes whose values rows bear beside the fields of the result."""
        return ()

    @property
    def hidden_axes(self) -> tuple[str, ...]:
        """Axes whose values rows do not bear as they are, or not each row by itself."""
        return ()

    def values(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Value of each axis at places among the points, as float64 of the shape of `index`."""
        axes = self.axes
        places = np.unravel_index(index, tuple(map(len, axes.values())))
        return {
            name: np.asarray(values, dtype=np.float64)[place]
            for (name, values), place in zip(axes.items(), places, strict=True)
        }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DecodePoints(Points):
    """Decode steps."""

    question: ClassVar[GridQuestion] = "decode"
    result: ClassVar[type[Any]] = DecodeResult

    context: tuple[int, ...] = axis(2048)
    batch: tuple[int, ...] = axis(1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PrefillPoints(Points):
    """Steps that read prompts behind a cached context."""

    question: ClassVar[GridQuestion] = "prefill"
    result: ClassVar[type[Any]] = PrefillResult

    prompt: tuple[int, ...] = axis()
    context: tuple[int, ...] = axis(0)
    batch: tuple[int, ...] = axis(1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RoundPoints(Points):
    """Rounds of speculation with chains, 0 among their lengths being plain decoding.

    `drafting` goes by the name of the model. `acceptance` holds values of the kind that `keeps` tells; a curve has
    none, and one place.
    """

    question: ClassVar[GridQuestion] = "speculate"
    result: ClassVar[type[Any]] = SpeculateResult

    context: tuple[int, ...] = axis(2048)
    acceptance: tuple[float, ...] = axis(1.0)
    batch: tuple[int, ...] = axis(1)
    draft_length: tuple[int, ...] = axis(0)
    drafting: Mapping[str, Drafting]
    keeps: Acceptance

    @property
    def fields(self) -> "list[dataclasses.Field[Any]]":
        """Fields of the result that chains have."""
        return [field for field in fields_own_first(self.result) if field.name not in ("tree_nodes", "tree_depth")]

    @property
    def names_acceptance(self) -> bool:
        """Whether rows need a column of the acceptance as it was given: it varies and is not the conditional rate."""
        return len(self.acceptance) > 1 and self.keeps.kind != "conditional"

    @property
    def added_axes(self) -> tuple[str, ...]:
        """Acceptance as it was given, where it is not the rate of the rows."""
        return ("acceptance",) if self.names_acceptance else ()

    @property
    def hidden_axes(self) -> tuple[str, ...]:
        """Draft lengths, of which the best depends on all; acceptance where rows bear the rate alone."""
        return ("draft_length",) if self.names_acceptance else ("draft_length", "acceptance")


def step_point_columns(points: DecodePoints | PrefillPoints, deployment: Deployment, index: np.ndarray) -> Values:
    """Columns of steps at places among the points of one deployment, by field."""
    step = points.values(index)
    if isinstance(points, PrefillPoints):
        step["new_tokens"] = step.pop("prompt")
        step["logit_tokens"] = np.ones(index.size)
        return prefill_columns(deployment, step)
    step["new_tokens"] = np.ones(index.size)
    return decode_columns(deployment, step)


def round_columns(points: RoundPoints, deployment: Deployment, drafting: Drafting, index: np.ndarray) -> Values:
    """Columns of rounds at places among the points of one deployment, by field.

    All draft lengths of a batch are looked at together: the best is marked wherever the places begin and end.
    """
    if deployment.devices > deployment.tensor_parallel:
        raise UnsupportedError("speculation is answered for tensor parallelism alone: leave out pipeline and data")
    lengths = len(points.draft_length)
    first = index[0] // lengths * lengths
    values = points.values(np.arange(first, -(-(index[-1] + 1) // lengths) * lengths))
    keeps = points.keeps
    speculation = speculation_of(
        deployment,
        drafting,
        batch=float(min(points.batch)),
        context=float(points.context[0]),
        longest=max(points.draft_length),
    )
    result = speculate(
        speculation,
        batch=values["batch"],
        context=values["context"],
        draft_length=values["draft_length"],
        acceptance=keeps if keeps.value is None else dataclasses.replace(keeps, value=values["acceptance"]),
    )
    own = slice(index[0] - first, index[-1] + 1 - first)
    return {
        **{field.name: getattr(result, field.name)[own] for field in points.fields},
        "acceptance": values["acceptance"][own],
    }
