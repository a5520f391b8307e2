"""A self-contained report of what scenarios ask: a page for people who decide, with what engineers check."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence

from rooflinesim import __version__
from rooflinesim.api.report_chapters import crossover_chapter, memory_chapter, prefill_chapter, steps_chapter
from rooflinesim.api.report_plan import plan_chapter
from rooflinesim.api.report_sections import Pen
from rooflinesim.api.report_serving import serving_chapter
from rooflinesim.api.report_speculation import speculation_chapter
from rooflinesim.api.run import part_of
from rooflinesim.plots.inline import colour_roles
from rooflinesim.report.answer import plain_json
from rooflinesim.report.document import Chapter, Document, PageFormat, rendered_page
from rooflinesim.report.plan_rows import energy_provenance
from rooflinesim.report.scenarios import Part
from rooflinesim.specs.scenario import Question, Scenario

MOST_CHAPTERS = 20
"""Scenarios of a file that one report answers."""


def capacity_report(*, scenarios: Sequence[Scenario], form: PageFormat = "html", command: Sequence[str] = ()) -> str:
    """The text of a report's file, HTML or Markdown; equal scenarios give equal bytes.

    Parameters
    ----------
    command : words of the command line that makes it again, to be shown

    Raises
    ------
    RooflinesimError : if a scenario has no answer, there are too many, or Jinja2 is not installed.
    """
    from rooflinesim.errors import DomainError

    if len(scenarios) > MOST_CHAPTERS:
        raise DomainError(f"{len(scenarios)} scenarios are too many for one report; at most {MOST_CHAPTERS}")
    parts = [part_of(scenario) for scenario in scenarios]
    pen = Pen(is_dry=form == "md")
    chapters = [
        CHAPTERS.get(scenario.asked, steps_chapter)(pen, scenario, part)
        for scenario, part in zip(scenarios, parts, strict=True)
    ]
    document = Document(
        title=scenarios[0].name if len(scenarios) == 1 else _common_title(scenarios),
        version=__version__,
        command=shlex.join(command) if command else "rooflinesim report SCENARIO -o report.html",
        chapters=chapters,
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        provenance=list(dict.fromkeys([*(one for part in parts for one in part.provenance), *energy_provenance()])),
        inputs=json.dumps(plain_json([_inputs(part) for part in parts]), indent=2, ensure_ascii=False),
    )
    return rendered_page(document, form, palette=colour_roles())


def _inputs(part: Part) -> Mapping[str, object]:
    """What was resolved, without where files lie on this machine."""
    return {name: value for name, value in part.inputs.items() if name != "paths"}


def _common_title(scenarios: Sequence[Scenario]) -> str:
    models = list(dict.fromkeys(name for one in scenarios for name in one.model))
    return f"{len(scenarios)} questions about {', '.join(models[:3])}{' and others' if len(models) > 3 else ''}"


CHAPTERS: Mapping[Question, Callable[[Pen, Scenario, Part], Chapter]] = {
    "decode": steps_chapter,
    "prefill": prefill_chapter,
    "crossover": crossover_chapter,
    "memory": memory_chapter,
    "speculate": speculation_chapter,
    "plan": plan_chapter,
    "serve": serving_chapter,
    "simulate": serving_chapter,
}
"""How each question of a scenario is told."""
