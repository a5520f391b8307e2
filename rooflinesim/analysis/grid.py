"""Every combination of what a scenario names: any part of the grid as aligned columns, without the rest of it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from rooflinesim.analysis.points import (
    DecodePoints,
    Points,
    PrefillPoints,
    RoundPoints,
    Values,
    round_columns,
    step_point_columns,
)
from rooflinesim.analysis.serving.engine import Bound
from rooflinesim.analysis.serving.points import ServedPoints, served_columns
from rooflinesim.analysis.steps import BOUNDS
from rooflinesim.analysis.timing import main_matrices
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.stack import Stack
from rooflinesim.units import column_name

WAYS = ("tensor_parallel", "pipeline_parallel", "expert_parallel", "data_parallel")
DEPLOYMENT_AXES = ("model", "hardware", "memory", "stack", *WAYS, "weights", "kv_cache")
"""Axes that change the deployment, the slowest first."""

_COUNTS = ("batch", "context", "prompt", "new_tokens", "draft_length")
_TRUTHS = ("fits", "is_best", "is_stable")
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
    """All combinations of deployments and the points that are asked of each; points run fastest, the model slowest.

    Models, devices and stacks stand by the names that rows bear. `memory` replaces a device's capacity [B]; None is
    its own. Formats of None are the checkpoint's.
    """

    model: Mapping[str, Model]
    hardware: Mapping[str, Hardware]
    stack: Mapping[str, Stack]
    asked: Points
    memory: tuple[float | None, ...] = (None,)
    tensor_parallel: tuple[int, ...] = (1,)
    pipeline_parallel: tuple[int, ...] = (1,)
    expert_parallel: tuple[int, ...] = (1,)
    data_parallel: tuple[int, ...] = (1,)
    weights: tuple[str | None, ...] = (None,)
    kv_cache: tuple[str | None, ...] = (None,)

    @property
    def deployments(self) -> int:
        """Number of deployments, possible or not."""
        return math.prod(self.lengths(DEPLOYMENT_AXES))

    @property
    def points_each(self) -> int:
        """Points of one deployment."""
        return self.asked.count

    @property
    def points(self) -> int:
        """Points of the whole grid."""
        return self.deployments * self.points_each

    def lengths(self, axes: Sequence[str]) -> tuple[int, ...]:
        """Number of values of axes."""
        return tuple(len(getattr(self, axis)) for axis in axes)

    @property
    def varying(self) -> dict[str, tuple[Any, ...]]:
        """Axes of more than one value under their column names, nouns by their names."""
        axes = {**{axis: tuple(getattr(self, axis)) for axis in DEPLOYMENT_AXES}, **self.asked.axes}
        return {_COLUMN.get(axis, axis): values for axis, values in axes.items() if len(values) > 1}


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
    return (*own, *grid.asked.added_axes, *(column_name(field) for field in grid.asked.fields))


def axis_columns(grid: Grid) -> dict[str, tuple[str, Column]]:
    """Each axis by its column's name: the field of the grid that holds its values, and these as a column.

    Formats that the checkpoint decides are left out: their value is not the same for all models.
    """
    axes: dict[str, tuple[str, Column]] = {}
    own = {axis: list(getattr(grid, axis)) for axis in DEPLOYMENT_AXES}
    asked = {axis: list(values) for axis, values in grid.asked.axes.items() if axis not in grid.asked.hidden_axes}
    for axis, values in {**own, **asked}.items():
        if None in values:
            continue
        if isinstance(values[0], str):
            column: Column = Labels(codes=np.arange(len(values)), names=tuple(values))
        else:
            column = np.asarray(values, dtype=np.int64 if all(isinstance(one, int) for one in values) else np.float64)
        axes[_COLUMN.get(axis, axis)] = (axis, column)
    return axes


def reduced(grid: Grid, axis: str, keep: np.ndarray) -> Grid:
    """The grid with some values of an axis only.

    Raises
    ------
    DomainError : if none is kept.
    """
    is_point = axis in grid.asked.axes
    values = getattr(grid.asked if is_point else grid, axis)
    if not keep.any():
        raise DomainError(f"no value of {_COLUMN.get(axis, axis)} passes the filter; the sweep would be empty")
    kept = [one for one, is_kept in zip(values, keep, strict=True) if is_kept]
    own: Any = {name: values[name] for name in kept} if isinstance(values, Mapping) else tuple(kept)
    if is_point:
        return dataclasses.replace(grid, asked=dataclasses.replace(grid.asked, **{axis: own}))
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
        "bound": get_args(Bound) if isinstance(grid.asked, ServedPoints) else BOUNDS,
        **dict.fromkeys(_TRUTHS, (False, True)),
    }


def no_rows(grid: Grid) -> dict[str, Column]:
    """The grid's columns without a row."""
    names = label_names(grid)
    added = (axis for axis in grid.asked.added_axes if _are_counts(grid.asked.axes[axis]))
    counts = (*WAYS, *added, *(column_name(field) for field in grid.asked.fields if field.name in _COUNTS))
    return {
        name: Labels(codes=np.empty(0, dtype=np.int32), names=names[name])
        if name in names
        else np.empty(0, dtype=np.int64 if name in counts else np.float64)
        for name in column_names(grid)
    }


def _are_counts(values: Sequence[Any]) -> bool:
    return all(isinstance(one, int) for one in values)


def _piece(grid: Grid, place: int, index: np.ndarray, names: Mapping[str, tuple[str, ...]]) -> dict[str, Column]:
    """Columns of some points of one deployment."""
    deployment = deployment_at(grid, place)
    values = values_at(grid, place)
    result = _result(grid.asked, deployment, values["model"], index)
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
    columns.update({axis: result[axis] for axis in grid.asked.added_axes})
    for field in grid.asked.fields:
        columns[column_name(field)] = _column(field.name, result[field.name], index.size, names)
    return columns


def _result(asked: Points, deployment: Deployment, model: str, index: np.ndarray) -> Values:
    """Columns of the question's result at places among the points of one deployment, by field."""
    match asked:
        case RoundPoints():
            return round_columns(asked, deployment, asked.drafting[model], index)
        case ServedPoints():
            return served_columns(asked, deployment, model, index)
        case DecodePoints() | PrefillPoints():
            return step_point_columns(asked, deployment, index)
    raise TypeError(f"no columns are known of {type(asked).__name__}")


def _constant(value: float, size: int, kind: Any) -> np.ndarray:
    """A column of one value, held once."""
    return np.broadcast_to(np.asarray(value, dtype=kind), (size,))


def _column(name: str, values: np.ndarray | None, size: int, names: Mapping[str, tuple[Any, ...]]) -> Column:
    """A column of a result in the type of its rows."""
    if name == "bound" and values is not None:
        if values.dtype.kind == "U":
            values = np.array([names[name].index(word) for word in values.tolist()], dtype=np.int32)
        return Labels(codes=values, names=names[name])
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
