"""Commands that ask about a model on devices: decode, prefill, crossover, memory."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import present

if TYPE_CHECKING:
    from rooflinesim.specs.hardware import Hardware
    from rooflinesim.specs.model import Model
    from rooflinesim.specs.stack import Stack

_MAXIMUM_GRID = 1_000_000


def _nouns(
    model: str, gpu: str, stack: str, memory: str | None
) -> "tuple[dict[str, Model | Hardware | Stack], list[str]]":
    """The model, device and stack that are meant, and what to say about the choice."""
    from rooflinesim import config

    notes = [
        found.note
        for kind, name in (("model", model), ("hardware", gpu), ("stack", stack))
        if (found := config.resolve(kind, name)).note  # type: ignore[arg-type]
    ]
    nouns: dict[str, Any] = {
        "model": config.load_model(model),
        "hardware": options.with_memory(config.load_hardware(gpu), memory),
        "stack": config.load_stack(stack),
    }
    return nouns, [note for note in notes if note]


def _grid(batch: str, context: str, *, minimum: int = 0) -> tuple[list[int], list[int]]:
    """Aligned batches and contexts of all combinations, batches running fastest."""
    from rooflinesim.errors import UnitError

    batches = options.whole_range(batch, "--batch", minimum=1)
    contexts = options.whole_range(context, "--context", minimum=minimum)
    points = len(batches) * len(contexts)
    if points > _MAXIMUM_GRID:
        raise UnitError(f"--batch x --context: {points:,} points are too many; at most {_MAXIMUM_GRID:,} are shown")
    return [b for _ in contexts for b in batches], [c for c in contexts for _ in batches]


def decode(
    model: options.ModelName,
    gpu: options.Gpu,
    stack: options.StackName = "generic",
    batch: options.Batch = "1:256",
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    ops: Annotated[
        bool, typer.Option("--ops", help="Every operation of one step, at the first batch and context.")
    ] = False,
    explain: options.Explain = False,
    memory: options.Memory = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """How long one decoded token takes, over batch and context, and what binds it."""
    batches, contexts = _grid(batch, context)
    nouns, notes = _nouns(model, gpu, stack, memory)
    from rooflinesim.api import decode as api

    common: dict[str, Any] = {**nouns, "weights": weights, "kv": kv, "tp": tp, "notes": notes}
    if ops:
        answer = api.decode_ops(batch=batches[0], context=contexts[0], **common)
    else:
        answer = api.decode(batch=batches, context=contexts, explained=explain, **common)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def prefill(
    model: options.ModelName,
    gpu: options.Gpu,
    prompt: Annotated[str, typer.Option("--prompt", metavar="RANGE", help="Tokens of each prompt; 8k is 8192.")],
    stack: options.StackName = "generic",
    batch: options.Batch = "1",
    cached: Annotated[
        int,
        typer.Option("--cached", min=0, max=2**40, help="Tokens before the prompt that a prefix cache holds."),
    ] = 0,
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    memory: options.Memory = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """How long a prompt takes until its first token, without queueing."""
    batches, prompts = _grid(batch, prompt, minimum=1)
    nouns, notes = _nouns(model, gpu, stack, memory)
    from rooflinesim.api import decode as api

    answer = api.prefill(
        prompt=prompts,
        batch=batches,
        context=cached,
        weights=weights,
        kv=kv,
        tp=tp,
        notes=notes,
        **nouns,  # type: ignore[arg-type]
    )
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def crossover(
    model: options.ModelName,
    gpu: options.Gpu,
    stack: options.StackName = "generic",
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    memory: options.Memory = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """At which batch decoding flips from memory-bound to compute-bound: GEMMs, step, operation, or never."""
    length = options.one_count(context, "--context")
    nouns, notes = _nouns(model, gpu, stack, memory)
    from rooflinesim.api import crossover as api

    answer = api.crossover(context=length, weights=weights, kv=kv, tp=tp, notes=notes, **nouns)  # type: ignore[arg-type]
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def memory(
    model: options.ModelName,
    gpu: options.Gpu,
    stack: options.StackName = "generic",
    batch: options.OneBatch = 1,
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    memory: options.Memory = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """What takes memory, what a step streams of it, and the largest batch and context that fit."""
    length = options.one_count(context, "--context")
    nouns, notes = _nouns(model, gpu, stack, memory)
    from rooflinesim.api import memory as api

    answer = api.memory(batch=batch, context=length, weights=weights, kv=kv, tp=tp, notes=notes, **nouns)  # type: ignore[arg-type]
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)
