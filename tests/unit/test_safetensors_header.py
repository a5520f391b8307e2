import json
import struct
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.config import load_model
from rooflinesim.config.checkpoint import main_file, read_checkpoint
from rooflinesim.config.safetensors_header import MAXIMUM_HEADER_BYTES, read_header
from rooflinesim.config.tensor_names import place_of
from rooflinesim.errors import FileError, ProfileError, RooflinesimError, UnsupportedError

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "vocab_size": 32,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
SHAPES = {
    "model.embed_tokens.weight": [32, 8],
    "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.0.self_attn.k_proj.weight": [4, 8],
    "model.layers.0.self_attn.v_proj.weight": [4, 8],
    "model.layers.0.self_attn.o_proj.weight": [8, 8],
    "model.layers.0.mlp.gate_proj.weight": [16, 8],
    "model.layers.0.mlp.up_proj.weight": [16, 8],
    "model.layers.0.mlp.down_proj.weight": [8, 16],
    "model.layers.0.input_layernorm.weight": [8],
    "model.layers.0.post_attention_layernorm.weight": [8],
    "model.norm.weight": [8],
}


def entries(shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Entries of a header for tensors in bf16, one after the other."""
    found: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        found[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return found


def written(path: Path, header: object, length: int | None = None) -> Path:
    """A file with a header and no weights behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a config.json."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_a_header_lists_its_tensors_and_skips_its_metadata(tmp_path):
    header = {"__metadata__": {"format": "pt"}, **entries({"a": [2, 3]})}
    (tensor,) = read_header(written(tmp_path / "a.safetensors", header))
    assert (tensor.name, tensor.form, tensor.shape, tensor.bytes) == ("a", "bf16", (2, 3), 12)


def test_an_empty_shape_is_one_element(tmp_path):
    (tensor,) = read_header(written(tmp_path / "a.safetensors", entries({"scale": []})))
    assert (tensor.elements, tensor.bytes) == (1, 2)


TWO_BYTES = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}


@pytest.mark.parametrize(
    ("header", "length", "parts"),
    [
        ({}, 10**12, ["header length", "1,000,000,000,000", "fetch it again"]),
        (b"{", None, ["not readable as JSON"]),
        (b"\xff\xff", None, ["UTF-8"]),
        (b"[" * 5000, None, ["nested too deeply"]),
        ([1], None, ["no object"]),
        (b'{"a": {}, "a": {}}', None, ["'a'", "stands twice"]),
        ({"a": 1}, None, ["'a'", "no object"]),
        ({"a": TWO_BYTES | {"dtype": "F128"}}, None, ["'a'.dtype", "F128", "known: "]),
        ({"a": TWO_BYTES | {"dtype": ["F16"]}}, None, ["'a'.dtype", "list"]),
        ({"a": TWO_BYTES | {"shape": [-1]}}, None, ["'a'.shape", "-1"]),
        ({"a": TWO_BYTES | {"shape": [1.5]}}, None, ["'a'.shape", "1.5"]),
        ({"a": TWO_BYTES | {"shape": [True]}}, None, ["'a'.shape", "True"]),
        ({"a": TWO_BYTES | {"shape": "many"}}, None, ["'a'.shape", "str"]),
        ({"a": TWO_BYTES | {"shape": [1] * 1000}}, None, ["'a'.shape", "1,000"]),
        ({"a": TWO_BYTES | {"shape": [10**13]}}, None, ["'a'.shape", "10000000000000"]),
        ({"a": TWO_BYTES | {"data_offsets": [2, 0]}}, None, ["'a'.data_offsets", "[2, 0]"]),
        ({"a": TWO_BYTES | {"data_offsets": [0]}}, None, ["'a'.data_offsets"]),
        ({"a": TWO_BYTES | {"data_offsets": [0, 4]}}, None, ["spans 4 B", "needs 2 B"]),
        ({"a": TWO_BYTES, "b": TWO_BYTES}, None, ["2 B are spanned", "4 B"]),
    ],
)
def test_a_malformed_header_is_refused_in_one_line_that_names_the_field(tmp_path, header, length, parts):
    with pytest.raises(RooflinesimError) as caught:
        read_header(written(tmp_path / "bad.safetensors", header, length))
    line = str(caught.value)
    assert line.startswith("bad.safetensors: ")
    assert "\n" not in line
    assert len(line) < 500
    for part in parts:
        assert part in line


def test_a_header_longer_than_any_model_needs_is_not_read(tmp_path):
    path = tmp_path / "long.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAXIMUM_HEADER_BYTES + 1))
        file.truncate(2 * MAXIMUM_HEADER_BYTES)
    with pytest.raises(FileError, match=r"32,000,001 B is too long"):
        read_header(path)


def test_a_header_of_millions_of_entries_is_not_parsed(tmp_path):
    with pytest.raises(FileError, match="more than 40,000 tensors"):
        read_header(written(tmp_path / "many.safetensors", b"[" + b"[]," * 300_001 + b"0]"))


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_a_file_without_a_length_is_refused(tmp_path, content):
    path = tmp_path / "short.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match="too few"):
        read_header(path)


def test_a_git_lfs_pointer_says_how_to_get_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FileError, match="git lfs pull"):
        read_header(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    for name, what in (("none.safetensors", "no such file"), ("folder.safetensors", "no regular file")):
        with pytest.raises(FileError, match=what):
            read_header(tmp_path / name)


# Checkpoints


def test_weights_without_a_config_are_refused_because_shapes_do_not_tell_heads(tmp_path):
    with pytest.raises(FileError, match=r"no config\.json beside it"):
        read_checkpoint(written(tmp_path / "model.safetensors", entries(SHAPES)))


def test_a_folder_a_header_and_an_index_are_the_same_model(folder):
    written(folder / "model.safetensors", entries(SHAPES))
    from_file = load_model(str(folder / "model.safetensors"))
    assert load_model(str(folder)) == from_file
    index = {"weight_map": dict.fromkeys(SHAPES, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_model(str(folder)) == from_file
    assert load_model(str(folder / "model.safetensors.index.json")) == from_file


def test_one_shard_stands_for_all(folder):
    names = list(SHAPES)
    for number, part in enumerate((names[:4], names[4:]), start=1):
        shapes = {name: SHAPES[name] for name in part}
        written(folder / f"model-{number:05d}-of-00002.safetensors", entries(shapes))
    model = load_model(str(folder / "model-00002-of-00002.safetensors"))
    assert model.assumptions == ()
    assert load_model(str(folder)) == model


def test_a_missing_shard_is_named(folder):
    written(folder / "model-00001-of-00003.safetensors", entries(SHAPES))
    with pytest.raises(FileError, match=r"'model-00002-of-00003\.safetensors' and 1 more of 3 files not there"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("index", "parts"),
    [
        ({"weight_map": {"a": "gone.safetensors"}}, ["weight_map", "'gone.safetensors'", "not there"]),
        ({"weight_map": {"a": "../../etc/passwd"}}, ["weight_map.'a'", "../../etc/passwd"]),
        ({"weight_map": {"a": 3}}, ["weight_map.'a'", "int"]),
        ({"weight_map": {}}, ["weight_map", "empty"]),
        ({"weight_map": [1]}, ["weight_map", "missing"]),
        ({}, ["weight_map", "missing"]),
    ],
)
def test_an_index_that_names_no_files_that_are_there_is_refused(folder, index, parts):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    for name in (path, folder):
        with pytest.raises(RooflinesimError) as caught:
            load_model(str(name))
        assert "\n" not in str(caught.value)
        for part in parts:
            assert part in str(caught.value)


def test_a_tensor_in_two_files_is_not_counted_twice(folder):
    for name in ("a.safetensors", "b.safetensors"):
        written(folder / name, entries(SHAPES))
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ProfileError, match=r"b\.safetensors: 'model\.embed_tokens\.weight' stands in a\.safetensors"):
        load_model(str(folder))


def test_an_index_whose_total_differs_from_its_files_is_reported(folder):
    written(folder / "model.safetensors", entries(SHAPES))
    index = {"metadata": {"total_size": 5}, "weight_map": dict.fromkeys(SHAPES, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    # 256 + 192 + 384 + 24 parameters in 16 bits.
    assert any("5 B, its files hold 1,712 B" in note for note in load_model(str(folder)).assumptions)


def test_a_folder_of_several_models_asks_which_one(folder):
    for name in ("a.safetensors", "b.safetensors"):
        written(folder / name, entries(SHAPES))
    with pytest.raises(FileError, match="name one of them"):
        main_file(folder)


def test_second_copies_and_adapters_in_a_folder_are_passed_over(folder):
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        written(folder / name, entries(SHAPES))
    assert main_file(folder) == folder / "config.json"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"holds no config\.json"):
        main_file(tmp_path)


def test_a_file_without_weights_is_refused(folder):
    with pytest.raises(FileError, match="list no weights"):
        read_checkpoint(written(folder / "model.safetensors", {}))


def test_what_headers_hold_more_than_the_config_is_reported(folder):
    shapes = {**SHAPES, "model.layers.0.self_attn.q_proj.bias": [8]}
    model = read_checkpoint(written(folder / "model.safetensors", entries(shapes)))
    assert model.assumptions == (
        "headers hold 8 parameters more than the config (vectors +8): bytes are those of the headers",
    )


def test_a_head_that_the_config_denies_is_counted(folder):
    shapes = {**SHAPES, "lm_head.weight": [32, 8]}
    model = read_checkpoint(written(folder / "model.safetensors", entries(shapes)))
    assert not model.has_tied_embeddings
    assert model.assumptions == (
        "headers hold a head beside the embedding, the config says the opposite: the headers count",
    )


def test_an_element_type_that_no_library_writes_is_unsupported(tmp_path):
    header = {"a": {"dtype": "Q4", "shape": [1], "data_offsets": [0, 1]}}
    with pytest.raises(UnsupportedError):
        read_header(written(tmp_path / "a.safetensors", header))


# Names


@pytest.mark.parametrize(
    ("name", "shape", "store"),
    [
        ("model.layers.3.self_attn.q_proj.weight", (8, 8), "attention"),
        ("model.layers.3.self_attn.q_proj.bias", (8,), "vectors"),
        ("model.layers.3.self_attn.q_norm.weight", (8,), "vectors"),
        ("model.layers.3.self_attn.sinks", (8,), "vectors"),
        ("model.layers.3.mlp.down_proj.weight", (8, 8), "mlp"),
        ("model.layers.3.mlp.gate.weight", (8, 8), "vectors"),
        ("model.layers.3.mlp.gate.e_score_correction_bias", (8,), "vectors"),
        ("model.layers.3.mlp.experts.17.up_proj.weight", (8, 8), "experts"),
        ("model.layers.3.mlp.experts.gate_up_proj_blocks", (4, 8, 2, 16), "experts"),
        ("model.layers.3.mlp.experts.gate_up_proj_bias", (4, 8), "vectors"),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", (8, 8), "shared_experts"),
        ("model.layers.3.mlp.shared_expert_gate.weight", (1, 8), "vectors"),
        ("model.layers.3.block_sparse_moe.experts.1.w1.weight", (8, 8), "experts"),
        ("model.layers.3.block_sparse_moe.gate.weight", (8, 8), "vectors"),
        ("model.layers.3.moe.gate_proj.weight", (4, 8, 8), "experts"),
        ("backbone.layers.3.mixer.in_proj.weight", (8, 8), "attention"),
        ("backbone.layers.3.mixer.conv1d.weight", (8, 1, 4), "vectors"),
        ("backbone.layers.3.mixer.A_log", (8,), "vectors"),
        ("backbone.layers.3.mixer.up_proj.weight", (8, 8), "mlp"),
        ("backbone.layers.3.mixer.experts.2.down_proj.weight", (8, 8), "experts"),
        ("transformer.h.3.mlp.c_fc.weight", (8, 8), "mlp"),
        ("h.3.attn.bias", (1, 1, 8, 8), "buffers"),
        ("model.layers.3.self_attn.rotary_emb.inv_freq", (8,), "buffers"),
        ("model.embed_tokens.weight", (8, 8), "embedding"),
        ("transformer.wte.weight", (8, 8), "embedding"),
        ("transformer.wpe.weight", (8, 8), "tables"),
        ("model.language_model.embed_tokens_per_layer.weight", (8, 8), "tables"),
        ("lm_head.weight", (8, 8), "head"),
        ("output.weight", (8, 8), "head"),
        ("lm_head.bias", (8,), "vectors"),
        ("model.norm.weight", (8,), "vectors"),
        ("model.visual.blocks.3.attn.qkv.weight", (8, 8), "vision"),
        ("vision_tower.encoder.layers.3.self_attn.q_proj.weight", (8, 8), "vision"),
        ("multi_modal_projector.linear_1.weight", (8, 8), "vision"),
        ("mtp.layers.0.self_attn.q_proj.weight", (8, 8), "draft"),
    ],
)
def test_a_name_tells_where_bytes_belong(name, shape, store):
    place = place_of(name, shape)
    assert (place.store, place.is_scale) == (store, False)


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("model.layers.3.self_attn.k_scale", "attention"),
        ("model.layers.3.self_attn.q_proj.weight_scale_inv", "attention"),
        ("model.layers.3.mlp.down_proj.qzeros", "mlp"),
        ("model.layers.3.mlp.down_proj.g_idx", "mlp"),
        ("model.layers.3.mlp.down_proj.weight.quant_state.bitsandbytes__nf4", "mlp"),
        ("model.layers.3.mlp.down_proj.weight.nested_absmax", "mlp"),
        ("model.layers.3.mlp.experts.down_proj_scales", "experts"),
        ("model.layers.3.mlp.experts.5.down_proj.weight_scale_2", "experts"),
        ("model.layers.3.mlp.experts.5.down_proj.input_global_scale", "experts"),
        ("model.layers.3.mlp.experts.5.down_proj.weight_shape", "experts"),
        ("lm_head.scales", "head"),
    ],
)
def test_a_scale_belongs_to_its_matrix_and_is_no_parameter(name, store):
    place = place_of(name, (4, 4))
    assert (place.store, place.is_scale) == (store, True)
