"""Files that the formats' own libraries write are sized to the byte; the bytes are summed from the arrays."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rooflinesim.config import load_model
from rooflinesim.config.safetensors_header import read_header
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.footprint import resident_weight_bytes
from rooflinesim.workload.forward import Pass, forward
from rooflinesim.workload.step import Step

numpy_files = pytest.importorskip("safetensors.numpy", reason="the library safetensors is not installed")
gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")

Arrays = dict[str, np.ndarray[Any, Any]]
HIDDEN, HEADS, KV_HEADS, SIZE, WIDTH, VOCABULARY, LAYERS, EXPERTS = 256, 4, 2, 64, 512, 320, 2, 4
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "intermediate_size": WIDTH,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
MOE = CONFIG | {
    "model_type": "qwen3_moe",
    "head_dim": SIZE,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": WIDTH,
}
# Module -> outputs, inputs.
ATTENTION = {
    "self_attn.q_proj": (HEADS * SIZE, HIDDEN),
    "self_attn.k_proj": (KV_HEADS * SIZE, HIDDEN),
    "self_attn.v_proj": (KV_HEADS * SIZE, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * SIZE),
}
MLP = {"mlp.gate_proj": (WIDTH, HIDDEN), "mlp.up_proj": (WIDTH, HIDDEN), "mlp.down_proj": (HIDDEN, WIDTH)}
PARTS = {"attention": ATTENTION, "mlp": MLP}


def total(arrays: Mapping[str, np.ndarray[Any, Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())


def resident(model: Model) -> float:
    """Bytes of the language model."""
    sizes = resident_weight_bytes(model, precision_of(model))
    return sum(size for part, size in sizes.items() if part not in ("vision", "draft"))


def wide(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float16)


def plain_llama() -> Arrays:
    """Every tensor of the small Llama, in fp16."""
    arrays = {
        "model.embed_tokens.weight": wide((VOCABULARY, HIDDEN)),
        "lm_head.weight": wide((VOCABULARY, HIDDEN)),
        "model.norm.weight": wide((HIDDEN,)),
    }
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        arrays[f"{start}.input_layernorm.weight"] = wide((HIDDEN,))
        arrays[f"{start}.post_attention_layernorm.weight"] = wide((HIDDEN,))
        for module, shape in {**ATTENTION, **MLP}.items():
            arrays[f"{start}.{module}.weight"] = wide(shape)
    return arrays


def quantised(store: Callable[[int, int], Arrays], parts: Mapping[str, Any] = PARTS) -> Arrays:
    """The small Llama with the modules of some parts stored another way."""
    arrays = plain_llama()
    for layer in range(LAYERS):
        for modules in parts.values():
            for module, (outputs, inputs) in modules.items():
                name = f"model.layers.{layer}.{module}"
                del arrays[f"{name}.weight"]
                arrays |= {f"{name}.{leaf}": array for leaf, array in store(outputs, inputs).items()}
    return arrays


def saved(folder: Path, arrays: Arrays, config: dict[str, Any], side: object = None) -> Model:
    """The model of a folder with a config and the library's file beside it."""
    (folder / "config.json").write_text(json.dumps(config))
    if side:
        (folder / "hf_quant_config.json").write_text(json.dumps(side))
    numpy_files.save_file(arrays, folder / "model.safetensors")
    return load_model(str(folder))


def gptq(outputs: int, inputs: int) -> Arrays:
    """GPTQ: eight values in an int32, a scale and a packed zero per 128 inputs, the order of inputs."""
    groups = inputs // 128
    return {
        "qweight": np.zeros((inputs // 8, outputs), np.int32),
        "qzeros": np.zeros((groups, outputs // 8), np.int32),
        "scales": np.zeros((groups, outputs), np.float16),
        "g_idx": np.zeros(inputs, np.int32),
    }


def awq(outputs: int, inputs: int) -> Arrays:
    """AWQ: as GPTQ, packed along the outputs, without an order."""
    return {
        "qweight": np.zeros((inputs, outputs // 8), np.int32),
        "qzeros": np.zeros((inputs // 128, outputs // 8), np.int32),
        "scales": np.zeros((inputs // 128, outputs), np.float16),
    }


def fp8_block(outputs: int, inputs: int) -> Arrays:
    """fp8 with an fp32 scale per 128 x 128 values; the library's numpy side has no fp8, so bytes stand for it."""
    return {
        "weight": np.zeros((outputs, inputs), np.int8),
        "weight_scale_inv": np.zeros((outputs // 128, inputs // 128), np.float32),
    }


def nvfp4(outputs: int, inputs: int) -> Arrays:
    """ModelOpt NVFP4: two values in a byte, an fp8 scale per 16 values, two fp32 scales."""
    return {
        "weight": np.zeros((outputs, inputs // 2), np.uint8),
        "weight_scale": np.zeros((outputs, inputs // 16), np.uint8),
        "weight_scale_2": np.zeros((), np.float32),
        "input_scale": np.zeros((), np.float32),
    }


def packed(outputs: int, inputs: int) -> Arrays:
    """compressed-tensors: eight values in an int32, a scale per 32 values, the shape beside them."""
    return {
        "weight_packed": np.zeros((outputs, inputs // 8), np.int32),
        "weight_scale": np.zeros((outputs, inputs // 32), np.float16),
        "weight_shape": np.zeros(2, np.int64),
    }


def nf4(outputs: int, inputs: int) -> Arrays:
    """bitsandbytes NF4 with double quantisation."""
    count = outputs * inputs
    return {
        "weight": np.zeros((count // 2, 1), np.uint8),
        "weight.absmax": np.zeros(count // 64, np.uint8),
        "weight.quant_map": np.zeros(16, np.float32),
        "weight.nested_absmax": np.zeros(max(1, count // 64 // 256), np.float32),
        "weight.nested_quant_map": np.zeros(256, np.float32),
        "weight.quant_state.bitsandbytes__nf4": np.zeros(180, np.uint8),
    }


CT_GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}}
SCHEMES: dict[str, tuple[Callable[[int, int], Arrays], dict[str, Any]]] = {
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}),
    "fp8-block": (fp8_block, {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    "nvfp4": (nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}),
    "packed": (packed, {"quant_method": "compressed-tensors", "config_groups": {"a": CT_GROUP}, "ignore": ["lm_head"]}),
    "nf4": (nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantised_checkpoint_takes_exactly_its_bytes_scales_included(tmp_path, scheme):
    store, block = SCHEMES[scheme]
    arrays = quantised(store)
    model = saved(tmp_path, arrays, CONFIG | {"quantization_config": block})
    assert resident(model) == total(arrays)
    # Packed values were counted one by one: headers and config agree.
    assert [note for note in model.assumptions if note.startswith("headers")] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_decode_step_streams_exactly_what_is_stored_without_the_embedding(tmp_path, scheme):
    store, block = SCHEMES[scheme]
    arrays = quantised(store)
    model = saved(tmp_path, arrays, CONFIG | {"quantization_config": block})
    ops = forward(Pass(model=model, precision=precision_of(model), step=Step(batch=1.0, new_tokens=1.0, context=1.0)))
    streamed = float(sum(op.weight_bytes * op.count for op in ops))
    assert streamed == pytest.approx(total(arrays) - VOCABULARY * HIDDEN * 2, rel=1e-12)


def test_a_part_left_wide_keeps_its_own_bytes(tmp_path):
    arrays = quantised(packed, {"mlp": MLP})
    block = SCHEMES["packed"][1] | {"ignore": ["lm_head", "re:.*self_attn.*"]}
    model = saved(tmp_path, arrays, CONFIG | {"quantization_config": block})
    sizes = resident_weight_bytes(model, precision_of(model))
    assert sizes["attention"] == LAYERS * 2 * sum(outputs * inputs for outputs, inputs in ATTENTION.values())
    assert sizes["mlp"] == sum(array.nbytes for name, array in arrays.items() if ".mlp." in name)
    assert resident(model) == total(arrays)


def test_the_type_in_the_headers_wins_over_the_config_and_is_reported(tmp_path):
    arrays = {name: array.astype(np.float32) for name, array in plain_llama().items()}
    model = saved(tmp_path, arrays, CONFIG)
    assert resident(model) == total(arrays)
    assert "headers hold mlp in fp32, the config says fp16: the headers count" in model.assumptions


def test_experts_in_blocks_and_scales_are_sized_with_their_biases(tmp_path):
    """gpt-oss: 32 values of 4 bits in 16 bytes, and a byte of scale."""
    arrays = {name: array for name, array in plain_llama().items() if ".mlp." not in name}
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        arrays |= {
            f"{start}.mlp.experts.gate_up_proj_blocks": np.zeros((EXPERTS, 2 * WIDTH, HIDDEN // 32, 16), np.uint8),
            f"{start}.mlp.experts.gate_up_proj_scales": np.zeros((EXPERTS, 2 * WIDTH, HIDDEN // 32), np.uint8),
            f"{start}.mlp.experts.gate_up_proj_bias": wide((EXPERTS, 2 * WIDTH)),
            f"{start}.mlp.experts.down_proj_blocks": np.zeros((EXPERTS, HIDDEN, WIDTH // 32, 16), np.uint8),
            f"{start}.mlp.experts.down_proj_scales": np.zeros((EXPERTS, HIDDEN, WIDTH // 32), np.uint8),
            f"{start}.mlp.experts.down_proj_bias": wide((EXPERTS, HIDDEN)),
            f"{start}.mlp.router.weight": wide((EXPERTS, HIDDEN)),
            f"{start}.mlp.router.bias": wide((EXPERTS,)),
            f"{start}.self_attn.sinks": wide((HEADS,)),
        }
        for module, (outputs, _) in ATTENTION.items():
            arrays[f"{start}.{module}.bias"] = wide((outputs,))
    config = MOE | {
        "model_type": "gpt_oss",
        "num_local_experts": EXPERTS,
        "intermediate_size": WIDTH,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    }
    model = saved(tmp_path, arrays, config)
    assert resident(model) == total(arrays)
    assert [note for note in model.assumptions if note.startswith("headers")] == []
    assert precision_of(model).experts.name == "mxfp4"


def test_each_expert_in_a_tensor_of_its_own_is_counted_with_router_and_norms(tmp_path):
    arrays = {name: array for name, array in plain_llama().items() if ".mlp." not in name}
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        arrays[f"{start}.mlp.gate.weight"] = wide((EXPERTS, HIDDEN))
        arrays[f"{start}.self_attn.q_norm.weight"] = wide((SIZE,))
        arrays[f"{start}.self_attn.k_norm.weight"] = wide((SIZE,))
        for expert in range(EXPERTS):
            for module, shape in MLP.items():
                arrays[f"{start}.{module.replace('mlp.', f'mlp.experts.{expert}.')}.weight"] = wide(shape)
    model = saved(tmp_path, arrays, MOE)
    assert resident(model) == total(arrays)
    assert model.assumptions == ()


def test_vision_and_draft_layers_are_apart_from_the_language_model(tmp_path):
    language = plain_llama()
    vision = {"visual.blocks.0.attn.qkv.weight": wide((96, 32)), "visual.merger.norm.weight": wide((32,))}
    draft = {f"model.layers.{LAYERS}.self_attn.q_proj.weight": np.zeros((64, HIDDEN), np.float32)}
    config = CONFIG | {"num_nextn_predict_layers": 1}
    model = saved(tmp_path, {**language, **vision, **draft}, config)
    assert resident(model) == total(language)
    assert (model.vision_parameters, model.draft_parameters) == (96 * 32 + 32, 64 * HIDDEN)
    precision = precision_of(model)
    assert precision.vision.bytes * model.vision_parameters == total(vision)
    assert precision.draft.bytes * model.draft_parameters == total(draft)
    assert model.assumptions == ()


def test_buffers_that_no_engine_keeps_are_left_out_and_named(tmp_path):
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(32, np.float32)}
    model = saved(tmp_path, {**plain_llama(), **buffers}, CONFIG)
    assert resident(model) == total(plain_llama())
    assert model.assumptions == ("masks and rotary tables of 128 B in the file are no weights: left out",)


def test_tensors_of_unknown_names_are_counted_as_matrices_that_are_streamed(tmp_path):
    extra = {"model.projector.weight": wide((64, 64))}
    model = saved(tmp_path, {**plain_llama(), **extra}, CONFIG)
    assert resident(model) == total(plain_llama()) + total(extra)
    assert model.assumptions == (
        "headers hold 4,096 parameters more than the config (mlp +4,096): bytes are those of the headers",
    )


def test_names_that_tell_no_parts_still_give_the_exact_total(tmp_path):
    arrays = {f"tensor.{index}": array for index, array in enumerate(plain_llama().values())}
    model = saved(tmp_path, arrays, CONFIG)
    assert round(resident(model)) == total(arrays)
    assert any("spread evenly" in note for note in model.assumptions)


def test_every_element_type_that_the_library_writes_is_sized(tmp_path):
    kinds = [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
    kinds += [np.float16, np.float32, np.float64, np.complex64]
    arrays = {np.dtype(kind).name: np.zeros((3, 4), kind) for kind in kinds}
    numpy_files.save_file(arrays, tmp_path / "all.safetensors")
    sizes = {tensor.name: tensor.bytes for tensor in read_header(tmp_path / "all.safetensors")}
    assert sizes == {name: array.nbytes for name, array in arrays.items()}


# GGUF


QUANTS = {kind.name: sizes for kind, sizes in gguf.constants.GGML_QUANT_SIZES.items()}
MATRICES = {
    "attn_q": (HEADS * SIZE, HIDDEN),
    "attn_k": (KV_HEADS * SIZE, HIDDEN),
    "attn_v": (KV_HEADS * SIZE, HIDDEN),
    "attn_output": (HIDDEN, HEADS * SIZE),
    "ffn_gate": (WIDTH, HIDDEN),
    "ffn_up": (WIDTH, HIDDEN),
    "ffn_down": (HIDDEN, WIDTH),
}


def gguf_file(path: Path, kind_of: Callable[[str], str]) -> int:
    """A small Llama that the package writes, each matrix in the type of its name; its bytes of tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_token_list([f"token {index}" for index in range(VOCABULARY)])
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCABULARY, HIDDEN),
        "output.weight": (VOCABULARY, HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        for name, shape in {**MATRICES, "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}.items():
            shapes[f"blk.{layer}.{name}.weight"] = shape
    bytes_written = 0
    for name, shape in shapes.items():
        kind = gguf.GGMLQuantizationType["F32" if "norm" in name else kind_of(name)]
        values, size = QUANTS[kind.name]
        stored = np.zeros((*shape[:-1], shape[-1] // values * size), np.uint8)
        if kind.name in ("F32", "F16"):
            writer.add_tensor(name, np.zeros(shape, np.float32 if kind.name == "F32" else np.float16))
        else:
            writer.add_tensor(name, stored, raw_dtype=kind)
        bytes_written += stored.nbytes
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return bytes_written


@pytest.mark.parametrize("kind", QUANTS)
def test_every_type_of_the_gguf_package_is_sized_to_the_byte(tmp_path, kind):
    path = tmp_path / "tiny.gguf"
    written = gguf_file(path, lambda _: kind)
    model = load_model(str(path))
    assert resident(model) == written
    assert model.assumptions == ()
    values, size = QUANTS[kind]
    assert precision_of(model).mlp.bits == 8 * size / values


def test_a_mix_of_types_is_sized_part_by_part(tmp_path):
    """Q4_K_M: values and the last matrix of the MLP in Q6_K in part of the layers, the rest in Q4_K."""

    def kind_of(name: str) -> str:
        is_fine = name.startswith("blk.0") and ("attn_v" in name or "ffn_down" in name)
        return "Q6_K" if is_fine or name.startswith("output") else "Q4_K"

    path = tmp_path / "tiny.gguf"
    written = gguf_file(path, kind_of)
    model = load_model(str(path))
    sizes = resident_weight_bytes(model, precision_of(model))
    block = {"Q4_K": 144 / 256, "Q6_K": 210 / 256}
    matrix = {name: outputs * inputs for name, (outputs, inputs) in MATRICES.items()}
    mlp = 2 * (matrix["ffn_gate"] + matrix["ffn_up"]) * block["Q4_K"] + matrix["ffn_down"] * sum(block.values())
    assert sizes["mlp"] == mlp
    assert sizes["head"] == VOCABULARY * HIDDEN * block["Q6_K"]
    assert sizes["embedding"] == VOCABULARY * HIDDEN * block["Q4_K"]
    assert sum(sizes.values()) == written
    assert precision_of(model).mlp.name == "q4_k mix"
    # llama.cpp keeps norms in fp32, but its cache in fp16.
    assert (precision_of(model).vectors.name, precision_of(model).kv_cache.name) == ("fp32", "fp16")


def test_asking_for_weights_overrules_what_the_file_holds(tmp_path):
    path = tmp_path / "tiny.gguf"
    gguf_file(path, lambda _: "Q4_0")
    assert precision_of(load_model(str(path)), weights="fp8").mlp.name == "fp8"
