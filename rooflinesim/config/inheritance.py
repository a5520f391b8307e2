"""Profiles that say only what is different: the rest is that of the profile they are based on."""

from collections.abc import Callable, Mapping
from typing import Any

from rooflinesim.errors import ProfileError

OWN_KEYS = (
    "name", "aliases", "based_on", "source", "fitted_on", "kernels_fitted_on", "bands", "transfer_bands",
)  # fmt: skip
"""Keys that are never inherited; bands are where a profile has none of its own."""

MAXIMUM_GENERATIONS = 4


def inherited(data: Mapping[str, Any], parent: Callable[[str], Mapping[str, Any]], place: str) -> dict[str, Any]:
    """Data of a profile with what it leaves out taken from the profile that it is based on, key by key.

    Raises
    ------
    ProfileError : if profiles are based on each other, or on too many others in a row.
    """
    chain = [dict(data)]
    while isinstance(chain[-1].get("based_on"), str) and chain[-1]["based_on"]:
        if len(chain) > MAXIMUM_GENERATIONS:
            raise ProfileError(
                [f"{place}: based_on: more than {MAXIMUM_GENERATIONS} profiles in a row; name one directly"]
            )
        chain.append(dict(parent(chain[-1]["based_on"])))
    whole: dict[str, Any] = {}
    for generation in reversed(chain[1:]):
        kept = {key: value for key, value in generation.items() if key not in OWN_KEYS or key.endswith("bands")}
        whole = _merged(whole, kept)
    return _merged(whole, chain[0])


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one; where both have a mapping, theirs are merged too."""
    whole = dict(base)
    for key, value in own.items():
        under = whole.get(key)
        whole[key] = _merged(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return whole
