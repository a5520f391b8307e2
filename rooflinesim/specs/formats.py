"""Number formats: how many bits a stored value takes, scales included, and in which format it is multiplied."""

import dataclasses
from collections.abc import Mapping

from rooflinesim import units
from rooflinesim.errors import UnknownNameError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NumberFormat(Noun):
    """A way to store numbers, with the math formats that can multiply them, the preferred one first.

    A device multiplies in the first math format for which it has a rate. When that is not the first of
    the list, values are converted on the way ("dequantise, then the wider format") and results say so.
    """

    name: str
    value_bits: float = quantity("bit")
    group: int = quantity("1", default=0)
    scale_bits: float = quantity("bit", default=0.0)
    zero_bits: float = quantity("bit", default=0.0)
    math: tuple[str, ...] = ("bf16", "fp16", "fp32")
    source: str = ""
    covers_head: bool = False

    def __post_init__(self) -> None:
        units.check(self)

    @property
    def bits(self) -> float:
        r"""Bits per stored value, scales and zero points included [bit].

        .. math:: bits = value + (scale + zero) / group

        mxfp4 (17 B per 32 values) and nvfp4 (9 B per 16 values) are such formats.
        """
        return self.value_bits + ((self.scale_bits + self.zero_bits) / self.group if self.group else 0.0)

    @property
    def bytes(self) -> float:
        """Bytes per stored value, scales and zero points included [B]."""
        return self.bits / 8

    @property
    def is_weight_only(self) -> bool:
        """Whether values are unpacked to 16 bits before they are multiplied."""
        return self.value_bits < 16 and self.math[0] in ("bf16", "fp16", "fp32")

    @property
    def family(self) -> str:
        """Formats whose kernels reach alike: 16-bit, int8, int4, q8_0, q4, mxfp4, fp8, nvfp4."""
        families = {
            "mxfp4": "mxfp4",
            "nvfp4": "nvfp4",
            "q8": "q8_0",
            "q": "q4",
            "mxfp8": "fp8",
            "fp8": "fp8",
            "int8": "int8",
        }
        if self.value_bits >= 16:
            return "16-bit"
        return next((family for start, family in families.items() if self.name.startswith(start)), "int4")


_GGUF = "llama.cpp tools/quantize README, Llama-2-7B; other models differ by a few percent"
_WEIGHT_ONLY = ("bf16", "fp16", "fp32")

FORMATS: Mapping[str, NumberFormat] = {
    form.name: form
    for form in (
        NumberFormat(name="fp32", value_bits=32, math=("fp32",), covers_head=True),
        NumberFormat(name="bf16", value_bits=16, math=("bf16", "fp32"), covers_head=True),
        NumberFormat(name="fp16", value_bits=16, math=("fp16", "fp32"), covers_head=True),
        NumberFormat(name="fp8", value_bits=8, math=("fp8", *_WEIGHT_ONLY)),
        NumberFormat(name="fp8-block", value_bits=8, group=128 * 128, scale_bits=32, math=("fp8", *_WEIGHT_ONLY)),
        NumberFormat(name="mxfp8", value_bits=8, group=32, scale_bits=8, math=("fp8", *_WEIGHT_ONLY)),
        NumberFormat(name="int8", value_bits=8, math=_WEIGHT_ONLY, source="weight-only, scale per channel"),
        NumberFormat(name="int8-w8a8", value_bits=8, math=("int8", *_WEIGHT_ONLY), source="SmoothQuant style"),
        NumberFormat(name="int4", value_bits=4, group=128, scale_bits=16, math=_WEIGHT_ONLY, source="g128, fp16 scale"),
        NumberFormat(name="int4-awq", value_bits=4, group=128, scale_bits=16, zero_bits=4, math=_WEIGHT_ONLY),
        NumberFormat(
            name="int4-g32",
            value_bits=4,
            group=32,
            scale_bits=16,
            zero_bits=16,
            math=_WEIGHT_ONLY,
            source="gpt-fast: bf16 scale and zero point per 32 values",
            covers_head=True,
        ),
        NumberFormat(name="int4-channel", value_bits=4, math=_WEIGHT_ONLY, source="one scale per channel"),
        NumberFormat(name="int4-g64", value_bits=4, group=64, scale_bits=16, math=_WEIGHT_ONLY),
        NumberFormat(name="int4-g64-awq", value_bits=4, group=64, scale_bits=16, zero_bits=4, math=_WEIGHT_ONLY),
        NumberFormat(name="int4-g32-symmetric", value_bits=4, group=32, scale_bits=16, math=_WEIGHT_ONLY),
        NumberFormat(name="int4-g32-awq", value_bits=4, group=32, scale_bits=16, zero_bits=4, math=_WEIGHT_ONLY),
        NumberFormat(name="nf4", value_bits=4, group=64, scale_bits=32, math=_WEIGHT_ONLY, source="bitsandbytes"),
        NumberFormat(
            name="nf4-double",
            value_bits=4,
            group=64,
            scale_bits=8.125,
            math=_WEIGHT_ONLY,
            source="QLoRA, arXiv 2305.14314, section 3: 8-bit scales, one fp32 scale per 256 of them",
        ),
        NumberFormat(name="nvfp4", value_bits=4, group=16, scale_bits=8, math=("fp4", *_WEIGHT_ONLY)),
        NumberFormat(name="mxfp4", value_bits=4, group=32, scale_bits=8, math=_WEIGHT_ONLY),
        NumberFormat(name="q8_0", value_bits=8, group=32, scale_bits=16, math=_WEIGHT_ONLY, covers_head=True),
        NumberFormat(name="q4_0", value_bits=4, group=32, scale_bits=16, math=_WEIGHT_ONLY, covers_head=True),
        NumberFormat(name="q4_k", value_bits=4.5, math=_WEIGHT_ONLY, covers_head=True),
        NumberFormat(name="q6_k", value_bits=6.5625, math=_WEIGHT_ONLY, covers_head=True),
        NumberFormat(name="q4_k_m", value_bits=4.84, math=_WEIGHT_ONLY, source=_GGUF, covers_head=True),
        NumberFormat(name="q5_k_m", value_bits=5.68, math=_WEIGHT_ONLY, source=_GGUF, covers_head=True),
        NumberFormat(name="q2_k", value_bits=3.35, math=_WEIGHT_ONLY, source=_GGUF, covers_head=True),
    )
}
_ALIASES = {
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "f32": "fp32",
    "f16": "fp16",
    "int4-g128": "int4",
    "gptq": "int4",
    "awq": "int4-awq",
    "w4a16": "int4",
    "w8a16": "int8",
    "w8a8": "int8-w8a8",
    "fp4": "nvfp4",
    "f8": "fp8",
    "float8": "fp8",
}

MATH_FORMATS = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
"""Formats in which devices multiply; the keys of a profile's `dense_flop_rate`."""


def _is_bits(text: str) -> bool:
    """Whether a text is a plain number of bits, one to sixteen."""
    return text.replace(".", "", 1).isdigit() and 1.0 <= float(text) <= 16.0


def number_format(name: str) -> NumberFormat:
    """The number format that goes by this name or alias, in any case, `_` or `-`; exl2-4.0 has 4 bits on average.

    Raises
    ------
    UnknownNameError : if no format has the name.
    """
    wanted = name.strip().lower()
    for spelling in (wanted, wanted.replace("_", "-"), wanted.replace("-", "_")):
        found = _ALIASES.get(spelling, spelling)
        if found in FORMATS:
            return FORMATS[found]
    if wanted.startswith("exl2-") and _is_bits(wanted.removeprefix("exl2-")):
        bits = float(wanted.removeprefix("exl2-"))
        return NumberFormat(name=wanted, value_bits=bits, math=_WEIGHT_ONLY, covers_head=True)
    raise UnknownNameError(f"unknown number format {name!r}; known: {', '.join(FORMATS)}")
