"""How a user says that tokens choose experts."""

import dataclasses
from pathlib import Path

from rooflinesim import units
from rooflinesim.config.files import read_text
from rooflinesim.errors import FileError, UnitError
from rooflinesim.specs.routing import UNIFORM, Routing
from rooflinesim.specs.stack import Stack

MAXIMUM_EXPONENT = 10


def with_routing(stack: Stack, text: str | None) -> Stack:
    """The stack with the routing that a text names: `uniform`, `zipf:EXPONENT`, or a file of frequencies.

    The file holds one number per expert, apart by white space or commas: the probability that the expert
    is among a token's choices.

    Raises
    ------
    UnitError : if the text is none of these.
    FileError : if the file cannot be read or holds something else than numbers.
    """
    if text is None:
        return stack
    wanted = text.strip().lower()
    if wanted == "uniform":
        routing = UNIFORM
    elif wanted.startswith("zipf:"):
        routing = Routing(zipf_exponent=_exponent(text, wanted.removeprefix("zipf:")))
    elif Path(text).exists():
        routing = Routing(frequencies=_frequencies(Path(text)))
    else:
        raise UnitError(f"--routing: {text!r} is no file; write uniform, zipf:1.0, or the path of expert frequencies")
    sources = {**stack.sources, "routing": f"given: {text}"}
    return dataclasses.replace(stack, routing=routing, sources=sources, kinds={**stack.kinds, "routing": "assumed"})


def _exponent(text: str, digits: str) -> float:
    """Exponent of Zipf's law."""
    try:
        exponent = units.parse_quantity(digits, "1")
    except UnitError:
        exponent = -1.0
    if not 0 <= exponent <= MAXIMUM_EXPONENT:
        raise UnitError(f"--routing: {text!r}: the exponent must be 0 to {MAXIMUM_EXPONENT}; write it like zipf:1.0")
    return exponent


def _frequencies(path: Path) -> tuple[float, ...]:
    """Numbers of a text file."""
    numbers = []
    for word in read_text(path).replace(",", " ").split():
        try:
            number = units.parse_quantity(word, "1")
        except UnitError:
            number = -1.0
        if not 0 <= number <= 1:
            raise FileError(f"{path.name}: {word!r} is no frequency; give numbers from 0 to 1, one per expert")
        numbers.append(number)
    if not numbers:
        raise FileError(f"{path.name}: holds no frequencies; give one number per expert")
    return tuple(numbers)
