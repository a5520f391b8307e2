"""Files of software stacks from a fit: design facts as they stand, fitted numbers and their bands anew."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rooflinesim.analysis.bands import kind_of
from rooflinesim.analysis.requests import LOOPED
from rooflinesim.api.calibrate import LeaveOut, RunData
from rooflinesim.api.measured import known_hardware, known_stack
from rooflinesim.config.files import parse_yaml, profile_folder, read_text
from rooflinesim.config.labels import device_reading
from rooflinesim.errors import FileError
from rooflinesim.validation.stack_fit import StackFit
from rooflinesim.validation.stack_profiles import (
    bands,
    class_values,
    enclosing,
    engine_values,
    fitted_paths,
    stack_data,
    waiting_data,
)

OWN_BANDS = 20
"""Runs from which a stack has bands of its own residuals."""

OWN_TRANSFER_BANDS = 40
"""Runs from which a stack's bands on other devices are those of its own runs with devices left out."""


def band_kinds(data: RunData) -> np.ndarray:
    """Kind of step of each run by which bands are told apart."""
    return np.array(
        [
            "first_token"
            if run.serving in LOOPED
            else kind_of(one.deployment, is_single=run.batch <= 1, is_prompt=run.serving == "first_token")
            for one, run in zip(data.table.runs, data.runs, strict=True)
        ]
    )


def stack_files(
    data: RunData, fitted: StackFit, transferred: Mapping[LeaveOut, np.ndarray], source: str
) -> dict[str, dict[str, Any]]:
    """Plain data of every fitted stack's file.

    `transferred` holds predictions with devices and with engines left out, from which the bands of other
    devices and of unknown engines come.
    """
    kinds, table, used = band_kinds(data), data.table, data.weights > 0
    times = table.predicted(fitted.logarithms(table.engines))
    times[data.looped], waitings = data.first_token_times(fitted, np.ones(used.size, dtype=bool))
    ratios = table.measured / times
    left = {name: table.measured / predicted for name, predicted in transferred.items()}
    base = known_stack("generic")
    band_weights = np.where(data.queued, 1.0, data.weights)
    files: dict[str, dict[str, Any]] = {}
    unknown_waits: dict[str, Any] = {}
    for engine in ("generic", *fitted.engines):
        is_class = engine == "generic"
        mine = np.ones(used.size, dtype=bool) if is_class else table.engines == engine
        whole = shipped_profile("stack", engine)
        for path in fitted_paths():
            _drop(whole, path)
        numbers = stack_data(class_values(fitted) if is_class else engine_values(fitted, engine), base)
        count = int((mine & used).sum())
        whole = _over(whole, numbers)
        if engine in waitings:
            whole = _over(whole, waiting_data(waitings[engine], int((mine & data.queued).sum()), source))
        if is_class:
            if "engine" in left:
                whole["bands"] = bands(left["engine"], kinds, band_weights, "of engines left out of the fit")
                # Engines without first tokens of their own wait as unknown ones do.
                unknown_waits = {name: one for name, one in whole["bands"].items() if name == "first_token"}
        else:
            whole["source"] = f"{count} published runs of {engine} ({source}); {_leaves(numbers)} constants differ"
            whole["fitted_on"] = sorted(
                {_device(run.device) for run, one in zip(data.runs, mine & used, strict=True) if one}
            )
            whole.pop("bands", None)
            if count >= OWN_BANDS:
                weights = np.where(mine, band_weights, 0.0)
                whole["bands"] = bands(ratios, kinds, weights, "it was fitted on")
            if "gpu" in left:
                weights = np.where(mine, band_weights, 0.0) if count >= OWN_TRANSFER_BANDS else band_weights
                other = bands(left["gpu"], kinds, weights, "of devices left out of the fit")
                if engine not in waitings:
                    other = {**other, **unknown_waits}
                whole["transfer_bands"] = enclosing(other, whole.get("bands", {}))
        files[engine] = whole
    return files


def shipped_profile(kind: str, key: str) -> dict[str, Any]:
    """Plain data of a shipped profile's file, nothing inherited.

    Raises
    ------
    FileError : if it is no profile.
    """
    own = parse_yaml(read_text(profile_folder(kind) / f"{key}.yaml"), key, is_shipped=True)
    if not isinstance(own, dict):
        raise FileError(f"{key}.yaml: holds no profile")
    return dict(own)


def _device(label: str) -> str:
    return known_hardware(device_reading(label).name).name


def _drop(data: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take a key out of nested data, and mappings that it leaves empty."""
    under = data.get(path[0])
    if len(path) == 1:
        data.pop(path[0], None)
    elif isinstance(under, Mapping):
        inner = dict(under)
        _drop(inner, path[1:])
        if inner:
            data[path[0]] = inner
        else:
            del data[path[0]]


def _leaves(data: Mapping[str, Any]) -> int:
    return sum(_leaves(value) if isinstance(value, Mapping) else 1 for value in data.values())


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(base)
    for key, value in own.items():
        under = whole.get(key)
        whole[key] = _over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return whole
