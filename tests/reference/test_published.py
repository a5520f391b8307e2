"""Published and hand-worked numbers that the shipped presets must meet."""

from pathlib import Path

import pytest

from rooflinesim.analysis.crossover import CrossoverResult, crossover
from rooflinesim.analysis.decode import decode
from rooflinesim.api.answers import deployment
from rooflinesim.config import load_hardware, load_model, load_stack
from rooflinesim.workload.parameters import streamed_parameters, total_parameters

CONFIGS = Path(__file__).parents[2].parent / "shared" / "data" / "models" / "configs"


def flips(model: str, gpu: str, stack: str, context: float, **formats: str) -> CrossoverResult:
    asked = deployment(model=load_model(model), hardware=load_hardware(gpu), stack=load_stack(stack), **formats)
    return crossover(asked, context=context)


def test_llama3_70b_has_its_published_parameters() -> None:
    model = load_model("llama3-70b")
    assert total_parameters(model) == 70_553_706_496
    assert streamed_parameters(model) == 69_503_033_344


@pytest.mark.parametrize(
    ("model", "gpu", "ridge", "limit", "at_512"),
    [
        # w R / 2, 2 Nw / (R kv - phi), and w Nw / ((2 Nw + phi s) / R - kv s) at datasheet peaks.
        ("llama3-70b", "h100", 295.3, 1476, 452.2),
        ("llama3-70b", "a100", 153.0, 2925, 185.5),
        ("llama3-70b", "h200", 206.1, 2141, 270.9),
        ("llama3-70b", "b200", 281.3, 1552, 419.6),
        ("llama3-8b", "a100", 153.0, 768, 458.5),
        ("llama3-8b", "h200", 206.1, 567, 2140),
        ("llama3-8b", "h100", 295.3, 393, None),
        ("llama3-8b", "b200", 281.3, 413, None),
    ],
)
def test_ideal_flips_are_those_of_the_hand_formulas(
    model: str, gpu: str, ridge: float, limit: float, at_512: float | None
) -> None:
    found = flips(model, gpu, "ideal", 512)
    assert found.row("weight_gemms").batch == pytest.approx(ridge, abs=0.06)
    assert found.row("step").context_limit == pytest.approx(limit, abs=1)
    # Norm weights are read but hardly multiplied, which the hand formula neglects: 0.02 %, 0.2 % near the pole.
    assert found.row("step").batch == (None if at_512 is None else pytest.approx(at_512, rel=2e-3))


def test_fp8_cache_doubles_the_context_at_which_the_step_flips() -> None:
    assert flips("llama3-70b", "h100", "ideal", 512, kv="fp8").row("step").context_limit == pytest.approx(3037, abs=1)


def test_generic_flips_earlier_because_math_falls_shorter_of_its_peak_than_memory() -> None:
    # Rates fitted on H100: 0.812 x 989.4 TFLOP/s and 0.879 x 3.35 TB/s, so the ridge is 0.924 of the ideal one.
    found = flips("llama3-70b", "h100", "generic", 512)
    assert found.row("weight_gemms").batch == pytest.approx(295.34 * 0.812 / 0.879, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "gpu", "tokens_per_s"),
    [
        # pytorch-labs/gpt-fast README, bf16, batch 1, prompt of 5 and 200 new tokens: A100 at 330 W, one MI250X GCD.
        ("llama2-7b", "a100", 104.9),
        ("llama3.1-8b", "a100", 93.89),
        ("llama2-7b", "mi250x-gcd", 76.33),
    ],
)
def test_generic_is_within_20_percent_of_gpt_fast(model: str, gpu: str, tokens_per_s: float) -> None:
    asked = deployment(
        model=load_model(model), hardware=load_hardware(gpu), stack=load_stack("generic"), weights="bf16"
    )
    assert 1 / decode(asked, batch=1, context=105).step_time[0] == pytest.approx(tokens_per_s, rel=0.2)


def config_files() -> list[object]:
    files = sorted(one for one in CONFIGS.glob("*.json") if not one.name.endswith(".hf_quant_config.json"))
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no configs at {CONFIGS}"), id="absent")]
    return [pytest.param(file, id=file.stem) for file in files]


@pytest.mark.parametrize("file", config_files())
def test_ideal_step_of_one_token_takes_streamed_bytes_over_bandwidth(file: Path) -> None:
    hardware = load_hardware("h100")
    asked = deployment(model=load_model(str(file)), hardware=hardware, stack=load_stack("ideal"))
    row = decode(asked, batch=1, context=0)
    assert row.bound[0] == "memory"
    streamed = row.weight_bytes[0] + row.kv_bytes[0] + row.activation_bytes[0]
    assert row.step_time[0] == pytest.approx(streamed / hardware.memory_bandwidth, rel=1e-9)
