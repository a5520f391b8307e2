"""Methods of drafting, and what each of them runs in a round."""

import dataclasses

import numpy as np

from rooflinesim import units
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import EagleHead
from rooflinesim.analysis.speculation.early_exit import EarlyExit, early_exit_ops
from rooflinesim.analysis.speculation.lookahead import Lookahead, lookahead_rows
from rooflinesim.analysis.speculation.medusa import MedusaHeads, medusa_ops
from rooflinesim.analysis.speculation.mtp import MtpModules
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.timing import step_ops
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.routing import Routing
from rooflinesim.units import quantity
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Array, Step

Method = DraftModel | EagleHead | MedusaHeads | MtpModules | EarlyExit | PromptLookup | Lookahead
"""A way to draft; each has its file."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Speculation(Noun):
    """A target that verifies what a method drafts.

    A measured cost of one draft pass can replace the model's: `draft_pass_time`, or `draft_cost_ratio` to a plain
    step of the target.
    """

    target: Deployment
    method: Method
    draft_pass_time: float | None = quantity("s", default=None)
    draft_cost_ratio: float | None = quantity("1", default=None, maximum=1e3)

    def __post_init__(self) -> None:
        units.check(self)
        if self.draft_pass_time is not None and self.draft_cost_ratio is not None:
            raise DomainError("draft_pass_time and draft_cost_ratio are both given: give one of them")
        if isinstance(self.method, DraftModel) and self.method.draft is None and not self.is_measured:
            raise DomainError("a draft model needs a model, or the measured cost of one of its passes")

    @property
    def is_measured(self) -> bool:
        """Whether the cost of a draft pass is given, not modelled."""
        return self.draft_pass_time is not None or self.draft_cost_ratio is not None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DraftShape(Noun):
    """What one round drafts for a sequence; aligned arrays.

    `tokens` are verified beside the last accepted one, in `passes` draft passes one after another, each of `width`
    rows. A chain of k has k of both and width 1; in a tree the passes are its depth.
    """

    tokens: Array = quantity("tokens")
    passes: Array = quantity("1")
    width: Array = quantity("tokens")


def chain(draft_length: Array) -> DraftShape:
    """Shape of a draft without branches."""
    return DraftShape(tokens=draft_length, passes=draft_length, width=np.ones_like(draft_length))


def tree_shape(nodes: Array, depth: Array, width: Array | None = None) -> DraftShape:
    """Shape of a draft tree of so many nodes, its root among them; without a width passes are of equal width."""
    drafted = np.asarray(nodes, dtype=np.float64) - 1.0
    passes = np.asarray(depth, dtype=np.float64)
    even = np.ceil(np.maximum(drafted / np.maximum(passes, 1.0), 1.0))
    return DraftShape(tokens=drafted, passes=passes, width=even if width is None else np.maximum(width, 1.0))


def draft_of(method: Method) -> Deployment | None:
    """What a draft pass runs on; None where there is none."""
    match method:
        case DraftModel() | EagleHead() | MtpModules() | EarlyExit():
            return method.draft
        case MedusaHeads() | PromptLookup() | Lookahead():
            return None


def first_pass_of(method: Method) -> Deployment | None:
    """What the first pass of a round runs on where it takes in all tokens of the last verification."""
    match method:
        case EagleHead():
            return method.first
        case MtpModules():
            return method.draft
        case _:
            return None


def verified_rows(method: Method, drafted: Array) -> Array:
    """Tokens of one sequence in a verification, the last accepted one among them [tokens]."""
    match method:
        case Lookahead():
            return lookahead_rows(method, drafted)
        case _:
            return drafted + 1.0


def verification_routing(target: Deployment) -> Routing:
    """How the tokens of a verification choose experts: as the stack says, those of one draft alike."""
    own = target.stack.routing
    return dataclasses.replace(own, overlap=max(own.overlap, target.stack.speculation.expert_overlap))


def verification_ops(speculation: Speculation, step: Step, routing: Routing | None = None) -> tuple[Op, ...]:
    """Operations of a verification on one device of the target; experts are chosen as given, else drafts alike."""
    target = speculation.target
    routing = routing or verification_routing(target)
    match speculation.method:
        case EarlyExit():
            ops = early_exit_ops(target, speculation.method.layers, step, routing)
        case MedusaHeads():
            ops = (*step_ops(target, step, routing), *medusa_ops(target, step, speculation.method.heads))
        case _:
            ops = step_ops(target, step, routing)
    return tuple(_with_rollback(op, target, step) for op in ops)


def _with_rollback(op: Op, target: Deployment, step: Step) -> Op:
    r"""A recurrent layer's core with what undoing rejected tokens takes.

    Keeping the state of every token writes q of them, :math:`(1 + q)/2` of a step's state traffic; replaying the
    accepted tokens reads and writes the state once more, and computes them again.
    """
    if op.kind != "recurrent":
        return op
    if target.stack.speculation.recurrent_state == "kept":
        return dataclasses.replace(op, kv_bytes=op.kv_bytes * (1.0 + step.new_tokens) / 2.0)
    several = np.where(np.asarray(step.new_tokens) > 1.0, 2.0, 1.0)
    return dataclasses.replace(op, kv_bytes=op.kv_bytes * several, flops=op.flops * several)
