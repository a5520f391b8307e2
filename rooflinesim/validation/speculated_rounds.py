"""Rounds of speculation that were run: what was measured of them, and what predictions say of the same."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from rooflinesim.analysis.comparison import Comparison, Skipped
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import DraftShape, Speculation
from rooflinesim.analysis.speculation.speculate import SpeculateResult, rounds_result
from rooflinesim.analysis.speculation.verdict import SpeculationVerdict
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpeculationCell(Noun):
    """Speculation to be run: a pair of decoders, a number format, a batch, and a draft by its parents.

    `ranks` are the shares with which the children of a node are right, the likeliest first; without them the draft is
    the target's own first `exit_layer` layers, the others quiet, and what is kept is what it gets right.
    """

    target: str
    draft: str
    form: str
    batch: int
    context: int
    parents: tuple[int, ...]
    ranks: tuple[float, ...] = ()
    exit_layer: int | None = None
    is_sampled: bool = False

    @property
    def draft_length(self) -> int:
        """Levels of the draft, one draft pass each."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return depths[-1]

    @property
    def is_tree(self) -> bool:
        """Whether the draft branches."""
        return self.draft_length < len(self.parents) - 1

    @property
    def group(self) -> str:
        """Kind of cell by which errors are told apart."""
        kind = "tree" if self.is_tree else "sampled" if self.is_sampled else "chain" if self.ranks else "early exit"
        return f"{kind} {self.form}"

    @property
    def id(self) -> str:
        """Its name in a run."""
        shape = f"n{len(self.parents)}d{self.draft_length}" if self.is_tree else f"k{self.draft_length}"
        kept = "a" + "-".join(f"{one:g}" for one in self.ranks) if self.ranks else f"exit{self.exit_layer}"
        sampled = "/sampled" if self.is_sampled else ""
        return f"speculate/{self.form}/{self.target}+{self.draft}/b{self.batch}{shape}{kept}{sampled}"

    @property
    def shape(self) -> DraftShape:
        """What a round drafts: passes of the mean width of their levels."""
        drafted, passes = len(self.parents) - 1.0, float(self.draft_length)
        last = sum(1 for parent in self.parents if parent >= 0 and self._depth(parent) == self.draft_length - 1)
        width = (drafted + 1.0 - last) / passes
        return DraftShape(tokens=np.array([drafted]), passes=np.array([passes]), width=np.array([width]))

    def _depth(self, node: int) -> int:
        return 0 if node == 0 else 1 + self._depth(self.parents[node])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredRound(Noun):
    """One round as it was timed, and a plain decode step of the same rows beside it [s].

    `kept` holds the drafted tokens that each row kept; `longest` is the tokens cached of the longest row. Without a
    refill pass its time is None.
    """

    draft_time: float
    verify_time: float
    judge_time: float
    refill_time: float | None
    plain_step_time: float
    kept: tuple[int, ...]
    longest: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredCell(Noun):
    """A cell's rounds. Of `compared` output tokens `gaps` holds those that plain decoding does not emit.

    A gap is how far plain decoding scored such a token below its own, in units of the last place of a bf16 score.
    """

    cell: SpeculationCell
    rounds: tuple[MeasuredRound, ...]
    compared: int = 0
    gaps: tuple[float, ...] = ()

    @property
    def tokens_per_round(self) -> float:
        """Tokens that a row emitted per round, the target's own included [tokens]."""
        return 1.0 + float(np.mean([one.kept for one in self.rounds]))

    @property
    def refill_share(self) -> float:
        """Share of rounds that ran one more draft pass, because some row kept its whole draft [1]."""
        return float(np.mean([one.refill_time is not None for one in self.rounds]))

    @property
    def context(self) -> float:
        """Cached tokens that a row read on average: those of the longest, which all rows read as far as [tokens]."""
        return float(np.mean([one.longest for one in self.rounds]))

    @property
    def plain_step_time(self) -> float:
        """Median time of a plain decode step [s]."""
        return float(np.median([one.plain_step_time for one in self.rounds]))

    @property
    def round_time(self) -> float:
        """Time of a round: medians of its parts, the refill pass as often as it ran [s]."""
        parts = ("draft_time", "verify_time", "judge_time")
        refills = [one.refill_time for one in self.rounds if one.refill_time is not None]
        refill = self.refill_share * float(np.median(refills)) if refills else 0.0
        return refill + sum(self.median(name) for name in parts)

    def median(self, name: str) -> float:
        """Median of one time over the rounds [s]."""
        return float(np.median([getattr(one, name) for one in self.rounds]))

    @property
    def speedup(self) -> float:
        """Time per token of plain decoding over that of speculation, as measured [1]."""
        return self.tokens_per_round * self.plain_step_time / self.round_time

    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that were judged, those after the first wrong one apart, and kept [1]."""
        kept = np.array([one.kept for one in self.rounds])
        judged = np.minimum(kept + 1, self.cell.draft_length)
        return float(kept.sum() / judged.sum())


def joined_cells(visits: Iterable[MeasuredCell]) -> list[MeasuredCell]:
    """Each cell once, with the rounds and output tokens of all visits."""
    found: dict[str, MeasuredCell] = {}
    for one in visits:
        held = found.get(one.cell.id)
        found[one.cell.id] = (
            dataclasses.replace(
                held,
                rounds=(*held.rounds, *one.rounds),
                compared=held.compared + one.compared,
                gaps=(*held.gaps, *one.gaps),
            )
            if held
            else one
        )
    return list(found.values())


def predicted_rounds(measured: MeasuredCell, target: Deployment, draft: Deployment) -> SpeculateResult:
    r"""What rounds of the cell take and gain by prediction, with the tokens that it kept.

    .. math:: T_{round} = (k + P)\, T_{dr}(b) + T_{ver}(b, k + 1)

    where P is the share of rounds in which some row kept its whole draft. Only what was kept is taken from the run;
    every time is predicted.
    """
    cell = measured.cell
    return rounds_result(
        Speculation(target=target, method=DraftModel(draft=draft)),
        batch=np.array([float(cell.batch)]),
        context=np.array([measured.context]),
        shape=cell.shape,
        tokens=np.array([measured.tokens_per_round]),
        kept_whole=np.array([measured.refill_share]),
        rate=np.array([measured.acceptance_rate]),
        is_sampled=cell.is_sampled,
    )


Deployments = Callable[[SpeculationCell], tuple[Deployment, Deployment]]
"""Target and draft of a cell, as predictions deploy them."""


def compared_rounds(
    cells: Sequence[MeasuredCell], deployments: Deployments, skipped: Sequence[Skipped] = ()
) -> Comparison:
    """Predicted beside measured speed-ups of cells, with the times and counts behind them as labels."""
    found = [predicted_rounds(one, *deployments(one.cell)) for one in cells]

    def column(name: str) -> np.ndarray:
        return np.array([float(getattr(one, name)[0]) for one in found])

    return Comparison(
        ids=np.array([one.cell.id for one in cells], dtype=object),
        measured=np.array([one.speedup for one in cells]),
        predicted=column("speedup"),
        low=column("speedup_low"),
        high=column("speedup_high"),
        roofline=np.array([textbook_speedup(one, *deployments(one.cell)) for one in cells]),
        labels={
            **{name: np.array([label[name] for label in map(cell_labels, cells)], dtype=object) for name in LABELS},
            **{f"predicted_{name}_s": column(name) for name in ("round_time", "plain_step_time", "draft_time")},
            "predicted_verify_time_s": column("verify_time"),
            "regime": np.array([one.cell.group for one in cells], dtype=object),
            "unit": np.full(len(cells), "1", dtype=object),
        },
        skipped=tuple(skipped),
    )


LABELS = (
    "batch",
    "draft_length",
    "nodes",
    "rounds",
    "tokens_per_round",
    "acceptance_rate",
    "refill_share",
    "measured_round_time_s",
    "measured_plain_step_time_s",
    "measured_draft_time_s",
    "measured_verify_time_s",
    "compared_tokens",
    "differences",
    "largest_gap",
)


def cell_labels(one: MeasuredCell) -> Mapping[str, float | int | None]:
    """What was measured of a cell beside its speed-up."""
    refills = [own.refill_time for own in one.rounds if own.refill_time is not None]
    refill = one.refill_share * float(np.median(refills)) if refills else 0.0
    return {
        "batch": one.cell.batch,
        "draft_length": one.cell.draft_length,
        "nodes": len(one.cell.parents),
        "rounds": len(one.rounds),
        "tokens_per_round": one.tokens_per_round,
        "acceptance_rate": one.acceptance_rate,
        "refill_share": one.refill_share,
        "measured_round_time_s": one.round_time,
        "measured_plain_step_time_s": one.plain_step_time,
        "measured_draft_time_s": one.median("draft_time") + refill,
        "measured_verify_time_s": one.median("verify_time"),
        "compared_tokens": one.compared,
        "differences": len(one.gaps),
        "largest_gap": max(one.gaps, default=0.0),
    }


def textbook_speedup(measured: MeasuredCell, target: Deployment, draft: Deployment) -> float:
    r"""Speed-up where verifying costs a plain step and a draft pass its share of the weights, :math:`E / (k c + 1)`.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. 2023, arXiv 2211.17192, theorem 3.8.
    """
    from rooflinesim.workload.parameters import streamed_parameters

    ratio = streamed_parameters(draft.model) / streamed_parameters(target.model)
    return measured.tokens_per_round / (measured.cell.draft_length * ratio + 1.0)


COIN_TOSS = (0.95, 1.05)
"""Measured speed-ups between these are on no side of 1."""


def speculation_verdict(
    cells: Sequence[MeasuredCell], found: Comparison, sampling: Mapping[str, float], near_tie: float
) -> SpeculationVerdict:
    """The verdict over all cells, by number format."""
    is_clear = (found.measured < COIN_TOSS[0]) | (found.measured > COIN_TOSS[1])
    same = (found.measured > 1.0) == (found.predicted > 1.0)
    forms = tuple(dict.fromkeys(one.cell.form for one in cells))
    gaps = {form: [gap for one in cells if one.cell.form == form for gap in one.gaps] for form in forms}
    return SpeculationVerdict(
        judged_sides=int(is_clear.sum()),
        right_side=float(same[is_clear].mean()) if is_clear.any() else None,
        compared_tokens={form: sum(one.compared for one in cells if one.cell.form == form) for form in forms},
        differences={form: len(own) for form, own in gaps.items()},
        near_ties={form: sum(gap <= near_tie for gap in own) for form, own in gaps.items()},
        sampling_probability=dict(sampling),
    )
