"""Units of every quantity: declared once per field, SI floats inside, prefixes only where people type or read.

`quantity` declares a dataclass field's unit and range; `check` holds an instance to its declarations;
`parse_quantity` and `format_quantity` are the two directions at the edge.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, DecimalException
from typing import Any

from rooflinesim.errors import DomainError, UnitError
from rooflinesim.nouns import Noun

DECIMAL_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
BINARY_PREFIXES = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
SMALL_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12}

MAXIMUM_INTEGER = 2**63
"""Counts beyond this are mistakes."""

_LARGE = DECIMAL_PREFIXES
_BYTES = {**DECIMAL_PREFIXES, **BINARY_PREFIXES}

# Unit -> spellings people use, each with its value in the unit and the prefixes it takes.
_SPELLINGS: Mapping[str, Mapping[str, tuple[float, Mapping[str, float]]]] = {
    "B": {"B": (1.0, _BYTES)},
    "B/s": {"B/s": (1.0, _BYTES), "bit/s": (0.125, _BYTES), "b/s": (0.125, _BYTES)},
    "FLOP": {"FLOP": (1.0, _LARGE)},
    "FLOP/s": {"FLOP/s": (1.0, _LARGE), "FLOPS": (1.0, _LARGE), "OP/s": (1.0, _LARGE), "OPS": (1.0, _LARGE)},
    "s": {"s": (1.0, SMALL_PREFIXES), "min": (60.0, {"": 1.0}), "h": (3600.0, {"": 1.0})},
    "Hz": {"Hz": (1.0, _LARGE)},
    "W": {"W": (1.0, {**SMALL_PREFIXES, **_LARGE})},
    "J": {"J": (1.0, {**SMALL_PREFIXES, **_LARGE})},
    "USD/h": {"USD/h": (1.0, {"": 1.0})},
    "USD": {"USD": (1.0, {"": 1.0})},
    "bit": {"bit": (1.0, {"": 1.0}), "bits": (1.0, {"": 1.0})},
}
EXAMPLES = {
    "B": "80 GB or 80 GiB",
    "B/s": "3.35 TB/s",
    "FLOP": "1.5 TFLOP",
    "FLOP/s": "989.4 TFLOP/s",
    "s": "2.5 us",
    "Hz": "1.83 GHz",
    "W": "700 W",
    "J": "5 J",
    "USD/h": "2.5 USD/h",
    "USD": "2.5 USD",
    "bit": "4.125 bit",
}
_QUANTITY = re.compile(
    r"\s*(?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>.*?)\s*"
)

# What JSON and CSV append to a field's name; a unit that is missing here appends nothing.
_COLUMN_SUFFIX = {
    "s": "s",
    "B": "bytes",
    "B/s": "bytes_per_s",
    "FLOP": "flop",
    "FLOP/s": "flop_per_s",
    "tokens": "tokens",
    "tokens/s": "tokens_per_s",
    "USD": "usd",
    "J": "j",
    "W": "w",
    "Hz": "hz",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Range(Noun):
    """The values that a declared field may take."""

    minimum: float = 0.0
    maximum: float = math.inf
    excludes_minimum: bool = False

    def admits(self, value: float) -> bool:
        """Whether the value lies inside the range."""
        above = value > self.minimum if self.excludes_minimum else value >= self.minimum
        return above and value <= self.maximum

    def __str__(self) -> str:
        lower = f"{'above' if self.excludes_minimum else 'at least'} {self.minimum:g}"
        return lower if math.isinf(self.maximum) else f"{lower} and at most {self.maximum:g}"


def quantity(
    unit: str,
    *,
    default: Any = dataclasses.MISSING,
    minimum: float = 0.0,
    maximum: float = math.inf,
    positive: bool = False,
    column: str | None = None,
    axis: bool = False,
) -> Any:
    """Declare a dataclass field's unit and range; `column` overrides its name in JSON and CSV.

    An `axis` is a tuple of values that files also write as a single value or as a range.
    """
    valid = Range(minimum=minimum, maximum=maximum, excludes_minimum=positive)
    metadata = {"unit": unit, "range": valid, "column": column, "axis": axis}
    return dataclasses.field(default=default, metadata=metadata)


def column_name(field: "dataclasses.Field[Any]") -> str:
    """Name of a field in JSON and CSV: its own, ending in its unit."""
    explicit = field.metadata.get("column")
    if explicit:
        return str(explicit)
    suffix = _COLUMN_SUFFIX.get(field.metadata.get("unit", ""))
    if suffix is None or field.name == suffix or field.name.endswith(f"_{suffix}"):
        return field.name
    return f"{field.name}_{suffix}"


def fields_own_first(kind: type[Any]) -> list["dataclasses.Field[Any]"]:
    """Fields of a dataclass, those that it adds to its base first."""
    own = vars(kind).get("__annotations__", {})
    return sorted(dataclasses.fields(kind), key=lambda field: field.name not in own)


def check(instance: Any) -> None:
    """Hold every number of a dataclass instance to the range that its field declares.

    Raises
    ------
    DomainError : if a number is not finite or outside its field's range.
    """
    for field in dataclasses.fields(instance):
        valid = field.metadata.get("range")
        value = getattr(instance, field.name)
        if valid is None or value is None:
            continue
        if isinstance(value, Mapping):
            numbers: Iterable[tuple[object, Any]] = value.items()
        else:
            numbers = enumerate(value) if isinstance(value, tuple) else ((None, value),)
        for key, number in numbers:
            if abs(number) > MAXIMUM_INTEGER and isinstance(number, int):
                raise DomainError(f"{type(instance).__name__}.{field.name} is too large: it must be {valid}")
            if not math.isfinite(number) or not valid.admits(number):
                place = field.name if key is None else f"{field.name}.{key}"
                raise DomainError(f"{type(instance).__name__}.{place} is {number!r}: it must be {valid}")


def parse_quantity(text: object, unit: str) -> float:
    """Value of a typed quantity in its SI unit; a plain number passes only where the unit is none.

    Raises
    ------
    UnitError : if the text is no finite number, lacks a unit, or has one of another kind.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise UnitError(f"{text!r} is not a quantity; write {_example(unit)}")
    spellings = _SPELLINGS.get(unit)
    if not isinstance(text, str):
        if spellings is not None:
            raise UnitError(f"{text!r} has no unit; write {_example(unit)}")
        value = _number(str(text), 1.0)
    else:
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise UnitError(f"{text!r} is not a quantity; write {_example(unit)}")
        factor = 1.0
        if spellings is not None:
            factor = _unit_factor(text, match["unit"], unit)
        elif unit == "1" and match["unit"] == "%":
            factor = 0.01
        elif match["unit"]:
            raise UnitError(f"{text!r} has the unit {match['unit']!r}, but a plain number is meant")
        # In decimal, so that 2.3 us is the float nearest to 2.3e-6.
        value = _number(match["number"], factor)
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is not finite; write {_example(unit)}")
    return value


def _number(digits: str, factor: float) -> float:
    """Value of decimal digits times a factor; infinite where no float holds it."""
    try:
        return float(Decimal(re.sub("[_,]", "", digits)) * Decimal(repr(factor)))
    except (OverflowError, DecimalException):
        return math.inf


def _unit_factor(text: str, typed: str, unit: str) -> float:
    """Factor that turns the typed unit into the declared one."""
    if not typed:
        raise UnitError(f"{text!r} has no unit; write {_example(unit)}")
    if "sparse" in typed.lower():
        raise UnitError(f"{text!r} is a sparse rate; give the dense one (usually half)")
    for spelling, (factor, prefixes) in _SPELLINGS[unit].items():
        if typed.endswith(spelling) and typed.removesuffix(spelling) in prefixes:
            return factor * prefixes[typed.removesuffix(spelling)]
    raise UnitError(f"{text!r} is not in {unit}; write {_example(unit)}")


def _example(unit: str) -> str:
    return f"it like {EXAMPLES[unit]}" if unit in EXAMPLES else "a plain number"


def format_quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """A value as people read it: `3.35 TB/s`, `9.53 ms`, `80 GB`."""
    if value is None:
        return "-"
    if unit not in _SPELLINGS or unit in ("USD/h", "USD", "bit"):
        return f"{_rounded(value, digits)} {unit}".removesuffix(" 1")
    prefixes = SMALL_PREFIXES if unit == "s" else DECIMAL_PREFIXES
    steps = sorted((scale, prefix) for prefix, scale in prefixes.items() if prefix not in ("u", "μ", "K"))
    scale, prefix = steps[0] if unit == "s" else (1.0, "")
    for candidate, name in steps:
        if abs(value) >= candidate * 0.99995:
            scale, prefix = candidate, name
    if value == 0:
        scale, prefix = 1.0, ""
    return f"{_rounded(value / scale, digits)} {prefix}{unit}"


def _rounded(value: float, digits: int) -> str:
    """Significant digits without an exponent for everyday sizes, thousands set apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 15 or magnitude < -6:
        return f"{value:.{digits}g}"
    text = f"{round(value, digits - 1 - magnitude):,.{max(0, digits - 1 - magnitude)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_tokens(text: str) -> int:
    """Count of tokens or sequences; `k` is 1024 and `M` is 1024^2.

    Raises
    ------
    UnitError : if the text is not a whole, non-negative count.
    """
    match = re.fullmatch(r"\s*(\d[\d_]*(?:\.\d+)?)\s*([kKM]?)\s*", text)
    value = 0.5 if match is None else _number(match[1], {"": 1.0, "k": 1024.0, "K": 1024.0, "M": 1024.0**2}[match[2]])
    if not math.isfinite(value) or value != int(value):
        raise UnitError(f"{text!r} is not a whole count; write it like 2048, 2k or 1M")
    return int(value)


MAXIMUM_RANGE_POINTS = 100_000
MAXIMUM_COUNT = 2**40


def parse_range(text: str, *, minimum: int = 0) -> tuple[int, ...]:
    """Counts that a range names: `8`, `1,8,64`, `1:256` (doubling), `1:256:+16`, `1:256:x4`.

    A doubling or multiplying range ends with its upper end, whether or not a step meets it.

    Raises
    ------
    UnitError : if the range is malformed, empty, too long, or leaves [minimum, 2^40].
    """
    points: list[int] = []
    for part in text.split(","):
        points.extend(_range_part(part, text))
        if len(points) > MAXIMUM_RANGE_POINTS:
            raise UnitError(f"{text!r} names more than {MAXIMUM_RANGE_POINTS:,} points; use a larger step")
    for point in points:
        if not minimum <= point <= MAXIMUM_COUNT:
            raise UnitError(f"{text!r} contains {point}; counts here go from {minimum} to {MAXIMUM_COUNT:,}")
    return tuple(dict.fromkeys(points))


def parse_quantity_range(text: object, unit: str) -> tuple[float, ...]:
    """Values that a quantity or a range of them names: `50 ms`, `1:64` (doubling), `0.5:0.9:+0.1`, `1:100:x10`.

    Raises
    ------
    UnitError : if the range is malformed, empty or too long, or a quantity in it is.
    """
    if not isinstance(text, str) or ":" not in text:
        return (parse_quantity(text, unit),)
    first, last, *rest = (part.strip() for part in text.split(":"))
    mode = rest[0] if rest else "x2"
    if len(rest) > 1 or mode[:1] not in ("+", "x"):
        raise UnitError(f"{text!r} is not a range; write it like 1:64, 0.5:0.9:+0.1 or 1:100:x10")
    start, stop = parse_quantity(first, unit), parse_quantity(last, unit)
    if stop < start:
        raise UnitError(f"{text!r} is empty: {last} is below {first}; write the smaller value first")
    if mode[0] == "+":
        step = parse_quantity(mode[1:], unit)
        if step <= 0 or (stop - start) / step >= MAXIMUM_RANGE_POINTS:
            raise UnitError(
                f"{text!r} never ends, or names more than {MAXIMUM_RANGE_POINTS:,} values; use a larger step"
            )
        # In decimal, so that 0.5:0.9:+0.1 names 0.7 and not its neighbour; a step may miss the end by rounding.
        count = math.floor((stop - start) / step * (1 + 1e-12)) + 1
        return tuple(float(Decimal(repr(start)) + index * Decimal(repr(step))) for index in range(count))
    factor = parse_quantity(mode[1:], "1")
    if factor <= 1 or start <= 0 or math.log(stop / start) / math.log(factor) >= MAXIMUM_RANGE_POINTS:
        raise UnitError(f"{text!r} never ends: multiply a value above zero by more than 1, or add with +")
    values = [start]
    while values[-1] < stop:
        values.append(min(stop, values[-1] * factor))
    return tuple(values)


def _range_part(part: str, text: str) -> list[int]:
    """Points of one comma-separated part of a range."""
    match = re.fullmatch(r"\s*([^:]+?)\s*(?::\s*([^:]+?)\s*(?::\s*([+x])\s*([^:]+?)\s*)?)?", part)
    if match is None:
        raise UnitError(f"{text!r} is not a range; write it like 8, 1,8,64, 1:256, 1:256:+16 or 1:256:x4")
    first, last_text, mode, step_text = match[1], match[2], match[3], match[4]
    start = parse_tokens(first)
    if last_text is None:
        return [start]
    stop = parse_tokens(last_text)
    if stop < start:
        raise UnitError(f"{text!r} is empty: {stop} is below {start}; write the smaller count first")
    if mode == "+":
        step = parse_tokens(step_text)
        if step < 1:
            raise UnitError(f"{text!r} never ends: its step is {step}; use at least +1")
        if (stop - start) // step >= MAXIMUM_RANGE_POINTS:
            raise UnitError(f"{text!r} names more than {MAXIMUM_RANGE_POINTS:,} points; use a larger step")
        return list(range(start, stop + 1, step))
    factor = parse_tokens(step_text) if mode else 2
    if factor < 2:
        raise UnitError(f"{text!r} never ends: its factor is {factor}; use at least x2")
    points = [start]
    while points[-1] < stop:
        points.append(min(stop, max(points[-1] * factor, 1)))
    return points
