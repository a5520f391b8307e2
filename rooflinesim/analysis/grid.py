"""Every combination of what a scenario names: any part of the grid as aligned columns, without the rest of it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rooflinesim.analysis.decode import DecodeResult, decode_columns
from rooflinesim.analysis.prefill import PrefillResult, prefill_columns
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.drafting import Drafting, speculation_of
from rooflinesim.analysis.speculation.speculate import SpeculateResult, speculate
from rooflinesim.analysis.steps import BOUNDS
from rooflinesim.analysis.timing import main_matrices
from rooflinesim.errors import DomainError, RooflinesimError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.units import column_name, fields_own_first

StepQuestion = Literal["decode", "prefill", "speculate"]

WAYS = ("tensor_parallel", "pipeline_parallel", "expert_parallel", "data_parallel")
DEPLOYMENT_AXES = ("model", "hardware", "memory", "stack", *WAYS, "weights", "kv_cache")
"""Axes that change the deployment, the slowest first."""

POINT_AXES = ("prompt", "context", "acceptance", "batch", "draft_length")
"""Axes of the points of one deployment, the slowest first."""

_RESULTS: Mapping[StepQuestion, Any] = {
    "decode": DecodeResult,
    "prefill": PrefillResult,
    "speculate": SpeculateResult,
}
_COUNTS = ("batch", "context", "prompt", "new_tokens", "draft_length")
_TRUTHS = ("fits", "is_best")
_TREES = ("tree_nodes", "tree_depth")
_COLUMN = {"context": "context_tokens", "prompt": "prompt_tokens", "memory": "memory_capacity_bytes"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Labels(Noun):
    """A column of words or truths: `codes` are places among `names`, -1 where a value is unknown; shape (points,)."""

    codes: np.ndarray
    names: tuple[Any, ...]


Column = np.ndarray | Labels
Columns = Mapping[str, Column]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Grid(Noun):
    """All combinations of these values; draft lengths run fastest, then batches, and so on to the model.

    Models, devices and stacks stand by the names that rows bear. `memory` replaces a device's capacity [B]; None is
    its own. Formats of None are the checkpoint's. `prompt` is only asked of a prefill; `draft_length`, `acceptance`,
    `drafting` by the name of the model and the acceptance that `keeps` tells the kind of only of speculation.
    """

    question: StepQuestion = "decode"
    model: Mapping[str, Model]
    hardware: Mapping[str, Hardware]
    stack: Mapping[str, Stack]
    memory: tuple[float | None, ...] = (None,)
    tensor_parallel: tuple[int, ...] = (1,)
    pipeline_parallel: tuple[int, ...] = (1,)
    expert_parallel: tuple[int, ...] = (1,)
    data_parallel: tuple[int, ...] = (1,)
    weights: tuple[str | None, ...] = (None,)
    kv_cache: tuple[str | None, ...] = (None,)
    prompt: tuple[int, ...] = (1,)
    context: tuple[int, ...] = (2048,)
    batch: tuple[int, ...] = (1,)
    acceptance: tuple[float, ...] = (1.0,)
    draft_length: tuple[int, ...] = (0,)
    drafting: Mapping[str, Drafting] = dataclasses.field(default_factory=dict)
    keeps: Acceptance | None = None

    @property
    def deployments(self) -> int:
        """Number of deployments, possible or not."""
        return math.prod(self.lengths(DEPLOYMENT_AXES))

    @property
    def points_each(self) -> int:
        """Points of one deployment."""
        return math.prod(self.lengths(POINT_AXES))

    @property
    def points(self) -> int:
        """Points of the whole grid."""
        return self.deployments * self.points_each

    @property
    def names_acceptance(self) -> bool:
        """Whether rows need a column of the acceptance as it was given: it varies and is not the conditional rate."""
        return self.keeps is not None and len(self.acceptance) > 1 and self.keeps.kind != "conditional"

    def lengths(self, axes: Sequence[str]) -> tuple[int, ...]:
        """Number of values of axes."""
        return tuple(len(getattr(self, axis)) for axis in axes)

    @property
    def varying(self) -> dict[str, tuple[Any, ...]]:
        """Axes of more than one value under their column names, nouns by their names."""
        axes = {_COLUMN.get(axis, axis): tuple(getattr(self, axis)) for axis in (*DEPLOYMENT_AXES, *POINT_AXES)}
        return {name: values for name, values in axes.items() if len(values) > 1}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Chunk(Noun):
    """Aligned columns of a range of points; deployments that cannot be are left out, each with the reason."""

    columns: Columns
    rejected: Mapping[int, str]


def values_at(grid: Grid, place: int) -> dict[str, Any]:
    """Value of each deployment axis of the deployment at a place; nouns by their name."""
    indices = np.unravel_index(place, grid.lengths(DEPLOYMENT_AXES))
    return {axis: list(getattr(grid, axis))[int(index)] for axis, index in zip(DEPLOYMENT_AXES, indices, strict=True)}


def deployment_at(grid: Grid, place: int) -> Deployment:
    """The deployment at a place, from 0 to `grid.deployments` - 1.

    Raises
    ------
    RooflinesimError : if such a deployment cannot be.
    """
    values = values_at(grid, place)
    model, hardware = grid.model[values["model"]], grid.hardware[values["hardware"]]
    if values["memory"] is not None:
        hardware = dataclasses.replace(hardware, memory_capacity=values["memory"])
    return Deployment(
        model=model,
        hardware=hardware,
        stack=grid.stack[values["stack"]],
        precision=precision_of(model, weights=values["weights"], kv_cache=values["kv_cache"]),
        **{way: values[way] for way in WAYS},
    )


def rejections(grid: Grid, rejected: Mapping[int, str]) -> tuple[dict[str, Any], ...]:
    """Deployments that cannot be: the axes that tell them apart, and the reason."""
    axes = [axis for axis in DEPLOYMENT_AXES if _COLUMN.get(axis, axis) in grid.varying]
    return tuple(
        {**{axis: values_at(grid, place)[axis] for axis in axes}, "reason": reason}
        for place, reason in sorted(rejected.items())
    )


def column_names(grid: Grid) -> tuple[str, ...]:
    """Names of the columns of the grid's rows: the deployment's axes, then those of its question's result."""
    own = [_COLUMN.get(axis, axis) for axis in DEPLOYMENT_AXES if axis != "memory" or grid.memory != (None,)]
    if grid.names_acceptance:
        own.append("acceptance")
    return (*own, *(column_name(field) for field in _result_fields(grid.question)))


def _result_fields(question: StepQuestion) -> list["dataclasses.Field[Any]"]:
    """Fields of a question's result that a grid's rows have; drafts are chains."""
    return [field for field in fields_own_first(_RESULTS[question]) if field.name not in _TREES]


def axis_columns(grid: Grid) -> dict[str, tuple[str, Column]]:
    """Each axis by its column's name: the field of the grid that holds its values, and these as a column.

    Formats that the checkpoint decides are left out: their value is not the same for all models. So are draft
    lengths, of which the best depends on all, and rates that rows bear as they are.
    """
    axes: dict[str, tuple[str, Column]] = {}
    for axis in (*DEPLOYMENT_AXES, *POINT_AXES):
        values = list(getattr(grid, axis))
        if None in values or axis == "draft_length" or (axis == "acceptance" and not grid.names_acceptance):
            continue
        if isinstance(values[0], str):
            column: Column = Labels(codes=np.arange(len(values)), names=tuple(values))
        else:
            column = np.asarray(values, dtype=np.float64 if axis in ("memory", "acceptance") else np.int64)
        axes[_COLUMN.get(axis, axis)] = (axis, column)
    return axes


def reduced(grid: Grid, axis: str, keep: np.ndarray) -> Grid:
    """The grid with some values of an axis only.

    Raises
    ------
    DomainError : if none is kept.
    """
    values = getattr(grid, axis)
    if not keep.any():
        raise DomainError(f"no value of {_COLUMN.get(axis, axis)} passes the filter; the sweep would be empty")
    kept = [one for one, is_kept in zip(values, keep, strict=True) if is_kept]
    own: Any = {name: values[name] for name in kept} if isinstance(values, Mapping) else tuple(kept)
    return dataclasses.replace(grid, **{axis: own})


def format_names(grid: Grid, part: Literal["weights", "kv_cache"]) -> tuple[str, ...]:
    """Names of a part's formats in the grid's rows: as asked, or else those of the checkpoints.

    Raises
    ------
    UnknownNameError : if a format is unknown.
    """
    return tuple(
        dict.fromkeys(_format_name(grid, part, model, asked) for model in grid.model for asked in getattr(grid, part))
    )


def _format_name(grid: Grid, part: Literal["weights", "kv_cache"], model: str, asked: str | None) -> str:
    precision = precision_of(grid.model[model], **{part: asked})
    if asked is not None:
        return asked
    if part == "kv_cache":
        return precision.kv_cache.name
    return main_matrices(grid.model[model], precision).name


def chunk_columns(grid: Grid, start: int, stop: int) -> Chunk:
    """Columns of the points from `start` up to, but not with, `stop`."""
    pieces: list[dict[str, Column]] = []
    rejected: dict[int, str] = {}
    each = grid.points_each
    names = label_names(grid)
    for place in range(start // each, -(-stop // each)):
        first, last = max(start - place * each, 0), min(stop - place * each, each)
        try:
            pieces.append(_piece(grid, place, np.arange(first, last), names))
        except RooflinesimError as error:
            rejected[place] = str(error)
    if not pieces:
        pieces.append(no_rows(grid))
    return Chunk(columns={name: joined([piece[name] for piece in pieces]) for name in pieces[0]}, rejected=rejected)


def label_names(grid: Grid) -> dict[str, tuple[Any, ...]]:
    """Names behind the codes of the grid's columns of words and truths."""
    return {
        **{axis: tuple(getattr(grid, axis)) for axis in ("model", "hardware", "stack")},
        "weights": format_names(grid, "weights"),
        "kv_cache": format_names(grid, "kv_cache"),
        "bound": BOUNDS,
        **dict.fromkeys(_TRUTHS, (False, True)),
    }


def no_rows(grid: Grid) -> dict[str, Column]:
    """The grid's columns without a row."""
    names = label_names(grid)
    counts = (*WAYS, *(column_name(field) for field in _result_fields(grid.question) if field.name in _COUNTS))
    return {
        name: Labels(codes=np.empty(0, dtype=np.int32), names=names[name])
        if name in names
        else np.empty(0, dtype=np.int64 if name in counts else np.float64)
        for name in column_names(grid)
    }


def _piece(grid: Grid, place: int, index: np.ndarray, names: Mapping[str, tuple[str, ...]]) -> dict[str, Column]:
    """Columns of some points of one deployment."""
    deployment = deployment_at(grid, place)
    values = values_at(grid, place)
    points = _points(grid, index)
    match grid.question:
        case "decode":
            result = decode_columns(deployment, points)
        case "prefill":
            result = prefill_columns(deployment, points)
        case "speculate":
            result = _speculate_columns(grid, deployment, grid.drafting[values["model"]], index)
    columns: dict[str, Column] = {}
    for axis in DEPLOYMENT_AXES:
        if axis == "memory":
            if grid.memory != (None,):
                columns[_COLUMN[axis]] = _constant(deployment.hardware.memory_capacity or 0.0, index.size, np.float64)
        elif axis in WAYS:
            columns[axis] = _constant(values[axis], index.size, np.int64)
        else:
            name = values[axis]
            if axis in ("weights", "kv_cache"):
                name = _format_name(grid, axis, values["model"], name)  # type: ignore[arg-type]
            codes = _constant(names[axis].index(name), index.size, np.int32)
            columns[axis] = Labels(codes=codes, names=names[axis])
    if grid.names_acceptance:
        columns["acceptance"] = points["acceptance"]
    for field in _result_fields(grid.question):
        columns[column_name(field)] = _column(field.name, result[field.name], index.size)
    return columns


def _speculate_columns(
    grid: Grid, deployment: Deployment, drafting: Drafting, index: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of rounds at places among the points of one deployment.

    All draft lengths of a batch are looked at together, so that the best is marked wherever the places begin and end.

    Raises
    ------
    UnsupportedError : if the deployment divides its work in a way that speculation has no answer for.
    """
    if deployment.devices > deployment.tensor_parallel:
        raise UnsupportedError("speculation is answered for tensor parallelism alone: leave out pipeline and data")
    lengths = len(grid.draft_length)
    first = index[0] // lengths * lengths
    points = _points(grid, np.arange(first, -(-(index[-1] + 1) // lengths) * lengths))
    keeps = grid.keeps or Acceptance(value=points["acceptance"])
    speculation = speculation_of(
        deployment,
        drafting,
        batch=float(min(grid.batch)),
        context=float(grid.context[0]),
        longest=max(grid.draft_length),
    )
    result = speculate(
        speculation,
        batch=points["batch"],
        context=points["context"],
        draft_length=points["draft_length"],
        acceptance=keeps if keeps.value is None else dataclasses.replace(keeps, value=points["acceptance"]),
    )
    own = slice(index[0] - first, index[-1] + 1 - first)
    return {field.name: getattr(result, field.name)[own] for field in _result_fields("speculate")}


def _constant(value: float, size: int, kind: Any) -> np.ndarray:
    """A column of one value, held once."""
    return np.broadcast_to(np.asarray(value, dtype=kind), (size,))


def _points(grid: Grid, index: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the steps at places among the points of one deployment."""
    prompt, context, acceptance, batch, length = np.unravel_index(index, grid.lengths(POINT_AXES))
    points = {
        "batch": np.asarray(grid.batch, dtype=np.float64)[batch],
        "context": np.asarray(grid.context, dtype=np.float64)[context],
    }
    if grid.question == "speculate":
        points["acceptance"] = np.asarray(grid.acceptance, dtype=np.float64)[acceptance]
        points["draft_length"] = np.asarray(grid.draft_length, dtype=np.float64)[length]
        return points
    points["new_tokens"] = np.asarray(grid.prompt, dtype=np.float64)[prompt]
    if grid.question == "prefill":
        points["logit_tokens"] = np.ones(index.size)
    return points


def _column(name: str, values: np.ndarray | None, size: int) -> Column:
    """A column of a result in the type of its rows."""
    if name == "bound" and values is not None:
        return Labels(codes=values, names=BOUNDS)
    if name in _TRUTHS:
        codes = np.full(size, -1, dtype=np.int8) if values is None else values.astype(np.int8)
        return Labels(codes=codes, names=(False, True))
    if values is None:
        return np.full(size, np.nan)
    return values.astype(np.int64) if name in _COUNTS else values


def joined(parts: list[Column]) -> Column:
    """Parts of one column after another."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Labels):
        return Labels(codes=np.concatenate([_codes(part) for part in parts]), names=first.names)
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])


def _codes(part: Column) -> np.ndarray:
    return part.codes if isinstance(part, Labels) else part
