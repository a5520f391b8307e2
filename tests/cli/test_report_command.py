"""The command that writes a report: one self-contained file for every question, with every text escaped."""

import functools
import html.parser
import re
import sys
import tempfile
from pathlib import Path

import pytest

import rooflinesim as rs
from rooflinesim.cli.app import run

EXAMPLES = Path(__file__).parents[2] / "scenarios"
BASE = "model: llama3-8b\nhardware: h100\nstack: vllm\n"
QUESTIONS = {
    "decode": BASE + "batch: [1, 8]\ncontext: 2k\nprice: {h100: 2.5 USD/h}\nobjective: {tpot_mean: 20 ms}\n",
    "choice": "model: llama3-8b\nhardware: [h100, l4]\nbatch: 4\n",
    "prefill": BASE + "prompt: 1k:4k\n",
    "memory": BASE + "question: memory\nbatch: 8\n",
    "crossover": BASE + "question: crossover\n",
    "speculate": BASE + "batch: [1, 16]\nspeculation: {method: ngram, draft_length: 0:4:+1, acceptance_rate: 0.7}\n",
    "serve": BASE + "question: serve\ntraffic: {requests_per_s: [1, 4], prompt_tokens: 500, output_tokens: 100}\n",
    "plan": BASE + "maximum_devices: 2\nparallelism: {tensor: [1, 2]}\n"
    "traffic: {requests_per_s: 2, prompt_tokens: 500, output_tokens: 100}\n"
    "objective: {tpot_p95: 50 ms, ttft_p95: 1 s}\nprice: {h100: 2.5 USD/h}\n",
}
HOSTILE = "<script>alert(1)</script>"


class Page(html.parser.HTMLParser):
    """Tags, identities and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)
        if tag not in ("meta", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


@functools.cache
def page(text, form="html", folder=None):
    """A report of a scenario's text, made once for all tests; `folder` holds the files that it names."""
    with tempfile.TemporaryDirectory() as own:
        path = Path(folder or own) / "asked.yaml"
        path.write_text(text)
        return rs.capacity_report(scenarios=rs.load_scenarios(path), form=form)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_a_page_that_needs_nothing_from_elsewhere(question):
    text = page(QUESTIONS[question])
    found = Page(text)
    assert not found.open or found.open == ["html"]
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert all(not value or value.startswith("#") for value in (*found.values("href"), *found.values("src")))
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", re.sub(r"<td[^>]*source.*?</td>", "", text))
    identities = found.values("id")
    assert len(identities) == len(set(identities))
    assert {value[1:] for value in found.values("href")} <= set(identities)
    assert found.tags.count("svg") >= 1
    assert all(found.values("aria-label"))
    for words in ("What this rests on", "How to repeat it", "datasheet", "asked", "Memory"):
        assert words in found.text, words


def test_the_answer_is_three_sentences_with_their_numbers():
    found = Page(page(QUESTIONS["decode"])).text
    row = rs.decode(
        model=rs.load_model("llama3-8b"), hardware=rs.load_hardware("h100"), stack=rs.load_stack("vllm"), batch=8
    ).rows[0]
    time = row["step_time_s"] * 1e3
    assert f"a token takes {time:.3g} ms (band " in found
    assert "at batch 8 and 2,048 tokens of context" in found
    assert "It meets the target of 20 ms surely" in found
    cost = 2.5e6 / 3600 / row["tokens_per_s"]
    assert f"a million output tokens cost {cost:.3g} USD" in found


def test_of_several_deployments_the_best_is_told_apart_from_the_next():
    found = Page(page(QUESTIONS["choice"])).text
    assert "Of 2 deployments, the best is Meta-Llama-3-8B on H100-SXM5-80GB" in found
    assert "Against the next best" in found
    assert "both at batch 4" in found


def test_a_plan_says_what_to_take_what_it_costs_and_how_much_more_it_bears():
    found = Page(page(QUESTIONS["plan"])).text
    assert "Take 1 x h100 as 1 x 1 GPU for 2.5 USD/h: the cheapest fleet of" in found
    assert "It surely meets the objective" in found
    assert "Recommended deployment" in found
    assert "What would change the answer" in found
    assert "Why the others were not taken" in found


def test_a_plan_without_a_fleet_names_the_floor():
    text = page(QUESTIONS["plan"].replace("50 ms", "0.1 ms"), "md")
    assert "Nothing is feasible: no fleet of these devices meets the objective." in text
    assert "Reading the weights takes at least" in text


def test_several_scenarios_are_chapters():
    text = page("name: one\n" + QUESTIONS["prefill"] + "---\nname: two\n" + QUESTIONS["memory"])
    assert 'href="#chapter-2"' in text
    assert 'id="chapter-2"' in text


def test_equal_scenarios_give_equal_bytes():
    assert page(QUESTIONS["crossover"]) == page.__wrapped__(QUESTIONS["crossover"])


@pytest.mark.parametrize("form", ["html", "md"])
def test_every_text_of_files_is_escaped(form, tmp_path):
    (tmp_path / "hostile.yaml").write_text(
        f"name: '{HOSTILE}'\nsource: 'made up \"&|`'\nhidden_size: 64\nvocabulary: 1000\nlayers:\n"
        "  - count: 2\n    attention: {heads: 4, kv_heads: 2, key_size: 16, value_size: 16}\n    mlp: {width: 128}\n"
    )
    text = page(
        f"name: 'a <b>bold</b> | name & {HOSTILE}'\nmodel: hostile.yaml\nhardware: [h100, l4]\nbatch: 1\n",
        form,
        tmp_path,
    )
    assert HOSTILE not in text
    assert "<b>" not in text
    if form == "html":
        found = Page(text)
        assert "script" not in found.tags
        assert HOSTILE in found.text
        assert f"a <b>bold</b> | name & {HOSTILE}" in found.text
    else:
        assert "a &lt;b&gt;bold&lt;/b&gt; \\| name &" in text.splitlines()[0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_markdown_has_the_answer_and_whole_tables(question):
    text = page(QUESTIONS[question], "md")
    assert text.startswith("# asked\n")
    assert "**" in text
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(tables) >= 3
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table
    assert "\n\n\n\n" not in text


def test_the_command_writes_a_whole_file_and_says_how_large(capsys, tmp_path):
    path = EXAMPLES / "chat-on-one-gpu.yaml"
    assert run(["report", str(path), "-o", str(tmp_path / "report.md")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'report.md'}: ")
    text = (tmp_path / "report.md").read_text()
    assert "rooflinesim report chat-on-one-gpu.yaml -o report.md" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (BASE, "report.pdf", "report.pdf: a report is a page or Markdown; end its name in .html or .md"),
        (QUESTIONS["prefill"], "no/report.html", "cannot be written"),
        (BASE.replace("h100", "h1000"), "report.html", "unknown GPU 'h1000'"),
        ("---\n".join([BASE] * 21), "report.html", "21 scenarios are too many for one report; at most 20"),
        ("model: llama3-8b\n", "report.html", "hardware"),
    ],
)
def test_mistakes_end_in_one_line(capsys, tmp_path, text, name, words):
    (tmp_path / "asked.yaml").write_text(text)
    code = run(["report", str(tmp_path / "asked.yaml"), "-o", str(tmp_path / name)])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert not (tmp_path / name).exists()


def test_without_jinja_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (tmp_path / "asked.yaml").write_text(QUESTIONS["memory"])
    assert run(["report", str(tmp_path / "asked.yaml"), "-o", str(tmp_path / "report.html")]) == 2
    assert capsys.readouterr().err == "error: report needs Jinja2: pip install 'rooflinesim[report]'\n"
