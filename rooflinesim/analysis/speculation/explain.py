"""Why speculation gains what it gains: each term of a round, and what each cost takes from the gain."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import (
    DraftShape,
    Speculation,
    draft_of,
    first_pass_of,
    verification_ops,
    verification_routing,
    verified_rows,
)
from rooflinesim.analysis.speculation.rounds import overhead_time, pass_cost
from rooflinesim.analysis.speculation.speculate import SpeculateResult
from rooflinesim.analysis.timing import step_op_costs, step_ops
from rooflinesim.cost.machine import Machine, machine_of
from rooflinesim.cost.step import op_costs, step_cost
from rooflinesim.nouns import Noun
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.experts import awake_experts
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PassTerms(Noun):
    """One pass, by what its time goes to: the four parts sum to the whole.

    `streaming_time` is what weights and caches take at the stack's rates, or their FLOPs where those take longer;
    `activation_time` what activations add to that, `network_time` that of collectives, `overhead_time` the rest:
    fixed times of kernels, launches, the software's own.
    """

    streaming_time: float = quantity("s")
    activation_time: float = quantity("s")
    network_time: float = quantity("s")
    overhead_time: float = quantity("s")

    @property
    def time(self) -> float:
        """All of it [s]."""
        return self.streaming_time + self.activation_time + self.network_time + self.overhead_time


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RoundExplanation(Noun):
    """Terms of one round against a plain step.

    `draft` holds the `draft_passes` of every round, None where none runs or its cost is given; `refill_time` is that of
    the pass after full acceptance, as often as it is needed, and `draft_time` all of them. The speed-ups count costs
    one after another: weights and caches alone, then activations, collectives, refills, and all overheads, the last
    being the answer. `bare_speedup` would be reached if a round cost one plain step. `plain_experts` and
    `verified_experts` are those of a layer that a step and a verification wake, None without experts; `flipped` names
    the operations that memory binds in a step and math in the verification.
    """

    batch: float = quantity("1")
    context: float = quantity("tokens")
    draft_length: float = quantity("tokens", column="draft_length")
    plain: PassTerms
    verification: PassTerms
    draft: PassTerms | None
    draft_passes: float = quantity("1")
    draft_time: float = quantity("s")
    refill_time: float = quantity("s")
    round_overhead_time: float = quantity("s")
    bare_speedup: float = quantity("1")
    streaming_speedup: float | None = quantity("1")
    with_activations: float | None = quantity("1")
    with_network: float | None = quantity("1")
    with_refill: float | None = quantity("1")
    speedup: float = quantity("1")
    plain_experts: float | None = quantity("1")
    verified_experts: float | None = quantity("1")
    flipped: tuple[str, ...]


def pass_terms(ops: Sequence[Op], machine: Machine, time: float) -> PassTerms:
    """Parts of a pass of so much time in all."""
    streaming = activations = network = 0.0
    for op, cost in zip(ops, op_costs(ops, machine), strict=True):
        memory, compute = float(np.max(cost.memory_time)), float(np.max(cost.compute_time))
        share = float(np.max(op.weight_bytes + op.kv_bytes)) / max(float(np.max(op.memory_bytes)), 1e-300)
        bare = max(memory * share, compute)
        streaming += op.count * bare
        activations += op.count * (max(memory, compute) - bare)
        network += op.count * float(np.max(cost.network_time))
    rest = time - streaming - activations - network
    # What summing in another order leaves is no overhead.
    rest = 0.0 if rest < 1e-12 * time else rest
    return PassTerms(
        streaming_time=streaming,
        activation_time=activations,
        network_time=network,
        overhead_time=rest,
    )


def explain_round(
    speculation: Speculation, result: SpeculateResult, index: int, routing: Routing | None = None
) -> RoundExplanation:
    """Terms of the round in one row of a result."""
    target, method = speculation.target, speculation.method
    batch, context = float(result.batch[index]), float(result.context[index])
    passes = float(result.draft_length[index])
    tokens = passes if result.tree_nodes is None else float(result.tree_nodes[index]) - 1.0
    shape = DraftShape(tokens=tokens, passes=passes, width=max(1.0, np.ceil(tokens / max(passes, 1.0))))
    machine = machine_of(target)
    plain = _terms_of(step_ops(target, Step(batch=batch, context=context), routing), machine, speculation, batch, 1.0)
    rows = float(np.max(verified_rows(method, np.float64(tokens))))
    step = Step(batch=batch, context=context, new_tokens=rows)
    ops = verification_ops(speculation, step, routing) if tokens else step_ops(target, step, routing)
    share = target.stack.speculation.verify_token_share * tokens
    verification = _terms_of(ops, machine, speculation, batch, rows, share * plain.time)
    draft = None if speculation.is_measured or not passes else _draft_terms(speculation, batch, context, shape, routing)
    overhead = float(np.max(overhead_time(speculation, np.float64(batch), shape))) if tokens else 0.0
    emitted = float(result.tokens_per_round[index])

    refill = max(0.0, float(result.draft_time[index]) - draft.time) if draft else 0.0

    def gain(*parts: str, refilled: float = 0.0) -> float | None:
        if speculation.is_measured:
            return None

        def total(terms: PassTerms | None) -> float:
            return sum(float(getattr(terms, part)) for part in parts) if terms else 0.0

        drafts = total(draft) * (1.0 + refilled / draft.time) if draft else 0.0
        return emitted * total(plain) / (drafts + total(verification))

    return RoundExplanation(
        batch=batch,
        context=context,
        draft_length=passes,
        plain=plain,
        verification=verification,
        draft=draft,
        draft_passes=passes if draft_of(method) or speculation.is_measured else 0.0,
        draft_time=float(result.draft_time[index]),
        refill_time=refill,
        round_overhead_time=overhead,
        bare_speedup=emitted,
        streaming_speedup=gain("streaming_time"),
        with_activations=gain("streaming_time", "activation_time"),
        with_network=gain("streaming_time", "activation_time", "network_time"),
        with_refill=gain("streaming_time", "activation_time", "network_time", refilled=refill),
        speedup=float(result.speedup[index]),
        plain_experts=_awake(speculation, Step(batch=batch), routing),
        verified_experts=_awake(
            speculation, Step(batch=batch, new_tokens=rows), routing or verification_routing(target)
        )
        if tokens
        else None,
        flipped=_flipped(speculation, Step(batch=batch, context=context), step, routing) if tokens else (),
    )


def _awake(speculation: Speculation, step: Step, routing: Routing | None) -> float | None:
    """Experts that a layer of the target wakes; None where it has none."""
    target = speculation.target
    moe = next((group.moe for group in target.model.layers if group.moe), None)
    if moe is None:
        return None
    return float(np.max(awake_experts(moe.experts, moe.active_experts, step, routing or target.stack.routing)))


def _flipped(speculation: Speculation, plain: Step, verified: Step, routing: Routing | None) -> tuple[str, ...]:
    """Operations that turn from memory-bound to compute-bound."""

    def bound(step: Step) -> set[str]:
        return {
            op.name
            for op, cost in step_op_costs(speculation.target, step, routing)
            if np.max(op.flops) > 0 and np.max(cost.compute_time) >= np.max(cost.memory_time)
        }

    before = bound(plain)
    return tuple(sorted(bound(verified) - before))


def _terms_of(
    ops: Sequence[Op],
    machine: Machine,
    speculation: Speculation,
    batch: float,
    new_tokens: float,
    added_time: float = 0.0,
) -> PassTerms:
    step = Step(batch=batch, new_tokens=new_tokens)
    time = float(np.max(step_cost(ops, machine, speculation.target, step).time))
    return pass_terms(ops, machine, time + added_time)


def _draft_terms(
    speculation: Speculation, batch: float, context: float, shape: DraftShape, routing: Routing | None
) -> PassTerms | None:
    """All draft passes of a round together."""
    draft, first = draft_of(speculation.method), first_pass_of(speculation.method)
    if draft is None:
        return None
    length = context + 0.5 * max(float(np.max(shape.tokens)) - 1.0, 0.0)
    method = speculation.method
    if isinstance(method, DraftModel) and method.cache_tokens is not None:
        length = min(length, method.cache_tokens)
    passes = float(np.max(shape.passes))
    further = Step(batch=batch, new_tokens=shape.width, context=length)
    parts = [(draft, further, passes if first is None else passes - 1.0)]
    if first is not None:
        parts.append((first, Step(batch=batch, new_tokens=passes + 1.0, context=context, logit_tokens=1.0), 1.0))
    sums = {field.name: 0.0 for field in dataclasses.fields(PassTerms)}
    for deployment, step, times in parts:
        time = float(np.max(pass_cost(deployment, step, routing).time))
        own = pass_terms(step_ops(deployment, step, routing), machine_of(deployment), time)
        for name in sums:
            sums[name] += times * float(getattr(own, name))
    return PassTerms(**sums)
