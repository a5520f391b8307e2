"""Tables that people read: a title, columns with units, and numbers of a few significant digits."""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rooflinesim.nouns import Noun

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")
_GAP = 2
BOUND_STYLE = {"memory": "cyan", "compute": "magenta", "network": "yellow", "overhead": "red"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class View(Noun):
    """A table to show: `lines` above it, headers, and cells of text, one style per row or none."""

    lines: Sequence[str]
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    styles: Sequence[str | None] = ()
    footer: Sequence[str] = ()


class Lazy(Sequence[T]):
    """A sequence whose items are made when they are read: a table of a million rows costs nothing until it is shown."""

    def __init__(self, size: int, item: Callable[[int], T]) -> None:
        self._places, self._item = range(size), item

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self._item(index) for index in self._places[place]]
        return self._item(self._places[place])


def shortened(view: View, rows: int) -> View:
    """A table without the rows beyond so many, which a line below it counts."""
    rest = len(view.rows) - rows
    if rest <= 0:
        return view
    more = f"{rest:,} more rows"
    return dataclasses.replace(view, rows=view.rows[:rows], styles=view.styles[:rows], footer=[more, *view.footer])


class DeferredViews(Sequence[View]):
    """Tables that are made when somebody looks at them: those of a million rows take longer than their numbers."""

    def __init__(self, make: Callable[[], Sequence[View]]) -> None:
        self._make = functools.cache(make)

    @overload
    def __getitem__(self, index: int) -> View: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[View]: ...

    def __getitem__(self, index: int | slice) -> View | Sequence[View]:
        return self._make()[index]

    def __len__(self) -> int:
        return len(self._make())


def render_terminal(views: Sequence[View], *, width: int | None, colour: bool) -> str:
    """Text of the tables, no wider than a terminal.

    rich folds what is too wide and colours; a table that fits without either is aligned here, because
    loading rich would take a fifth of the time of a whole answer.
    """
    plain = "\n\n".join(_aligned(view) for view in views)
    if not colour and (width is None or max(map(len, plain.splitlines()), default=0) <= width):
        return plain + "\n"
    from rich import box

    return _render(views, box_style=box.SIMPLE_HEAD, width=width, colour=colour)


def render_markdown(views: Sequence[View]) -> str:
    """Markdown of the tables."""
    from rich import box

    escaped = [
        dataclasses.replace(view, rows=[[cell.replace("|", "\\|") for cell in row] for row in view.rows])
        for view in views
    ]
    return _render(escaped, box_style=box.MARKDOWN, width=10_000, colour=False)


def html_table(view: View) -> str:
    """HTML of one table, every text escaped."""
    from html import escape

    def row(cells: Sequence[str], tag: str) -> str:
        sides = ("left" if index in view.left else "right" for index in range(len(cells)))
        parts = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>"

    lines = [f"<p>{'<br>'.join(map(escape, view.lines))}</p>"] if view.lines else []
    if view.rows:
        body = "".join(row(cells, "td") for cells in view.rows)
        lines.append(f"<table><thead>{row(view.headers, 'th')}</thead><tbody>{body}</tbody></table>")
    if view.footer:
        lines.append(f"<p>{'<br>'.join(map(escape, view.footer))}</p>")
    return "\n".join(lines)


def _aligned(view: View) -> str:
    """Text of one table: cells padded to their column, a rule under the headers."""
    lines = list(view.lines)
    if view.rows:
        widths = [max(map(len, column)) for column in zip(view.headers, *view.rows, strict=True)]
        rule = "─" * (sum(widths) + _GAP * (len(widths) - 1))
        table = [view.headers, *view.rows]
        padded = [
            (" " * _GAP)
            .join(
                cell.ljust(width) if index in view.left else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            .rstrip()
            for row in table
        ]
        lines += ([""] if lines else []) + [padded[0], rule, *padded[1:]]
    return "\n".join([*lines, *view.footer]).strip("\n")


def _render(views: Sequence[View], *, box_style: Any, width: int | None, colour: bool) -> str:
    from rich.console import Console

    text = io.StringIO()
    console = Console(
        file=text,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for index, view in enumerate(views):
        if index:
            console.print()
        for line in view.lines:
            console.print(line, soft_wrap=True)
        if view.rows:
            if view.lines:
                console.print()
            console.print(_table(view, box_style))
        for line in view.footer:
            console.print(line, soft_wrap=True)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines()) + "\n"


def _table(view: View, box_style: Any) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    is_markdown = box_style is box.MARKDOWN
    table = Table(
        box=box_style,
        header_style="bold",
        pad_edge=is_markdown,
        padding=(0, 1) if is_markdown else (0, _GAP - 1, 0, 0),
        show_edge=is_markdown,
    )
    for index, header in enumerate(view.headers):
        table.add_column(Text(header), justify="left" if index in view.left else "right", overflow="fold")
    for row, style in zip(view.rows, _styles(view), strict=True):
        table.add_row(*(Text(cell) for cell in row), style=style)
    return table


def _styles(view: View) -> Iterator[str | None]:
    yield from view.styles or [None] * len(view.rows)
