import pytest

from rooflinesim.config import entries, load_hardware, load_model, resolve
from rooflinesim.config.catalogue import profile_folder
from rooflinesim.errors import FileError, UnknownNameError
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model


@pytest.mark.parametrize(
    ("typed", "file"),
    [
        ("h100-sxm", "h100-sxm"),
        ("H100-SXM", "h100-sxm"),
        ("h100_sxm", "h100-sxm"),
        ("H100 SXM", "h100-sxm"),
        (" h100-sxm ", "h100-sxm"),
        ("nvidia-h100-pcie", "h100-pcie"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("h100 80gb pcie", "h100-pcie"),
        ("pcie-h100", "h100-pcie"),
        ("a100-40gb", "a100-sxm-40gb"),
        ("rtx 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("Apple M3 Max", "m3-max"),
        ("Tesla T4", "t4"),
        ("epyc-9654", "epyc-9654"),
    ],
)
def test_a_device_goes_by_any_case_order_and_decoration(typed, file):
    assert resolve("hardware", typed).path.stem == file


@pytest.mark.parametrize(
    ("typed", "file", "others"),
    [
        ("h100", "h100-sxm", ["h100-pcie", "h100-nvl"]),
        ("A100", "a100-sxm-80gb", ["a100-sxm-40gb", "a100-pcie-80gb"]),
        ("v100", "v100-sxm-32gb", ["v100-pcie-16gb"]),
        ("epyc", "epyc-9654", ["epyc-9965"]),
    ],
)
def test_an_ambiguous_name_picks_one_and_says_which(typed, file, others):
    found = resolve("hardware", typed)
    assert found.path.stem == file
    assert found.note is not None
    assert f"is taken as {load_hardware(file).name}" in found.note
    for other in others:
        assert other in found.note


@pytest.mark.parametrize("typed", ["h100-sxm", "h100-pcie", "l4", "t4", "mi300x", "a100-40gb", "rtx-4090"])
def test_a_name_of_one_device_alone_gives_no_note(typed):
    assert resolve("hardware", typed).note is None


@pytest.mark.parametrize(
    "typed",
    [
        "llama3-70b",
        "LLAMA3-70B",
        "llama3_70b",
        "llama-3-70b",
        "Meta-Llama-3-70B-Instruct",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        "meta-llama/Meta-Llama-3-70B",
        "llama3:70b",
    ],
)
def test_a_model_goes_by_its_preset_its_hub_id_and_its_decorations(typed):
    assert resolve("model", typed).path.stem == "llama3-70b"


def test_a_name_that_is_not_the_preset_s_own_says_what_it_is_read_as():
    assert resolve("model", "llama3-70b").note is None
    note = resolve("model", "Meta-Llama-3-70B-Instruct").note
    assert note == "'Meta-Llama-3-70B-Instruct' is read as Meta-Llama-3-70B"


@pytest.mark.parametrize(
    ("typed", "form", "head"),
    [
        ("llama3-70b-fp8", "fp8", "bf16"),
        ("llama3-70b:fp8", "fp8", "bf16"),
        ("Meta-Llama-3-70B-Instruct-AWQ", "int4-awq", "bf16"),
        ("llama3-70b-gptq", "int4", "bf16"),
        ("llama3-70b-w8a8", "int8-w8a8", "bf16"),
        ("llama3-70b-q4_k_m", "q4_k_m", None),
        ("llama3:70b-q4_k_m", "q4_k_m", None),
        ("llama3-70b-q8_0", "q8_0", None),
        ("llama3-70b-gguf", "q4_k_m", None),
    ],
)
def test_a_quantised_name_changes_the_checkpoint_of_the_model(typed, form, head):
    model = load_model(typed)
    assert model.name == "Meta-Llama-3-70B"
    assert model.checkpoint.weights == form
    assert (model.checkpoint.head, model.checkpoint.embedding) == (head, head)


@pytest.mark.parametrize(
    ("kind", "typed", "parts"),
    [
        ("hardware", "h100-sxmm", ["unknown GPU 'h100-sxmm'", "did you mean", "h100-sxm", "list gpus"]),
        ("hardware", "", ["unknown GPU ''", "list gpus"]),
        ("hardware", "nvidia", ["unknown GPU 'nvidia'"]),
        ("hardware", "-", ["unknown GPU '-'"]),
        ("model", "lama3-70b", ["unknown model 'lama3-70b'", "did you mean llama3-70b", "list models"]),
        ("model", "fp8", ["unknown model 'fp8'"]),
        ("model", "nobody/has-this-model", ["unknown model 'nobody/has-this-model'"]),
        ("stack", "genric", ["unknown stack 'genric'", "did you mean generic", "list stacks"]),
    ],
)
def test_a_misspelt_name_says_what_may_be_meant(kind, typed, parts):
    with pytest.raises((UnknownNameError, FileError)) as caught:
        resolve(kind, typed)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("typed", ["missing.yaml", "./missing", "/missing/gpu.yaml", "~/missing-gpu.yaml"])
def test_a_path_without_a_file_is_refused_as_a_path(typed):
    with pytest.raises(FileError, match=r"missing.*no such file; give a path, or a name from"):
        resolve("hardware", typed)


def test_a_home_of_nobody_is_refused_as_a_path():
    with pytest.raises(FileError, match="nobody-has-this-name"):
        resolve("hardware", "~nobody-has-this-name/gpu.yaml")


def test_a_file_of_the_user_s_own_is_read_by_its_path(tmp_path):
    own = tmp_path / "my gpu.yaml"
    own.write_text((profile_folder("hardware") / "l4.yaml").read_text())
    assert resolve("hardware", str(own)).path == own
    assert load_hardware(str(own)) == load_hardware("l4")


@pytest.mark.parametrize("kind", ["model", "hardware", "stack", "draft"])
def test_no_two_profiles_answer_to_the_same_name(kind):
    owners: dict[str, str] = {}
    for entry in entries(kind):
        for name in {one.lower() for one in (entry.key, entry.name, *entry.aliases)}:
            assert owners.setdefault(name, entry.key) == entry.key, name


@pytest.mark.parametrize("kind", ["model", "hardware", "stack", "draft"])
def test_every_name_and_alias_finds_its_own_profile(kind):
    for entry in entries(kind):
        for name in (entry.key, entry.name, *entry.aliases):
            assert resolve(kind, name).path == entry.path, name


def test_loading_gives_the_nouns():
    assert isinstance(load_hardware("l4"), Hardware)
    assert isinstance(load_model("llama3-70b"), Model)
