import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflinesim.errors import DomainError, UnitError
from rooflinesim.units import (
    MAXIMUM_COUNT,
    check,
    column_name,
    format_quantity,
    parse_quantity,
    parse_range,
    parse_tokens,
    quantity,
)

TYPED_UNITS = ("B", "B/s", "FLOP", "FLOP/s", "s", "Hz", "W", "J", "USD/h", "USD", "bit")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("3.35 TB/s", "B/s", 3.35e12),
        ("80 GB", "B", 80e9),
        ("80 GiB", "B", 80 * 2**30),
        ("80GiB", "B", 80 * 2**30),
        (" 80  GB ", "B", 80e9),
        ("85899345920 B", "B", 85_899_345_920),
        ("1_000 KiB", "B", 1000 * 1024),
        ("50 ms", "s", 0.05),
        ("2.3 us", "s", 2.3e-6),
        ("2.3 µs", "s", 2.3e-6),  # micro sign
        ("2.3 μs", "s", 2.3e-6),  # Greek mu
        ("2 min", "s", 120),
        ("1.5 h", "s", 5400),
        ("989.4 TFLOP/s", "FLOP/s", 989.4e12),
        ("989.4 TFLOPS", "FLOP/s", 989.4e12),
        ("1979 TOPS", "FLOP/s", 1979e12),
        ("2 PFLOP/s", "FLOP/s", 2e15),
        ("400 Gbit/s", "B/s", 50e9),
        ("400 Gb/s", "B/s", 50e9),
        ("1830 MHz", "Hz", 1.83e9),
        ("0.7 kW", "W", 700),
        ("5 mJ", "J", 0.005),
        ("2.5 USD/h", "USD/h", 2.5),
        ("4.125 bits", "bit", 4.125),
        ("90 %", "1", 0.9),
        ("0.9", "1", 0.9),
        (0.9, "1", 0.9),
        ("-1e3 B", "B", -1000),
        (".5 s", "s", 0.5),
    ],
)
def test_a_quantity_is_read_in_its_si_unit_to_the_nearest_float(text, unit, value):
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "parts"),
    [
        ("80", "B", ["'80' has no unit", "80 GB"]),
        (80, "B", ["80 has no unit", "80 GB"]),
        (80.5, "B/s", ["80.5 has no unit", "3.35 TB/s"]),
        ("80 GB/s", "B", ["'80 GB/s' is not in B", "80 GB"]),
        ("80 gb", "B", ["'80 gb' is not in B"]),
        ("80 XB", "B", ["'80 XB' is not in B"]),
        ("3.35 TiB/h", "B/s", ["'3.35 TiB/h' is not in B/s", "3.35 TB/s"]),
        ("1979 TFLOP/s sparse", "FLOP/s", ["sparse rate", "dense one"]),
        ("nan GB", "B", ["'nan GB' is not a quantity"]),
        ("inf GB", "B", ["'inf GB' is not a quantity"]),
        ("1e400 GB", "B", ["not finite"]),
        ("1e999999 GB", "B", ["1e999999 GB"]),
        ("1e99999999999999999999 GB", "B", ["1e99999999999999999999 GB"]),
        ("", "B", ["'' is not a quantity"]),
        ("GB", "B", ["'GB' is not a quantity"]),
        ("1,5 GB", "B", ["'1,5 GB'"]),
        ("0x10 B", "B", ["'0x10 B'"]),
        (True, "1", ["True is not a quantity"]),
        (None, "1", ["None is not a quantity"]),
        (math.nan, "1", ["not finite", "a plain number"]),
        (math.inf, "1", ["not finite"]),
        (10**400, "1", ["finite"]),
        ("5 GB", "1", ["'GB'", "a plain number is meant"]),
    ],
)
def test_a_bad_quantity_names_the_value_and_the_remedy(text, unit, parts):
    with pytest.raises(UnitError) as caught:
        parse_quantity(text, unit)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.35e12, "B/s", "3.35 TB/s"),
        (9.53e-3, "s", "9.53 ms"),
        (80e9, "B", "80 GB"),
        (0.0, "B", "0 B"),
        (999.96e9, "B", "1 TB"),
        (139_006_066_688, "B", "139 GB"),
        (2.5, "USD/h", "2.5 USD/h"),
        (0.86, "1", "0.86"),
        (None, "B", "-"),
        (1234567.0, "1", "1,235,000"),
    ],
)
def test_a_quantity_is_written_as_people_read_it(value, unit, text):
    assert format_quantity(value, unit) == text


@given(st.one_of(st.just(0.0), st.floats(1e-13, 1e26), st.floats(-1e26, -1e-13)), st.sampled_from(TYPED_UNITS))
def test_what_is_written_can_be_read_again(value, unit):
    # Four digits are written: half a unit of the fourth, 5e-4 at worst.
    again = parse_quantity(format_quantity(value, unit), unit)
    assert again == pytest.approx(value, rel=5.01e-4, abs=1e-16)


@given(st.floats(1e-9, 1e18), st.sampled_from(TYPED_UNITS))
def test_with_all_digits_nothing_is_lost(value, unit):
    again = parse_quantity(format_quantity(value, unit, digits=17), unit)
    assert again == pytest.approx(value, rel=1e-15)


@given(st.floats(1e-9, 1e24), st.sampled_from(TYPED_UNITS))
def test_twice_written_is_once_written(value, unit):
    once = format_quantity(value, unit)
    assert format_quantity(parse_quantity(once, unit), unit) == once


@pytest.mark.parametrize(
    ("text", "count"),
    [("8", 8), ("2k", 2048), ("2K", 2048), ("1M", 2**20), ("1.5k", 1536), ("1_000", 1000), (" 7 ", 7), ("0", 0)],
)
def test_token_counts_take_k_and_m(text, count):
    assert parse_tokens(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5", "0.3k", "1e3", "nan", "inf", "2 tokens", "2G", "9" * 400])
def test_a_count_that_is_not_whole_is_refused(text):
    with pytest.raises(UnitError, match=r"whole count|at most|too"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("8", (8,)),
        ("1,8,64", (1, 8, 64)),
        ("8,1", (8, 1)),
        ("1:256", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
        ("1:48", (1, 2, 4, 8, 16, 32, 48)),
        ("3:3", (3,)),
        ("1:64:+16", (1, 17, 33, 49)),
        ("16:64:+16", (16, 32, 48, 64)),
        ("1:256:x4", (1, 4, 16, 64, 256)),
        ("1:100:x10", (1, 10, 100)),
        ("0:8", (0, 1, 2, 4, 8)),
        ("2k:8k", (2048, 4096, 8192)),
        ("1k:3k:+1k", (1024, 2048, 3072)),
        ("1:4,4:8", (1, 2, 4, 8)),
        (" 1 : 4 ", (1, 2, 4)),
    ],
)
def test_every_form_of_a_range(text, points):
    assert parse_range(text) == points


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "''"),
        (",", "','"),
        ("1,", "'1,'"),
        ("a", "'a'"),
        ("1:2:3", "'1:2:3' is not a range"),
        ("1:2:-1", "'1:2:-1' is not a range"),
        ("1:2:+1:+1", "'1:2:\\+1:\\+1'"),
        ("8:1", "'8:1' is empty: 1 is below 8"),
        ("1:8:+0", "'1:8:\\+0' never ends"),
        ("1:8:x1", "'1:8:x1' never ends"),
        ("1:8:x0", "'1:8:x0' never ends"),
        ("1:10M:+1", "more than 100,000 points; use a larger step"),
        ("1:99999:+1,1:99999:+2,5", "more than 100,000 points"),
        ("2000000000000", "counts here go from 0 to 1,099,511,627,776"),
        ("1:2000000000000", "counts here go from 0"),
        ("9" * 400, "9999"),
    ],
)
def test_a_bad_range_says_why(text, why):
    with pytest.raises(UnitError, match=why):
        parse_range(text)


def test_a_count_below_the_minimum_is_refused():
    with pytest.raises(UnitError, match="'0' contains 0; counts here go from 1 to"):
        parse_range("0", minimum=1)


@given(st.integers(0, MAXIMUM_COUNT), st.integers(0, MAXIMUM_COUNT))
def test_a_doubling_range_rises_from_its_first_to_its_last_count(one, other):
    first, last = sorted((one, other))
    points = parse_range(f"{first}:{last}")
    assert points[0] == first
    assert points[-1] == last
    assert list(points) == sorted(set(points))


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 1000))
def test_a_stepped_range_is_that_of_python(first, length, step):
    assert parse_range(f"{first}:{first + length}:+{step}") == tuple(range(first, first + length + 1, step)) or (
        length // step >= 100_000
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kettle:
    water: float = quantity("B", positive=True)
    share: float = quantity("1", default=0.5, maximum=1.0)
    heat_time: float = quantity("s", default=0.0)
    users_s: float = quantity("s", default=0.0)
    speed: float = quantity("tokens/s", default=0.0, column="speed_per_user")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"water": 0.0}, "Kettle.water is 0.0: it must be above 0"),
        ({"water": math.nan}, "Kettle.water is nan"),
        ({"water": math.inf}, "Kettle.water is inf"),
        ({"share": 1.5}, "Kettle.share is 1.5: it must be at least 0 and at most 1"),
        ({"heat_time": -1.0}, "Kettle.heat_time is -1.0: it must be at least 0"),
    ],
)
def test_an_instance_is_held_to_what_its_fields_declare(changes, why):
    check(Kettle(water=1.0))
    with pytest.raises(DomainError, match=why):
        check(Kettle(**{"water": 1.0, **changes}))


def test_a_column_ends_in_its_unit_once():
    names = [column_name(field) for field in dataclasses.fields(Kettle)]
    assert names == ["water_bytes", "share", "heat_time_s", "users_s", "speed_per_user"]
