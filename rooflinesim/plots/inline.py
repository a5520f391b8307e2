"""Figures as SVG inside a page: its own letters and colours, light and dark, nothing from elsewhere."""

import io
import re
import warnings
from html import escape

import matplotlib as mpl

from rooflinesim.plots.canvas import COLOURS, GREY, PALE, YELLOW, Sheet, house_style, lay_out

_ROLES = {
    "#000000": "ink",
    "#ffffff": "paper",
    GREY: "muted",
    PALE: "pale",
    "#e3e3e3": "rule",
    YELLOW: "yellow",
    **{colour: f"series-{index}" for index, colour in enumerate(COLOURS[:6], start=1)},
}
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def colour_roles() -> dict[str, str]:
    """Names of the page's colours, `--NAME`, with the colour that each has on white paper."""
    return {role: colour.lower() for colour, role in _ROLES.items()}


def inline_svg(figure: Sheet, *, label: str, prefix: str) -> str:
    """A figure as an SVG element; equal figures give equal text.

    Parameters
    ----------
    label : what a reader who cannot see it is told; it is escaped
    prefix : put before every name inside, so that several figures share a page
    """
    content = io.BytesIO()
    with house_style(), mpl.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        lay_out(figure)
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = content.getvalue().decode()
    # The page says how lines end; metadata and prologue have no place in it.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<[^>]+>", lambda tag: _own(tag[0], prefix), body)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{escape(label)}">{_lines(body)}'


def _lines(text: str) -> str:
    """Text without the white space that lays a file out."""
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _own(tag: str, prefix: str) -> str:
    """A tag whose names begin with a prefix, and whose colours and letters are those of the page."""
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', tag).replace("url(#", f"url(#{prefix}-")
    return re.sub(r'style="([^"]*)"', lambda match: f'style="{_styled(match[1])}"', tag)


def _styled(style: str) -> str:
    """A style whose colours and letters are those of the page."""

    def role(match: re.Match[str]) -> str:
        name = {colour.lower(): role for colour, role in _ROLES.items()}.get(match[0])
        return match[0] if name is None else f"var(--{name}, {match[0]})"

    return _COLOUR.sub(role, style).replace("'DejaVu Sans', sans-serif", "inherit").replace("'DejaVu Sans'", "inherit")
