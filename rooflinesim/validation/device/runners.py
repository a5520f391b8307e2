"""Ways to run one step of a decoder again and again: op by op, as a captured graph, or compiled."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from rooflinesim.errors import UnsupportedError
from rooflinesim.validation.device.decoder import Cache, Decoder, Placement, placed

RunnerName = Literal["eager", "graph", "compile"]
"""`eager` issues every op from the host; `graph` replays a CUDA graph; `compile` goes through torch.compile."""

WARM_STEPS = 3
"""Steps before a capture: libraries choose kernels and take workspace then, which a capture must not see."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stepper:
    """A step of fixed shapes; calling `run` does it once more and returns its scores.

    New tokens and placements of the same shapes are put in with `refill`, which a graph reads at its next replay.
    """

    tokens: Tensor
    placement: Placement
    run: Callable[[], Tensor]

    def refill(self, tokens: Tensor, placement: Placement) -> None:
        """Put other tokens and places into the tensors that a step reads."""
        self.tokens.copy_(tokens)
        for name in ("positions", "slots", "mask"):
            held, given = getattr(self.placement, name), getattr(placement, name)
            if held is not None and given is not None:
                held.copy_(given)


def runners_of(decoder: Decoder) -> tuple[RunnerName, ...]:
    """Runners that can run a decoder where it lies: graphs need CUDA and a step whose ops no data decides."""
    has_graphs = decoder.device.startswith("cuda") and not decoder.active_experts
    return tuple(name for name in get_args(RunnerName) if name != "graph" or has_graphs)


def runners_on(device: str) -> tuple[RunnerName, ...]:
    """Runners that a device is validated with: compiling gains next to nothing on a CPU, and takes a minute."""
    return ("eager", "graph") if device.startswith("cuda") else ("eager",)


def stepper(
    runner: RunnerName,
    decoder: Decoder,
    cache: Cache,
    *,
    context: int,
    new_tokens: int = 1,
    scored: int | None = None,
) -> Stepper:
    """A step of all rows of a cache after `context` cached tokens, by one of the runners.

    Raises
    ------
    UnsupportedError : if the runner cannot run this decoder here.
    """
    if runner not in runners_of(decoder):
        raise UnsupportedError(
            f"{runner}: {decoder.model.name} on {decoder.device} runs {', '.join(runners_of(decoder))};"
            " graphs need CUDA and a decoder without experts"
        )
    batch = int(cache.keys.shape[1])
    # A captured graph reads as many slots at every replay; writing by index lets rows advance between replays.
    read = context + new_tokens if runner == "graph" and context else None
    placement = placed([context] * batch, new_tokens, form=decoder.form, device=decoder.device, read=read)
    drawn = torch.Generator().manual_seed(batch)
    tokens = torch.randint(0, decoder.model.vocabulary, (batch, new_tokens), generator=drawn).to(decoder.device)

    def eager() -> Tensor:
        return decoder.step(tokens, placement, cache, scored=scored)

    match runner:
        case "eager":
            run = eager
        case "graph":
            run = _captured(eager)
        case "compile":
            run = torch.compile(eager, dynamic=False)
    return Stepper(tokens=tokens, placement=placement, run=run)


def _captured(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A step as a CUDA graph: captured on a stream of its own after a few warm steps, then replayed whole."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        scores = step()

    def replay() -> Tensor:
        graph.replay()
        return scores

    return replay
