"""An answer: rows with their inputs, provenance, summary and notes, in every format."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rooflinesim.errors import UnsupportedError
from rooflinesim.report.columns import Columns, records
from rooflinesim.report.provenance import Provenance
from rooflinesim.report.tables import View, html_table, render_markdown, render_terminal, shortened

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "json", "csv", "md"]
SHOWN_ROWS = 100
"""Rows of each table that an answer shows of itself in Python."""

FORMATS: tuple[Format, ...] = ("table", "json", "csv", "md")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Answer:
    """What a question gives back; `result` is the analysis' own value, the rest is ready to show.

    `columns` maps the names of JSON and CSV to one value per row; `describe_inputs` gives what is
    enough to repeat the run, hashes included; `views` are the tables that people see, `draw` makes their figure;
    `extra` stands beside the summary in JSON.
    """

    command: str
    version: str
    result: Any
    columns: Columns
    describe_inputs: Callable[[], Mapping[str, Any]]
    provenance: Sequence[Provenance]
    summary: Mapping[str, Any]
    notes: Sequence[str]
    views: Sequence[View]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    draw: Callable[[], Any] | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One mapping per row."""
        return records(self.columns)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Everything that the question was resolved to."""
        return self.describe_inputs()

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas frame, under the names of CSV."""
        import pandas as pd

        return pd.DataFrame(
            {name: values if hasattr(values, "dtype") else list(values) for name, values in self.columns.items()}
        )

    def plot(self) -> Any:
        """The answer as a matplotlib figure, which notebooks show.

        Raises
        ------
        UnsupportedError : if no figure shows this kind of answer.
        """
        if self.draw is None:
            raise UnsupportedError(
                f"no figure shows the answer of {self.command}; `rooflinesim plot --help` lists them"
            )
        return self.draw()

    def to_json(self) -> str:
        """One JSON object as INTERFACE fixes it; never NaN or Infinity."""
        content = {
            "schema": f"rooflinesim/{self.command}/1",
            "version": self.version,
            "inputs": self.inputs,
            "provenance": [dataclasses.asdict(one) for one in self.provenance],
            "rows": self.rows,
            "summary": self.summary,
            **self.extra,
            "notes": list(self.notes),
        }
        import json

        return json.dumps(plain_json(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """The rows as CSV, SI values, the unit in the header."""
        import csv
        import io

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row.values()] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """The tables as Markdown, for pasting into a ticket."""
        return render_markdown(self.views)

    def to_table(self, *, width: int | None = None, colour: bool = False) -> str:
        """The tables as text for a terminal of a width."""
        return render_terminal(self.views, width=width, colour=colour)

    def to_text(self, form: Format, *, width: int | None = None, colour: bool = False) -> str:
        """The answer in a format."""
        match form:
            case "json":
                return self.to_json()
            case "csv":
                return self.to_csv()
            case "md":
                return self.to_markdown()
            case "table":
                return self.to_table(width=width, colour=colour)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them, under what they are about."""
        return "\n".join(html_table(shortened(view, SHOWN_ROWS)) for view in self.views)

    def __repr__(self) -> str:
        return render_terminal([shortened(view, SHOWN_ROWS) for view in self.views], width=100, colour=False)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else value


def plain_json(value: Any) -> Any:
    """A value as JSON holds it: every number that it has no word for is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(inner) for inner in value]
    return value
