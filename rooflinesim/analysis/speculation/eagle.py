"""Heads of the EAGLE family: one decoder layer that continues the target's own hidden states."""

import dataclasses

from rooflinesim.errors import DomainError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.specs.model import Attention, DenseMlp, LatentAttention, LayerGroup, Model
from rooflinesim.specs.precision import precision_of

REDUCED_VOCABULARY = 32_000
"""Entries of the output head that EAGLE-3 heads are trained with."""

PLAIN_MLP_RATIO = 3.5
"""MLP width over hidden size where the target has no dense MLP to follow, as in Llama-3; assumed [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EagleHead(Noun):
    """An EAGLE head on the target's devices.

    `first` is the pass that takes the tokens of the last verification in, `draft` those that go on from its own
    states. Embedding and, where `has_own_head` is False, output head are the target's: streamed, not kept again.
    """

    draft: Deployment
    first: Deployment
    has_own_head: bool


def eagle_head(target: Model, head: DraftHead) -> tuple[Model, Model]:
    r"""The head's first and its further passes, as models of one layer.

    EAGLE-1 and 2 join the embedding and one hidden state at every pass, 2d -> d. EAGLE-3 joins three of the
    target's states at the first pass, 3d -> d, and attends at every pass with inputs of twice its width:

    .. math:: N = 3 d_t d + 2 d H d_h + 4 d G d_h + H d_h d + 3 d f + V_d d

    matrices in all (norms apart). What no field of the head says follows the target: its width, its heads, the MLP of
    its dense layers.

    Raises
    ------
    DomainError : if the target has no attention to follow.

    References
    ----------
    .. [1] Layer shapes of the released code of EAGLE-1 to 3.
    """
    width = head.hidden_size or target.hidden_size
    attention = _attention(target, head)
    keys = (attention.heads + 2 * attention.kv_heads) * attention.key_size
    is_third = head.generation >= 3
    vocabulary = head.vocabulary or (min(REDUCED_VOCABULARY, target.vocabulary) if is_third else target.vocabulary)
    joined = head.target_states * target.hidden_size * width if is_third else 2 * target.hidden_size * width
    wide_keys = head.layers * width * keys if is_third else 0
    group = LayerGroup(
        count=head.layers,
        attention=attention,
        mlp=DenseMlp(width=head.mlp_width or _mlp_width(target, width)),
        norm_parameters=3 * width if is_third else width,
    )
    later = Model(
        name=head.name,
        source=head.source,
        hidden_size=width,
        vocabulary=vocabulary,
        layers=(group,),
        final_norm_parameters=width if is_third else 0,
        other_parameters=wide_keys if is_third else joined,
        assumptions=head.assumptions,
    )
    first = dataclasses.replace(later, other_parameters=joined + wide_keys) if is_third else later
    return first, later


def _attention(target: Model, head: DraftHead) -> Attention:
    """Grouped attention of the head: its own heads, else those of the target's attention layers."""
    found = next((group.attention for group in target.layers if group.attention), None)
    latent = next((group.latent_attention for group in target.layers if group.latent_attention), None)
    if found is None and latent is None and not (head.heads and head.kv_heads):
        raise DomainError(f"{target.name} has no attention layers: give the head's heads and kv_heads in a profile")
    heads = head.heads or (found.heads if found else _latent_heads(latent))
    kv_heads = head.kv_heads or (found.kv_heads if found else heads)
    size = head.head_size or (found.key_size if found else None) or (head.hidden_size or target.hidden_size) // heads
    return Attention(heads=heads, kv_heads=kv_heads, key_size=size, value_size=size)


def _latent_heads(latent: LatentAttention | None) -> int:
    return latent.heads if latent else 1


def _mlp_width(target: Model, width: int) -> int:
    """MLP width of the target's dense layers, else that of a Llama-3 layer of this width."""
    dense = [group.mlp.width for group in target.layers if group.mlp]
    return max(dense) if dense else round(PLAIN_MLP_RATIO * width)


def eagle_method(target: Deployment, head: DraftHead) -> EagleHead:
    """The head beside a target: on the same devices, its weights in 16 bits, a shared output head as the target's."""
    first, later = eagle_head(target.model, head)
    has_own_head = later.vocabulary != target.model.vocabulary or head.generation >= 3
    formats = precision_of(later)
    formats = dataclasses.replace(
        formats,
        kv_cache=target.precision.kv_cache,
        activations=target.precision.activations,
        messages=target.precision.messages,
        head=formats.head if has_own_head else target.precision.head,
    )

    def deployed(model: Model) -> Deployment:
        return Deployment(
            model=model,
            hardware=target.hardware,
            stack=target.stack,
            precision=formats,
            tensor_parallel=target.tensor_parallel,
            data_parallel=target.data_parallel,
        )

    return EagleHead(draft=deployed(later), first=deployed(first), has_own_head=has_own_head)
