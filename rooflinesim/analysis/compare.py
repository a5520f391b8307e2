"""Which of two deployments is faster at its point, and what makes the difference?"""

import dataclasses
from collections.abc import Mapping

from rooflinesim.analysis.breakdown import Breakdown, Difference, breakdown, difference, summing_to
from rooflinesim.analysis.decode import DecodeResult, decode
from rooflinesim.analysis.prefill import PrefillResult, prefill
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity

WAYS = ("tensor_parallel", "pipeline_parallel", "expert_parallel", "data_parallel")
CHANGES: Mapping[str, tuple[str, ...]] = {
    "load": ("batch", "context", "prompt"),
    "model": ("model",),
    "formats": ("precision",),
    "layout": WAYS,
    "device": ("hardware",),
    "stack": ("stack",),
}
"""What two cases may differ in, in the order in which one is turned into the other."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Case(Noun):
    """One side of a comparison: a deployment and the step that it takes.

    A step decodes one token for each sequence, or, with a `prompt`, reads that many new tokens of each.
    """

    deployment: Deployment
    batch: float = quantity("1", minimum=1)
    context: float = quantity("tokens")
    prompt: float | None = quantity("tokens", default=None, minimum=1)
    price: float | None = quantity("USD/h", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CompareResult(Noun):
    """Two cases side by side.

    `difference` says what the longer step spends its time on; `changes` are the same seconds by what was changed to
    turn the first case into the second, one after another in the order of CHANGES. Names joined by "and" were changed
    together, because no deployment lies between.
    """

    first: Case
    second: Case
    rows: tuple[DecodeResult | PrefillResult, DecodeResult | PrefillResult]
    breakdowns: tuple[Breakdown, Breakdown]
    difference: Difference
    changes: Mapping[str, float] = quantity("s")


def compare(first: Case, second: Case) -> CompareResult:
    """What makes the second case's step longer than the first's [s]; every list of terms adds up to it exactly.

    Raises
    ------
    DomainError : if one decodes and the other reads prompts.
    RooflinesimError : if one of them cannot be.
    """
    if (first.prompt is None) != (second.prompt is None):
        raise DomainError("one decodes and the other reads prompts; compare two of a kind")
    broken = broken_down(first), broken_down(second)
    rows = _row(first), _row(second)
    apart = difference(*broken, times=(_taken(rows[0]), _taken(rows[1])))
    return CompareResult(
        first=first,
        second=second,
        rows=rows,
        breakdowns=broken,
        difference=apart,
        changes=summing_to(apart.second - apart.first, _changes(first, second)),
    )


def broken_down(case: Case) -> Breakdown:
    """A case's step, term by term."""
    return breakdown(case.deployment, batch=case.batch, context=case.context, prompt=case.prompt)


def _row(case: Case) -> DecodeResult | PrefillResult:
    if case.prompt is None:
        return decode(case.deployment, batch=case.batch, context=case.context)
    return prefill(case.deployment, prompt=case.prompt, batch=case.batch, context=case.context)


def _taken(row: DecodeResult | PrefillResult) -> float:
    return float((row.step_time if isinstance(row, DecodeResult) else row.ttft)[0])


def differing(first: Case, second: Case) -> list[str]:
    """What two cases differ in, among CHANGES."""
    return [
        name
        for name, fields in CHANGES.items()
        if any(_value(first, field) != _value(second, field) for field in fields)
    ]


def _value(case: Case, field: str) -> object:
    return getattr(case if hasattr(case, field) else case.deployment, field)


def _changes(first: Case, second: Case) -> dict[str, float]:
    """Seconds that each change adds on the way from the first case to the second [s]."""
    found: dict[str, float] = {}
    current, pending = first, list[str]()
    time = _time(first)
    for name in differing(first, second):
        pending.append(name)
        try:
            changed = _changed(current, second, pending)
            own = _time(changed)
        except RooflinesimError:
            # No such deployment: the next change goes with this one.
            continue
        found[" and ".join(pending)] = own - time
        current, time, pending = changed, own, []
    return found


def _time(case: Case) -> float:
    return float(broken_down(case).step_time[0])


def _changed(case: Case, other: Case, names: list[str]) -> Case:
    """A case with some of what another one has."""
    fields = [field for name in names for field in CHANGES[name]]
    own = {field: getattr(other, field) for field in fields if hasattr(case, field)}
    inner = {field: getattr(other.deployment, field) for field in fields if not hasattr(case, field)}
    return dataclasses.replace(case, deployment=dataclasses.replace(case.deployment, **inner), **own)
