"""A report as a page and as Markdown: chapters of sections, every text escaped, nothing fetched from elsewhere."""

import dataclasses
import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal

from rooflinesim.errors import UnsupportedError
from rooflinesim.nouns import Noun
from rooflinesim.report.provenance import Provenance
from rooflinesim.report.tables import View, shortened
from rooflinesim.units import format_quantity

PageFormat = Literal["html", "md"]

SHOWN_ROWS = 60
"""Rows of a table of a report; the command that it names has them all."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drawing(Noun):
    """A figure of a page: an SVG element, its title, and what is to be said about it."""

    svg: str
    title: str
    words: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fact(Noun):
    """A number that stands out: what it is, its value, and its band or what else belongs to it."""

    what: str
    value: str
    beside: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Section(Noun):
    """A part of a chapter: words, figures, then tables; folded away where it `is_detail`."""

    title: str
    words: Sequence[str] = ()
    drawings: Sequence[Drawing] = ()
    views: Sequence[View] = ()
    is_detail: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Chapter(Noun):
    """The answer to one scenario: its sentences and facts first, then what they rest on."""

    title: str
    question: str
    answer: Sequence[str]
    facts: Sequence[Fact]
    sections: Sequence[Section]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Document(Noun):
    """A whole report. `command` writes it again; `inputs` is everything that was resolved, as JSON text."""

    title: str
    version: str
    command: str
    chapters: Sequence[Chapter]
    notes: Sequence[str]
    provenance: Sequence[Provenance]
    inputs: str


def rendered_page(document: Document, form: PageFormat, *, palette: dict[str, str]) -> str:
    """The text of a report's file; equal documents give equal bytes.

    Parameters
    ----------
    palette : colour of each role on white paper, for the figures

    Raises
    ------
    UnsupportedError : if Jinja2 is not installed.
    """
    template = _environment(form).get_template(f"report.{form}")
    text: str = template.render(
        document=document,
        palette=palette,
        kinds=_kinds(document.provenance),
        style=_part("report.css"),
    )
    return text.rstrip() + "\n"


def _kinds(provenance: Sequence[Provenance]) -> list[tuple[str, int]]:
    """How many numbers there are of each kind, the surest kind first."""
    order = ("measured", "datasheet", "fitted", "assumed")
    return [(kind, count) for kind in order if (count := sum(one.kind == kind for one in provenance))]


def _environment(form: PageFormat) -> Any:
    try:
        import jinja2
    except ImportError:
        raise UnsupportedError("report needs Jinja2: pip install 'rooflinesim[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=form == "html",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["quantity"] = lambda one: format_quantity(one.value, one.unit) if one.value is not None else "-"
    environment.filters["shortened"] = lambda view: shortened(view, SHOWN_ROWS)
    environment.filters["md"] = _markdown
    return environment


@functools.cache
def _part(name: str) -> str:
    """A template, or the page's style."""
    return resources.files("rooflinesim.report").joinpath("templates", name).read_text(encoding="utf-8")


def _markdown(text: Any) -> str:
    """Text whose characters mean nothing in Markdown, on one line."""
    words = " ".join(str(text).split())
    for letter in "\\`*_{}[]<>#|":
        words = words.replace(letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter])
    return words
