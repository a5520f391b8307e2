"""The folder in which the parts of a large file gather until they are all there: nothing in it is ever half-written."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rooflinesim.errors import FileError
from rooflinesim.nouns import Noun

_MANIFEST = "manifest.json"
_LOCK = "lock"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Parts(Noun):
    """Parts of the file `output` in the folder beside it; `suffix` is that of their names."""

    output: Path
    suffix: str

    @property
    def folder(self) -> Path:
        """Where the parts are."""
        return self.output.with_name(f"{self.output.name}.parts")

    def path(self, index: int) -> Path:
        """File of a part."""
        return self.folder / f"part-{index:06d}{self.suffix}"

    def note_path(self, index: int) -> Path:
        """File of what is known about a part; it is there when the part is whole."""
        return self.folder / f"part-{index:06d}.json"

    def note(self, index: int) -> Mapping[str, Any] | None:
        """What is known about a part; None if it is not there or not whole."""
        try:
            note: Mapping[str, Any] = json.loads(self.note_path(index).read_text(encoding="utf-8"))
            return note if self.path(index).stat().st_size == note["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, index: int, data: bytes, note: Mapping[str, Any]) -> None:
        """Write a part, and then what is known about it.

        Raises
        ------
        FileError : if it cannot be written; nothing half-written is left.
        """
        with said_plainly(self.folder):
            write_whole(self.path(index), data)
            write_whole(self.note_path(index), json.dumps({**note, "bytes": len(data)}).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its name, then give it the name."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def said_plainly(folder: Path) -> Iterator[None]:
    """Say errors of the file system in words, and that what was kept is not lost."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error};"
            f" what is done stays in {folder}: make room and run the same command again"
        ) from None


@contextlib.contextmanager
def opened(parts: Parts, manifest: Mapping[str, Any]) -> Iterator[None]:
    """The folder of parts, held for this process; parts that another question left in it are removed.

    Raises
    ------
    FileError : if the folder cannot be made, or another process holds it.
    """
    wanted = manifest_text(manifest)
    with said_plainly(parts.folder), contextlib.ExitStack() as held:
        parts.folder.mkdir(exist_ok=True)
        lock = held.enter_context((parts.folder / _LOCK).open("w"))
        _hold(lock, parts)
        path = parts.folder / _MANIFEST
        if kept_count(parts, manifest) is None:
            for other in parts.folder.iterdir():
                if other.name != _LOCK:
                    other.unlink()
            write_whole(path, wanted.encode())
        try:
            yield
        finally:
            # Nothing was made: nothing is left to take up again.
            if parts.folder.is_dir() and not any(parts.folder.glob("part-*.json")):
                shutil.rmtree(parts.folder)


def kept_count(parts: Parts, manifest: Mapping[str, Any]) -> int | None:
    """How many parts of the same file are there from before; None where there is no folder of the same file."""
    path = parts.folder / _MANIFEST
    if not (path.is_file() and path.read_text(encoding="utf-8") == manifest_text(manifest)):
        return None
    return len(list(parts.folder.glob("part-*.json")))


def _hold(lock: Any, parts: Parts) -> None:
    """Lock a file until this process ends; systems without such locks go without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(
            f"{parts.folder}: another sweep is writing {parts.output.name}; wait for it, or name another file"
        ) from None


def finish_file(parts: Parts, draft: Path, manifest: Mapping[str, Any]) -> None:
    """Give a whole file in the folder its name, its manifest beside it, and remove the folder."""
    with said_plainly(parts.folder):
        write_manifest(parts.output, manifest)
        draft.replace(parts.output)
        shutil.rmtree(parts.folder)


def finish_folder(parts: Parts, manifest: Mapping[str, Any]) -> None:
    """Give the folder itself the name of the output, with nothing in it but the parts; the manifest is beside it."""
    with said_plainly(parts.folder):
        write_manifest(parts.output, manifest)
        for other in parts.folder.iterdir():
            if other.suffix != parts.suffix:
                other.unlink()
        if parts.output.is_dir():
            shutil.rmtree(parts.output)
        else:
            parts.output.unlink(missing_ok=True)
        parts.folder.replace(parts.output)


def write_manifest(output: Path, manifest: Mapping[str, Any]) -> None:
    """Write what a file holds beside it."""
    write_whole(output.with_name(f"{output.name}.manifest.json"), manifest_text(manifest).encode())


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """What a file holds, as text."""
    return json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
