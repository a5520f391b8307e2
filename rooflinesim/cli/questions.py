"""Commands that ask about a model on devices: decode, prefill, crossover, memory."""

from typing import Annotated, Any

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import present

_MAXIMUM_GRID = 1_000_000


def asked_about(
    model: str, gpu: str, stack: str, memory: str | None, routing: str | None, **rest: Any
) -> dict[str, Any]:
    """Arguments of a question: its nouns, the files they came from, and what to say about the choice."""
    from rooflinesim import config

    found = {
        "model": config.resolve("model", model),
        "hardware": config.resolve("hardware", gpu),
        "stack": config.resolve("stack", stack),
    }
    return {
        "model": config.load_model(model),
        "hardware": options.with_memory(config.load_hardware(gpu), memory),
        "stack": config.with_routing(config.load_stack(stack), routing),
        "paths": {noun: str(one.path) for noun, one in found.items()},
        "notes": [one.note for one in found.values() if one.note],
        **rest,
    }


def grid_of(batch: str, length: str, option: str, *, minimum: int, copies: int = 1) -> tuple[list[int], list[int]]:
    """Aligned batches and lengths of all combinations, batches running fastest; each is asked about `copies` times."""
    from rooflinesim.errors import UnitError

    batches = options.whole_range(batch, "--batch", minimum=1)
    lengths = options.whole_range(length, option, minimum=minimum)
    points = len(batches) * len(lengths) * copies
    if points > _MAXIMUM_GRID:
        raise UnitError(f"--batch x {option}: {points:,} points are too many; at most {_MAXIMUM_GRID:,} are shown")
    return [b for _ in lengths for b in batches], [one for one in lengths for _ in batches]


def decode(
    model: options.ModelName,
    gpu: options.Gpu,
    stack: options.StackName = "generic",
    batch: options.Batch = "1:256",
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    ops: Annotated[
        bool, typer.Option("--ops", help="Every operation of one step, at the first batch and context.")
    ] = False,
    explain: options.Explain = False,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """How long one decoded token takes, over batch and context, and what binds it."""
    batches, contexts = grid_of(batch, context, "--context", minimum=0)
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    if ops:
        from rooflinesim.api.operations import decode_ops

        answer = decode_ops(batch=batches[0], context=contexts[0], **asked)
    else:
        from rooflinesim.api import decode as api

        answer = api.decode(batch=batches, context=contexts, explained=explain, **asked)
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
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """How long a prompt takes until its first token, without queueing."""
    batches, prompts = grid_of(batch, prompt, "--prompt", minimum=1)
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    from rooflinesim.api import prefill as api

    answer = api.prefill(prompt=prompts, batch=batches, context=cached, **asked)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def crossover(
    model: options.ModelName,
    gpu: options.Gpu,
    stack: options.StackName = "generic",
    context: options.Context = "2048",
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """At which batch decoding flips from memory-bound to compute-bound: GEMMs, step, operation, or never."""
    length = options.one_count(context, "--context")
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    from rooflinesim.api import crossover as api

    answer = api.crossover(context=length, **asked)
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
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """What takes memory, what a step streams of it, and the largest batch and context that fit."""
    length = options.one_count(context, "--context")
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    from rooflinesim.api import memory as api

    answer = api.memory(batch=batch, context=length, **asked)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)
