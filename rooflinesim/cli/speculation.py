"""The command that asks what speculation gains."""

from typing import TYPE_CHECKING, Any

from rooflinesim.cli import options
from rooflinesim.cli.output import present
from rooflinesim.cli.questions import asked_about, grid_of

if TYPE_CHECKING:
    from rooflinesim.specs.model import Model


def speculate(
    model: options.ModelName,
    gpu: options.Gpu,
    method: options.Method = options.MethodChoice.draft_model,
    draft: options.Draft = None,
    draft_gpu: options.DraftGpu = None,
    draft_tp: options.DraftTp = None,
    draft_weights: options.DraftWeights = None,
    draft_cost: options.DraftCost = None,
    draft_context: options.DraftContext = None,
    exit_layer: options.ExitLayer = None,
    hit_rate: options.HitRate = 1.0,
    heads: options.Heads = None,
    draft_length: options.DraftLength = "0:8:+1",
    tree: options.TreeText = None,
    acceptance: options.AcceptanceText = None,
    acceptance_kind: options.AcceptanceKindName = options.AcceptanceChoice.conditional,
    acceptance_at: options.AcceptanceAt = None,
    decay: options.Decay = 1.0,
    temperature: options.Temperature = None,
    relaxed: options.Relaxed = False,
    stack: options.StackName = "generic",
    batch: options.Batch = "1:256",
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    explain: options.Explain = False,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """What speculative decoding gains over batch, which draft to use when, and from which batch it loses.

    Example: speculate llama3.3-70b --gpu h100 --tp 4 --method eagle --draft eagle3 --acceptance 0.75 --format json
    """
    from rooflinesim.errors import UnitError

    if acceptance is None:
        raise UnitError(
            "--acceptance is missing: give what was measured, such as 0.8 per token, or 2.8 with --acceptance-kind"
            " length-with-bonus"
        )
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp)
    from rooflinesim.analysis.speculation.drafting import Drafting
    from rooflinesim.api.speculate import acceptance_of_text
    from rooflinesim.api.speculate import speculate as ask

    hardware, more = _draft_device(draft_gpu)
    ratio, time = options.ratio_or_time(draft_cost, "--draft-cost")
    drafting = Drafting(
        method=method.value,
        draft=draft_of(method.value, draft, asked["model"]),
        hardware=hardware,
        tensor_parallel=draft_tp,
        weights=draft_weights,
        cost_ratio=ratio,
        pass_time=time,
        cache_tokens=None if draft_context is None else float(options.one_count(draft_context, "--draft-context")),
        exit_layer=exit_layer,
        hit_rate=hit_rate,
        heads=heads,
    )
    keeps, ranks = acceptance_of_text(
        acceptance,
        acceptance_kind.value,
        measured_length=acceptance_at,
        decay=decay,
        temperature=temperature,
        is_exact=not relaxed,
    )
    lengths = options.whole_range(draft_length, "--draft-length", minimum=0) if tree is None else (0,)
    batches, contexts = grid_of(batch, context, "--context", minimum=0, copies=len(lengths))
    asked["notes"] = [*asked["notes"], *more]
    answer = ask(
        drafting=drafting,
        acceptance=keeps,
        ranks=ranks,
        tree=tree,
        draft_length=[one for _ in batches for one in lengths],
        batch=[one for one in batches for _ in lengths],
        context=[one for one in contexts for _ in lengths],
        explained=explain,
        **asked,
    )
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def draft_of(method: str, draft: str | None, target: "Model") -> Any:
    """The draft that a name stands for: a model, or a head of the target."""
    from rooflinesim import config
    from rooflinesim.errors import UnitError

    if method == "eagle":
        return config.load_draft(draft, target)
    if draft is None:
        return None
    if method == "draft-model":
        return config.load_model(draft)
    raise UnitError(f"--draft: {method} has no draft of its own; leave it out, or take --method draft-model or eagle")


def _draft_device(name: str | None) -> tuple[Any, list[str]]:
    from rooflinesim import config

    if name is None:
        return None, []
    note = config.resolve("hardware", name).note
    return config.load_hardware(name), [note] if note else []
