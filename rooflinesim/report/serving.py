"""Serving as answers: fleets under a steady load, and simulated request by request."""

from typing import Any

import numpy as np

from rooflinesim.analysis.serving.load import Drafts, Fleet, Load, Policy
from rooflinesim.analysis.serving.simulation import SimulationRun
from rooflinesim.analysis.serving.steady import SteadyState
from rooflinesim.report import text
from rooflinesim.report.columns import columns_of
from rooflinesim.report.tables import View
from rooflinesim.specs.scenario import Simulation

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
QUEUE_SHARE = 0.1
"""Share of the time of arrivals for which a queue must have stood at their end to be called saturation [1]."""


def bound_words(state: SteadyState, place: int = 0) -> str:
    """What keeps a fleet from serving more."""
    cap = text.whole(float(state.batch_cap[place]))
    match str(state.bound[place]):
        case "memory" if state.concurrency[place] < 1:
            return "not even one whole request fits into memory"
        case "memory":
            return f"memory holds {cap} requests"
        case "batch_limit":
            return f"the batch limit of {cap} requests"
        case "chunk_tokens":
            return f"every step carries a chunk, beside which {cap} requests decode"
        case "prefill":
            return "the engines for prompts"
        case _:
            return f"steps take longer in proportion to the batch by {cap} requests"


def saturation_line(state: SteadyState, place: int = 0) -> str:
    """Where a fleet saturates, and why."""
    if state.batch_cap[place] < 1:
        return f"Serves nothing: {bound_words(state, place)}."
    middle, low, high = (
        float(getattr(state, f"saturating_requests_per_s{end}")[place]) for end in ("", "_low", "_high")
    )
    band = "" if low == high else f" ({text.short(low)}-{text.short(high)})"
    return f"Saturates at {text.short(middle)} requests/s{band}: {bound_words(state, place)}."


def reasons(state: SteadyState) -> list[str | None]:
    """Why a point has no finite wait; None where it has."""
    return [
        None
        if state.is_stable[place]
        else f"beyond {text.short(float(state.saturating_requests_per_s[place]))} requests/s queues grow without end:"
        f" {bound_words(state, place)}"
        for place in range(state.is_stable.size)
    ]


def serving_content(load: Load, state: SteadyState) -> dict[str, Any]:
    """Columns and summary of a steady state; what is infinite has no number, but a reason."""
    columns = {
        "offered_requests_per_s": [None] * load.points.size if load.users is not None else load.points,
        **columns_of(state),
        "reason": reasons(state),
    }
    ends = {end: float(getattr(state, f"saturating_requests_per_s{end}")[0]) for end in ("", "_low", "_high")}
    return {
        "columns": columns,
        "summary": {
            "prompt_tokens": load.prompt_tokens,
            "output_tokens": load.output_tokens,
            "concurrency": float(state.concurrency[0]),
            "batch_cap": float(state.batch_cap[0]),
            **{f"saturating_requests_per_s{end}": value for end, value in ends.items()},
            "bound": str(state.bound[0]),
            "saturation": saturation_line(state),
        },
    }


def fleet_lines(fleet: Fleet, load: Load, policy: Policy, drafts: Drafts | None) -> list[str]:
    """What is served on what, in a few lines."""
    many = f"{fleet.replicas:,} such engines" if fleet.replicas > 1 else "one engine"
    limit = f"at most {policy.batch_limit:,} requests each" if policy.batch_limit else "as many requests as fit"
    chunk = "whole prompts first"
    if fleet.prefill is not None:
        alone = fleet.prefill
        count = "one engine of its own" if fleet.prefill_replicas == 1 else f"{fleet.prefill_replicas:,} of their own"
        chunk = f"prompts on {count} ({alone.devices} x {alone.hardware.name}{' each' if count[0] != 'o' else ''})"
    elif policy.chunk_tokens:
        chunk = f"steps of at most {policy.chunk_tokens:,} tokens"
    drafted = f", drafts of {drafts.draft_length} tokens" if drafts else ""
    cached = f", {text.percent(load.cached_share)} of prompts cached" if load.cached_share else ""
    return [
        text.deployment_line(fleet.decode),
        f"{many}, {limit}, {chunk}{drafted};"
        f" requests of {text.short(load.prompt_tokens, digits=4)} + {text.short(load.output_tokens, digits=4)}"
        f" tokens{cached}.",
    ]


def serving_view(fleet: Fleet, load: Load, policy: Policy, drafts: Drafts | None, state: SteadyState) -> View:
    """Table of a steady state over rates or users, and where it saturates."""
    is_closed = load.users is not None

    def milliseconds(name: str, place: int) -> str:
        value = float(getattr(state, name)[place])
        return text.milliseconds(value) if np.isfinite(value) else "∞"

    def band(name: str, place: int) -> str:
        low, high = (float(getattr(state, f"{name}_{end}")[place]) for end in ("low", "high"))
        return text.time_range(low, high) if np.isfinite(high) else f"{text.short(low * 1e3)}-∞" if low < high else "∞"

    rows = [
        [
            text.short(float(load.points[place])),
            *([text.short(float(state.requests_per_s[place]))] if is_closed else []),
            f"{state.running[place]:.1f}",
            text.whole(float(state.running_p95[place])),
            milliseconds("tpot_mean", place),
            milliseconds("tpot_p95", place),
            band("tpot_p95", place),
            milliseconds("ttft_mean", place),
            milliseconds("ttft_p95", place),
            band("ttft_p95", place),
            text.share(float(state.prefill_share[place])),
            text.short(float(state.tokens_per_s[place])),
            "yes" if state.is_stable[place] else "no",
        ]
        for place in range(load.points.size)
    ]
    return View(
        lines=fleet_lines(fleet, load, policy, drafts),
        headers=[
            *(["users", "req/s"] if is_closed else ["req/s"]),
            "running",
            "p95",
            "TPOT ms",
            "p95",
            "band",
            "TTFT ms",
            "p95",
            "band",
            "prefill",
            "tok/s",
            "stable",
        ],
        rows=rows,
        left=(),
        footer=["", saturation_line(state)],
    )


def request_numbers(run: SimulationRun) -> dict[str, float]:
    """Mean and percentiles of the times of all requests; TPOT of those of more than one token."""
    requests = run.requests
    several = requests.output > 1
    found: dict[str, float] = {}
    for name, values in (("tpot", requests.tpot[several]), ("ttft", requests.ttft), ("e2e", requests.e2e)):
        if not values.size:
            continue
        found[f"{name}_mean_s"] = float(np.mean(values))
        found |= {f"{name}_{point}_s": float(np.quantile(values, share)) for point, share in QUANTILES.items()}
    return found


def queue_verdict(run: SimulationRun, expected: SteadyState) -> str:
    """Whether a run saturated, since when, and what it served then."""
    requests, since = run.requests, run.backlog_from
    start, end = float(np.min(requests.arrived)), float(np.max(requests.arrived))
    if since is None or end - since < QUEUE_SHARE * (end - start):
        return f"The queue was empty at the end of the arrivals. {saturation_line(expected)}"
    served = int(np.sum((requests.completed > since) & (requests.completed <= end))) / (end - since)
    # A burst that is over before anything is complete is served at the pace of the whole run.
    served = served or requests.arrived.size / run.duration
    return (
        f"Saturated from {text.short(since - start, 's')} on: requests came at"
        f" {text.short((requests.arrived.size - 1) / (end - start))}/s and were served at"
        f" {text.short(served)}/s. {saturation_line(expected)}"
    )


def simulation_summary(run: SimulationRun, expected: SteadyState) -> dict[str, Any]:
    """All requests of a run together."""
    requests = run.requests
    span = float(np.max(requests.arrived) - np.min(requests.arrived))
    return {
        "requests": int(requests.arrived.size),
        "duration_s": run.duration,
        "offered_requests_per_s": (requests.arrived.size - 1) / span if span > 0 else None,
        "requests_per_s": requests.arrived.size / run.duration,
        "tokens_per_s": float(np.sum(requests.output)) / run.duration,
        **request_numbers(run),
        "running": run.running,
        "running_most": run.running_most,
        "waiting": run.waiting,
        "prefill_share": run.prompt_share,
        "preemptions": int(np.sum(requests.preemptions)),
        "steps": run.steps,
        "backlog_from_s": run.backlog_from,
        "saturating_requests_per_s": float(expected.saturating_requests_per_s[0]),
        "bound": str(expected.bound[0]),
        "verdict": queue_verdict(run, expected),
    }


def simulation_content(run: SimulationRun, expected: SteadyState, *, shows_requests: bool) -> dict[str, Any]:
    """A row for every request, or one for all of them."""
    summary = simulation_summary(run, expected)
    columns = columns_of(run.requests) if shows_requests else {name: [value] for name, value in summary.items()}
    return {"columns": columns, "summary": summary}


def simulation_inputs(asked: Simulation) -> dict[str, Any]:
    """What a simulation was drawn with."""
    return {"seed": asked.seed, "rate_scale": asked.rate_scale}


def simulation_view(
    fleet: Fleet,
    load: Load,
    policy: Policy,
    drafts: Drafts | None,
    run: SimulationRun,
    expected: SteadyState,
    trace: str | None,
) -> View:
    """Times of all requests beside those of the closed forms, and whether the fleet kept up."""
    numbers = request_numbers(run)
    rows = []
    for name, words in (("tpot", "TPOT ms"), ("ttft", "TTFT ms"), ("e2e", "whole request ms")):
        if f"{name}_mean_s" not in numbers:
            continue
        cells = [text.milliseconds(numbers[f"{name}_{point}_s"]) for point in ("mean", *QUANTILES)]
        forms = ["-"] * 2
        if name != "e2e":
            forms = [_closed_form(expected, f"{name}_{point}") for point in ("mean", "p95")]
        rows.append([words, *cells, *forms])
    what = f"trace {trace.rsplit('/', 1)[-1]}" if trace else "drawn arrivals"
    preempted = int(np.sum(run.requests.preemptions))
    return View(
        lines=[
            *fleet_lines(fleet, load, policy, drafts),
            f"{run.requests.arrived.size:,} requests of {what} in {text.short(run.duration, 's')};"
            f" {run.running:.1f} at once on average, {run.running_most:,} at most in one engine,"
            f" {run.waiting:.3g} waiting; {preempted:,} preemptions.",
        ],
        headers=["", "mean", "p50", "p95", "p99", "mean, Poisson", "p95, Poisson"],
        rows=rows,
        footer=["", queue_verdict(run, expected)],
    )


def _closed_form(expected: SteadyState, name: str) -> str:
    value = float(getattr(expected, name)[0])
    return text.milliseconds(value) if np.isfinite(value) else "∞"
