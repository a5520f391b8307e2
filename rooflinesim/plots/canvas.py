"""What all figures share: a sheet in the house style, its colours and caption, and its bytes."""

import contextlib
import io
import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from rooflinesim.errors import FileError
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

WIDTH = 7.0
"""Width of a figure [inch]; at half of it, a column of a paper, the smallest letters are 4 points high."""

_CAPTION_CHARACTERS = 112

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


def sheet(height: float, *, title: str, caption: str) -> Sheet:
    """An empty figure of a height [inch]: a title above, and what it rests on below."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)
    figure = Sheet(figsize=(WIDTH, height), layout=layout)
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(title), x=0.012, ha="left", fontsize=12, fontweight="bold")
    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, _CAPTION_CHARACTERS)]
    figure.supxlabel(_plain("\n".join(lines)), x=0.012, ha="left", fontsize=8, color=GREY)
    return figure


def _plain(words: str) -> str:
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
            # Laid out once, at one resolution: each further pass would move things by a hair.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(content, format=form, metadata=_METADATA[form])
    return content.getvalue()


def number_scale(axis: Any, unit: str = "1") -> None:
    """Label an axis's ticks with plain numbers, thousands set apart, or with prefixes of a unit."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: format_quantity(value, "1", 3)) if unit == "1" else EngFormatter(unit=unit)
    )
    axis.set_minor_formatter(NullFormatter())


def batch_axis(axes: Axes, batches: Sequence[float], label: str = "batch [sequences]") -> None:
    """A logarithmic axis of batches, ticks at powers of two."""
    count_axis(axes, batches, label)


def count_axis(axes: Axes, counts: Sequence[float], label: str) -> None:
    """A logarithmic axis of counts, ticks at powers of two or four."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(counts), max(counts) if max(counts) > min(counts) else 2 * max(counts))
    number_scale(axes.xaxis)
    axes.set_xlabel(label)
