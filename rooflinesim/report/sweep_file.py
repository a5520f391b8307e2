"""What a sweep has written."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflinesim.nouns import Noun
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SweepFile(Noun):
    """A sweep that was written: its file, or its folder of Parquet parts, and how many rows it holds.

    `rejected` are deployments that cannot be, each with the reason.
    """

    path: Path
    points: int
    rows: int
    rejected: tuple[Mapping[str, Any], ...]

    @property
    def notes(self) -> list[str]:
        """What is missing, and why."""
        return list(rejection_notes(self.rejected))

    @property
    def line(self) -> str:
        """What was written, in one line."""
        files = list(self.path.iterdir()) if self.path.is_dir() else [self.path]
        size = format_quantity(float(sum(one.stat().st_size for one in files)), "B", 3)
        return f"{self.path}: {self.rows:,} rows, {size}"

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas frame."""
        import pandas as pd

        if self.path.suffix.lower() == ".csv":
            # From pandas 3 on numbers are read exactly without being asked to.
            exact: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
            frame: pd.DataFrame = pd.read_csv(self.path, **exact)
            return frame
        return pd.read_parquet(self.path)


def rejection_notes(rejected: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which deployments cannot be, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for one in rejected:
        axes = ", ".join(f"{axis} {value}" for axis, value in one.items() if axis != "reason")
        by_reason.setdefault(one["reason"], []).append(axes)
    for reason, places in by_reason.items():
        more = f" and {len(places) - 3:,} more" if len(places) > 3 else ""
        yield f"left out: {'; '.join(places[:3])}{more}: {reason}"
