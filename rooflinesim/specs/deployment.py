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
    """One replica: `tensor_parallel` equal devices share every layer of the model."""

    model: Model
    hardware: Hardware
    stack: Stack
    precision: Precision
    tensor_parallel: int = quantity("1", default=1, minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        units.check(self)
        if isinstance(self.tensor_parallel, bool) or self.tensor_parallel != int(self.tensor_parallel):
            raise DomainError(f"tensor_parallel is {self.tensor_parallel!r}: it must be a whole number")
        link_of(self)


def link_of(deployment: Deployment) -> Link | None:
    """Connection over which the devices of a group exchange messages; None for one device.

    The device's own link where it reaches all of them, else the host's.

    Raises
    ------
    UnsupportedError : if no connection of the profile reaches that many devices.
    """
    ranks, hardware = deployment.tensor_parallel, deployment.hardware
    if ranks == 1:
        return None
    for link in (hardware.link, hardware.host_link):
        if link and ranks <= link.devices:
            return link
    reach = max((link.devices for link in (hardware.link, hardware.host_link) if link), default=1)
    raise UnsupportedError(
        f"tensor parallelism {ranks}: {hardware.name} connects at most {reach} devices; use --tp {reach} or less"
        " (links between hosts are not modelled)"
    )
