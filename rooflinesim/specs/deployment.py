"""A model on devices under a software stack: what every question is asked about."""

import dataclasses

from rooflinesim import units
from rooflinesim.errors import DomainError, UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.specs.hardware import Hardware, Link
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import Precision
from rooflinesim.specs.stack import Stack
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Deployment(Noun):
    """One replica of a model on `devices` equal devices.

    `tensor_parallel` devices share every layer. `data_parallel` such groups, each with its own sequences,
    share the experts of a mixture: each device holds 1 / `expert_parallel` of them. `pipeline_parallel` stages
    hold consecutive layers and pass one batch on.
    """

    model: Model
    hardware: Hardware
    stack: Stack
    precision: Precision
    tensor_parallel: int = quantity("1", default=1, minimum=1, maximum=4096)
    pipeline_parallel: int = quantity("1", default=1, minimum=1, maximum=4096)
    expert_parallel: int = quantity("1", default=1, minimum=1, maximum=4096)
    data_parallel: int = quantity("1", default=1, minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        units.check(self)
        for name in ("tensor_parallel", "pipeline_parallel", "expert_parallel", "data_parallel"):
            value = getattr(self, name)
            if isinstance(value, bool) or value != int(value):
                raise DomainError(f"{name} is {value!r}: it must be a whole number")
        if self.pipeline_parallel > self.model.layer_count:
            raise DomainError(
                f"pipeline_parallel is {self.pipeline_parallel}, but {self.model.name} has"
                f" {self.model.layer_count} layers; give at most one stage per layer"
            )
        if self.group_devices % self.expert_parallel:
            raise DomainError(
                f"expert_parallel is {self.expert_parallel}, which does not divide the {self.group_devices} devices"
                " of a stage (tensor x data parallelism)"
            )
        if self.group_devices > 1 and reach_of(self.hardware) < 2:
            raise UnsupportedError(f"{self.hardware.name} has no link to other devices in its profile; use --tp 1")

    @property
    def group_devices(self) -> int:
        """Devices that work on a layer at the same time."""
        return self.tensor_parallel * self.data_parallel

    @property
    def devices(self) -> int:
        """All devices of the replica."""
        return self.group_devices * self.pipeline_parallel


def reach_of(hardware: Hardware) -> int:
    """Devices that the links of a profile connect directly."""
    return max((link.devices for link in (hardware.link, hardware.host_link) if link), default=1)


def link_of(hardware: Hardware, devices: int) -> Link | None:
    """Connection over which devices exchange messages; None for one device.

    The device's own link where it reaches all of them, else the host's, else the one that reaches most.
    """
    if devices == 1:
        return None
    links = [link for link in (hardware.link, hardware.host_link) if link]
    for link in links:
        if devices <= link.devices:
            return link
    return max(links, key=lambda link: link.devices, default=None)


NETWORK = Link(name="network between hosts", bandwidth=50e9, devices=4096)
"""What connects hosts: one 400 Gb/s port per device, assumed."""
