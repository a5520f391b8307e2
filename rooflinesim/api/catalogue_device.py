"""The device at hand as the catalogue alone describes it: what may be said before anything is measured."""

import dataclasses

from rooflinesim.api.measured_hardware import STACK
from rooflinesim.config.catalogue import load_hardware, load_stack
from rooflinesim.cost.machine import memory_efficiency
from rooflinesim.errors import RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.hardware import Hardware

CORE_BANDWIDTH = 15e9
"""Bandwidth that kernels on one core of a server draw: some 24 lines of 64 bytes under way for 100 ns each; assumed
[B/s]. What a whole processor's kernels reach of its bandwidth says nothing of a core that has more than it can draw."""

CONVERSION = 8.0
"""How much slower a core without a unit for 16 bits multiplies them than 32 bits; assumed [1]."""

_PROCESSORS = {"amd": "epyc-9654", "intel": "xeon-8480"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CatalogueDevice(Noun):
    """A device from the catalogue with the ends of what it may be, and what was assumed."""

    likely: Hardware
    fastest: Hardware
    slowest: Hardware
    note: str


def catalogue_device(name: str, threads: int, *, is_gpu: bool) -> CatalogueDevice | None:
    """The device that a name stands for in the catalogue; None where it has none.

    A processor tells only its maker: a server of the maker stands in, of which `threads` cores work, each with its
    share of the rates. Its clock, its memory and whether it has a unit for 16 bits are not known: the ends are half
    and twice the bandwidth, half and one and a half times the rates, and no unit.
    """
    try:
        if is_gpu:
            known = load_hardware(name)
            return CatalogueDevice(likely=known, fastest=known, slowest=known, note=f"{known.name} of the catalogue")
        maker = next((key for key in _PROCESSORS if key in name.lower()), None)
        if maker is None:
            return None
        known = load_hardware(_PROCESSORS[maker])
    except RooflinesimError:
        return None
    share = threads / (known.cores or threads)
    reached = memory_efficiency(known, load_stack(STACK))
    bandwidth = min(known.memory_bandwidth, threads * CORE_BANDWIDTH / reached)
    rates = {math: rate * share for math, rate in known.dense_flop_rate.items()}

    def scaled(bandwidth_factor: float, rate_factor: float, has_unit: bool) -> Hardware:
        changed = {
            math: rate_factor * (rate if has_unit or math == "fp32" else rates["fp32"] / CONVERSION)
            for math, rate in rates.items()
        }
        return dataclasses.replace(
            known, memory_bandwidth=bandwidth * bandwidth_factor, dense_flop_rate=changed, cores=threads
        )

    return CatalogueDevice(
        likely=scaled(1.0, 1.0, True),
        fastest=scaled(2.0, 1.5, True),
        slowest=scaled(0.5, 0.5, False),
        note=f"{threads} of the {known.cores} cores of {known.name} in the catalogue; bandwidth per core assumed",
    )
