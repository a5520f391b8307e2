"""Files that include others: what a file says goes before what it includes, key by key."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rooflinesim.config.inheritance import merged
from rooflinesim.errors import FileError

MAXIMUM_DEPTH = 8


def included(
    data: Mapping[str, Any],
    path: Path,
    read: Callable[[Path], object],
    rooted: Callable[[Mapping[str, Any], Path], dict[str, Any]] = lambda data, _: dict(data),
    chain: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """Data of a file together with that of the files it names under `include`, by paths relative to itself.

    Later files go before earlier ones, the file itself before all. `rooted` rewrites the relative paths that a
    file's data holds, before it is merged with data from another folder.

    Raises
    ------
    FileError : if an included file cannot be read, holds no mapping, or files include each other.
    """
    own = rooted({key: value for key, value in data.items() if key != "include"}, path.parent)
    if "include" not in data:
        return own
    names = data["include"] if isinstance(data["include"], list) else [data["include"]]
    chain = (*chain, Path(os.path.realpath(path)))
    whole: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str):
            raise FileError(f"{path.name}: include: {name!r:.60} is not a path; write it like include: base.yaml")
        other = path.parent / Path(name).expanduser()
        if Path(os.path.realpath(other)) in chain or len(chain) > MAXIMUM_DEPTH:
            raise FileError(f"{path.name}: include: {name}: files include each other, or nest too deeply")
        found = read(other)
        if not isinstance(found, Mapping):
            raise FileError(f"{path.name}: include: {name} holds no keys; include a file of one mapping")
        whole = merged(whole, included(found, other, read, rooted, chain))
    return merged(whole, own)
