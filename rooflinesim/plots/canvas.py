"""What all figures share: a sheet in the house style, its colours and caption, and its bytes."""

import contextlib
import dataclasses
import io
import logging
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from rooflinesim.errors import FileError
from rooflinesim.nouns import Noun
from rooflinesim.units import format_quantity

FigureFormat = Literal["png", "svg", "pdf"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers tell apart, without the yellow that white paper swallows [1].

.. [1] Okabe, Ito. Color universal design. 2008.
"""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Dashes and markers go with the colours, so that a figure reads in grey too."""
GREY = "#666666"
PALE = "#BBBBBB"
YELLOW = "#F0E442"
"""Good for areas, too weak for lines."""
PART_COLOURS = {
    "attention": "#D55E00",
    "attention projections": "#E69F00",
    "recurrent state": "#882255",
    "MLP": "#0072B2",
    "experts": "#009E73",
    "shared experts": "#56B4E9",
    "router": "#CC79A7",
    "head": "#000000",
    "small kernels": PALE,
    "communication": YELLOW,
    "software": GREY,
}
"""Colour of each part of a step, in every figure."""

WIDTH = 7.0
"""Width of a figure [inch]; at half of it, a column of a paper, the smallest letters are 4 points high."""

_CAPTION_CHARACTERS = 112
_CAPTION_SIZE = 8
_LEGEND_CHARACTERS = 110
_PLACES = 5
"""Decimals of a place in a figure: a hundredth of a dot."""

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is never missing
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.which": "major",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 8.5,
    "legend.labelspacing": 0.35,
    "legend.handletextpad": 0.5,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.borderpad": 0.3,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "hatch.linewidth": 0.6,
    "savefig.dpi": 150,
    "figure.dpi": 100,
    "svg.hashsalt": "rooflinesim",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "path.simplify": True,
}
_METADATA: dict[FigureFormat, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "rooflinesim"},
    "pdf": {"CreationDate": None, "Creator": "rooflinesim", "Producer": None},
}


class Sheet(Figure):
    """A figure that notebooks show by itself, whatever the backend."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, whatever the reader's own settings say."""
    # Font lookups and cache folders are logged; a figure is no place for news of them.
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            yield
    finally:
        log.setLevel(level)


def sheet(height: float, *, title: str, caption: str) -> tuple[Sheet, SubFigure]:
    """An empty figure, and the part of it to draw in, of a height [inch], with a title; the caption stands below."""
    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, _CAPTION_CHARACTERS)] or [""]
    foot = (len(lines) * _CAPTION_SIZE * 1.35 + 6) / 72
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, wspace=0.04, hspace=0.04)
    figure = Sheet(figsize=(WIDTH, height + foot), layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[height, foot])
    body, below = (figure.add_subfigure(grid[row]) for row in (0, 1))
    body.suptitle(plain_words(title), x=0.012, ha="left", fontsize=12, fontweight="bold")
    words = plain_words("\n".join(lines))
    below.text(0.012, 1.0, words, ha="left", va="top", fontsize=_CAPTION_SIZE, color=GREY, linespacing=1.25)
    return figure, body


def plain_words(words: str) -> str:
    """Text without mathematics: a dollar sign is a dollar sign."""
    return words.replace("$", r"\$")


def form_of(path: Path | str) -> FigureFormat:
    """Format of a figure's file, by its suffix.

    Raises
    ------
    FileError : if the suffix is none that figures are written in.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    for form in get_args(FigureFormat):
        if suffix == form:
            return form  # type: ignore[no-any-return]
    found = f"'.{suffix}' is no format of figures" if suffix else "the name has no suffix"
    raise FileError(f"{path}: {found}; end it in .png, .svg or .pdf")


def rendered(figure: Figure, form: FigureFormat) -> bytes:
    """A figure's file; equal figures give equal bytes, however often."""
    content = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if figure.get_layout_engine() is not None:
            lay_out(figure)
        figure.savefig(content, format=form, metadata=_METADATA[form])
    return content.getvalue()


def log_axis(axis: Any, unit: str = "1") -> None:
    """A logarithmic axis that ends where its data or its limits do, with ticks enough to read a value between them."""
    _scale(axis, "log")
    low, high = axis.get_view_interval()
    subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0) if high > 12 * low else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_minor_locator(LogLocator(base=10, subs=tuple(range(2, 10))))
    number_scale(axis, unit)


def count_axis(axis: Any, counts: Iterable[float], label: str) -> None:
    """A logarithmic axis of counts from the first to the last, with ticks at powers of two."""
    ends = min(counts), max(counts)
    _scale(axis, "log", base=2)
    getattr(axis.axes, f"set_{axis.axis_name}lim")(ends[0], max(ends[1], 2 * ends[0]))
    number_scale(axis)
    axis.set_label_text(label)


def _scale(axis: Any, kind: str, **settings: Any) -> None:
    getattr(axis.axes, f"set_{axis.axis_name}scale")(kind, **settings)


def lay_out(figure: Figure) -> None:
    """Put the parts of a figure where they belong, once and for all.

    Each further pass would move them by a hair, and the last bits of a pass differ from run to run.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), _PLACES))
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), _PLACES)))


def missing_letters(figure: Figure) -> str:
    """Letters of a figure that its font lacks."""
    known = get_font(findfont(_STYLE["font.family"][0])).get_charmap()
    words = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    return "".join(sorted({letter for letter in words if letter.isprintable() and ord(letter) not in known}))


def number_scale(axis: Any, unit: str = "1") -> None:
    """Label an axis's ticks with plain numbers, thousands set apart, or with prefixes of a unit."""
    plain = FuncFormatter(lambda value, _: format_quantity(value, "1", 6))
    axis.set_major_formatter(plain if unit == "1" else EngFormatter(unit=unit))
    axis.set_minor_formatter(NullFormatter())


def key(label: str, **look: Any) -> Line2D:
    """A legend's entry for a line or, without a dash, for a mark."""
    return Line2D([], [], label=label, **{"linestyle": "none", **look})


def legend_below(figure: FigureBase, handles: Sequence[Artist], *, columns: int) -> None:
    """One legend for all axes, between them and the caption, in at most so many columns."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = max(1, _LEGEND_CHARACTERS // (longest + 7))
    figure.legend(handles=handles, loc="outside lower left", ncols=min(columns, room))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Look(Noun):
    """What tells one case from another, in colour and in grey."""

    colour: str
    dash: Any
    marker: str


LOOKS = tuple(
    Look(colour=colour, dash=dash, marker=marker) for colour, dash, marker in zip(COLOURS, DASHES, MARKERS, strict=True)
)
