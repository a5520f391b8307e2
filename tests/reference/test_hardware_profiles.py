"""Shipped device profiles against facts that every datasheet obeys, and against the table they came from."""

import csv
import dataclasses
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from rooflinesim.config import load_hardware
from rooflinesim.errors import DomainError
from rooflinesim.specs.hardware import Hardware, sparse_rates

ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "hardware_profiles").glob("*.yaml"))
SPECS = ROOT.parent / "shared" / "data" / "hardware" / "specs.csv"
KEYS = [
    "name",
    "aliases",
    "vendor",
    "architecture",
    "memory_type",
    "memory_capacity",
    "memory_bandwidth",
    "on_chip",
    "cores",
    "clock_rate",
    "dense_flop_rate",
    "link",
    "host_link",
    "thermal_design_power",
    "devices",
    "source",
    "sources",
    "note",
    "calibration",
]
RATE_COLUMNS = {
    "fp32": "fp32_vector_tflops",
    "tf32": "tf32_dense_tflops",
    "fp16": "fp16_dense_tflops",
    "bf16": "bf16_dense_tflops",
    "fp8": "fp8_dense_tflops",
    "int8": "int8_dense_tops",
    "fp4": "fp4_dense_tflops",
}
ON_CHIP_COLUMNS = {
    "l2_capacity": ("l2_mib", 2**20),
    "last_level_cache_capacity": ("last_level_cache_mib", 2**20),
    "shared_memory_per_core": ("shared_l1_kib_per_sm", 2**10),
    "register_file_per_core": ("register_file_kib_per_sm", 2**10),
    "total_capacity": ("onchip_sram_mib_total", 2**20),
}
# Three digits are printed, so 62 TFLOP/s bf16 stands beside 125 fp8.
PRINTED_DIGITS = 0.01


def data_of(path: Path) -> dict[str, Any]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def compute_capability(hardware: Hardware) -> int | None:
    """NVIDIA's version of the chip, 90 for Hopper, or None for other vendors."""
    tag = re.search(r"\bsm_(\d+)\b", hardware.architecture)
    return int(tag[1]) if tag else None


def gfx(hardware: Hardware) -> str | None:
    tag = re.search(r"\bgfx\w+\b", hardware.architecture)
    return tag[0] if tag else None


def present_fields(data: Mapping[str, Any]) -> Iterator[str]:
    """Names under which a profile's sources may speak of its values, nested ones with a dot."""
    for key, value in data.items():
        yield key
        if isinstance(value, dict) and key != "sources":
            yield from (f"{key}.{inner}" for inner in value)


@pytest.fixture(scope="module")
def devices() -> dict[str, Hardware]:
    return {path.stem: load_hardware(str(path)) for path in PROFILES}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    if not SPECS.exists():
        pytest.skip(f"{SPECS} is not beside this checkout; it is the table the profiles were written from")
    with SPECS.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_builds_a_device(path: Path) -> None:
    assert load_hardware(str(path)).name == data_of(path)["name"]


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_found_by_each_of_its_names(path: Path) -> None:
    data = data_of(path)
    for name in (path.stem, data["name"], *data["aliases"]):
        assert load_hardware(name).name == data["name"], name


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_keys_stand_in_one_order_with_the_names_on_the_first_two_lines(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first.startswith("name: ")
    assert re.fullmatch(r"aliases: \[.*\]", second)
    keys = list(data_of(path))
    assert keys == [key for key in KEYS if key in keys]


def test_at_least_85_devices_are_shipped() -> None:
    assert len(PROFILES) >= 85


def test_no_two_devices_share_a_name() -> None:
    taken: dict[str, str] = {}
    for path in PROFILES:
        data = data_of(path)
        assert len(set(data["aliases"])) == len(data["aliases"]), path.name
        assert path.stem not in data["aliases"], path.name
        for name in {path.stem, data["name"].lower(), *data["aliases"]}:
            assert name == name.lower(), name
            assert " " not in name, name
            assert name not in taken, f"{name} stands for {taken[name]} and {path.stem}"
            taken[name] = path.stem


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("h100", "h100-sxm"),
        ("a100", "a100-sxm-80gb"),
        ("mi300", "mi300x"),
        ("m3-max", "m3-max"),
        ("6000", "rtx-6000-ada"),
        ("epyc", "epyc-9654"),
        ("xeon", "xeon-8480"),
        ("cpu", "xeon-8480"),
        ("gh200", "gh200-96gb"),
        ("g5", "a10g"),
        ("g6", "l4"),
        ("g6e", "l40s"),
        ("trn2", "trainium2"),
        ("inf2", "inferentia2"),
        ("trillium", "tpu-v6e"),
        ("ironwood", "tpu-v7"),
        ("dgx-spark", "gb10"),
        ("4090", "rtx-4090"),
        ("7900xtx", "rx-7900-xtx"),
        ("ai-max-395", "strix-halo"),
    ],
)
def test_an_ambiguous_or_short_name_stands_for_one_device(name: str, stem: str, devices: dict[str, Hardware]) -> None:
    assert load_hardware(name).name == devices[stem].name


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_value_has_a_source(path: Path) -> None:
    data, device = data_of(path), load_hardware(str(path))
    fields = set(present_fields(data))
    assert device.source.strip()
    assert all(device.source_of(field).strip() for field in fields)
    assert set(device.sources) <= fields, "a source speaks of a value that the profile does not give"
    if device.name != "GroqChip1":  # all of its values share one source
        assert device.memory_capacity is None or "memory_capacity" in device.sources
    for link in ("link", "host_link"):
        assert link not in data or f"{link}.devices" in device.sources


def test_fp8_is_twice_bf16_unless_the_chip_has_no_fp8_gain(devices: dict[str, Hardware]) -> None:
    no_gain = {"gaudi3", "inferentia2", "tpu-v5p", "tpu-v6e"}
    rounded = {"l40s": 733 / 362.05, "trainium2": 1299 / 667}
    seen = set()
    for stem, device in devices.items():
        rate = device.dense_flop_rate
        if "fp8" not in rate:
            continue
        expected = 1.0 if stem in no_gain else rounded.get(stem, 2.0)
        seen.add(stem)
        assert rate["fp8"] / rate["bf16"] == pytest.approx(expected, rel=PRINTED_DIGITS), stem
    assert no_gain | set(rounded) <= seen


def test_fp16_and_bf16_run_at_one_rate_where_a_chip_has_both(devices: dict[str, Hardware]) -> None:
    for stem, device in devices.items():
        rate = device.dense_flop_rate
        if "fp16" in rate and "bf16" in rate:
            # CDNA1 has bf16 at half of its fp16 rate.
            expected = 2.0 if stem == "mi100" else 1.0
            assert rate["fp16"] / rate["bf16"] == expected, stem


def test_formats_appear_with_the_generation_that_brought_them(devices: dict[str, Hardware]) -> None:
    for stem, device in devices.items():
        formats, capability, family = set(device.dense_flop_rate), compute_capability(device), gfx(device)
        if capability is not None:
            assert ("bf16" in formats) == (capability >= 80), f"{stem}: bf16 came with Ampere"
            assert ("fp8" in formats) == (capability >= 89), f"{stem}: fp8 came with Ada and Hopper"
            assert ("fp4" in formats) == (capability >= 100), f"{stem}: fp4 came with Blackwell"
        elif family is not None:
            with_fp8 = {"gfx942", "gfx950", "gfx1201"}
            assert ("fp8" in formats) == (family in with_fp8), f"{stem}: fp8 came with CDNA3 and RDNA4"
            assert ("fp4" in formats) == (family == "gfx950"), f"{stem}: fp4 came with CDNA4"
        else:
            assert "fp4" not in formats, stem


def test_on_chip_total_is_the_sum_of_its_parts(devices: dict[str, Hardware]) -> None:
    checked = 0
    for stem, device in devices.items():
        chip = device.on_chip
        if chip.total_capacity is None:
            continue
        assert device.cores is not None
        # Blackwell's data-centre chips have 256 KiB of tensor memory per SM.
        tensor_memory = 256 * 2**10 if compute_capability(device) in (100, 103) else 0
        per_core = (chip.shared_memory_per_core or 0) + (chip.register_file_per_core or 0) + tensor_memory
        caches = (chip.l2_capacity or 0) + (chip.last_level_cache_capacity or 0)
        total = device.cores * per_core + caches
        # Printed to 0.1 MiB.
        assert chip.total_capacity == pytest.approx(total, abs=0.06 * 2**20), stem
        checked += 1
    assert checked >= 60


def test_a_bridge_joins_a_pair_and_nvlink_to_a_cpu_is_no_link(devices: dict[str, Hardware]) -> None:
    for stem, device in devices.items():
        if device.link is not None:
            assert "C2C" not in device.link.name, stem
            assert ("bridge" not in device.link.name) or device.link.devices == 2, stem
    for stem in ("gh200-96gb", "gh200-144gb", "grace"):
        assert devices[stem].link is None


@pytest.mark.parametrize(
    ("part", "card"), [("mi250-gcd", "mi250"), ("mi250x-gcd", "mi250x"), ("max-1550-stack", "max-1550")]
)
def test_one_device_of_a_double_card_is_half_of_it(part: str, card: str, devices: dict[str, Hardware]) -> None:
    one, both = devices[part], devices[card]
    assert one.memory_capacity is not None
    assert one.cores is not None
    assert 2 * one.memory_capacity == both.memory_capacity
    assert 2 * one.memory_bandwidth == both.memory_bandwidth
    assert 2 * one.cores == both.cores
    assert one.clock_rate == both.clock_rate
    halves = {math: 2 * rate for math, rate in one.dense_flop_rate.items()}
    assert halves == pytest.approx(dict(both.dense_flop_rate), rel=1e-12)


def test_no_shipped_rate_is_taken_for_a_sparse_one(devices: dict[str, Hardware]) -> None:
    assert {stem: sparse_rates(device) for stem, device in devices.items() if sparse_rates(device)} == {}


@pytest.mark.parametrize(
    ("stem", "math", "dense", "sparse"),
    [
        ("h100-sxm", "bf16", 989.4e12, 1978.8e12),
        ("h100-sxm", "fp8", 1978.9e12, 3957.8e12),
        ("a100-sxm-80gb", "bf16", 312e12, 624e12),
        ("l4", "fp8", 242e12, 485e12),
        ("b200", "fp8", 4500e12, 9000e12),
        ("b300", "fp4", 14000e12, 18000e12),  # the one chip where sparse is not twice dense
        ("mi300x", "bf16", 1307.4e12, 2614.9e12),
    ],
)
def test_the_sparse_headline_of_a_datasheet_is_refused(
    stem: str, math: str, dense: float, sparse: float, devices: dict[str, Hardware]
) -> None:
    device = devices[stem]
    assert device.dense_flop_rate[math] == dense
    with pytest.raises(DomainError, match=rf"dense_flop_rate\.{math} .* is above the dense maximum"):
        dataclasses.replace(device, dense_flop_rate={**device.dense_flop_rate, math: sparse})


def test_published_values_of_an_h100_are_kept(devices: dict[str, Hardware]) -> None:
    # NVIDIA H100 SXM5: 81559 MiB visible, 3.35 TB/s, 989.4 TFLOP/s dense bf16, 900 GB/s NVLink both ways.
    h100 = devices["h100-sxm"]
    assert h100.memory_capacity == 81559 * 2**20
    assert h100.memory_bandwidth == 3.35e12
    assert h100.link is not None
    assert (h100.link.bandwidth, h100.link.devices) == (900e9 / 2, 8)
    assert h100.on_chip.l2_capacity == 50 * 2**20


def test_every_row_of_the_table_has_a_profile(devices: dict[str, Hardware], rows: dict[str, dict[str, str]]) -> None:
    names = {device.name for device in devices.values()}
    added = {"MI250-GCD", "MI250X-GCD", "Max-1550-stack", "GroqChip1"}
    assert set(rows) <= names
    assert names - set(rows) == added


def test_every_alias_of_the_table_is_kept(rows: dict[str, dict[str, str]]) -> None:
    for path in PROFILES:
        data = data_of(path)
        if data["name"] in rows:
            wanted = {alias.strip() for alias in rows[data["name"]]["aliases"].split(",")}
            assert wanted <= {path.stem, *data["aliases"]}, path.name


def test_every_number_equals_the_table(devices: dict[str, Hardware], rows: dict[str, dict[str, str]]) -> None:
    def of_row(text: str, factor: int) -> float | None:
        # A row writes 0 for a link, a bus or a power that is absent or unknown.
        return float(Decimal(text) * factor) if text and float(text) else None

    for stem, device in devices.items():
        if device.name not in rows:
            continue
        row = rows[device.name]
        pairs = {
            "memory_capacity": (device.memory_capacity, row["memory_bytes"], 1),
            "memory_bandwidth": (device.memory_bandwidth, row["memory_bandwidth_gbps"], 10**9),
            "cores": (device.cores, row["sm_or_cu"], 1),
            "clock_rate": (device.clock_rate, row["boost_mhz"], 10**6),
            "thermal_design_power": (device.thermal_design_power, row["tdp_w"], 1),
            "link": (device.link and device.link.bandwidth, row["link_unidirectional_gbps"], 10**9),
            "host_link": (
                device.host_link and device.host_link.bandwidth,
                row["pcie_unidirectional_gbps"],
                10**9,
            ),
        }
        for math, column in RATE_COLUMNS.items():
            pairs[math] = (device.dense_flop_rate.get(math), row[column], 10**12)
        for field, (column, factor) in ON_CHIP_COLUMNS.items():
            pairs[field] = (getattr(device.on_chip, field), row[column], factor)
        left_out = {
            "gaudi3": {"fp32"},  # the table's figure is the vector units' bf16 rate
            "gh200-96gb": {"link"},  # NVLink-C2C joins the GPU to Grace, not to other GPUs
            "gh200-144gb": {"link"},
            "grace": {"link", "host_link"},  # a host itself
        }.get(stem, set())
        for field, (value, text, factor) in pairs.items():
            expected = None if field in left_out else of_row(text, factor)
            assert value == expected, f"{stem}: {field}"


def test_text_of_a_profile_matches_the_table(devices: dict[str, Hardware], rows: dict[str, dict[str, str]]) -> None:
    for stem, device in devices.items():
        if device.name in rows:
            row = rows[device.name]
            expected = (row["vendor"], row["architecture"], row["memory_type"])
            assert (device.vendor, device.architecture, device.memory_type) == expected, stem


def test_link_bandwidth_is_half_of_the_bidirectional_figure(
    devices: dict[str, Hardware], rows: dict[str, dict[str, str]]
) -> None:
    checked = 0
    for stem, device in devices.items():
        if device.link is None or device.name not in rows:
            continue
        both_ways = float(rows[device.name]["link_bidirectional_gbps"]) * 1e9
        # MI350's 1075 GB/s is printed to whole GB/s (2 x 537.6).
        assert 2 * device.link.bandwidth == pytest.approx(both_ways, rel=2e-4), stem
        checked += 1
    assert checked >= 35


def test_capacity_over_the_printed_gigabytes_tells_the_kind_of_gigabyte(
    devices: dict[str, Hardware], rows: dict[str, dict[str, str]]
) -> None:
    with_ecc = {"t4", "a10", "a10g", "a40", "l4", "l40", "l40s"}
    decimal = {"b100", "b300", "gaudi2", "gaudi3", "inferentia2", "grace"}
    # What the system sees of unified memory, less its carve-outs; GB300 shows more than its decimal 288.
    others = {"gb10": 1.004, "gb300": 1.035, "jetson-agx-orin": 1.030, "jetson-agx-thor": 1.030}
    for stem, device in devices.items():
        if device.name not in rows or device.memory_capacity is None:
            continue
        ratio = device.memory_capacity / (float(rows[device.name]["memory_marketing_gb"]) * 1e9)
        if stem in with_ecc:
            assert ratio == pytest.approx(1.006, abs=0.001), stem
        elif stem in decimal:
            assert ratio == pytest.approx(1.0, abs=0.002), stem
        elif stem in others:
            assert ratio == pytest.approx(others[stem], abs=0.001), stem
        else:
            # GB means GiB, 1.0737, of which drivers keep at most 1.5 % (V100).
            assert 0.985 * 2**30 / 1e9 <= ratio <= 1.0738, stem
