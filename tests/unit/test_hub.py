import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.config import load_model, resolve
from rooflinesim.config.hub import HubFiles, hub_files, is_hub_id
from rooflinesim.errors import UnknownNameError

hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
errors = pytest.importorskip("huggingface_hub.errors")
constants = pytest.importorskip("huggingface_hub.constants")

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 32,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
# 32 x 8 for the table, 4 x 8 x 8 for attention, 3 x 8 x 16 for the MLP, three norms of 8.
PARAMETERS = 256 + 256 + 384 + 24
INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_files.cache_clear()
    return folder


def cached(cache: Path, hub_id: str, files: dict[str, object], absent: tuple[str, ...] = ()) -> Path:
    """A model in the cache as the hub's client lays it out: blobs, and links to them."""
    home = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = home / "snapshots" / REVISION
    for folder in (home / "refs", home / "blobs", snapshot, home / ".no_exist" / REVISION):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text(REVISION)
    for number, (name, content) in enumerate(files.items()):
        blob = home / "blobs" / f"blob{number}"
        blob.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        (snapshot / name).symlink_to(blob)
    for name in absent:
        (home / ".no_exist" / REVISION / name).touch()
    return snapshot


def test_a_model_in_the_cache_is_read_without_a_network(cache):
    cached(cache, "maker/tiny-1b", {"config.json": CONFIG}, absent=("hf_quant_config.json", INDEX))
    model = load_model("maker/tiny-1b")
    assert (model.name, model.hidden_size) == ("tiny-1b", 8)
    assert model.source == "maker/tiny-1b on the Hugging Face hub, revision 0123456789ab: config.json"
    note = "'maker/tiny-1b' is read from the Hugging Face hub, revision 0123456789ab"
    assert resolve("model", "maker/tiny-1b").note == note


def test_the_side_file_decides_the_formats(cache):
    side = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    cached(cache, "maker/tiny-fp8x", {"config.json": CONFIG, "hf_quant_config.json": side}, absent=(INDEX,))
    assert load_model("maker/tiny-fp8x").checkpoint.attention == "fp8"


def test_a_side_file_that_cannot_be_asked_for_is_named(cache):
    cached(cache, "maker/tiny-2b", {"config.json": CONFIG})
    note = resolve("model", "maker/tiny-2b").note
    assert note is not None
    assert note.endswith("; hf_quant_config.json cannot be asked for and is taken as absent")


@pytest.mark.parametrize(("announced", "is_reported"), [(2 * PARAMETERS, False), (5000, True)])
def test_the_total_of_an_index_is_compared_with_the_config(cache, announced, is_reported):
    index = {"metadata": {"total_size": announced}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    cached(cache, "maker/tiny-3b", {"config.json": CONFIG, INDEX: index}, absent=("hf_quant_config.json",))
    notes = load_model("maker/tiny-3b").assumptions
    expected = f"the index announces 5,000 B of weights, the config makes {2 * PARAMETERS:,} B: the config counts"
    assert notes == ((expected,) if is_reported else ())


def test_weights_that_are_in_the_cache_are_sized_by_their_header(cache):
    entry = {"dtype": "F32", "shape": [PARAMETERS], "data_offsets": [0, 4 * PARAMETERS]}
    text = json.dumps({"everything": entry}).encode()
    files = {"config.json": CONFIG, "model.safetensors": struct.pack("<Q", len(text)) + text}
    cached(cache, "maker/tiny-4b", files, absent=("hf_quant_config.json", INDEX))
    model = load_model("maker/tiny-4b")
    assert model.name == "tiny-4b"
    assert model.checkpoint.exact["mlp"].bits == pytest.approx(32)


def test_a_preset_wins_over_the_hub(cache):
    cached(cache, "meta-llama/Meta-Llama-3-8B", {"config.json": CONFIG})
    found = resolve("model", "meta-llama/Meta-Llama-3-8B")
    assert (found.hub_id, found.path.name) == (None, "llama3-8b.yaml")


def test_offline_a_model_that_is_not_cached_is_refused_in_one_line():
    with pytest.raises(UnknownNameError) as caught:
        load_model("maker/unheard-of")
    line = str(caught.value)
    assert line.startswith("unknown model 'maker/unheard-of'")
    assert "HF_HUB_OFFLINE is set" in line
    assert "\n" not in line


def test_without_the_extra_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnknownNameError, match=r"pip install 'rooflinesim\[hub\]'"):
        load_model("maker/unheard-of")


def raised(kind: str) -> Exception:
    """An error as the hub's client raises it, without its network."""
    error_type = getattr(errors, kind)
    error: Exception = error_type.__new__(error_type)
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (raised("GatedRepoError"), "is gated: accept its licence"),
        (raised("RepositoryNotFoundError"), "the Hugging Face hub shows no model maker/asked-for"),
        (ConnectionError("no route"), r"does not answer \(ConnectionError\); check the network"),
    ],
)
def test_the_reason_why_the_hub_gives_nothing_is_told(monkeypatch, error, words):
    def refused(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_hf_file_metadata", refused)
    with pytest.raises(UnknownNameError, match=words):
        load_model("maker/asked-for")


def test_only_small_files_are_ever_fetched(cache, monkeypatch):
    asked: list[str] = []
    snapshot = cached(cache, "maker/elsewhere", {"a": CONFIG})

    def fetched(_hub_id: str, name: str, **_: Any) -> str:
        asked.append(name)
        if name != "config.json":
            raise raised("EntryNotFoundError")
        (snapshot / name).write_text(json.dumps(CONFIG))
        return str(snapshot / name)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(hub, "hf_hub_download", fetched)
    assert load_model("maker/elsewhere").hidden_size == 8
    assert asked == ["config.json", "hf_quant_config.json", INDEX]


def test_a_model_without_a_config_is_refused(monkeypatch):
    def missing(*_: Any, **__: Any) -> None:
        raise raised("EntryNotFoundError")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_hf_file_metadata", missing)
    monkeypatch.setattr(hub, "hf_hub_download", missing)
    with pytest.raises(UnknownNameError, match=r"has no config\.json; fetch a \.gguf of it"):
        load_model("maker/only-gguf-files")


@pytest.mark.parametrize("name", ["a/b/c", "../b", "a/", "/b", "a b/c", "a/b c", "a/\n"])
def test_only_an_organisation_and_a_name_are_an_id(name):
    assert not is_hub_id(name)
    with pytest.raises(Exception, match=r"unknown model|no such file"):
        load_model(name)


def test_the_note_is_that_of_the_files():
    files = HubFiles(hub_id="a/b", revision=REVISION, config=Path("c"), index=None, weights=None)
    assert files.note == "'a/b' is read from the Hugging Face hub, revision 0123456789ab"
