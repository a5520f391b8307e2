"""Pools of weights and caches: two number formats on one memory, and what is written stays a number."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.specs.precision import precision_of  # noqa: E402
from rooflinesim.validation.device.cells import Cell, cells  # noqa: E402
from rooflinesim.validation.device.decoder import PAGE, Decoder  # noqa: E402
from rooflinesim.validation.device.kernels import ATTENTION, SHAPES, benchmarks, layer_elements  # noqa: E402
from rooflinesim.validation.device.machinery import Machinery, machinery, pools, within_memory  # noqa: E402
from rooflinesim.validation.device.sizes import DECODERS, known_decoder  # noqa: E402
from rooflinesim.workload.forward import Pass, forward  # noqa: E402
from rooflinesim.workload.op import ExpertShape, GemmShape  # noqa: E402
from rooflinesim.workload.step import Step  # noqa: E402


def small(forms=("fp32", "bf16"), memory: float = math.inf) -> Machinery:
    own = machinery("cpu", 1, forms)
    return Machinery(
        device="cpu", threads=1, clock=own.clock, step_clock=own.step_clock, forms=own.forms, memory=memory
    )


@pytest.fixture(scope="module")
def made():
    kept = [one for one in benchmarks(("fp32", "bf16")) if one.model.name in ("w512", "g2h64") and one.batch <= 2]
    return pools(small(), kept, [known_decoder("tiny")], [])


def test_weights_of_both_formats_are_the_same_numbers_in_the_same_memory(made) -> None:
    wide, narrow = made.weights["fp32"].values, made.weights["bf16"].values
    assert wide.data_ptr() == narrow.data_ptr()
    assert narrow.numel() == 2 * wide.numel()
    upper = narrow[1:20001:2].float()
    # The lower half adds digits beyond the eight bits of bf16.
    assert torch.allclose(wide[:10000], upper, rtol=2**-7)
    assert 0.01 < float(wide[:10000].abs().mean()) < 0.03


def test_caches_are_apart_since_numbers_of_32_bits_written_to_them_may_be_none_in_16(made) -> None:
    wide, narrow = made.caches["fp32"].values, made.caches["bf16"].values
    assert wide.data_ptr() != narrow.data_ptr()
    wide[:1000] = torch.rand(1000)
    assert bool(narrow[:4000].isfinite().all())


def test_decoders_and_cells_that_do_not_fit_are_left_out_with_what_they_need() -> None:
    kept = [one for one in benchmarks(("fp32",)) if one.model.name == "w512" and one.batch == 1]
    models = [DECODERS["tiny"], DECODERS["1B"]]
    asked = list(cells(models, ("fp32",)))
    found, fitting, reasons = within_memory(small(("fp32",), memory=3e9), kept, models, asked)
    assert [model.name for model in fitting] == ["tiny"]
    assert {cell.model.name for cell in found} == {"tiny"}
    assert [one.id for one in reasons] == ["1B"]
    # 1.1 billion weights of 4 bytes, and 0.4 GB of the pools of the benchmarks.
    assert reasons[0].reason == "needs 4.8 GB, and 3.0 GB are free"


def matrices(model) -> set[tuple[float, float]]:
    """Inputs and outputs of the products of a model with its weights."""
    ops = forward(Pass(model=model, precision=precision_of(model, weights="bf16"), step=Step(context=8.0)))
    return {(op.shape.inputs, op.shape.outputs) for op in ops if isinstance(op.shape, GemmShape | ExpertShape)}


def test_weights_begin_at_pages(made) -> None:
    decoder = Decoder(known_decoder("tiny"), made.weights["fp32"], longest=64)
    inside = [weight for layer in decoder.layers for weight in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    assert {weight.data_ptr() % PAGE for weight in (decoder.embedding, *inside, decoder.head)} == {0}


def test_no_benchmark_has_the_shape_of_a_decoder_that_is_validated() -> None:
    validated = {shape for name, model in DECODERS.items() if "tiny" not in name for shape in matrices(model)}
    assert len(validated) > 20
    assert not validated & {shape for model in SHAPES.values() for shape in matrices(model)}
    own = {(a.kv_heads, a.heads) for m in DECODERS.values() for g in m.layers if (a := g.attention)}
    timed = {(a.kv_heads, a.heads) for m in ATTENTION.values() for g in m.layers if (a := g.attention)}
    assert not own & timed


def test_a_layer_has_the_weights_that_its_benchmark_counts() -> None:
    # 512 wide with 6 heads of 64 and as many KV heads: four of 512 x 384, and three of 512 x 1536.
    assert layer_elements(SHAPES["w512"]) == 4 * 512 * 384 + 3 * 512 * 1536


def test_cells_are_named_by_what_they_run() -> None:
    one = Cell(model=DECODERS["100M"], form="bf16", batch=4, context=256, new_tokens=5)
    assert one.id == "eager/bf16/100M/b4q5c256"
    assert one.kind == "verify"
    assert len(list(cells([DECODERS["100M"], DECODERS["350M"]], ("fp32", "bf16")))) == 88
