"""The command that asks inverse questions."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from rooflinesim.cli import options
from rooflinesim.cli.output import present
from rooflinesim.cli.questions import asked_about
from rooflinesim.cli.speculation import draft_of


class UnknownChoice(StrEnum):
    """What can be solved for."""

    batch = "batch"
    context = "context"
    prompt = "prompt"
    acceptance = "acceptance"
    bandwidth = "bandwidth"
    flop_rate = "flop-rate"
    link = "link"
    gpus = "gpus"
    price = "price"


def solve(
    model: options.ModelName,
    gpu: options.Gpu,
    target: Annotated[
        list[str],
        typer.Option(
            "--target",
            metavar="GOAL=VALUE",
            help="tpot=50ms, tokens-per-s-per-user=20, tokens-per-s=5000, ttft=1s, speedup=1.5 or usd-per-mtok=0.5;"
            " several are solved one by one.",
        ),
    ],
    unknown: Annotated[
        UnknownChoice, typer.Option("--for", help="What shall just reach it; gpus are those of tensor parallelism.")
    ],
    stack: options.StackName = "generic",
    batch: options.Batch = "1",
    context: Annotated[
        str | None,
        typer.Option(
            "--context", metavar="RANGE", help="Tokens cached per sequence; default: 2048, and 0 before a prompt."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="RANGE", help="Tokens of each prompt, with a target of ttft.")
    ] = None,
    price: Annotated[
        str | None, typer.Option("--price", metavar="PRICE", help="Of one device, such as '2.5 USD/h'.")
    ] = None,
    weights: options.Weights = None,
    kv: options.Kv = None,
    tp: options.Tp = 1,
    pp: options.Pp = 1,
    ep: options.Ep = 1,
    dp: options.Dp = 1,
    method: Annotated[
        options.MethodChoice | None,
        typer.Option("--method", help="Tokens are drafted, and how.", rich_help_panel="Speculation"),
    ] = None,
    draft: options.Draft = None,
    draft_tp: options.DraftTp = None,
    draft_weights: options.DraftWeights = None,
    draft_cost: options.DraftCost = None,
    draft_length: options.DraftLength = "1:8:+1",
    hit_rate: options.HitRate = 1.0,
    acceptance: Annotated[
        float | None,
        typer.Option(
            "--acceptance",
            min=0.0,
            max=1.0,
            help="Probability that a draft token is kept, given those before it.",
            rich_help_panel="Speculation",
        ),
    ] = None,
    decay: options.Decay = 1.0,
    memory: options.Memory = None,
    routing: options.RoutingText = None,
    form: options.Form = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """The batch, context, acceptance, bandwidth, number of GPUs or price that just reaches a target, or why none does.

    Example: solve llama3-70b --gpu h100 --tp 8 --target tpot=50ms --for batch
    """
    is_prompt = prompt is not None or unknown is UnknownChoice.prompt
    batches = options.whole_range(batch, "--batch", minimum=1)
    contexts = options.whole_range(context or ("0" if is_prompt else "2048"), "--context", minimum=0)
    prompts = options.whole_range(prompt, "--prompt", minimum=1) if prompt else (None,)
    asked = asked_about(model, gpu, stack, memory, routing, weights=weights, kv=kv, tp=tp, pp=pp, ep=ep, dp=dp)
    loads = [(one, other, length) for length in prompts for other in contexts for one in batches]
    given: dict[str, Any] = {"batch": [one for one, _, _ in loads], "context": [one for _, one, _ in loads]}
    if prompt:
        given["prompt"] = [one for _, _, one in loads]
    if price is not None:
        given["price"] = options.one_price(price)
    if method is not None:
        given |= {
            "drafting": _drafting(method.value, draft, draft_tp, draft_weights, draft_cost, hit_rate, asked["model"]),
            "acceptance": _acceptance(acceptance, decay),
            "draft_length": options.whole_range(draft_length, "--draft-length", minimum=0),
        }
    from rooflinesim.api.solve import solve as ask

    answer = ask(target=target, unknown=unknown.value, **given, **asked)
    present(answer, form=form, output=output, quiet=quiet, verbose=verbose)


def _drafting(
    method: str, draft: str | None, ranks: int | None, weights: str | None, cost: str | None, hits: float, model: Any
) -> Any:
    from rooflinesim.analysis.speculation.drafting import Drafting

    ratio, time = options.ratio_or_time(cost, "--draft-cost")
    return Drafting(
        method=method,  # type: ignore[arg-type]
        draft=draft_of(method, draft, model),
        tensor_parallel=ranks,
        weights=weights,
        cost_ratio=ratio,
        pass_time=time,
        hit_rate=hits,
    )


def _acceptance(value: float | None, decay: float) -> Any:
    """What was measured; while acceptance is asked for, only how it falls from token to token."""
    from rooflinesim.analysis.speculation.acceptance import Acceptance

    return Acceptance(value=1.0 if value is None else value, decay=decay)
