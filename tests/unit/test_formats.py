import pytest

from rooflinesim.errors import UnknownNameError
from rooflinesim.specs.formats import FORMATS, MATH_FORMATS, NumberFormat, number_format


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        # bits = value + (scale + zero) / group; mxfp4 is 17 B per 32 values, nvfp4 9 B per 16.
        ("fp32", 32),
        ("bf16", 16),
        ("fp8", 8),
        ("int4", 4 + 16 / 128),
        ("int4-awq", 4 + (16 + 4) / 128),
        ("int4-g32", 4 + (16 + 16) / 32),
        ("mxfp4", 17 * 8 / 32),
        ("nvfp4", 9 * 8 / 16),
        ("mxfp8", 8.25),
        ("fp8-block", 8 + 32 / 128**2),
        ("q8_0", 34 * 8 / 32),
        ("q4_0", 18 * 8 / 32),
        ("q4_k_m", 4.84),
    ],
)
def test_bits_per_value_hold_scales_and_zero_points(name, bits):
    assert FORMATS[name].bits == bits
    assert FORMATS[name].bytes == bits / 8


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("BF16", "bf16"),
        ("bfloat16", "bf16"),
        ("float16", "fp16"),
        ("int4-g128", "int4"),
        ("INT4_G128", "int4"),
        ("int4_g32", "int4-g32"),
        ("Q4_K_M", "q4_k_m"),
        ("q4-k-m", "q4_k_m"),
        ("w8a8", "int8-w8a8"),
        (" fp8 ", "fp8"),
    ],
)
def test_a_format_goes_by_any_spelling(typed, name):
    assert number_format(typed).name == name


@pytest.mark.parametrize(
    "name", ["fp32", "bf16", "fp16", "fp8", "int8", "int4", "int4-g32", "nvfp4", "mxfp4", "q4_k_m"]
)
def test_the_formats_of_the_interface_are_known(name):
    assert number_format(name).name == name


@pytest.mark.parametrize("name", ["", "bf61", "int", "16"])
def test_an_unknown_format_lists_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=rf"unknown number format '{name}'.*bf16.*q4_k_m"):
        number_format(name)


def test_every_format_ends_in_math_that_devices_have():
    for form in FORMATS.values():
        assert set(form.math) <= set(MATH_FORMATS)
        assert form.math[-1] == "fp32"
        assert form.bits >= form.value_bits


def test_a_format_without_a_group_has_no_scales_to_count():
    assert NumberFormat(name="x", value_bits=4, scale_bits=16).bits == 4
