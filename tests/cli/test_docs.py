"""Every command of the documents runs, and every figure that they show is one that a command of theirs draws.

`ROOFLINESIM_UPDATE_FIGURES=1 python -m pytest tests/cli/test_docs.py` puts the figures into the documents anew.
"""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from rooflinesim.cli.app import run

FOLDER = Path(__file__).parents[2] / "docs"
DOCUMENTS = sorted(FOLDER.glob("*.md"))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.strip() for one in DOCUMENTS for block in blocks(one, "sh") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("rooflinesim ")))


@pytest.mark.parametrize("command", commands())
def test_command_answers(command: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "error:" not in said.err
    written = [words[index + 1] for index, word in enumerate(words) if word in ("-o", "--output")]
    assert all((tmp_path / name).stat().st_size for name in written)
    assert written or said.out.strip()
    for name in written:
        if name in shown_figures() and os.environ.get("ROOFLINESIM_UPDATE_FIGURES"):
            (FOLDER / "figures").mkdir(exist_ok=True)
            shutil.copy(name, FOLDER / "figures" / name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_shown_output_is_the_real_one(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(document, "console"):
        command, output = block.removeprefix("$ rooflinesim ").split("\n", 1)
        assert run(shlex.split(command)) == 0
        assert capsys.readouterr().out.strip() == output.strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_python_examples_run(document: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(document, "python"):
        exec(compile(block, document.name, "exec"), names)


def shown_figures() -> set[str]:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    return {name for text in texts for name in re.findall(r"!\[[^]]*\]\(figures/([^)]+)\)", text)}


def test_figures_that_documents_show_are_there_and_drawn_by_their_commands() -> None:
    drawn = {name for command in commands() for name in re.findall(r"-o (\S+)", command)}
    assert shown_figures() <= drawn
    assert shown_figures() == {path.name for path in (FOLDER / "figures").iterdir()}
