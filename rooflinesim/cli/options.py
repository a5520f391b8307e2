"""Options that several commands share; one name per idea."""

from collections.abc import Sequence
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


class MethodChoice(StrEnum):
    """Ways to draft."""

    draft_model = "draft-model"
    eagle = "eagle"
    medusa = "medusa"
    mtp = "mtp"
    ngram = "ngram"
    self = "self"
    lookahead = "lookahead"


class AcceptanceChoice(StrEnum):
    """What a number of acceptance means."""

    conditional = "conditional"
    drafted = "drafted"
    length = "length"
    length_with_bonus = "length-with-bonus"
    curve = "curve"


_SPECULATION = "Speculation"
Method = Annotated[MethodChoice, typer.Option("--method", help="How tokens are drafted.", rich_help_panel=_SPECULATION)]
Draft = Annotated[
    str | None,
    typer.Option(
        "--draft",
        metavar="MODEL",
        help="The draft model; for eagle: eagle, eagle2, eagle3 (default), or a head from `list drafts`.",
        rich_help_panel=_SPECULATION,
    ),
]
DraftGpu = Annotated[
    str | None,
    typer.Option("--draft-gpu", metavar="GPU", help="Devices of the draft's own.", rich_help_panel=_SPECULATION),
]
DraftTp = Annotated[
    int | None,
    typer.Option(
        "--draft-tp",
        min=1,
        max=4096,
        help="Devices that share the draft; default: the target's, or one where that drafts faster.",
        rich_help_panel=_SPECULATION,
    ),
]
DraftWeights = Annotated[
    str | None,
    typer.Option(
        "--draft-weights",
        metavar="FORMAT",
        help="Number format of the draft model; default: as stored",
        rich_help_panel=_SPECULATION,
    ),
]
DraftCost = Annotated[
    str | None,
    typer.Option(
        "--draft-cost",
        metavar="COST",
        help="Measured cost of one draft pass in place of the model's: 0.05 of a plain step, or 0.8 ms.",
        rich_help_panel=_SPECULATION,
    ),
]
DraftContext = Annotated[
    str | None,
    typer.Option(
        "--draft-context",
        metavar="TOKENS",
        help="Cached tokens that the draft reads at most (sparse or sliding cache); default: all.",
        rich_help_panel=_SPECULATION,
    ),
]
ExitLayer = Annotated[
    int | None,
    typer.Option(
        "--exit-layer",
        metavar="N",
        help="With --method self: the target's first N layers draft.",
        rich_help_panel=_SPECULATION,
    ),
]
HitRate = Annotated[
    float,
    typer.Option(
        "--hit-rate",
        min=0.0,
        max=1.0,
        help="With --method ngram: share of the rounds that find a draft.",
        rich_help_panel=_SPECULATION,
    ),
]
Heads = Annotated[
    int | None,
    typer.Option(
        "--heads",
        min=1,
        max=64,
        help="With --method medusa: its heads; default: one per drafted position.",
        rich_help_panel=_SPECULATION,
    ),
]
DraftLength = Annotated[
    str,
    typer.Option(
        "--draft-length",
        metavar="RANGE",
        help="Tokens drafted per round: 5; 2,3,5; 0:8:+1. 0 is plain decoding, always among the choices.",
        rich_help_panel=_SPECULATION,
    ),
]
TreeText = Annotated[
    str | None,
    typer.Option(
        "--tree",
        metavar="SPEC",
        help="Draft trees: best, best:NODES:DEPTH, steps/topk/nodes like 3/4/16, widths like 4x2x1, or parents.",
        rich_help_panel=_SPECULATION,
    ),
]
AcceptanceText = Annotated[
    str | None,
    typer.Option(
        "--acceptance",
        metavar="X",
        help="How much of a draft is kept: 0.8; 0.8,0.62,0.5 for a curve, or by rank for a tree. Required.",
        rich_help_panel=_SPECULATION,
    ),
]
AcceptanceKindName = Annotated[
    AcceptanceChoice,
    typer.Option(
        "--acceptance-kind",
        help="Per token given those before; share of drafted; kept per round; emitted per round; per position.",
        rich_help_panel=_SPECULATION,
    ),
]
AcceptanceAt = Annotated[
    int | None,
    typer.Option(
        "--acceptance-at",
        min=1,
        max=4096,
        metavar="N",
        help="Draft length at which a share or length was measured; default: the longest asked about.",
        rich_help_panel=_SPECULATION,
    ),
]
Decay = Annotated[
    float,
    typer.Option(
        "--decay",
        min=0.0,
        max=1.0,
        help="Factor on the acceptance from one position to the next.",
        rich_help_panel=_SPECULATION,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0.0,
        help="At which acceptance was measured; above 0 rejection sampling reads the draft's distributions.",
        rich_help_panel=_SPECULATION,
    ),
]
Relaxed = Annotated[
    bool,
    typer.Option(
        "--relaxed",
        help="Acceptance is that of a relaxed rule: the output is not exactly the target's.",
        rich_help_panel=_SPECULATION,
    ),
]


def ratio_or_time(text: str | None, option: str) -> tuple[float | None, float | None]:
    """A plain share or a time, whichever the text is.

    Raises
    ------
    UnitError : that names the option.
    """
    from rooflinesim.errors import UnitError

    if text is None:
        return None, None
    for unit in ("1", "s"):
        try:
            value = units.parse_quantity(text, unit)
        except UnitError:
            continue
        if value >= 0:
            return (value, None) if unit == "1" else (None, value)
    raise UnitError(f"{option}: {text!r} is no cost; write a share of a plain step like 0.05, or a time like 0.8 ms")


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


def picks_of(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Values of axes by the side that they are for: "a", "b", or "" for both.

    Raises
    ------
    UnitError : that names the option.
    """
    from rooflinesim.errors import UnitError

    found: dict[str, dict[str, str]] = {"": {}, "a": {}, "b": {}}
    for text in texts:
        name, equals, value = text.partition("=")
        side, dot, axis = name.strip().lower().rpartition(".")
        if not equals or not axis or not value.strip() or (dot and side not in ("a", "b")):
            raise UnitError(f"--pick: {text!r} is no pick; write it like batch=64 or b.hardware=h200")
        if axis in found[side]:
            raise UnitError(f"--pick: {name.strip()} is given twice; give one value")
        found[side][axis] = value.strip()
    return found


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


def one_duration(text: str, option: str) -> float:
    """A time in seconds, written like 60s, 3m or 1h.

    Raises
    ------
    UnitError : that names the option.
    """
    import re

    from rooflinesim.errors import UnitError

    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)\s*", text)
    value = float(match[1]) * {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[match[2]] if match else 0.0
    if not 0.0 < value <= 86400.0:
        raise UnitError(f"{option}: {text!r} is no time of at most a day; write it like 60s, 3m or 10m")
    return value


def one_price(text: str) -> float:
    """Price of one device [USD/h], written with or without its unit.

    Raises
    ------
    UnitError : that names the option.
    """
    from rooflinesim.errors import UnitError

    try:
        price = units.parse_quantity(text if "/" in text else f"{text} USD/h", "USD/h")
        if price <= 0:
            raise UnitError(f"{text!r} is no price; write it like '2.5 USD/h'")
    except UnitError as error:
        raise UnitError(f"--price: {error}") from None
    return price


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
