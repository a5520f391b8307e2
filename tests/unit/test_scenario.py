from pathlib import Path

import pytest

from rooflinesim.config.checking import check_file
from rooflinesim.config.scenarios import load_one_scenario, load_scenarios, named
from rooflinesim.errors import FileError, ProfileError, RooflinesimError
from rooflinesim.specs.scenario import Scenario

EXAMPLE = """\
name: Llama-3-70B chat on H100
model: llama3-70b
hardware: [h100, h200]
stack: vllm
parallelism: {tensor: [4, 8]}
precision: {weights: fp8, kv_cache: fp8}
batch: 1:512
context: [2k, 8k]
speculation: {method: draft-model, draft: llama3-8b, draft_length: 0:8, acceptance_rate: 0.8}
traffic: {requests_per_s: 4, prompt_tokens: 1200, output_tokens: 300}
objective: {tpot_p95: 50 ms, ttft_p95: 1 s}
price: {h100: 2.5 USD/h, h200: 3.3 USD/h}
"""


def written(folder: Path, text: str, name: str = "scenario.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str) -> Scenario:
    return load_one_scenario(written(folder, text))


def test_every_key_of_the_published_example_is_read(tmp_path: Path):
    found = read(tmp_path, EXAMPLE)
    assert found.hardware == ("h100", "h200")
    assert found.parallelism.tensor == (4, 8)
    assert found.batch == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    assert found.context == (2048, 8192)
    assert found.speculation is not None
    assert found.speculation.draft_length == (0, 1, 2, 4, 8)
    assert found.traffic is not None
    assert found.traffic.requests_per_s == (4.0,)
    assert found.objective is not None
    assert found.objective.tpot_p95 == (0.05,)
    assert found.price == {"h100": 2.5, "h200": 3.3}
    assert found.asked == "plan"
    assert found.combinations == 4


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8", (8,)),
        ("1:32", (1, 2, 4, 8, 16, 32)),  # YAML 1.1 would read the number 92 to the base of 60
        ("[1, 4:8, 2k]", (1, 4, 8, 2048)),
        ("1:9:+4", (1, 5, 9)),
        ("[8, 8]", (8,)),
    ],
)
def test_a_scalar_a_list_and_a_range_are_an_axis(tmp_path: Path, text: str, values: tuple[int, ...]):
    assert read(tmp_path, f"model: llama3-8b\nhardware: h100\nbatch: {text}\n").batch == values


def test_quantities_have_ranges_too(tmp_path: Path):
    text = """\
model: llama3-8b
hardware: 4090
memory: [24 GB, 48 GB]
traffic: {requests_per_s: "1:8", prompt_tokens: 100, output_tokens: 10}
objective: {tpot_p95: 20 ms:60 ms:+20 ms}
speculation: {method: ngram, acceptance_rate: 0.6:0.8:+0.1}
"""
    found = read(tmp_path, text)
    assert found.hardware == ("4090",)
    assert found.memory == (24e9, 48e9)
    assert found.traffic is not None
    assert found.traffic.requests_per_s == (1.0, 2.0, 4.0, 8.0)
    assert found.objective is not None
    assert found.objective.tpot_p95 == (0.02, 0.04, 0.06)
    assert found.speculation is not None
    assert found.speculation.acceptance_rate == (0.6, 0.7, 0.8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("batch: []", "batch: is empty; give at least one value"),
        ("batch: abc", "batch: 'abc' is not a whole count"),
        ("batch: 0", "batch: 0 is out of range; it must be at least 1"),
        ("batch: 1.5", "batch: 1.5 is not a count"),
        ("batch: [1, [2]]", "batch: [2] is not a count"),
        ("batch: null", "batch: has no value"),
        ("name: [a, b]", "name: Input should be a valid string"),
        ("contexts: 8", "unknown key 'contexts'; did you mean 'context'?"),
        ("parallelism: {tensor: 0}", "parallelism.tensor: 0 is out of range"),
        ("parallelism: 4", "parallelism: Input should be a valid dictionary"),
        ("stack: true", "stack: True is not a name"),
        ("question: why", "question: Input should be"),
        ("traffic: {requests_per_s: 0, prompt_tokens: 1, output_tokens: 1}", "requests_per_s: 0 is out of range"),
        ("traffic: {requests_per_s: .inf, prompt_tokens: 1, output_tokens: 1}", "is not finite"),
        ("traffic: {prompt_tokens: 1, output_tokens: 1}", "traffic.requests_per_s: missing"),
        ("traffic: {users: 8, requests_per_s: 1, prompt_tokens: 1, output_tokens: 1}", "give one of"),
        ("traffic: {users: 8, output_tokens: 1}", "traffic.prompt_tokens: missing"),
        ("objective: {tpot_p95: 50}", "50 has no unit; write it like"),
        ("objective: {tpot: 50 ms}", "unknown key 'objective.tpot'"),
        ("price: {h100: 2.5 EUR/h}", "'2.5 EUR/h' is not in USD/h"),
        ("price: {h200: 2.5 USD/h}", "price.h200: no such device under hardware, which names h100"),
        ("speculation: {method: draft-model}", "speculation.draft: missing"),
        ("speculation: {method: ngram, acceptance_rate: 1.5}", "1.5 is above 1"),
        ("batch: 8:1", "is empty: 1 is below 8"),
        ("batch: 1:100001:+1", "names more than 100,000 points"),
    ],
)
def test_what_breaks_the_declaration_is_said_in_one_line(tmp_path: Path, line: str, words: str):
    with pytest.raises(ProfileError) as said:
        read(tmp_path, f"model: llama3-8b\nhardware: h100\n{line}\n")
    assert len(said.value.problems) == 1
    assert said.value.problems[0].startswith("scenario.yaml: ")
    assert words in said.value.problems[0]


def test_missing_nouns_and_empty_files_are_said(tmp_path: Path):
    with pytest.raises(ProfileError, match="required key 'hardware' is missing"):
        read(tmp_path, "model: llama3-8b\n")
    with pytest.raises(ProfileError, match="holds no scenario"):
        read(tmp_path, "\n")
    with pytest.raises(ProfileError, match="holds no keys"):
        read(tmp_path, "- h100\n")


def test_several_documents_are_several_scenarios_and_their_problems_are_told_apart(tmp_path: Path):
    both = load_scenarios(written(tmp_path, "model: a\nhardware: b\n---\nname: second\nmodel: a\nhardware: b\n"))
    assert [one.name for one in both] == ["scenario 1", "second"]
    with pytest.raises(ProfileError, match=r"scenario.yaml, document 2: batch: 0"):
        load_scenarios(written(tmp_path, "model: a\nhardware: b\n---\nmodel: a\nhardware: b\nbatch: 0\n"))
    with pytest.raises(ProfileError, match="holds 2 scenarios, but one is meant"):
        read(tmp_path, "model: a\nhardware: b\n---\nmodel: a\nhardware: b\n")


def test_what_a_file_says_goes_before_what_it_includes(tmp_path: Path):
    written(tmp_path, "include: deeper/base.yaml\nbatch: 4\nparallelism: {tensor: 2}\n", "middle.yaml")
    base = "model: llama3-8b\nhardware: ./gpu.yaml\nbatch: 2\ncontext: 1k\nparallelism: {tensor: 8, data: 2}\n"
    written(tmp_path, base, "deeper/base.yaml")
    written(tmp_path, "batch: 16\n", "other.yaml")
    found = read(tmp_path, "include: [middle.yaml, other.yaml]\ncontext: 8k\n")
    assert (found.batch, found.context) == ((16,), (8192,))
    assert (found.parallelism.tensor, found.parallelism.data) == ((2,), (2,))
    # A path is relative to the file that says it.
    assert found.hardware == (str(tmp_path / "deeper" / "gpu.yaml"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("include: absent.yaml", "no such file"),
        ("include: scenario.yaml", "include each other"),
        ("include: 7", "7 is not a path"),
        ("include: list.yaml", "holds no keys"),
    ],
)
def test_includes_that_lead_nowhere_are_said(tmp_path: Path, text: str, words: str):
    written(tmp_path, "- 1\n", "list.yaml")
    with pytest.raises(FileError, match=words):
        read(tmp_path, f"{text}\nmodel: a\nhardware: b\n")


def test_a_profile_includes_another(tmp_path: Path):
    from rooflinesim.config.catalogue import load_hardware, profile_folder

    written(tmp_path, (profile_folder("hardware") / "h100-sxm.yaml").read_text(), "base.yaml")
    path = written(tmp_path, "include: base.yaml\nname: twice\nmemory_bandwidth: 6.7 TB/s\n", "twice.yaml")
    found = load_hardware(str(path))
    assert (found.name, found.memory_bandwidth) == ("twice", 6.7e12)
    assert found.dense_flop_rate == load_hardware("h100").dense_flop_rate
    assert check_file(path) == "hardware"


def test_nouns_come_from_files_beside_the_scenario_and_bear_short_names(tmp_path: Path):
    from rooflinesim.config.catalogue import profile_folder

    written(tmp_path, (profile_folder("hardware") / "l4.yaml").read_text(), "mine.yaml")
    nouns = named(read(tmp_path, "model: llama3-8b\nhardware: [mine.yaml, l4]\n"))
    assert list(nouns.hardware) == ["mine", "l4"]
    assert nouns.hardware["mine"] == nouns.hardware["l4"]
    assert nouns.paths["hardware.mine"] == str(tmp_path / "mine.yaml")


def test_an_unknown_noun_is_said_with_the_key_of_the_scenario(tmp_path: Path):
    with pytest.raises(RooflinesimError, match="scenario: hardware: unknown GPU 'h1000'; did you mean"):
        named(read(tmp_path, "model: llama3-8b\nhardware: h1000\n"))


def test_check_knows_a_scenario(tmp_path: Path):
    assert check_file(written(tmp_path, EXAMPLE)) == "scenario"
    assert check_file(written(tmp_path, "model: a\nhardware: b\n---\nmodel: a\nhardware: b\n")) == "scenario"
    with pytest.raises(ProfileError, match="unknown key 'batches'"):
        check_file(written(tmp_path, EXAMPLE + "batches: 1\n"))


@pytest.mark.parametrize(
    ("rest", "question"),
    [
        ("", "decode"),
        ("prompt: 2k\n", "prefill"),
        ("speculation: {method: ngram}\n", "speculate"),
        ("question: memory\nprompt: 2k\n", "memory"),
    ],
)
def test_the_question_follows_from_what_a_scenario_says(tmp_path: Path, rest: str, question: str):
    assert read(tmp_path, f"model: a\nhardware: b\n{rest}").asked == question
