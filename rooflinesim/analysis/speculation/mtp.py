"""Multi-token-prediction modules: one more layer of the target that predicts the token after the next."""

import dataclasses

from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import Model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MtpModules(Noun):
    """Trained modules of the target; one that is used again drafts further tokens, accepted less often.

    Each pass runs one module and the target's output head. `modules` are kept in memory.
    """

    draft: Deployment
    modules: int = 1


def mtp_module(target: Model) -> Model:
    """One module as a model: the target's last layer, the projection 2d -> d, two norms, and the shared head."""
    last = next((group for group in reversed(target.layers) if group.attention or group.latent_attention), None)
    if last is None:
        raise DomainError(f"{target.name} has no attention layer for an MTP module to follow")
    width = target.hidden_size
    return dataclasses.replace(
        target,
        name=f"MTP module of {target.name}",
        layers=(dataclasses.replace(last, count=1),),
        other_parameters=2 * width * width,
        final_norm_parameters=3 * width,
        draft_parameters=0,
        draft_layers=0,
        vision_parameters=0,
        per_layer_embedding_parameters=0,
        position_parameters=0,
        assumptions=(),
    )


def mtp_method(target: Deployment) -> MtpModules:
    """The target's modules on its own devices and in its own formats."""
    module = dataclasses.replace(target, model=mtp_module(target.model), pipeline_parallel=1)
    return MtpModules(draft=module, modules=max(1, target.model.draft_layers))
