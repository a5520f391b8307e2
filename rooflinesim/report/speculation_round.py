"""Why a round of speculation gains what it gains, in tables and words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rooflinesim.report import text
from rooflinesim.report.tables import View

if TYPE_CHECKING:
    from rooflinesim.analysis.speculation.explain import PassTerms, RoundExplanation


def explanation_view(found: "RoundExplanation") -> View:
    """Terms of a round beside a plain step, and what each kind of cost takes from the gain."""
    plain = found.plain.time
    parts: list[tuple[str, PassTerms | None]] = [
        ("plain step", found.plain),
        ("verification", found.verification),
        (f"{found.draft_passes:.0f} draft passes", found.draft),
    ]
    rows = [
        [
            name,
            *(
                text.milliseconds(value)
                for value in (
                    terms.streaming_time,
                    terms.activation_time,
                    terms.network_time,
                    terms.overhead_time,
                    terms.time,
                )
            ),
            f"{terms.time / plain:.3f}",
        ]
        for name, terms in parts
        if terms
    ]
    if found.draft is None and found.draft_time:
        given = text.milliseconds(found.draft_time)
        rows.append(["draft passes, as given", "-", "-", "-", "-", given, f"{found.draft_time / plain:.3f}"])
    if found.refill_time:
        refill = text.milliseconds(found.refill_time)
        rows.append(["pass after full acceptance", "-", "-", "-", "-", refill, f"{found.refill_time / plain:.3f}"])
    if found.round_overhead_time:
        rest = text.milliseconds(found.round_overhead_time)
        rows.append(["rest of the round", "-", "-", "-", rest, rest, f"{found.round_overhead_time / plain:.3f}"])
    return View(
        lines=[f"Why, at batch {found.batch:g}, context {found.context:,.0f} and draft length {found.draft_length:g}:"],
        headers=["", "weights+KV ms", "activations", "collectives", "overhead", "all", "of a step"],
        rows=rows,
        footer=["", *explanation_lines(found)],
    )


def explanation_lines(found: "RoundExplanation") -> Iterator[str]:
    """Why a round gains less than the tokens that it emits."""
    steps = [f"{found.bare_speedup:.2f} x if a round cost one plain step"]
    for value, words in (
        (found.streaming_speedup, "by weights and KV alone"),
        (found.with_activations, "with activations"),
        (found.with_network, "with collectives"),
        (found.with_refill if found.refill_time else None, "with the draft pass after full acceptance"),
    ):
        if value is not None:
            steps.append(f"{value:.2f} {words}")
    yield "Speed-up: " + ", ".join(steps) + f", {found.speedup:.2f} with all overheads."
    draft = found.draft
    if draft and found.draft_passes:
        per_pass = draft.time / found.draft_passes
        fixed = (draft.overhead_time + draft.network_time) / draft.time
        size = draft.streaming_time / found.draft_passes / found.plain.streaming_time
        yield (
            f"One draft pass takes {text.percent(per_pass / found.plain.time)} of a plain step and streams"
            f" {text.percent(size)} of its bytes; {text.percent(fixed)} of it are fixed times, launches and"
            " collectives, which a smaller model does not shrink."
        )
    grown = found.verification.time / found.plain.time - 1.0
    if grown > 0.005:
        terms = {
            "weights, caches and math": found.verification.streaming_time - found.plain.streaming_time,
            "activations": found.verification.activation_time - found.plain.activation_time,
            "collectives": found.verification.network_time - found.plain.network_time,
            "overheads": found.verification.overhead_time - found.plain.overhead_time,
        }
        most = max(terms, key=lambda name: terms[name])
        yield f"Verifying takes {text.percent(grown)} more than a plain step, most of it {most}."
    if found.plain_experts is not None and found.verified_experts is not None:
        yield (
            f"A step wakes {found.plain_experts:.1f} experts of a layer, verifying {found.verified_experts:.1f}: their"
            " weights are read besides."
        )
    if found.flipped:
        yield f"Memory binds these in a step, math when verifying: {', '.join(found.flipped)}."


def explanation_summary(found: "RoundExplanation") -> dict[str, Any]:
    """The explanation under JSON names."""

    def terms(part: "PassTerms | None") -> dict[str, float] | None:
        if part is None:
            return None
        return {
            "streaming_time_s": part.streaming_time,
            "activation_time_s": part.activation_time,
            "network_time_s": part.network_time,
            "overhead_time_s": part.overhead_time,
            "time_s": part.time,
        }

    return {
        "batch": found.batch,
        "context_tokens": found.context,
        "draft_length": found.draft_length,
        "plain_step": terms(found.plain),
        "verification": terms(found.verification),
        "draft_passes": terms(found.draft),
        "draft_time_s": found.draft_time,
        "refill_time_s": found.refill_time,
        "round_overhead_time_s": found.round_overhead_time,
        "speedup_if_a_round_cost_one_step": found.bare_speedup,
        "speedup_by_weights_and_kv": found.streaming_speedup,
        "speedup_with_activations": found.with_activations,
        "speedup_with_collectives": found.with_network,
        "speedup_with_refill": found.with_refill,
        "speedup": found.speedup,
        "experts_of_a_step": found.plain_experts,
        "experts_of_a_verification": found.verified_experts,
        "turned_compute_bound": list(found.flipped),
    }
