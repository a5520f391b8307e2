"""Whole files or none: written beside the target, then renamed."""

import os
import tempfile
from pathlib import Path

from rooflinesim.errors import FileError


def write_text(path: Path, text: str) -> None:
    """Put a text into a file, which is replaced as a whole; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put bytes into a file, which is replaced as a whole.

    Raises
    ------
    FileError : if the folder is missing or the file cannot be written; then nothing is left behind.
    """
    temporary: str | None = None
    try:
        path = Path(os.path.realpath(path))
        if path.is_dir():
            raise FileError(f"{path}: this is a directory; name a file in it")
        if path.exists() and not path.is_file():
            # A pipe or device: nothing to keep whole, and renaming a file over it would replace it.
            path.write_bytes(content)
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise FileError(
            f"{path}: cannot be written: {error.strerror or error}; name a file in a writable folder"
        ) from None
