"""Models by their id on the Hugging Face hub: configuration and index, never weights, from the cache first."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

from rooflinesim.config.checkpoint import INDEX, is_complete, read_announced, read_checkpoint
from rooflinesim.config.huggingface import read_config
from rooflinesim.errors import FileError
from rooflinesim.specs.model import Model

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SIDE_FILE = "hf_quant_config.json"
_TIMEOUT = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Files of one revision of a model on the hub; `unknown` are those that could not be asked for."""

    hub_id: str
    revision: str
    config: Path
    index: Path | None
    weights: Path | None
    unknown: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What to say about where the model comes from."""
        lacking = f"; {' and '.join(self.unknown)} cannot be asked for and is taken as absent" if self.unknown else ""
        return f"{self.hub_id!r} is read from the Hugging Face hub, revision {self.revision[:12]}{lacking}"


def is_hub_id(name: str) -> bool:
    """Whether a name has the form organisation/model."""
    return _ID.fullmatch(name) is not None


@functools.cache
def hub_files(hub_id: str) -> HubFiles:
    """Files of a model on the hub: from the cache where they are there, else fetched.

    Raises
    ------
    FileError : with the reason why they cannot be had.
    """
    try:
        import huggingface_hub as hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise FileError("to read it from the Hugging Face hub: pip install 'rooflinesim[hub]'") from None
    config = _cached(hub, hub_id, "config.json", None)
    is_reached = config is None and _reach(hub, hub_id)
    path = config or _fetched(hub, hub_id, "config.json", None)
    if path is None:
        raise FileError(f"{hub_id} on the Hugging Face hub has no config.json; fetch a .gguf of it and give its path")
    revision = path.parent.name
    found: dict[str, Path | None] = {}
    unknown: list[str] = []
    for name in (_SIDE_FILE, INDEX):
        found[name] = _cached(hub, hub_id, name, revision)
        if found[name] is None and not _is_known_absent(hub, hub_id, name, revision):
            try:
                is_reached = is_reached or _reach(hub, hub_id)
                found[name] = _fetched(hub, hub_id, name, revision)
            except FileError:
                unknown.append(name)
    return HubFiles(
        hub_id=hub_id,
        revision=revision,
        config=path,
        index=found[INDEX],
        weights=_cached(hub, hub_id, "model.safetensors", revision),
        # An index only checks the total; the other file decides the formats.
        unknown=tuple(name for name in unknown if name == _SIDE_FILE),
    )


def read_hub_model(files: HubFiles) -> Model:
    """The model of files of the hub, its bytes from headers where the cache holds the weights too."""
    if files.weights is not None:
        model = read_checkpoint(files.config.with_name(files.weights.name))
    elif files.index is not None and is_complete(files.index):
        model = read_checkpoint(files.index)
    elif files.index is not None:
        model = read_announced(files.config, files.index)
    else:
        model = read_config(files.config)
    source = f"{files.hub_id} on the Hugging Face hub, revision {files.revision[:12]}: {model.source}"
    return dataclasses.replace(model, name=files.hub_id.partition("/")[2], source=source)


def _cached(hub: Any, hub_id: str, name: str, revision: str | None) -> Path | None:
    """A file of the cache, if it is there."""
    found = hub.try_to_load_from_cache(hub_id, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _is_known_absent(hub: Any, hub_id: str, name: str, revision: str) -> bool:
    """Whether the cache remembers that the hub has no such file."""
    found = hub.try_to_load_from_cache(hub_id, name, revision=revision)
    return found is not None and not isinstance(found, str)


def _reach(hub: Any, hub_id: str) -> bool:
    """Ask once for a model, without the retries of a download.

    Raises
    ------
    FileError : if the hub cannot be reached, or does not show the model.
    """
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(hub_id, "config.json"), timeout=_TIMEOUT)
    except Exception as error:  # the package's network errors are those of its HTTP library, which changed
        if not _is_missing(hub, error):
            raise FileError(_reason(hub, hub_id, error)) from None
    return True


def _fetched(hub: Any, hub_id: str, name: str, revision: str | None) -> Path | None:
    """A small file of a model, None where the hub has none.

    Raises
    ------
    FileError : if it cannot be fetched.
    """
    try:
        return Path(hub.hf_hub_download(hub_id, name, revision=revision, etag_timeout=_TIMEOUT))
    except Exception as error:  # as above
        if _is_missing(hub, error):
            return None
        raise FileError(_reason(hub, hub_id, error)) from None


def _is_missing(hub: Any, error: Exception) -> bool:
    """Whether the hub answered that there is no such file."""
    return isinstance(error, hub.errors.EntryNotFoundError) and not isinstance(
        error, hub.errors.LocalEntryNotFoundError
    )


def _reason(hub: Any, hub_id: str, error: Exception) -> str:
    """Why a model cannot be had, and what to do."""
    if isinstance(error, hub.errors.GatedRepoError):
        return f"{hub_id} on the Hugging Face hub is gated: accept its licence there and run `hf auth login`"
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return f"the Hugging Face hub shows no model {hub_id}; check the id, or run `hf auth login` if it is private"
    if hub.constants.HF_HUB_OFFLINE:
        return f"{hub_id} is not in the hub's cache and HF_HUB_OFFLINE is set; fetch its config.json and give the path"
    what = type(error).__name__
    return f"{hub_id} is not in the hub's cache and the Hugging Face hub does not answer ({what}); check the network"
