"""Engines that a plan may be built of: every layout on every kind of device, and why others cannot be."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rooflinesim.analysis.capacity.layouts import Layout, refusal
from rooflinesim.analysis.residency import max_batch, resident_bytes, usable_memory
from rooflinesim.analysis.serving.load import Drafts
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import Precision
from rooflinesim.specs.stack import Stack
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

Limit = Literal["layout", "device", "memory", "tpot", "ttft", "devices", "cost"]
"""What rules a candidate out: layout (heads, experts, layers), device (links, number formats), memory (not one request
fits), tpot and ttft (out of reach however many replicas there are), devices (it would take more than there may be), or
cost (enough others are cheaper)."""

DraftsOf = Callable[[Deployment], Sequence[Drafts]]
"""What a deployment may draft with, besides nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Site(Noun):
    """A kind of device under a software stack and number formats, by the names that rows bear; `price` is in USD/h."""

    names: Mapping[str, Any]
    model: Model
    hardware: Hardware
    stack: Stack
    precision: Precision
    price: float | None = quantity("USD/h", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Candidate(Noun):
    """One replica that can be, and what it may draft with; None is plain decoding."""

    site: Site
    layout: Layout
    deployment: Deployment
    drafts: tuple[Drafts | None, ...] = (None,)

    @property
    def replica_price(self) -> float | None:
        """Price of all devices of the replica [USD/h]; None where none is known."""
        return None if self.site.price is None else self.layout.devices * self.site.price

    @property
    def replica_cost(self) -> float:
        """What a replica is ranked by: its price, or its devices where there is none."""
        return float(self.layout.devices) if self.replica_price is None else self.replica_price


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rejection(Noun):
    """Why a layout on a site is not among the fleets, and by how much.

    `reason` is what a layout or a device lacks; `missing` the memory that one request lacks on each device. `metric`
    is the target that is out of reach, `least_time` the best that the engine reaches of it, and `excess` that over the
    target. `least_devices` is what the fleet would have at least, `least_cost` what it would cost, in USD/h or devices.
    """

    site: Site
    layout: Layout
    limit: Limit
    reason: str | None = None
    missing: float | None = quantity("B", default=None)
    metric: str | None = None
    least_time: float | None = quantity("s", default=None)
    excess: float | None = quantity("1", default=None)
    least_devices: int | None = quantity("1", default=None)
    least_cost: float | None = quantity("1", default=None)


def candidates(
    sites: Sequence[Site],
    layouts: Sequence[Layout],
    *,
    context: float,
    maximum_devices: int | None = None,
    drafts_of: DraftsOf | None = None,
) -> tuple[list[Candidate], list[Rejection]]:
    """Engines that can be built and hold at least one request, and the others with the reason.

    Parameters
    ----------
    context : tokens of a request at its end. [tokens]
    maximum_devices : of the whole fleet. [1]
    drafts_of : what may be drafted with; a draft that leaves no room, or cannot be, is left out
    """
    found: list[Candidate] = []
    rejected: list[Rejection] = []
    refused: dict[Any, str | None] = {}
    for site in sites:
        for layout in layouts:
            made = _deployment(site, layout, refused)
            if isinstance(made, Rejection):
                rejected.append(made)
                continue
            if maximum_devices is not None and layout.devices > maximum_devices:
                few = Rejection(site=site, layout=layout, limit="devices", least_devices=layout.devices)
                rejected.append(few)
                continue
            short = missing_memory(made, context)
            if short is not None:
                rejected.append(Rejection(site=site, layout=layout, limit="memory", missing=short))
                continue
            drafts = tuple(drafts_of(made)) if drafts_of else ()
            found.append(Candidate(site=site, layout=layout, deployment=made, drafts=(None, *drafts)))
    return found, rejected


def _deployment(site: Site, layout: Layout, refused: dict[Any, str | None]) -> Deployment | Rejection:
    """The deployment of a layout, or why it cannot be; `refused` holds what is known of a model's layouts."""
    try:
        made = Deployment(
            model=site.model,
            hardware=site.hardware,
            stack=site.stack,
            precision=site.precision,
            **{field.name: getattr(layout, field.name) for field in dataclasses.fields(layout)},
        )
        key = (site.model.name, layout.tensor_parallel, layout.expert_parallel, layout.data_parallel)
        if key not in refused:
            refused[key] = refusal(dataclasses.replace(made, pipeline_parallel=1))
        if refused[key]:
            raise DomainError(refused[key] or "")
    except RooflinesimError as error:
        limit: Limit = "layout" if isinstance(error, DomainError) else "device"
        return Rejection(site=site, layout=layout, limit=limit, reason=str(error))
    return made


def missing_memory(deployment: Deployment, context: float) -> float | None:
    """Memory that one request of a context lacks on each device [B]; None where it fits or no capacity is known."""
    usable = usable_memory(deployment)
    if usable is None or (max_batch(deployment, int(np.ceil(context))) or 0) >= 1:
        return None
    step = Step(batch=float(deployment.data_parallel), context=context)
    return max(0.0, float(np.max(resident_bytes(deployment, step))) - usable)
