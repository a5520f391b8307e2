"""How tokens are drafted, in the words of users, and the method beside its target that follows from them."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.eagle import eagle_method
from rooflinesim.analysis.speculation.early_exit import early_exit_method
from rooflinesim.analysis.speculation.lookahead import Lookahead
from rooflinesim.analysis.speculation.medusa import MedusaHeads
from rooflinesim.analysis.speculation.methods import Method, Speculation
from rooflinesim.analysis.speculation.mtp import mtp_method
from rooflinesim.analysis.speculation.ngram import PromptLookup
from rooflinesim.analysis.speculation.rounds import pass_cost
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.hardware import Hardware
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.specs.scenario import Speculation as Said
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

MethodName = Literal["draft-model", "eagle", "medusa", "mtp", "ngram", "self", "lookahead"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drafting(Noun):
    """How tokens are drafted: the method, and what belongs to it.

    `draft` is the separate model of draft-model, or the head of eagle. `hardware` are devices of the draft's own,
    `tensor_parallel` how many share it (None: the target's, or one of them where that is faster). `cache_tokens`
    bounds what the draft reads of the context; with self it drafts with the whole target behind such a cache, with
    `exit_layer` by the target's first layers. `cost_ratio` to a plain step, or `pass_time`, replace the model's cost of
    a draft pass by a measured one. `heads` is that of medusa (None: one for each drafted position), `hit_rate` that of
    ngram, `window` and `candidates` those of lookahead.
    """

    method: MethodName = "draft-model"
    draft: Model | DraftHead | None = None
    hardware: Hardware | None = None
    tensor_parallel: int | None = quantity("1", default=None, minimum=1)
    weights: str | None = None
    cost_ratio: float | None = quantity("1", default=None)
    pass_time: float | None = quantity("s", default=None)
    cache_tokens: float | None = quantity("tokens", default=None, minimum=1.0)
    exit_layer: int | None = None
    heads: int | None = None
    hit_rate: float = 1.0
    window: int = 7
    candidates: int = 7


def speculation_of(
    target: Deployment, drafting: Drafting, *, batch: float, context: float, longest: int = 1
) -> Speculation:
    """The method beside its target.

    `batch` and `context` are where drafting on one device and on all of the target's are compared, `longest` is the
    most drafted tokens in a row.

    Raises
    ------
    DomainError : if what the method needs is missing, or does not belong to it.
    """
    if drafting.method not in METHODS:
        raise DomainError(f"method {drafting.method!r} is not known: give one of {', '.join(METHODS)}")
    if drafting.method != "draft-model" and drafting.hardware:
        raise DomainError(
            f"--draft-gpu goes with draft-model, but the method is {drafting.method}: it drafts where the target runs"
        )
    return Speculation(
        target=target,
        method=_method(target, drafting, batch, context, longest),
        draft_pass_time=drafting.pass_time,
        draft_cost_ratio=drafting.cost_ratio,
    )


def _method(target: Deployment, drafting: Drafting, batch: float, context: float, longest: int) -> Method:
    match drafting.method:
        case "draft-model":
            return _draft_model(target, drafting, batch, context)
        case "eagle":
            if not isinstance(drafting.draft, DraftHead):
                raise DomainError("eagle drafts with a head: give --draft eagle3, or a head from `list drafts`")
            return eagle_method(_split(target, drafting), drafting.draft)
        case "mtp":
            return mtp_method(target)
        case "medusa":
            return _medusa(drafting, longest)
        case "ngram":
            return PromptLookup(hit_rate=drafting.hit_rate)
        case "lookahead":
            return Lookahead(window=drafting.window, candidates=drafting.candidates)
        case "self":
            if (drafting.exit_layer is None) == (drafting.cache_tokens is None):
                raise DomainError(
                    "self drafts with the target's first layers or behind a bounded cache: give --exit-layer N or"
                    " --draft-context TOKENS, one of them"
                )
            if drafting.exit_layer is not None:
                return early_exit_method(target, drafting.exit_layer)
            return DraftModel(draft=target, is_target=True, cache_tokens=drafting.cache_tokens)


def _medusa(drafting: Drafting, longest: int) -> MedusaHeads:
    heads = max(1, longest) if drafting.heads is None else drafting.heads
    if longest > heads:
        raise DomainError(f"draft length {longest} needs as many Medusa heads, but there are {heads}: draft no more")
    return MedusaHeads(heads=heads)


def _split(target: Deployment, drafting: Drafting) -> Deployment:
    """The target's deployment as a head shares it: over so many of its devices."""
    return dataclasses.replace(target, tensor_parallel=drafting.tensor_parallel or target.tensor_parallel)


def _draft_model(target: Deployment, drafting: Drafting, batch: float, context: float) -> DraftModel:
    model = drafting.draft
    own = drafting.hardware is not None
    if not isinstance(model, Model):
        if drafting.cost_ratio is None and drafting.pass_time is None:
            raise DomainError("draft-model needs a draft: give --draft MODEL, or what a pass costs with --draft-cost")
        return DraftModel(draft=None, has_own_devices=own, cache_tokens=drafting.cache_tokens)
    kv = target.precision.kv_cache.name if drafting.weights is None else None
    precision = precision_of(model, weights=drafting.weights)
    if kv is not None:
        precision = dataclasses.replace(precision, kv_cache=target.precision.kv_cache)

    def on(ranks: int) -> Deployment:
        return Deployment(
            model=model,
            hardware=drafting.hardware or target.hardware,
            stack=target.stack,
            precision=precision,
            tensor_parallel=ranks,
        )

    if drafting.tensor_parallel is not None or own or target.tensor_parallel == 1:
        draft = on(drafting.tensor_parallel or 1)
    else:
        draft = _faster(on, target.tensor_parallel, Step(batch=batch, context=context))
    return DraftModel(draft=draft, has_own_devices=own, cache_tokens=drafting.cache_tokens)


def _faster(on: Callable[[int], Deployment], ranks: int, step: Step) -> Deployment:
    """The draft on all of the target's devices or on one of them, whichever drafts faster; on all if equal."""
    choices = []
    for count in (ranks, 1):
        try:
            choice = on(count)
            choices.append((float(np.max(pass_cost(choice, step).time)), choice))
        except RooflinesimError:
            continue
    if not choices:
        return on(ranks)
    return min(choices, key=lambda one: one[0])[1]


def acceptance_of(asked: Said, value: float, longest: int | None = None) -> Acceptance:
    """Acceptance of a scenario: a value of its kind, or its curve.

    A share or length that was measured at a draft length which is not said is taken as that of the `longest`.
    """
    rest: dict[str, Any] = {"decay": asked.decay, "temperature": asked.temperature}
    if asked.acceptance_kind == "curve":
        return Acceptance(kind="curve", curve=asked.acceptance_rate, **rest)
    is_rate = asked.acceptance_kind == "conditional"
    measured = asked.acceptance_at or (None if is_rate or not longest else float(longest))
    return Acceptance(kind=asked.acceptance_kind, value=value, measured_length=measured, **rest)
