"""Steps of whole decoders: what predictions are compared with."""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence

from rooflinesim.specs.model import Model
from rooflinesim.validation.device.clock import Clock, Marked
from rooflinesim.validation.device.decoder import CachePool, Decoder, Mark, WeightPool, cache_elements
from rooflinesim.validation.device.kernels import cache_in
from rooflinesim.validation.device.rounds import Task
from rooflinesim.validation.device.runners import RunnerName, stepper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One step of a decoder: `new_tokens` of each of `batch` sequences after `context` cached ones."""

    model: Model
    form: str
    batch: int
    context: int
    new_tokens: int = 1
    runner: RunnerName = "eager"

    @property
    def id(self) -> str:
        """Its name in a run."""
        tail = f"b{self.batch}q{self.new_tokens}c{self.context}"
        return f"{self.runner}/{self.form}/{self.model.name}/{tail}"

    @property
    def kind(self) -> str:
        """Decode, verify or prefill."""
        if self.new_tokens == 1:
            return "decode"
        return "verify" if self.context else "prefill"

    @property
    def scored(self) -> int | None:
        """Tokens per sequence that are scored: the last of a prompt, all of other steps."""
        return 1 if self.kind == "prefill" else None

    @property
    def cache_elements(self) -> int:
        """Elements of its cache [1]."""
        return cache_elements(self.model, self.batch, self.context + self.new_tokens)


BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SHORT = 128
"""Context at which all batches are timed [tokens]."""

LONG_POINTS = (
    (1, 512),
    (1, 1024),
    (1, 2048),
    (1, 4096),
    (4, 512),
    (4, 2048),
    (8, 1024),
    (16, 512),
    (16, 1024),
    (2, 4096),
)
"""Batches and longer contexts of decode steps."""

VERIFY_POINTS = ((1, 5, 512), (4, 5, 256), (8, 3, 128))
"""Batches, new tokens and contexts of verifications."""

PROMPTS = ((1, 128),)
"""Batches and tokens of prompts on a processor, which takes seconds for one."""

GPU_PROMPTS = ((1, 128), (1, 1024), (4, 512))
"""The same on a GPU."""

EXPERT_BATCHES = (1, 4, 16)


def cells(
    models: Sequence[Model],
    forms: Sequence[str],
    *,
    runners: Sequence[RunnerName] = ("eager",),
    prompts: Sequence[tuple[int, int]] = PROMPTS,
) -> Iterator[Cell]:
    """All cells of some models and number formats; those with experts only decode at short context."""
    for model in models:
        has_experts = any(group.moe for group in model.layers)
        for form in forms:
            for runner in runners:
                for batch, new, context in _points(has_experts, prompts):
                    yield Cell(model=model, form=form, batch=batch, new_tokens=new, context=context, runner=runner)


def _points(has_experts: bool, prompts: Sequence[tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Batches, new tokens and contexts of the cells of one decoder."""
    if has_experts:
        return tuple((batch, 1, SHORT) for batch in EXPERT_BATCHES)
    return (
        *((batch, 1, SHORT) for batch in BATCHES),
        *((batch, 1, context) for batch, context in LONG_POINTS),
        *VERIFY_POINTS,
        *((batch, prompt, 0) for batch, prompt in prompts),
    )


def cell_task(cell: Cell, decoder: Decoder, caches: CachePool, clock: Clock) -> Task:
    """The cell as a task: every run has a cache elsewhere in the pool; the greedy choice belongs to the step."""
    drawn = random.Random(cell.id)
    capacity = cell.context + cell.new_tokens
    prepared: list[Marked] = []

    def make() -> Marked:
        if prepared:
            return prepared[0]
        cache = cache_in(caches, cell.model, cell.batch, capacity, drawn)
        step = stepper(
            cell.runner, decoder, cache, context=cell.context, new_tokens=cell.new_tokens, scored=cell.scored
        )

        def run(mark: Mark) -> None:
            step.run().argmax(-1)
            mark("step")

        if cell.runner != "eager":
            # Captured and compiled steps are tied to their memory, and dear to make.
            step.run()
            prepared.append(run)
        return run

    return Task(id=cell.id, make=make, clock=clock)


def decoders(models: Sequence[Model], pools: Mapping[str, WeightPool]) -> dict[tuple[str, str], Decoder]:
    """A decoder of each model in each number format, all of one format on the same weights."""
    return {(model.name, form): Decoder(model, pool, longest=8192) for model in models for form, pool in pools.items()}
