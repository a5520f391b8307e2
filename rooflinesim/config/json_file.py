"""Reading of JSON files that others wrote: one object, bounded in size and depth."""

import collections
import json
from pathlib import Path

from rooflinesim.config.files import read_text
from rooflinesim.errors import FileError

MAXIMUM_BYTES = 50_000_000


def read_object(path: Path) -> tuple[dict[str, object], tuple[str, ...]]:
    """The object that a JSON file holds, and its keys that stand twice; bare NaN and Infinity are read.

    Raises
    ------
    FileError : if the file is missing, too large, not UTF-8, no JSON, no object, or nested too deeply.
    """
    if path.exists() and not path.is_file():
        raise FileError(f"{path.name}: no regular file; give the path of a config.json")
    text = read_text(path, limit=MAXIMUM_BYTES).removeprefix("\ufeff")
    repeated: dict[str, None] = {}

    def last_of_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) < len(pairs):
            given = collections.Counter(key for key, _ in pairs)
            repeated.update(dict.fromkeys(key for key in given if given[key] > 1))
        return values

    try:
        data = json.loads(text, object_pairs_hook=last_of_each)
    except json.JSONDecodeError as error:
        what = "it ends too early" if error.pos >= len(text.rstrip()) else error.msg
        raise FileError(f"{path.name}: line {error.lineno}: not readable as JSON: {what}; fetch it again") from None
    except RecursionError:
        raise FileError(f"{path.name}: not readable as JSON: nested too deeply; fetch it again") from None
    except ValueError as error:
        raise FileError(f"{path.name}: not readable as JSON: {error}; fetch it again") from None
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else f"{data!r:.40}"
        raise FileError(f"{path.name}: holds {kind}, no object; give a config.json")
    return data, tuple(repeated)
