"""Inverse questions: what just reaches a target."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rooflinesim.analysis.aims import GOALS, Aim, Goal, Situation
from rooflinesim.analysis.solve import UNKNOWNS, Unknown
from rooflinesim.analysis.solve import solve as analyse
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.drafting import Drafting, speculation_of
from rooflinesim.analysis.timing import aligned
from rooflinesim.api.answers import Counts, answer, deployment, listed, numbers
from rooflinesim.api.drafting import drafting_notes
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.report import solve as report
from rooflinesim.report.answer import Answer
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.stack import Stack
from rooflinesim.units import parse_quantity

MOST_ROWS = 1000
"""Targets and loads that one answer solves at most."""

_TARGET = re.compile(r"\s*([a-z-]+)\s*(?:<=|>=|=)\s*(.+?)\s*")
_UNITS: Mapping[Goal, tuple[str, tuple[str, ...]]] = {
    "tpot": ("s", ()),
    "ttft": ("s", ()),
    "tokens-per-s-per-user": ("1", ("tokens/s", "tok/s")),
    "tokens-per-s": ("1", ("tokens/s", "tok/s")),
    "speedup": ("1", ("x",)),
    "usd-per-mtok": ("1", ("USD/Mtok", "USD")),
}


def target_of_text(written: str) -> Aim:
    """A target from text such as tpot=50ms, tokens-per-s=5000 or speedup=1.5.

    Raises
    ------
    DomainError : if it is none; the message says how to write it.
    """
    match = _TARGET.fullmatch(written)
    if match is None or match[1] not in GOALS:
        raise DomainError(
            f"--target: {written!r} is no target; write it like tpot=50ms, with one of {', '.join(GOALS)}"
        )
    goal: Goal = match[1]
    unit, spellings = _UNITS[goal]
    value = match[2]
    for one in spellings:
        value = value.removesuffix(one)
    try:
        return Aim(goal=goal, value=_positive(parse_quantity(value, unit), match[2]))
    except RooflinesimError as error:
        raise DomainError(f"--target {goal}: {error}") from None


def _positive(value: float, written: str) -> float:
    if value <= 0:
        raise DomainError(f"{written!r} is not above zero")
    return value


def solve(
    *,
    model: Model,
    hardware: Hardware,
    stack: Stack,
    target: str | Aim | Sequence[str | Aim],
    unknown: Unknown,
    batch: Counts = 1,
    context: Counts = 2048,
    prompt: Counts | None = None,
    price: float | None = None,
    drafting: Drafting | None = None,
    acceptance: Acceptance | float | None = None,
    draft_length: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
    weights: str | None = None,
    kv: str | None = None,
    tp: int = 1,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Answer:
    """The value of an unknown that just reaches a target, at each of aligned loads; see `analysis.solve`.

    Parameters
    ----------
    target : one or several, such as "tpot=50ms"; each is solved on its own
    unknown : batch, context, prompt, acceptance, bandwidth, flop-rate, link, gpus or price
    batch, context, prompt : the load, where it is not what is asked for
    price : of one device. [USD/h]
    drafting, acceptance, draft_length : speculation, the best of the lengths at each point
    """
    if unknown not in UNKNOWNS:
        raise DomainError(f"--for: {unknown!r} cannot be solved for; give one of {', '.join(UNKNOWNS)}")
    asked = deployment(model=model, hardware=hardware, stack=stack, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    given = [target] if isinstance(target, (str, Aim)) else list(target)
    aims = list(dict.fromkeys(target_of_text(one) if isinstance(one, str) else one for one in given))
    columns = {"batch": batch, "context": context, "prompt": prompt}
    # What is asked for has no value yet; its load would only repeat the question.
    columns.pop(unknown, None)
    loads = aligned(**{name: None if column is None else numbers(column) for name, column in columns.items()})
    points = list(dict.fromkeys(zip(*(column.tolist() for column in loads.values()), strict=True)))
    if len(aims) * len(points) > MOST_ROWS:
        raise DomainError(f"{len(aims) * len(points):,} questions are too many; at most {MOST_ROWS:,}")
    said = list(notes)
    more: dict[str, Any] = {}
    if drafting is not None:
        speculation = speculation_of(
            asked,
            drafting,
            batch=float(loads["batch"][0]) if "batch" in loads else 1.0,
            context=float(loads["context"][0]) if "context" in loads else 2048.0,
            longest=max(draft_length),
        )
        keeps = Acceptance(value=acceptance) if isinstance(acceptance, (int, float)) else acceptance
        more = {"speculation": speculation, "acceptance": keeps, "draft_lengths": tuple(draft_length)}
        said.extend([*drafting_notes(speculation, drafting), "what the draft takes of memory is not part of what fits"])
    situations = [
        Situation(**{"deployment": asked, "price": price, **more, **dict(zip(loads, point, strict=True))})
        for point in points
    ]
    solutions = [analyse(one, aim, unknown) for aim in aims for one in situations]
    content = report.solve_content(solutions)
    inputs = {
        "for": unknown,
        "targets": [{"target": one.goal, "value": one.value} for one in aims],
        "price_usd_per_h": price,
        **{f"{name}_tokens" if name != "batch" else name: listed(column) for name, column in loads.items()},
        **({} if drafting is None else {"method": drafting.method, "draft_length": list(draft_length)}),
    }
    return answer("solve", asked, paths, solutions, content, report.solve_views(solutions), inputs, said)
