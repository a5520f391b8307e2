"""Loads, policies and fleets as the points of a grid: what users see of each deployment in the long run."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rooflinesim.analysis.points import GridQuestion, Points, Values, axis
from rooflinesim.analysis.serving.asked import drafts_of, fleet_of, load_at, policy_at
from rooflinesim.analysis.serving.load import Drafts, Load
from rooflinesim.analysis.serving.queueing import LARGEST_BATCH
from rooflinesim.analysis.serving.steady import SteadyState, steady_state
from rooflinesim.analysis.serving.times import DecodeTimes, decode_times, engine_times
from rooflinesim.analysis.speculation.drafting import Drafting
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.scenario import Prefill, Speculation, Traffic

_LOADS = ("offered_requests_per_s", "users")
_DRAFTED = ("acceptance_rate", "draft_length")
_SHARED = ("prompt_tokens", "output_tokens", "cached_share", *_DRAFTED)
"""Axes on which the times of an engine's steps depend."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ServedPoints(Points):
    """Fleets around a deployment under a policy and a load, rates or numbers of users running fastest.

    `traffic` holds what does not vary of the load. With `prefill` prompts run on engines of their own, of `hardware`
    if it is given; with `speculation` steps are rounds, drafted by `drafting` by the name of the model, and plain
    steps where the draft length is 0.
    """

    question: ClassVar[GridQuestion] = "serve"
    result: ClassVar[type[Any]] = SteadyState
    chunk_points: ClassVar[int] = 2048

    prompt_tokens: tuple[int, ...] = axis()
    output_tokens: tuple[int, ...] = axis()
    cached_share: tuple[float, ...] = axis(0.0)
    acceptance_rate: tuple[float, ...] = axis(1.0)
    draft_length: tuple[int, ...] = axis(0)
    replicas: tuple[int, ...] = axis(1)
    batch_limit: tuple[int | None, ...] = axis(None)
    chunk_tokens: tuple[int, ...] = axis(0)
    prefill_tensor: tuple[int, ...] = axis(1)
    prefill_pipeline: tuple[int, ...] = axis(1)
    prefill_expert: tuple[int, ...] = axis(1)
    prefill_data: tuple[int, ...] = axis(1)
    prefill_replicas: tuple[int, ...] = axis(1)
    offered_requests_per_s: tuple[float, ...] = axis()
    users: tuple[int, ...] = axis()
    traffic: Traffic
    prefill: Prefill | None = None
    hardware: Hardware | None = None
    speculation: Speculation | None = None
    drafting: Mapping[str, Drafting] = dataclasses.field(default_factory=dict)

    @property
    def added_axes(self) -> tuple[str, ...]:
        """Axes that rows bear beside the state: those that the scenario can speak of."""
        left_out = {"users"}
        if self.speculation is None:
            left_out.update(_DRAFTED)
        if self.prefill is None:
            left_out.update(name for name in self.axes if name.startswith("prefill_"))
        return tuple(name for name in self.axes if name not in left_out)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Shared(Noun):
    """What all policies, fleets and rates of one kind of request have in common."""

    key: tuple[Any, ...]
    load: Load
    drafts: Drafts | None
    times: DecodeTimes


def served_columns(points: ServedPoints, deployment: Deployment, model: str, index: np.ndarray) -> Values:
    """Columns of steady states at places among the points of one deployment, by field, and of their axes.

    Times that are infinite, of unstable fleets, are unknown in the columns.

    Raises
    ------
    RooflinesimError : if a fleet is not possible.
    """
    axes = points.axes
    loads = len(axes[next(name for name in _LOADS if name in axes)])
    first = index[0] // loads
    shared: _Shared | None = None
    states = []
    for place in range(first, index[-1] // loads + 1):
        point = _point(points, place * loads)
        if shared is None or shared.key != tuple(point[name] for name in _SHARED):
            shared = _shared(points, deployment, model, point)
        fleet, policy = fleet_of(deployment, points.prefill, points.hardware, point), policy_at(point)
        chunk = None if fleet.is_disaggregated else policy.chunk_tokens
        times = engine_times(shared.times, shared.load, chunk)
        states.append(steady_state(fleet, shared.load, policy, shared.drafts, times))
    own = slice(index[0] - first * loads, index[-1] + 1 - first * loads)
    columns = {
        field.name: np.concatenate([getattr(state, field.name) for state in states])[own] for field in points.fields
    }
    return {**{name: _finite(column) for name, column in columns.items()}, **_axis_columns(points, index)}


def _finite(column: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(column), column, np.nan) if column.dtype.kind == "f" else column


def _point(points: ServedPoints, place: int) -> dict[str, Any]:
    """Values of the axes at one place."""
    axes = points.axes
    places = np.unravel_index(place, tuple(map(len, axes.values())))
    return {name: values[int(at)] for (name, values), at in zip(axes.items(), places, strict=True)}


def _axis_columns(points: ServedPoints, index: np.ndarray) -> dict[str, np.ndarray]:
    axes = points.axes
    places = np.unravel_index(index, tuple(map(len, axes.values())))
    return {
        name: np.array([np.nan if one is None else one for one in values])[at]
        for (name, values), at in zip(axes.items(), places, strict=True)
        if name in points.added_axes
    }


def _shared(points: ServedPoints, deployment: Deployment, model: str, point: Mapping[str, Any]) -> _Shared:
    traffic = dataclasses.replace(
        points.traffic, requests_per_s=points.offered_requests_per_s, users=points.users, trace=None
    )
    load = load_at(traffic, point)
    drafts = None
    if points.speculation is not None and point["draft_length"]:
        drafts = drafts_of(deployment, points.drafting[model], points.speculation, load, point)
    most = max((limit or LARGEST_BATCH for limit in points.batch_limit), default=LARGEST_BATCH)
    return _Shared(
        key=tuple(point[name] for name in _SHARED),
        load=load,
        drafts=drafts,
        times=decode_times(deployment, load.mean_context, drafts, largest=most),
    )
