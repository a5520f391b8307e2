"""Every command of the documents runs, and every figure that they show is the one that its command draws."""

import re
import shlex
from pathlib import Path

import pytest

from rooflinesim.cli.app import run

DOCUMENTS = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_python_examples_run(document: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(document, "python"):
        exec(compile(block, document.name, "exec"), names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_figures_that_a_document_shows_are_drawn_by_its_commands(document: Path) -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
    drawn = [name for block in blocks(document, "sh") for name in re.findall(r"-o (\S+)", block)]
    assert set(shown) <= {f"figures/{name}" for name in drawn}
    for name in shown:
        assert (document.parent / name).is_file()
