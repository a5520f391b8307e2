"""Self-speculation by early exit: the target's first layers and its head draft, the whole target verifies."""

import dataclasses

from rooflinesim.analysis.timing import step_ops
from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import LayerGroup, Model
from rooflinesim.specs.routing import Routing
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Step

_ENDS = ("embedding", "head.norm", "head", "head.all_gather", "sampling", "other")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EarlyExit(Noun):
    """The first `layers` layers of the target draft; their weights and cache are the target's own."""

    draft: Deployment
    layers: int


def first_layers(model: Model, layers: int) -> Model:
    """The model of the first layers and the head.

    Raises
    ------
    DomainError : if it would exit after the last layer or before the first.
    """
    return dataclasses.replace(
        model, name=f"first {layers} layers of {model.name}", layers=_split(model, layers)[0], draft_parameters=0
    )


def _split(model: Model, layers: int) -> tuple[tuple[LayerGroup, ...], tuple[LayerGroup, ...]]:
    """Layer groups before and after an exit; groups of equal layers stand in the order in which they first run."""
    if not 1 <= layers < model.layer_count:
        raise DomainError(
            f"early exit after layer {layers}, but {model.name} has {model.layer_count} layers:"
            f" exit after 1 to {model.layer_count - 1}"
        )
    before, after, left = [], [], layers
    for group in model.layers:
        own = min(group.count, left)
        left -= own
        if own:
            before.append(dataclasses.replace(group, count=own))
        if group.count > own:
            after.append(dataclasses.replace(group, count=group.count - own))
    return tuple(before), tuple(after)


def early_exit_method(target: Deployment, layers: int) -> EarlyExit:
    """Drafting by the target's first layers, on its own devices."""
    return EarlyExit(draft=dataclasses.replace(target, model=first_layers(target.model, layers)), layers=layers)


def early_exit_ops(target: Deployment, layers: int, step: Step, routing: Routing | None = None) -> tuple[Op, ...]:
    """Operations of a verification that computes one token in the first layers and all of them in the others.

    The drafted tokens passed the first layers when they were drafted.

    References
    ----------
    .. [1] Elhoushi et al. LayerSkip. 2024, arXiv 2404.16710, released code.
    """
    before, after = _split(target.model, layers)
    first = dataclasses.replace(target, model=dataclasses.replace(target.model, layers=before))
    rest = dataclasses.replace(target, model=dataclasses.replace(target.model, layers=after))
    single = dataclasses.replace(step, new_tokens=0.0 * step.new_tokens + 1.0)
    own = (op for op in step_ops(first, single, routing) if op.name not in _ENDS)
    return (
        *(dataclasses.replace(op, name=f"exit.{op.name}") for op in own),
        *step_ops(rest, step, routing),
    )
