import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.config.huggingface import read_config
from rooflinesim.errors import FileError, ProfileError, RooflinesimError, UnsupportedError
from rooflinesim.specs.formats import FORMATS
from rooflinesim.specs.model import CheckpointFormats, Model
from rooflinesim.workload.parameters import total_parameters

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
MOE = LLAMA | {
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}
DEEPSEEK = MOE | {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
Read = Callable[..., Model]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a configuration written to a file, `side` beside it."""

    def written(values: object, side: object = None, name: str = "org--tiny.json") -> Model:
        path = tmp_path / name
        path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
        if side is not None:
            stem = "" if name == "config.json" else f"{path.stem}."
            path.with_name(f"{stem}hf_quant_config.json").write_text(json.dumps(side), encoding="utf-8")
        return read_config(path)

    return written


def message(read: Read, values: object, kind: type[RooflinesimError] = ProfileError) -> str:
    with pytest.raises(kind) as caught:
        read(values)
    text = str(caught.value)
    assert "\n" not in text
    return text


# What is read


def test_parameters_of_a_small_llama_are_those_worked_by_hand(read: Read) -> None:
    # Per layer: q and o 64 x 64, k and v 64 x 16, three MLP matrices 64 x 128, two norms of 64.
    layer = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128 + 2 * 64
    assert total_parameters(read(LLAMA)) == 2 * layer + 2 * 1000 * 64 + 64


def test_equal_layers_form_one_group_wherever_they_stand(read: Read) -> None:
    model = read(DEEPSEEK)
    assert [(group.count, group.moe is not None) for group in model.layers] == [(1, False), (2, True)]


def test_a_model_is_named_after_its_file_without_the_organisation(read: Read) -> None:
    model = read(LLAMA)
    assert (model.name, model.source) == ("tiny", "org--tiny.json")


def test_a_config_json_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "org--Tiny-7B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    assert read_config(folder / "config.json").name == "Tiny-7B"
    assert read_config(folder).name == "Tiny-7B"


def test_the_files_own_name_comes_first(read: Read) -> None:
    assert read(LLAMA | {"_name_or_path": "/data/org/Tiny-8B/"}).name == "Tiny-8B"


def test_a_multimodal_file_describes_its_language_model(read: Read) -> None:
    nested = {
        "model_type": "qwen3_vl",
        "text_config": LLAMA | {"model_type": "qwen3_vl_text", "tie_word_embeddings": True},
        "vision_config": {"hidden_size": 32},
        "tie_word_embeddings": False,
    }
    model = read(nested)
    assert model.hidden_size == 64
    assert not model.has_tied_embeddings
    assert "vision tower is not counted" in model.assumptions


def test_bare_nan_and_infinity_pass_where_they_do_not_matter(read: Read) -> None:
    text = json.dumps(LLAMA)[:-1] + ', "time_step_limit": [0.0, Infinity], "eps": NaN}'
    assert read(text).layer_count == 2


def test_a_key_given_twice_counts_last_and_is_said(read: Read) -> None:
    model = read('{"hidden_size": 32, ' + json.dumps(LLAMA)[1:])
    assert model.hidden_size == 64
    assert "key 'hidden_size' stands twice: the last one counts" in model.assumptions


def test_an_unused_window_is_no_window(read: Read) -> None:
    model = read(
        LLAMA | {"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False, "torch_dtype": "bfloat16"}
    )
    attention = model.layers[0].attention
    assert attention is not None
    assert attention.window is None


def test_draft_layers_are_named_but_not_counted(read: Read) -> None:
    model = read(DEEPSEEK | {"num_nextn_predict_layers": 1})
    assert model.draft_layers == 1
    assert "draft layers for multi-token prediction are not counted: 1" in model.assumptions


def test_a_plain_unknown_family_is_read_as_llama_and_says_so(read: Read) -> None:
    model = read(LLAMA | {"model_type": "novel"})
    assert total_parameters(model) == total_parameters(read(LLAMA))
    assert model.assumptions[0] == "unknown model_type 'novel': read as a Llama-like decoder; counts may be off"


def test_an_invented_model_type_is_known_by_its_architecture(read: Read) -> None:
    model = read(DEEPSEEK | {"model_type": "deepseek_ref", "architectures": ["DeepseekV3ForCausalLM"]})
    assert total_parameters(model) == total_parameters(read(DEEPSEEK))
    assert "unknown model_type 'deepseek_ref'" in model.assumptions[0]


# What is refused


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_config(tmp_path / "absent.json")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FileError, match="is not UTF-8"):
        read_config(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(FileError, match="too large"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(LLAMA)[:40], "org--tiny.json: line 1: not readable as JSON: it ends too early; fetch it again"),
        ("", "org--tiny.json: line 1: not readable as JSON: it ends too early; fetch it again"),
        ("hidden_size: 4", "org--tiny.json: line 1: not readable as JSON: Expecting value; fetch it again"),
        ("[1, 2]", "org--tiny.json: holds a list, no object; give a config.json"),
        ("7", "org--tiny.json: holds 7, no object; give a config.json"),
        ("[" * 200_000, "org--tiny.json: not readable as JSON: nested too deeply; fetch it again"),
    ],
)
def test_a_text_that_is_no_json_object_is_refused(read: Read, text: str, expected: str) -> None:
    assert message(read, text, FileError) == expected


def test_a_number_of_many_digits_is_refused(read: Read) -> None:
    assert "not readable as JSON" in message(read, '{"hidden_size": ' + "9" * 5000 + "}", FileError)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("64", "'64' is no whole number; write a plain count"),
        (True, "True is no whole number; write a plain count"),
        (64.0, "64.0 is no whole number; write a plain count"),
        (None, "null; write a whole number"),
        (-64, "-64 is too small; it must be at least 1"),
        (0, "0 is too small; it must be at least 1"),
        (float("nan"), "nan is no whole number; write a plain count"),
        (float("inf"), "inf is no whole number; write a plain count"),
        ([64], "[64] is no whole number; write a plain count"),
        (10**9, "1,000,000,000 is too large; at most 10,000,000 is read"),
        (10**40, "a number of 133 bits is too large; at most 10,000,000 is read"),
    ],
)
def test_what_is_no_count_is_refused(read: Read, value: object, what: str) -> None:
    assert message(read, LLAMA | {"hidden_size": value}) == f"org--tiny.json: hidden_size: {what}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: 1,000,000,000 is too large; at most 2,000 is read"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3 does not divide the 8 attention heads; give a divisor"),
        ({"num_attention_heads": 100}, "num_attention_heads: 100 is above hidden_size 64; add head_dim"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: 'no' is neither true nor false"),
        ({"layer_types": ["full_attention"]}, "layer_types: 1 entries for 2 layers; give one per layer"),
        ({"layer_types": "full"}, "layer_types: 'full' is no list"),
        ({"model_type": 7}, "model_type: 7 is no text"),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding_window: 0 is too small; it must be at least 1"),
        ({"torch_dtype": "fp4"}, "torch_dtype: 'fp4' is not known; known: bfloat16, float16, half, float32, float"),
        ({"quantization_config": "fp8"}, "quantization_config: 'fp8' is no object"),
    ],
)  # fmt: skip
def test_keys_that_make_no_model_are_refused(read: Read, change: dict[str, Any], expected: str) -> None:
    assert message(read, LLAMA | change) == f"org--tiny.json: {expected}"


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_key_is_named(read: Read, key: str) -> None:
    values = {name: value for name, value in LLAMA.items() if name != key}
    assert message(read, values) == f"org--tiny.json: {key}: missing; add it to the file"


def test_more_active_experts_than_experts_are_refused(read: Read) -> None:
    expected = "org--tiny.json: num_experts_per_tok: 9 is above the 8 experts; give at most 8"
    assert message(read, MOE | {"num_experts_per_tok": 9}) == expected


def test_absurd_experts_are_refused(read: Read) -> None:
    expected = "org--tiny.json: num_experts: 1,000,000 is too large; at most 100,000 is read"
    assert message(read, MOE | {"num_experts": 10**6}) == expected


def test_a_key_inside_a_section_is_named_with_it(read: Read) -> None:
    nested = {"model_type": "qwen3_vl", "text_config": LLAMA | {"hidden_size": "x"}}
    assert message(read, nested).startswith("org--tiny.json: text_config.hidden_size: 'x'")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (LLAMA | {"model_type": "novel", "num_experts": 8}, "num_experts is no key of a Llama-like decoder"),
        (LLAMA | {"model_type": "novel", "hidden_act": "relu2"}, "hidden_act 'relu2' is no activation"),
        ({"model_type": "novel", "hidden_size": 64}, "it lacks num_hidden_layers"),
    ],
)
def test_an_unknown_family_of_unusual_structure_is_refused(read: Read, values: dict[str, Any], expected: str) -> None:
    text = message(read, values, UnsupportedError)
    assert text.startswith("org--tiny.json: model_type: 'novel' is not known")
    assert expected in text


def test_a_file_without_any_key_is_refused(read: Read) -> None:
    assert message(read, {}, UnsupportedError).startswith("org--tiny.json: model_type: missing")


# How the checkpoint is stored


def stored(read: Read, values: dict[str, Any], block: dict[str, Any], side: object = None) -> CheckpointFormats:
    checkpoint = read(values | ({"quantization_config": block} if block else {}), side).checkpoint
    for name in (checkpoint.weights, checkpoint.attention, checkpoint.experts, checkpoint.mlp):
        assert name is None or name in FORMATS
    return checkpoint


def linear(**weights: object) -> dict[str, Any]:
    return {
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "quant_method": "compressed-tensors",
    }


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8"),
        ({"fmt": "e4m3", "activation_scheme": "static"}, "fp8"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4-awq"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True}, "int4-channel"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        ({"quant_method": "bitsandbytes", "_load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "nf4-double"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, "fp8"),
        (linear(num_bits=4, type="int", group_size=32, symmetric=True), "int4-g32-symmetric"),
        (linear(num_bits=4, type="int", group_size=128, symmetric=True), "int4"),
        (linear(num_bits=8, type="float", strategy="channel"), "fp8"),
        (linear(num_bits=8, type="float", strategy="block"), "fp8-block"),
        (linear(num_bits=4, type="float", group_size=32), "mxfp4"),
        (linear(num_bits=4, type="float", group_size=16), "nvfp4"),
    ],
)  # fmt: skip
def test_each_method_gives_its_format_and_leaves_head_and_embedding_wide(
    read: Read, block: dict[str, Any], expected: str
) -> None:
    checkpoint = stored(read, LLAMA, block)
    assert (checkpoint.attention, checkpoint.mlp) == (expected, expected)
    assert (checkpoint.head, checkpoint.embedding, checkpoint.vectors) == ("bf16", "bf16", "bf16")


def test_mxfp4_stores_only_the_experts_in_four_bits(read: Read) -> None:
    block = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    checkpoint = stored(read, MOE, block)
    assert (checkpoint.weights, checkpoint.attention, checkpoint.experts) == ("bf16", "bf16", "mxfp4")


@pytest.mark.parametrize(
    "ignored",
    [
        ["re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
        ["language_model.model.layers.*.self_attn*", "*shared_experts*", "language_model.model.layers.0*"],
        ["self_attn", "shared_experts", "model.layers.0.mlp"],
    ],
)
def test_lists_of_modules_decide_part_by_part(read: Read, ignored: list[str]) -> None:
    block = linear(num_bits=4, type="int", group_size=32, symmetric=True) | {"ignore": ignored}
    checkpoint = stored(read, DEEPSEEK, block)
    kept = (checkpoint.attention, checkpoint.mlp, checkpoint.shared_experts, checkpoint.head)
    assert kept == ("bf16", "bf16", "bf16", "bf16")
    assert checkpoint.experts == "int4-g32-symmetric"


def test_a_router_in_the_list_does_not_keep_the_gate_projection_wide(read: Read) -> None:
    block = {"quant_method": "fp8", "modules_to_not_convert": ["gate", "lm_head"]}
    assert stored(read, DEEPSEEK, block).mlp == "fp8"


def test_a_part_stored_in_two_formats_takes_the_larger_share_and_says_so(read: Read) -> None:
    kept = [f"model.layers.{layer}.self_attn.k_proj" for layer in range(2)]
    model = read(LLAMA | {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": kept}})
    assert model.checkpoint.attention == "fp8"
    assert any(line.startswith("attention is stored in bf16 and fp8") for line in model.assumptions)


def test_a_side_file_alone_tells_the_formats_and_the_cache(read: Read) -> None:
    side = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    checkpoint = stored(read, LLAMA, {}, side)
    assert (checkpoint.weights, checkpoint.head, checkpoint.kv_cache) == ("fp8", "bf16", "fp8")


def test_a_side_file_lies_beside_a_config_json_under_its_own_name(read: Read) -> None:
    side = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    assert read(LLAMA, side, name="config.json").checkpoint.attention == "nvfp4"


def test_mixed_precision_takes_each_module_from_the_list(read: Read) -> None:
    layers = {"lm_head": {"quant_algo": "FP8"}}
    for layer in range(2):
        for matrix in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.{layer}.mlp.experts.0.{matrix}"
            layers[name] = {"quant_algo": "NVFP4", "group_size": 16}
        layers[f"model.layers.{layer}.self_attn.o_proj"] = {"quant_algo": "FP8"}
    side = {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}}
    checkpoint = stored(read, MOE, {}, side)
    assert (checkpoint.weights, checkpoint.experts, checkpoint.head) == ("bf16", "nvfp4", "fp8")
    # o_proj holds 64 x 64 of 2 x 64 x 64 + 2 x 64 x 16 elements, in 8 bits; the others, in 16, outweigh it.
    assert checkpoint.attention == "bf16"
    assert checkpoint.exact["attention"].bits == pytest.approx((4096 * 8 + 6144 * 16) / 10240)


def test_quantisation_may_stand_in_the_text_section(read: Read) -> None:
    block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    nested = {"model_type": "qwen3_vl", "text_config": LLAMA | {"quantization_config": block}}
    assert read(nested).checkpoint.weights == "fp8-block"


def test_the_experts_of_deepseek_v4_have_a_type_of_their_own(read: Read) -> None:
    block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    checkpoint = stored(read, DEEPSEEK | {"expert_dtype": "fp4"}, block)
    assert (checkpoint.attention, checkpoint.experts) == ("fp8-block", "mxfp4")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"torch_dtype": "float16"}, ("fp16", "fp16", ())),
        ({"torch_dtype": None, "dtype": "bfloat16"}, ("bf16", "bf16", ())),
        ({"torch_dtype": None}, ("bf16", "bf16", ("no dtype in the file: taken as bf16",))),
        (
            {"torch_dtype": "float32"},
            ("fp32", "fp32", ("float32 checkpoint: weights are served as stored, in 32 bits",)),
        ),
    ],
)
def test_a_file_without_quantisation_is_stored_in_its_dtype(
    read: Read, change: dict[str, Any], expected: tuple[str, str, tuple[str, ...]]
) -> None:
    model = read(LLAMA | change)
    assert (model.checkpoint.weights, model.checkpoint.vectors, model.assumptions) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"quant_method": "hqq"}, "quantization_config.quant_method: 'hqq' is not known"),
        ({"quant_method": "modelopt", "quant_algo": "FP2"}, "quantization_config.quant_algo: 'FP2' is not known"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "3 bits in groups of 128 are not known"),
        (linear(num_bits=6, type="float"), "6 bits of type 'float' in groups of None are not known"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP3"}, "'FP3' is not known"),
    ],
)  # fmt: skip
def test_an_unknown_quantisation_is_refused_by_name(read: Read, block: dict[str, Any], expected: str) -> None:
    text = message(read, LLAMA | {"quantization_config": block}, UnsupportedError)
    assert text.startswith("org--tiny.json: ")
    assert expected in text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("re:(", "is no regular expression"),
        ("re:(a+)+$", "repeats a repetition, which may run for ever; simplify it"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(read: Read, pattern: str, expected: str) -> None:
    block = {"quant_method": "fp8", "modules_to_not_convert": [pattern]}
    assert expected in message(read, LLAMA | {"quantization_config": block})


def test_a_block_that_names_no_method_and_has_no_telling_key_is_refused(read: Read) -> None:
    text = message(read, LLAMA | {"quantization_config": {"bits_and_pieces": 1}})
    expected = "quantization_config.quant_method: missing, and no other key tells the method; add it"
    assert text == f"org--tiny.json: {expected}"
