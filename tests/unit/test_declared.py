import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import pytest

from rooflinesim.config.declared import build, json_schema
from rooflinesim.errors import DomainError, ProfileError
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack
from rooflinesim.units import check, quantity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    radius: float = quantity("B", positive=True)
    spokes: int = quantity("1", default=3, minimum=3, maximum=99)

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cart:
    name: str
    kind: Literal["hand", "ox"] = "hand"
    is_red: bool = False
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    load: Mapping[str, float] = quantity("B/s", default=None)
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise DomainError("this name is forbidden; take another")


def problems(data: object) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        build(Cart, data, "cart.yaml")
    return list(caught.value.problems)


def test_plain_data_becomes_an_instance_with_si_values():
    cart = build(
        Cart,
        {
            "name": "c",
            "kind": "ox",
            "wheels": [{"radius": "2 kB"}],
            "spare": {"radius": "1 KiB", "spokes": 5},
            "load": {"a": "1 TB/s"},
        },
        "cart.yaml",
    )
    assert cart == Cart(
        name="c", kind="ox", wheels=(Wheel(radius=2000.0),), spare=Wheel(radius=1024.0, spokes=5), load={"a": 1e12}
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "required key 'name' is missing; add it"),
        ({"name": "c", "aliasses": []}, "unknown key 'aliasses'; did you mean 'aliases'?"),
        (
            {"name": "c", "spare": {"radios": "1 B", "radius": "1 B"}},
            "unknown key 'spare.radios'; did you mean 'radius'?",
        ),
        (
            {"name": "c", "wheels": [{"radius": "1 B"}, {"radius": "1"}]},
            "wheels.1.radius: '1' has no unit; write it like 80 GB or 80 GiB",
        ),
        ({"name": "c", "spare": {}}, "required key 'spare.radius' is missing; write it like radius: 80 GB or 80 GiB"),
        ({"name": "c", "spare": {"radius": "0 B"}}, "spare.radius: '0 B' is out of range; it must be above 0"),
        ({"name": "c", "spare": {"radius": None}}, "spare.radius: has no value; give one or leave the key out"),
        (
            {"name": "c", "spare": {"radius": "1 B", "spokes": 100}},
            "spare.spokes: 100 is out of range; it must be at least 3 and at most 99",
        ),
        (
            {"name": "c", "spare": {"radius": "1 B", "spokes": 5.0}},
            "spare.spokes: 5.0 is not a whole number; write a plain count",
        ),
        (
            {"name": "c", "spare": {"radius": "1 B", "spokes": True}},
            "spare.spokes: True is not a whole number; write a plain count",
        ),
        ({"name": "c", "load": {"a": math.nan}}, "load.a: nan has no unit; write it like 3.35 TB/s"),
        ({"name": "forbidden"}, "this name is forbidden; take another"),
    ],
)
def test_a_problem_names_the_file_the_key_and_the_remedy(data, problem):
    assert problems(data) == [f"cart.yaml: {problem}"]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"name": "c", "kind": "dog"}, "kind"),
        ({"name": "c", "is_red": "yes"}, "is_red"),
        ({"name": "c", "aliases": "one"}, "aliases"),
        ({"name": "c", "wheels": {"radius": "1 B"}}, "wheels"),
        ({"name": "c", "spare": [1]}, "spare"),
        ({"name": "c", "load": 5}, "load"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_key(data, key):
    (problem,) = problems(data)
    assert problem.startswith(f"cart.yaml: {key}: ")


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_something_that_is_no_mapping_is_refused(data):
    (problem,) = problems(data)
    assert problem.startswith("cart.yaml: ")


def test_all_problems_are_told_at_once():
    data = {"nam": "c", "kind": "dog", "spare": {"radius": "1"}, "wheels": [{"radius": "-1 B"}]}
    found = problems(data)
    assert len(found) == 5
    for part in ("'nam'; did you mean 'name'", "required key 'name'", "kind: ", "spare.radius", "wheels.0.radius"):
        assert sum(part in problem for problem in found) == 1


def test_a_sparse_rate_is_refused_with_the_reason():
    (problem,) = problems({"name": "c", "sparse_load": {"a": "1 TB/s"}})
    assert problem == "cart.yaml: unknown key 'sparse_load'; only dense rates enter a profile: give dense_flop_rate"


def test_a_number_too_large_for_a_float_is_a_problem_and_no_crash():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Many:
        count: int = quantity("1")
        share: float = quantity("1", default=0.0)

        def __post_init__(self) -> None:
            check(self)

    for data in ({"count": 10**400}, {"count": 1, "share": 10**400}):
        with pytest.raises(ProfileError):
            build(Many, data, "many.yaml")


@pytest.mark.parametrize("spec", [Hardware, Model, Stack])
def test_the_schema_names_each_field_and_forbids_others(spec):
    schema = json_schema(spec)
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(spec)}
    assert schema["additionalProperties"] is False
    assert "name" in schema["required"]


def test_the_schema_tells_units_and_ranges():
    properties = json_schema(Wheel)["properties"]
    assert properties["radius"]["description"] == "quantity in B"
    assert properties["spokes"]["minimum"] == 3
