"""Headers that something damaged end in a count or in one clear line: quickly, and in little memory."""

import json
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflinesim.config.catalogue import read_model_file
from rooflinesim.errors import RooflinesimError
from rooflinesim.specs.precision import precision_of
from rooflinesim.workload.footprint import resident_weight_bytes

resource = pytest.importorskip("resource", reason="no resource limits on this system")

MUTATIONS = 2000
SLOWEST = 2.0
MEMORY = 500e6
# Numbers that break a reader which trusts them.
HOSTILE = (0, 1, 7, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    b"null",
    b"-1",
    b"1e999",
    b"[]",
    b"{}",
    b"true",
    b'""',
    b'"F4"',
    b"9" * 40,
    b"[[[[",
    b"\\ud800",
    b"\n",
    b"\x00",
)

CONFIG = {
    "model_type": "qwen3_moe",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 16,
    "moe_intermediate_size": 16,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "vocab_size": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SHAPES = {
    "model.embed_tokens.weight": (32, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.self_attn.o_proj.weight": (8, 8),
    "model.layers.0.mlp.gate.weight": (2, 8),
    "model.layers.0.mlp.experts.0.up_proj.weight": (16, 8),
    "model.layers.0.mlp.experts.1.down_proj.weight_scale": (),
    "model.norm.weight": (8,),
    "lm_head.weight": (32, 8),
}
METADATA = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 16, "attention.head_count": 2}
TENSORS = {
    "token_embd.weight": (32, 8),
    "output_norm.weight": (8,),
    "blk.0.attn_q.weight": (8, 8),
    "blk.0.attn_k.weight": (8, 8),
    "blk.0.ffn_up.weight": (16, 8),
    "blk.0.ffn_down.weight": (8, 16),
}


def safetensors() -> bytes:
    """A small file in bf16."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in SHAPES.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def gguf() -> bytes:
    """A small Llama in fp32."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    body = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for key, number in METADATA.items():
        body += text(f"llama.{key}") + struct.pack("<II", 4, number)
    body += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("c")
    body += text("llama.attention.sliding_window_pattern") + struct.pack("<IIQ", 9, 7, 1) + b"\x00"
    end = 0
    for name, shape in TENSORS.items():
        size = 4
        for length in shape:
            size *= length
        body += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), 0, end)
        end += size
    return b"GGUF" + struct.pack("<IQQ", 3, len(TENSORS), 3 + len(METADATA)) + body + bytes(end)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file with one to four changes in its header."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 8] = struct.pack("<Q", chance.choice(HOSTILE))
            case 2:
                data[at : at + 4] = struct.pack("<I", chance.choice(HOSTILE) & 0xFFFFFFFF)
            case 3:
                del data[at:]
            case 4:
                del data[at : at + chance.randrange(1, 20)]
            case 5:
                data[at:at] = chance.choice(WORDS)
            case _:
                other = chance.randrange(len(data)) if data else 0
                data[at : at + 8] = data[other : other + 8]
    return bytes(data)


def mutated_text(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose JSON was changed, its length still right, so that the change is read."""
    (length,) = struct.unpack("<Q", content[:8])
    text = mutated(content[8 : 8 + length], chance)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def outcomes(path: Path, change: Callable[[random.Random], bytes]) -> tuple[int, int]:
    """How many changed files end in a count and how many in a line; anything else fails."""
    chance = random.Random(20250117)
    counts = lines = 0
    for _ in range(MUTATIONS):
        path.write_bytes(change(chance))
        began = time.process_time()
        try:
            model = read_model_file(path)
            assert sum(resident_weight_bytes(model, precision_of(model)).values()) > 0
            counts += 1
            said = model.assumptions
        except RooflinesimError as error:
            lines += 1
            said = (str(error),)
        assert time.process_time() - began < SLOWEST
        assert all(line and "\n" not in line and len(line) < 1000 for line in said), said
    return counts, lines


def peak_memory() -> float:
    """Largest resident memory of this process so far [B]."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def test_damaged_safetensors_files_end_in_a_count_or_a_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    content, before = safetensors(), peak_memory()
    for change in (mutated, mutated_text):
        counts, lines = outcomes(tmp_path / "model.safetensors", lambda chance, change=change: change(content, chance))
        # Damage to the weights themselves and to the names of tensors leaves something to count.
        assert counts > 20
        assert lines > MUTATIONS / 2
    assert peak_memory() - before < MEMORY


def test_damaged_gguf_files_end_in_a_count_or_a_line(tmp_path):
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    content, before = gguf(), peak_memory()
    header = len(content) - 4000
    counts, lines = outcomes(
        tmp_path / "model.gguf", lambda chance: mutated(content[:header], chance) + content[header:]
    )
    assert counts > 20
    assert lines > MUTATIONS / 4
    assert peak_memory() - before < MEMORY


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf"])
def test_noise_is_no_model(tmp_path, name):
    if name.endswith("gguf"):
        pytest.importorskip("gguf", reason="the extra gguf is not installed")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    start = b"GGUF\x03\x00\x00\x00" if name.endswith("gguf") else b""
    counts, _ = outcomes(tmp_path / name, lambda chance: start + chance.randbytes(chance.randrange(300)))
    assert counts == 0


def test_the_longest_header_that_is_read_takes_little_time_and_memory(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    entry = {"dtype": "BF16", "shape": [1, 1], "data_offsets": [0, 2]}
    header: dict[str, object] = {}
    for index in range(39_000):
        header[f"model.layers.0.mlp.experts.{index}.down_proj.weight_{index:024d}"] = {
            **entry,
            "data_offsets": [2 * index, 2 * index + 2],
        }
    text = json.dumps(header).encode()
    del header
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    before, began = peak_memory(), time.process_time()
    assert read_model_file(path).assumptions
    # Twice the limit: test machines are slow.
    assert time.process_time() - began < 2 * SLOWEST
    assert peak_memory() - before < MEMORY
