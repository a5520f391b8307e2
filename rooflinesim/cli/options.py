"""Options that several commands share; one name per idea."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflinesim import units

if TYPE_CHECKING:
    from rooflinesim.specs.hardware import Hardware


class OutputFormat(StrEnum):
    """Ways to present an answer; none changes what is computed."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A preset (see `list models`), a config.json or its directory, a YAML profile, or a hub id with a preset.",
    ),
]
Gpu = Annotated[
    str, typer.Option("--gpu", metavar="GPU", help="A preset (see `list gpus`; CPUs too) or a YAML profile.")
]
StackName = Annotated[
    str,
    typer.Option("--stack", metavar="STACK", help="How software runs it: ideal, generic, or a YAML profile."),
]
Batch = Annotated[
    str,
    typer.Option("--batch", metavar="RANGE", help="Sequences: 8; 1,8,64; 1:256 (doubling); 1:256:+16; 1:256:x4."),
]
OneBatch = Annotated[int, typer.Option("--batch", min=1, max=units.MAXIMUM_COUNT, help="Sequences held at once.")]
Context = Annotated[str, typer.Option("--context", metavar="RANGE", help="Tokens cached per sequence; 8k is 8192.")]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FORMAT", help="bf16, fp8, int8, int4, nvfp4, q4_k_m ...; default: as stored"),
]
Kv = Annotated[
    str | None,
    typer.Option("--kv", metavar="FORMAT", help="Format of the KV cache; default: as stored, else 16 bits"),
]
Tp = Annotated[int, typer.Option("--tp", min=1, max=4096, help="Tensor parallelism: devices that share every layer.")]
Pp = Annotated[int, typer.Option("--pp", min=1, max=4096, help="Pipeline parallelism: stages of layers.")]
Ep = Annotated[
    int, typer.Option("--ep", min=1, max=4096, help="Expert parallelism: shares of the experts; divides --tp x --dp.")
]
Dp = Annotated[
    int,
    typer.Option("--dp", min=1, max=4096, help="Data-parallel attention: groups of --tp devices that share experts."),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Memory of one device, such as 768GB, in place of the profile's."),
]
Form = Annotated[
    OutputFormat | None,
    typer.Option("--format", help="table, json, csv or md; default: table, or what the suffix of -o says"),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, whole or not at all.")
]
RoutingText = Annotated[
    str | None,
    typer.Option(
        "--routing",
        metavar="HOW",
        help="How tokens choose experts: uniform, zipf:EXPONENT, or a file of frequencies; default: the stack says.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say what binds the first point, and what more of it would buy.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="List every number that was not counted, with its source.")
]


def whole_range(text: str, option: str, *, minimum: int) -> tuple[int, ...]:
    """Counts of a range option.

    Raises
    ------
    UnitError : that names the option.
    """
    from rooflinesim.errors import UnitError

    try:
        return units.parse_range(text, minimum=minimum)
    except UnitError as error:
        raise UnitError(f"{option}: {error}") from None


def one_count(text: str, option: str) -> int:
    """The only count of a range option that takes just one here."""
    from rooflinesim.errors import UnitError

    points = whole_range(text, option, minimum=0)
    if len(points) != 1:
        raise UnitError(f"{option}: {text!r} names {len(points)} points, but one is meant here; write it like 2048")
    return points[0]


def one_share(text: str, option: str) -> float:
    """A share, written like 12% or 0.12.

    Raises
    ------
    UnitError : that names the option.
    """
    from rooflinesim.errors import UnitError

    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%")) / (100.0 if stripped.endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 10.0:
        raise UnitError(f"{option}: {text!r} is no share; write it like 12% or 0.12")
    return value


def with_memory(hardware: "Hardware", memory: str | None) -> "Hardware":
    """The device with the memory that the user says it has."""
    import dataclasses

    from rooflinesim.errors import UnitError

    if memory is None:
        return hardware
    try:
        capacity = units.parse_quantity(memory, "B")
        if capacity <= 0:
            raise UnitError(f"{memory!r} is no memory; write it like 80 GB or 80 GiB")
    except UnitError as error:
        raise UnitError(f"--memory: {error}") from None
    sources = {**hardware.sources, "memory_capacity": "assumed: given with --memory"}
    return dataclasses.replace(hardware, memory_capacity=capacity, sources=sources)
