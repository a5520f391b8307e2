"""Deployments from best to worst: sentences, facts and tables of a report."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rooflinesim.report import text
from rooflinesim.report.bars import bar
from rooflinesim.report.decode import RESOURCE_NAMES
from rooflinesim.report.document import Fact
from rooflinesim.report.tables import View
from rooflinesim.units import format_quantity

if TYPE_CHECKING:
    from rooflinesim.analysis.breakdown import Breakdown
    from rooflinesim.analysis.decode import DecodeResult
    from rooflinesim.analysis.explain import Explanation
    from rooflinesim.analysis.recommend import Cost, Standing

MOST_ALTERNATIVES = 24
"""Deployments that are shown beside the best one."""


def best_sentences(
    found: Sequence["Standing"], target: float | None, held: int | None, why: "Explanation"
) -> Iterator[str]:
    """What to take, how fast it is, what binds it, and what it costs or holds: three sentences."""
    best = found[0]
    row = best.row
    time = format_quantity(float(row.step_time[0]), "s", 3)
    band = text.span(float(row.step_time_low[0]), float(row.step_time_high[0]), "s")
    within = f" (band {band})" if band else ""
    choice = ""
    if len(found) > 1:
        choice = f"Of {len(found)} deployments, the best is "
    if target is not None and not best.meets:
        choice = f"Nothing asked about keeps a token within {format_quantity(target, 's', 3)}; nearest comes "
    yield (
        f"{choice}{text.deployment_words(best.deployment)}: a token takes {time}{within} at batch {best.batch:,.0f} and"
        f" {best.context:,.0f} tokens of context, {text.short(float(row.tokens_per_s[0]))} tokens/s in all."
    )
    strongest = max(why.sensitivities, key=lambda one: one.saved)
    yield (
        f"The step is bound by {why.bound}; 10 % more {RESOURCE_NAMES[strongest.resource]} would save"
        f" {text.percent(strongest.saved)} of its time, more than 10 % of anything else."
    )
    yield _last_sentence(best, target, held)


def _last_sentence(best: "Standing", target: float | None, held: int | None) -> str:
    parts = []
    if target is not None and best.meets:
        sure = "surely: the whole band lies" if best.surely else "probably: the upper end of the band does not lie"
        parts.append(f"It meets the target of {format_quantity(target, 's', 3)} {sure} within it")
    if best.row.fits is not None and not best.row.fits[0]:
        parts.append("It does not fit into memory")
    elif held is not None:
        parts.append(f"memory holds {held:,} such sequences at once")
    if best.cost.usd_per_mtok is not None:
        parts.append(f"a million output tokens cost {float(best.cost.usd_per_mtok[0]):.3g} USD")
    else:
        parts.append(f"a token takes about {format_quantity(float(best.cost.joules_per_token[0]), 'J', 3)}")
    words = "; ".join(parts)
    return words[0].upper() + words[1:] + "."


def best_facts(best: "Standing", target: float | None, held: int | None) -> list[Fact]:
    """The numbers of a deployment that stand out."""
    row = best.row
    band = text.span(float(row.step_time_low[0]), float(row.step_time_high[0]), "s")
    at = f"batch {best.batch:,.0f}, context {best.context:,.0f}"
    facts = [
        Fact(
            what="Time per token",
            value=format_quantity(float(row.step_time[0]), "s", 3),
            beside=f"band {band}" if band else "no band",
        ),
        Fact(what="For each user", value=f"{text.short(float(row.tokens_per_s_per_user[0]))} tok/s", beside=at),
        Fact(what="In all", value=f"{text.short(float(row.tokens_per_s[0]))} tok/s", beside=at),
    ]
    if target is not None:
        verdict = "surely" if best.surely else "probably" if best.meets else "no"
        facts.append(Fact(what="Meets the target", value=verdict, beside=f"at most {format_quantity(target, 's', 3)}"))
    if held is not None:
        facts.append(Fact(what="Memory holds", value=f"{held:,}", beside=f"sequences of {best.context:,.0f} tokens"))
    if best.cost.usd_per_mtok is not None:
        hour = (best.price or 0.0) * best.deployment.devices
        value = f"{float(best.cost.usd_per_mtok[0]):.3g} USD"
        facts.append(Fact(what="A million output tokens", value=value, beside=f"{hour:.4g} USD/h in all"))
    facts.append(energy_fact(best.cost))
    return facts


def energy_fact(cost: "Cost", place: int = 0) -> Fact:
    """Energy of a token, and what all devices draw."""
    value = format_quantity(float(cost.joules_per_token[place]), "J", 3)
    drawn = format_quantity(float(cost.power[place]), "W", 3)
    return Fact(what="Energy of a token, about", value=value, beside=f"{drawn} drawn by all devices")


def deployment_view(best: "Standing") -> View:
    """What to set up, line by line."""
    one = best.deployment
    rows = [
        ["model", one.model.name],
        ["devices", f"{one.devices} x {one.hardware.name}"],
        ["layout of a replica", text.layout_words(one) or "one device"],
        ["formats", text.formats_line(one.precision, one.model)],
        ["software", one.stack.name],
        ["batch", f"{best.batch:,.0f} at {best.context:,.0f} tokens of context"],
        ["memory of one device", _memory_words(best)],
    ]
    if best.price is not None:
        rows.append(["price", f"{best.price:.4g} USD/h for one device, {best.price * one.devices:.4g} USD/h in all"])
    return View(lines=[], headers=["", ""], rows=rows, left=(0, 1))


def _memory_words(best: "Standing") -> str:
    taken = format_quantity(float(best.row.resident_bytes[0]), "B", 3)
    capacity = best.deployment.hardware.memory_capacity
    if capacity is None:
        return f"{taken} taken"
    usable = format_quantity(capacity * best.deployment.stack.memory_utilization, "B", 3)
    fits = "" if best.row.fits is None or best.row.fits[0] else "; does not fit"
    return f"{taken} taken of {usable} that the software uses{fits}"


def standings_view(found: Sequence["Standing"], target: float | None) -> View:
    """All deployments beside each other."""
    labels = text.telling_labels([one.deployment for one in found])
    has_cost = any(one.cost.usd_per_mtok is not None for one in found)
    rows = []
    for label, one in list(zip(labels, found, strict=True))[:MOST_ALTERNATIVES]:
        row = one.row
        rows.append(
            [
                label,
                text.whole(one.batch),
                text.milliseconds(float(row.step_time[0])),
                text.time_range(float(row.step_time_low[0]), float(row.step_time_high[0])),
                text.short(float(row.tokens_per_s[0])),
                text.short(one.tokens_per_s_per_device),
                *(
                    ["-" if one.cost.usd_per_mtok is None else f"{float(one.cost.usd_per_mtok[0]):.3g}"]
                    if has_cost
                    else []
                ),
                {True: "yes", False: "no", None: "?"}[None if row.fits is None else bool(row.fits[0])],
                *([("surely" if one.surely else "probably") if one.meets else "no"] if target is not None else []),
            ]
        )
    rest = len(found) - len(rows)
    return View(
        lines=[f"Each at the batch that serves most, best first, at {found[0].context:,.0f} tokens of context:"],
        headers=[
            "deployment",
            "batch",
            "ms",
            "band ms",
            "tok/s",
            "tok/s/device",
            *(["USD/Mtok"] if has_cost else []),
            "fits",
            *(["in time"] if target is not None else []),
        ],
        rows=rows,
        footer=[f"{rest:,} more deployments"] if rest else [],
    )


def operations_view(found: "Breakdown", most: int) -> View:
    """The operations that take the longest, with what each mostly spends its time on; groups of layers together."""
    whole = float(found.step_time[0])
    ops = sorted(((name, float(times[0])) for name, times in found.ops.items()), key=lambda one: -one[1])
    longest = ops[0][1] if ops else 0.0
    rows = []
    for name, time in ops[:most]:
        causes = {term.cause: float(times[0]) for term, times in found.terms.items() if term.op == name}
        part = next(term.part for term in found.terms if term.op == name)
        cause = max(causes, key=lambda one: causes[one])
        rows.append([name, part, text.milliseconds(time), text.share(time / whole), bar(time / longest), cause])
    rest = ops[most:]
    share = sum(time for _, time in rest) / whole
    return View(
        lines=["The longest operations, groups of layers together:"],
        headers=["operation", "part", "ms", "share", "", "mostly"],
        rows=rows,
        left=(0, 1, 4, 5),
        footer=[f"{len(rest)} more take {text.percent(share)}"] if rest else [],
    )


def cost_view(result: "DecodeResult", cost: "Cost") -> View:
    """Cost and energy of tokens over batch."""
    columns: list[tuple[str, np.ndarray]] = []
    if cost.usd_per_mtok is not None:
        columns.append(("USD per million tokens", cost.usd_per_mtok))
    columns.extend([("J per token, about", cost.joules_per_token), ("W, about", cost.power)])
    return View(
        lines=[],
        headers=["batch", "ms per token", "tok/s", *(name for name, _ in columns), "fits"],
        rows=[
            [
                text.whole(result.batch[i]),
                text.milliseconds(result.step_time[i]),
                text.short(result.tokens_per_s[i]),
                *(text.short(float(values[i])) for _, values in columns),
                "?" if result.fits is None else "yes" if result.fits[i] else "no",
            ]
            for i in range(result.batch.size)
        ],
        left=(),
    )
