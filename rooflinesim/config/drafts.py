"""Names of draft heads -> their shapes: published ones by name or for a target, else by rule from the target."""

import re
from typing import cast

from rooflinesim.config.catalogue import entries, resolve
from rooflinesim.config.files import profile_folder, read_profile
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.model import Model

NEWEST = 3


def load_draft(name: str | None, target: Model) -> DraftHead:
    """The EAGLE head that a name stands for beside a target: `eagle`, `eagle2`, `eagle3`, a preset, or a path.

    A generation takes the published head of the target where its shape is known to differ, else follows the target.

    Raises
    ------
    UnknownNameError : if nothing goes by the name.
    FileError, ProfileError : if a file cannot be read.
    """
    generation = NEWEST if name is None else _generation(name)
    if generation is None:
        path = resolve("draft", name or "").path
        return cast(DraftHead, read_profile("draft", path, is_shipped=path.parent == profile_folder("draft")))
    names = {entry.key: entry.name for entry in entries("model")}
    for entry in entries("draft"):
        head = cast(DraftHead, read_profile("draft", entry.path, is_shipped=True))
        same = generation >= NEWEST if head.generation >= NEWEST else generation < NEWEST
        if same and target.name in (names.get(key, key) for key in head.targets):
            return head
    return head_of_target(target, generation)


def _generation(name: str) -> int | None:
    """Generation of EAGLE that a bare name says, None where it names a head."""
    match = re.fullmatch(r"eagle[-_ ]?([123])?", name.strip().lower())
    if match is None:
        return None
    return int(match[1]) if match[1] else 1


def head_of_target(target: Model, generation: int) -> DraftHead:
    """A head whose shape follows the target's."""
    assumptions = []
    if not any(group.mlp for group in target.layers):
        assumptions.append("MLP of 3.5 times the width assumed, since the target has no dense one")
    if not any(group.attention for group in target.layers):
        assumptions.append("one KV head per query head assumed, since the target has no grouped attention")
    return DraftHead(
        name=f"EAGLE-{generation} head of {target.name}",
        source="one decoder layer of the target's shape, as EAGLE's released code builds it",
        generation=generation,
        assumptions=tuple(assumptions),
    )
