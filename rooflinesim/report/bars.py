"""Numbers as small pictures of text."""

import math
from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def bar(share: float, width: int = 10) -> str:
    """A bar that fills a share of its width."""
    eighths = round(8 * width * min(max(share, 0.0), 1.0))
    if eighths == 0 and share > 0:
        eighths = 1
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float]) -> str:
    """Values as columns of eight heights, the smallest the lowest; a gap where there is none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(
        _LEVELS[min(7, int(8 * (value - low) / span))] if value is not None and math.isfinite(value) else " "
        for value in values
    )
