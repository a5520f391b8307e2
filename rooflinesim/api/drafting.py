"""What is to be said about a draft."""

from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.drafting import Drafting
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.draft_head import DraftHead
from rooflinesim.units import format_quantity
from rooflinesim.workload.parameters import streamed_parameters


def drafting_notes(speculation: Speculation, drafting: Drafting) -> list[str]:
    """What a reader must know about a draft: how it is laid out, what is assumed, and what is odd about it."""
    target, method = speculation.target, speculation.method
    notes: list[str] = []
    draft = getattr(method, "draft", None)
    if isinstance(draft, Deployment):
        notes.extend(f"{draft.model.name}: {one}" for one in draft.model.assumptions)
    if isinstance(drafting.draft, DraftHead):
        notes.append(f"draft: {drafting.draft.name} ({drafting.draft.source})")
    if isinstance(method, DraftModel) and draft is not None and not method.is_target:
        where = f"{draft.devices} x {draft.hardware.name}" if draft.devices > 1 else f"one {draft.hardware.name}"
        own = " of its own" if method.has_own_devices else ""
        is_chosen = drafting.tensor_parallel is None and not method.has_own_devices and target.tensor_parallel > 1
        chosen = f", faster than on {'one' if draft.devices > 1 else 'all'}; --draft-tp sets it" if is_chosen else ""
        notes.append(f"{draft.model.name} drafts on {where}{own}{chosen}")
        if streamed_parameters(draft.model) >= streamed_parameters(target.model):
            notes.append(f"the draft {draft.model.name} is no smaller than the target {target.model.name}")
        if draft.model.vocabulary != target.model.vocabulary:
            notes.append(
                f"vocabularies differ: {draft.model.vocabulary:,} entries in {draft.model.name},"
                f" {target.model.vocabulary:,} in {target.model.name}; such a draft works only where the engine maps"
                " tokens from one to the other"
            )
    if speculation.draft_cost_ratio is not None:
        notes.append(f"a draft pass takes {speculation.draft_cost_ratio:g} of a plain step, as given, not modelled")
    if speculation.draft_pass_time is not None:
        notes.append(f"a draft pass takes {format_quantity(speculation.draft_pass_time, 's')}, as given, not modelled")
    law = target.stack.speculation
    if any(group.moe for group in target.model.layers) and law.expert_overlap:
        notes.append(
            f"tokens of one draft are taken to choose experts alike by {law.expert_overlap:.0%}"
            f" ({target.stack.source_of('speculation')})"
        )
    if any(group.recurrent for group in target.model.layers):
        kept = law.recurrent_state == "kept"
        words = (
            "keeps a state per verified token, to roll back"
            if kept
            else "replays the accepted tokens after a rejection"
        )
        notes.append(f"{target.model.name} has recurrent states: the engine {words}")
    return notes
