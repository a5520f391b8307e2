import dataclasses
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.config.gguf_header import LongArray, read_header
from rooflinesim.config.gguf_model import read_gguf
from rooflinesim.config.tensor_names import gguf_place_of
from rooflinesim.errors import FileError, ProfileError, RooflinesimError, UnsupportedError
from rooflinesim.specs.model import Attention, LatentAttention, MoeMlp
from rooflinesim.workload.parameters import total_parameters

pytest.importorskip("gguf", reason="the extra gguf is not installed")

U32, F32, TEXT, ARRAY, U64, BOOL = 4, 6, 8, 9, 10, 7


def text(value: str) -> bytes:
    """A text as GGUF stores it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: Any) -> bytes:
    """A key and its value, of a type that fits."""
    match value:
        case bytes():
            return text(key) + value
        case str():
            return text(key) + struct.pack("<I", TEXT) + text(value)
        case [str(), *_]:
            return text(key) + struct.pack("<IIQ", ARRAY, TEXT, len(value)) + b"".join(map(text, value))
        case [bool(), *_]:
            return text(key) + struct.pack("<IIQ", ARRAY, BOOL, len(value)) + bytes(value)
        case list():
            return text(key) + struct.pack(f"<IIQ{len(value)}I", ARRAY, U32, len(value), *value)
        case float():
            return text(key) + struct.pack("<If", F32, value)
        case _:
            return text(key) + struct.pack("<II", U32, value)


def header(pairs: dict[str, Any], tensors: dict[str, tuple[int, ...]], *, version: int = 3, kind: int = 0) -> bytes:
    """A GGUF file of tensors in fp32 (type 0) or another type, rows first, without their data."""
    body = b"".join(pair(key, value) for key, value in pairs.items())
    end = 0
    for name, shape in tensors.items():
        size = 4
        for length in shape:
            size *= length
        body += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, end)
        end += -(-size // 32) * 32
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + body


LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "llama.block_count": 2,
    "llama.embedding_length": 8,
    "llama.feed_forward_length": 16,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.context_length": 64,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}
OUTER = {"token_embd.weight": (32, 8), "output.weight": (32, 8), "output_norm.weight": (8,)}
ATTENTION = {
    "attn_norm.weight": (8,),
    "attn_q.weight": (8, 8),
    "attn_k.weight": (4, 8),
    "attn_v.weight": (4, 8),
    "attn_output.weight": (8, 8),
    "ffn_norm.weight": (8,),
}
MLP = {"ffn_gate.weight": (16, 8), "ffn_up.weight": (16, 8), "ffn_down.weight": (8, 16)}
Tensors = dict[str, tuple[int, ...]]


def blocks(*parts: Tensors, layers: int = 2) -> Tensors:
    """Tensors of equal layers."""
    return {f"blk.{layer}.{name}": shape for layer in range(layers) for part in parts for name, shape in part.items()}


TINY = {**OUTER, **blocks(ATTENTION, MLP)}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes bytes to a GGUF file."""

    def written(content: bytes, name: str = "tiny.gguf", padding: int = 100_000) -> Path:
        path = tmp_path / name
        path.write_bytes(content + bytes(padding))
        return path

    return written


def family(architecture: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Metadata of the tiny model under another architecture."""
    renamed = {key.replace("llama.", f"{architecture}.", 1): value for key, value in LLAMA.items()}
    own = {f"{architecture}.{key}": value for key, value in changes.items()}
    return {**renamed, **own, "general.architecture": architecture}


def test_a_header_gives_metadata_and_tensors(write):
    read = read_header(write(header(LLAMA, TINY)))
    assert read.metadata["llama.block_count"] == 2
    assert read.metadata["tokenizer.ggml.tokens"] == LongArray(length=3)
    first = read.tensors[0]
    assert (first.name, first.form, first.shape, first.bytes) == ("token_embd.weight", "fp32", (32, 8), 1024)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_the_format_are_read(write, version):
    assert read_gguf(write(header(LLAMA, TINY, version=version))).name == "tiny"


def test_the_byte_order_of_a_file_is_found_from_its_version(write):
    content = b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q", 1) + b"a" + struct.pack(">II", U32, 7)
    assert read_header(write(content)).metadata == {"a": 7}


def test_a_llama_is_counted_to_the_unit(write):
    model = read_gguf(write(header(LLAMA, TINY)))
    # 2 layers x (64 + 32 + 32 + 64 + 3 x 128 + 16), two tables of 256 and the last norm.
    assert total_parameters(model) == 2 * 592 + 2 * 256 + 8
    assert model.assumptions == ()
    assert model.maximum_context == 64


def test_without_a_head_the_table_of_tokens_serves_as_one(write):
    tensors = {name: shape for name, shape in TINY.items() if name != "output.weight"}
    model = read_gguf(write(header(LLAMA, tensors)))
    assert model.has_tied_embeddings
    assert model.assumptions == ()


EXPERTS = {
    "ffn_gate_inp.weight": (4, 8),
    "ffn_gate_exps.weight": (4, 16, 8),
    "ffn_up_exps.weight": (4, 16, 8),
    "ffn_down_exps.weight": (4, 8, 16),
}
SHARED = {"ffn_gate_shexp.weight": (16, 8), "ffn_up_shexp.weight": (16, 8), "ffn_down_shexp.weight": (8, 16)}
QKV_BIAS = {"attn_q.bias": (8,), "attn_k.bias": (4,), "attn_v.bias": (4,)}
QK_NORM = {"attn_q_norm.weight": (4,), "attn_k_norm.weight": (4,)}
POST_NORMS = {"post_attention_norm.weight": (8,), "post_ffw_norm.weight": (8,)}
FUSED = {
    "attn_norm.weight": (8,),
    "attn_qkv.weight": (16, 8),
    "attn_output.weight": (8, 8),
    "ffn_norm.weight": (8,),
    "ffn_up.weight": (32, 8),
    "ffn_down.weight": (8, 16),
}
LATENT = {
    "attn_norm.weight": (8,),
    "ffn_norm.weight": (8,),
    "attn_q_a.weight": (6, 8),
    "attn_q_a_norm.weight": (6,),
    "attn_q_b.weight": (12, 6),
    "attn_kv_a_mqa.weight": (6, 8),
    "attn_kv_a_norm.weight": (4,),
    "attn_kv_b.weight": (16, 4),
    "attn_output.weight": (8, 8),
}
SINKS = {"attn_sinks.weight": (2,), "attn_output.bias": (8,), "ffn_gate_inp.bias": (4,)}
EXPERT_BIAS = {"ffn_gate_exps.bias": (4, 16), "ffn_up_exps.bias": (4, 16), "ffn_down_exps.bias": (4, 8)}
MOE = {"expert_count": 4, "expert_used_count": 2}
FAMILIES: dict[str, tuple[dict[str, Any], tuple[Tensors, ...]]] = {
    "qwen2": ({}, (ATTENTION, MLP, QKV_BIAS)),
    "qwen3": ({"attention.key_length": 4}, (ATTENTION, MLP, QK_NORM)),
    "qwen3moe": ({**MOE, "expert_feed_forward_length": 16}, (ATTENTION, EXPERTS, QK_NORM)),
    "llama": (MOE, (ATTENTION, EXPERTS)),
    "mistral3": ({}, (ATTENTION, MLP)),
    "gemma2": ({"attention.key_length": 4, "attention.sliding_window": 16}, (ATTENTION, MLP, POST_NORMS)),
    "gemma3": ({"attention.key_length": 4, "attention.sliding_window": 16}, (ATTENTION, MLP, POST_NORMS, QK_NORM)),
    "phi3": ({"attention.sliding_window": 0}, (FUSED,)),
    "gpt-oss": (
        {**MOE, "expert_feed_forward_length": 16, "attention.key_length": 4, "attention.sliding_window": 16},
        (ATTENTION, EXPERTS, QKV_BIAS, SINKS, EXPERT_BIAS),
    ),
    "qwen2moe": (
        {**MOE, "expert_feed_forward_length": 16, "expert_shared_feed_forward_length": 16},
        (ATTENTION, EXPERTS, SHARED, QKV_BIAS, {"ffn_gate_inp_shexp.weight": (8,)}),
    ),
    "glm4moe": (
        {**MOE, "expert_feed_forward_length": 16, "expert_shared_count": 1, "leading_dense_block_count": 0},
        (ATTENTION, EXPERTS, SHARED, QKV_BIAS, {"exp_probs_b.bias": (4,)}),
    ),
    "deepseek2": (
        {
            **MOE,
            "expert_feed_forward_length": 16,
            "expert_shared_count": 1,
            "leading_dense_block_count": 0,
            "attention.q_lora_rank": 6,
            "attention.kv_lora_rank": 4,
            "attention.key_length": 6,
            "attention.value_length": 4,
            "rope.dimension_count": 2,
        },
        (LATENT, EXPERTS, SHARED, {"exp_probs_b.bias": (4,)}),
    ),
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_metadata_of_every_family_count_what_its_tensors_hold(write, architecture):
    changes, parts = FAMILIES[architecture]
    tensors = {**OUTER, **blocks(*parts)}
    model = read_gguf(write(header(family(architecture, changes), tensors)))
    assert model.assumptions == ()
    held = sum(tensor.elements for tensor in read_header(write(header(LLAMA, tensors))).tensors)
    assert total_parameters(model) == held


def test_latent_attention_of_newer_files_reads_the_sizes_before_absorption(write):
    changes, parts = FAMILIES["deepseek2"]
    absorbed = {
        "attention.key_length": 6,
        "attention.value_length": 4,
        "attention.key_length_mla": 6,
        "attention.value_length_mla": 4,
        "attention.head_count_kv": 1,
    }
    split = {name: shape for name, shape in LATENT.items() if name != "attn_kv_b.weight"}
    split |= {"attn_k_b.weight": (2, 4, 4), "attn_v_b.weight": (2, 4, 4)}
    tensors = {**OUTER, **blocks(split, *parts[1:])}
    model = read_gguf(write(header(family("deepseek2", changes | absorbed), tensors)))
    assert model.assumptions == ()
    mixer = model.layers[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert (mixer.nope_size, mixer.rope_size, mixer.value_size) == (4, 2, 4)


def test_windows_follow_the_pattern_of_the_family_or_of_the_file(write):
    def windows(changes: dict[str, Any]) -> list[tuple[int, int | None]]:
        keys = {"attention.key_length": 4, "attention.sliding_window": 16, "block_count": 6, **changes}
        tensors = {**OUTER, **blocks(ATTENTION, MLP, POST_NORMS, QK_NORM, layers=6)}
        groups = read_gguf(write(header(family("gemma3", keys), tensors))).layers
        return [(group.count, group.attention.window) for group in groups if group.attention]

    assert windows({}) == [(5, 16), (1, None)]
    assert windows({"attention.sliding_window_pattern": [True, False] * 3}) == [(3, 16), (3, None)]
    assert windows({"attention.sliding_window_pattern": 3}) == [(4, 16), (2, None)]


def test_draft_layers_are_resident_only(write):
    changes, parts = FAMILIES["glm4moe"]
    keys = family("glm4moe", {**changes, "block_count": 3, "nextn_predict_layers": 1})
    drafts = {"blk.2.nextn.eh_proj.weight": (8, 16), "blk.2.attn_q.weight": (8, 8)}
    model = read_gguf(write(header(keys, {**OUTER, **blocks(*parts), **drafts})))
    assert (model.layer_count, model.draft_parameters) == (2, 128 + 64)
    assert model.assumptions == ()


def test_equal_lengths_of_all_layers_are_one_length(write):
    listed = {"llama.feed_forward_length": [16, 16], "llama.attention.head_count_kv": [1, 1]}
    plain = read_gguf(write(header(LLAMA, TINY)))
    assert read_gguf(write(header(LLAMA | listed, TINY))) == plain


def test_an_unknown_architecture_without_odd_keys_is_read_as_a_llama_and_says_so(write):
    model = read_gguf(write(header(family("newcomer", {}), TINY)))
    assert model.assumptions == ("unknown architecture 'newcomer': read as a Llama-like decoder; counts may be off",)
    assert isinstance(model.layers[0].mixer, Attention)


def test_old_files_hold_each_expert_apart(write):
    own = {
        f"ffn_{leaf}.{expert}.weight": MLP[f"ffn_{leaf}.weight"]
        for leaf in ("gate", "up", "down")
        for expert in range(4)
    }
    tensors = {**OUTER, **blocks(ATTENTION, {"ffn_gate_inp.weight": (4, 8)}, own)}
    model = read_gguf(write(header(family("llama", MOE), tensors)))
    assert isinstance(model.layers[0].feed_forward, MoeMlp)
    assert model.assumptions == ()


def test_the_files_of_a_split_model_are_one_model(write):
    names = list(TINY)
    for number, part in enumerate((names[:5], names[5:]), start=1):
        pairs = LLAMA if number == 1 else {"split.no": 1}
        tensors = {name: TINY[name] for name in part}
        write(header({**pairs, "split.count": 2}, tensors), f"tiny-{number:05d}-of-00002.gguf")
    whole = read_gguf(write(header(LLAMA, TINY)))
    split = read_gguf(write(b"", "x").with_name("tiny-00002-of-00002.gguf"))
    assert dataclasses.replace(split, source=whole.source) == whole


def test_a_file_of_a_split_model_that_was_renamed_is_refused(write):
    with pytest.raises(ProfileError, match=r"split\.count: 2"):
        read_gguf(write(header({**LLAMA, "split.count": 2}, TINY)))


def test_a_file_that_is_cut_off_is_sized_by_its_header_and_says_so(write):
    model = read_gguf(write(header(LLAMA, TINY), padding=0))
    assert [note.partition(":")[0] for note in model.assumptions] == ["tiny.gguf is cut off"]


def without(key: str) -> dict[str, Any]:
    """Metadata without one key."""
    return {name: value for name, value in LLAMA.items() if name != key}


BIG = 2**62


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"GGUX" + bytes(40), ["magic", "GGUX"]),
        (b"tjgg" + bytes(40), ["magic", "older format"]),
        (header(LLAMA, TINY, version=1), ["version: 1"]),
        (header(LLAMA, TINY, version=4), ["version: 4", "newer"]),
        (b"GGUF" + struct.pack("<IQQ", 3, BIG, 1), ["tensor count", f"{BIG:,}"]),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, BIG), ["metadata count", f"{BIG:,}"]),
        (header({"a": struct.pack("<IQ", TEXT, 2**40)}, {}), ["'a' of 1,099,511,627,776 B", "ends"]),
        (header({"a": struct.pack("<IIQ", ARRAY, TEXT, BIG)}, {}), ["'a'", f"{BIG:,} texts"]),
        (header({"a": struct.pack("<IIQ", ARRAY, U64, BIG)}, {}), ["'a'", f"{BIG:,} values"]),
        (header({"a": struct.pack("<IIQ", ARRAY, ARRAY, 1)}, {}), ["'a'", "arrays of type 9"]),
        (header({"a": struct.pack("<II", 99, 1)}, {}), ["'a'", "value type 99"]),
        (header({"a" * 5000: 1}, {}), ["metadata key 0", "too long"]),
        (header(LLAMA, TINY, kind=77), ["'token_embd.weight'", "type 77"]),
        (header(LLAMA, TINY, kind=12), ["'token_embd.weight'", "q4_k", "[32, 8]"]),
        (header(LLAMA, {"a": (BIG, 1)}), ["'a': shape", f"{BIG:,}"]),
        (header(LLAMA, {"a": (2**20,) * 3}), ["'a'"]),
        (header(LLAMA, {"a": (1,) * 9}), ["'a': dimensions", "9"]),
        (header({**LLAMA, "general.alignment": 0}, TINY), ["general.alignment", "0"]),
        (header(without("general.architecture"), TINY), ["general.architecture"]),
        (header(without("llama.block_count"), TINY), ["llama.block_count", "missing"]),
        (header(without("llama.attention.head_count"), TINY), ["llama.attention.head_count", "missing"]),
        (header(LLAMA | {"llama.attention.head_count": 0}, TINY), ["llama.attention.head_count: 0"]),
        (header(LLAMA | {"llama.attention.head_count_kv": 3}, TINY), ["llama.attention.head_count_kv: 3"]),
        (header(LLAMA | {"llama.attention.head_count_kv": [1, 2]}, TINY), ["llama.attention.head_count_kv", "differs"]),
        (header(LLAMA | {"llama.embedding_length": 16}, TINY), ["llama.embedding_length: 16", "rows of 8"]),
        (header(LLAMA | {"llama.embedding_length": 8.0}, TINY), ["llama.embedding_length"]),
        (header(LLAMA | {"llama.block_count": "two"}, TINY), ["llama.block_count", "'two'"]),
        (header(LLAMA | {"llama.block_count": 2**31}, TINY), ["block_count", "2,147,483,648"]),
        (header(LLAMA | {"llama.nextn_predict_layers": 2}, TINY), ["num_hidden_layers: 0"]),
        (header(LLAMA | {"llama.expert_count": 4, "llama.expert_used_count": 9}, TINY), ["expert_used_count: 9"]),
        (header(family("mamba", {"ssm.state_size": 16}), TINY), ["general.architecture: 'mamba'", "ssm.state_size"]),
        (header(LLAMA, {}), ["list no weights"]),
        (header(without("tokenizer.ggml.tokens"), {"a": (8, 8)}), ["vocab_size: null"]),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line_that_names_the_field(write, content, parts):
    with pytest.raises(RooflinesimError) as caught:
        read_gguf(write(content))
    line = str(caught.value)
    assert line.startswith("tiny.gguf: ")
    assert "\n" not in line
    assert len(line) < 500
    for part in parts:
        assert part in line


def test_a_name_that_stands_twice_is_refused(write):
    twice = pair("a", 1) + pair("a", 2)
    with pytest.raises(ProfileError, match="'a' stands twice"):
        read_header(write(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + twice))
    tensor = text("a") + struct.pack("<IQIQ", 1, 8, 0, 0)
    with pytest.raises(ProfileError, match="stands twice"):
        read_header(write(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + tensor * 2))


def test_tensors_that_overlap_are_refused(write):
    tensors = b"".join(text(name) + struct.pack("<IQIQ", 1, 8, 0, 0) for name in "ab")
    with pytest.raises(ProfileError, match="starts at byte 0 inside another"):
        read_header(write(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + tensors))


@pytest.mark.parametrize("content", [b"", b"GGUF"])
def test_a_file_without_a_header_is_refused(tmp_path, content):
    path = tmp_path / "empty.gguf"
    path.write_bytes(content)
    with pytest.raises(FileError, match="too few"):
        read_header(path)


def test_without_the_package_the_line_says_how_to_install_it(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setitem(sys.modules, "gguf.constants", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'rooflinesim\[gguf\]'"):
        read_header(write(header(LLAMA, TINY)))


@pytest.mark.parametrize(
    ("name", "shape", "store"),
    [
        ("blk.1.attn_q.weight", (8, 8), "attention"),
        ("blk.1.attn_q_norm.weight", (8,), "vectors"),
        ("blk.1.attn_q.bias", (8,), "vectors"),
        ("blk.1.ffn_down.weight", (8, 8), "mlp"),
        ("blk.1.ffn_down_exps.weight", (4, 8, 8), "experts"),
        ("blk.1.ffn_down.3.weight", (8, 8), "experts"),
        ("blk.1.ffn_down_exps.bias", (4, 8), "vectors"),
        ("blk.1.ffn_up_shexp.weight", (8, 8), "shared_experts"),
        ("blk.1.ffn_gate_inp.weight", (4, 8), "vectors"),
        ("blk.1.ssm_in.weight", (4, 8), "attention"),
        ("blk.1.ssm_conv1d.weight", (8, 4), "vectors"),
        ("blk.1.nextn.eh_proj.weight", (8, 8), "draft"),
        ("token_embd.weight", (8, 8), "embedding"),
        ("per_layer_token_embd.weight", (8, 8), "tables"),
        ("output.weight", (8, 8), "head"),
        ("output_norm.weight", (8,), "vectors"),
        ("rope_freqs.weight", (8,), "vectors"),
        ("v.blk.1.attn_q.weight", (8, 8), "vision"),
    ],
)
def test_a_name_tells_where_bytes_belong(name, shape, store):
    assert gguf_place_of(name, shape).store == store
