"""Micro-benchmarks: layers of many shapes, each operation timed where it stands, with cold weights and caches."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import precision_of
from rooflinesim.validation.device.clock import Clock, Marked
from rooflinesim.validation.device.decoder import (
    Cache,
    CachePool,
    Decoder,
    Mark,
    WeightPool,
    attention_group,
    cache_elements,
    placed,
    pool_elements,
)
from rooflinesim.validation.device.rounds import Task
from rooflinesim.validation.device.sizes import decoder_model
from rooflinesim.workload.forward import Pass, forward
from rooflinesim.workload.op import Op
from rooflinesim.workload.step import Step

LAYERS = 2
"""Layers of a benchmark: the first leads in, the second is timed."""


def benchmark_model(
    name: str,
    *,
    hidden_size: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    width: int,
    vocabulary: int,
    experts: int = 0,
) -> Model:
    """A model of `LAYERS` layers whose heads need not divide its width."""
    model = decoder_model(
        name,
        hidden_size=hidden_size,
        layers=LAYERS,
        heads=heads,
        kv_heads=kv_heads,
        width=width,
        vocabulary=vocabulary,
        experts=experts,
        active_experts=min(experts, 2),
    )
    (group,) = model.layers
    assert group.attention is not None
    attention = dataclasses.replace(group.attention, key_size=head_size, value_size=head_size)
    return dataclasses.replace(model, layers=(dataclasses.replace(group, attention=attention),))


SHAPES = {
    model.name: model
    for model in (
        benchmark_model("w512", hidden_size=512, heads=6, kv_heads=6, head_size=64, width=1536, vocabulary=8192),
        benchmark_model("w640", hidden_size=640, heads=10, kv_heads=2, head_size=64, width=1792, vocabulary=49152),
        benchmark_model("w1024", hidden_size=1024, heads=10, kv_heads=5, head_size=128, width=3584, vocabulary=8192),
        benchmark_model("w1536", hidden_size=1536, heads=24, kv_heads=8, head_size=64, width=4096, vocabulary=24576),
        benchmark_model("w2560", hidden_size=2560, heads=20, kv_heads=4, head_size=128, width=6912, vocabulary=8192),
    )
}
"""Shapes whose products and small operations are timed; none of their matrices is one of the validated decoders'.

Rows of w1024 are whole pages, as those of many models are.
"""

ROWS = (1, 2, 3, 4, 5, 6, 8, 16, 32, 64, 128)
"""Tokens of a decode step whose products are timed; libraries change kernels at the fewest, five may outlast eight."""

LONG_ROWS = (256, 512)
"""Tokens of prompts whose products are timed."""

ATTENTION = {
    model.name: model
    for model in (
        benchmark_model(
            f"g{group}h{head_size}",
            hidden_size=64,
            heads=group * kv_heads,
            kv_heads=kv_heads,
            head_size=head_size,
            width=64,
            vocabulary=64,
        )
        for group, kv_heads, head_size in ((1, 6, 64), (2, 5, 64), (3, 2, 64), (4, 6, 64), (8, 3, 64), (4, 3, 128))
    )
}
"""Shapes whose attention is timed; their products are too small to tell anything.

Kernels jump with the query heads of a KV head, which are the rows that they multiply: from two to three they take twice
as long per byte on a processor. So the groups that models have are timed, with other numbers of KV heads.
"""

DECODE_POINTS = (
    (1, 96),
    (1, 640),
    (1, 3072),
    (4, 160),
    (4, 1536),
    (16, 96),
    (16, 640),
    (8, 3072),
    (64, 160),
    (128, 96),
)
"""Sequences and cached tokens of decode steps whose attention is timed."""

VERIFY_POINTS = ((1, 4, 640), (1, 9, 160), (4, 4, 320), (16, 4, 160), (8, 9, 640))
"""Sequences, new tokens and cached tokens of verifications whose attention is timed."""

PROMPT_POINTS = ((1, 96), (1, 384), (4, 192))
"""Sequences and tokens of prompts whose attention is timed."""

EXPERT_ROWS = (1, 4, 24, 96)
"""Tokens of steps whose experts are timed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A step of a benchmark's model: which of its operations it is there for."""

    model: Model
    form: str
    batch: int
    new_tokens: int
    context: int
    is_attention: bool = False

    @property
    def id(self) -> str:
        """Its name in a run."""
        return f"kernel/{self.form}/{self.model.name}/b{self.batch}q{self.new_tokens}c{self.context}"

    @property
    def scored(self) -> int | None:
        """Tokens per sequence that are scored: the last of a prompt, all of other steps."""
        return 1 if self.context == 0 and self.new_tokens > 1 else None

    def ops(self) -> dict[str, Op]:
        """Its operations by name, as predictions count them."""
        step = Step(
            batch=float(self.batch),
            new_tokens=float(self.new_tokens),
            context=float(self.context),
            logit_tokens=None if self.scored is None else float(self.scored),
        )
        work = Pass(model=self.model, precision=precision_of(self.model, weights=self.form), step=step)
        return {op.name: op for op in forward(work)}


def benchmarks(forms: Sequence[str], *, largest: float = math.inf, most_rows: float = math.inf) -> Iterator[Benchmark]:
    """All benchmarks of some number formats.

    Shapes of more than `largest` elements in a layer are left out, but for the smallest ones that a law needs, and
    products of more than `most_rows` rows.
    """
    by_size = sorted(SHAPES.values(), key=layer_elements)
    asked = [model for place, model in enumerate(by_size) if place < FEWEST_SHAPES or layer_elements(model) <= largest]
    for form in forms:
        for model in asked:
            for rows in ROWS:
                if rows <= most_rows:
                    yield Benchmark(model=model, form=form, batch=rows, new_tokens=1, context=64)
            for rows in LONG_ROWS:
                if rows <= most_rows:
                    yield Benchmark(model=model, form=form, batch=1, new_tokens=rows, context=0)
        for model in ATTENTION.values():
            for batch, context in DECODE_POINTS:
                yield _attention(model, form, batch, 1, context)
            for batch, new, context in VERIFY_POINTS:
                yield _attention(model, form, batch, new, context)
            for batch, prompt in PROMPT_POINTS:
                yield _attention(model, form, batch, prompt, 0)
        for rows in EXPERT_ROWS:
            yield Benchmark(model=EXPERTS, form=form, batch=rows, new_tokens=1, context=64)


FEWEST_SHAPES = 2
"""Shapes that a law of products is fitted to at the least."""

EXPERTS = benchmark_model(
    "experts", hidden_size=640, heads=10, kv_heads=2, head_size=64, width=896, vocabulary=64, experts=6
)
"""Shape whose routed experts are timed."""


def _attention(model: Model, form: str, batch: int, new_tokens: int, context: int) -> Benchmark:
    return Benchmark(model=model, form=form, batch=batch, new_tokens=new_tokens, context=context, is_attention=True)


def layer_elements(model: Model) -> float:
    """Weights of one layer of a benchmark [1]."""
    (group,) = model.layers
    attention = attention_group(model)
    width = group.mlp.width if group.mlp else 0
    inner = attention.heads * attention.key_size
    kv = 2 * attention.kv_heads * attention.key_size
    return float(model.hidden_size * (2 * inner + kv + 3 * width))


Sweep = Callable[[], object]
"""Reads other memory, so that caches hold neither code nor data of what comes next."""


def benchmark_task(benchmark: Benchmark, weights: WeightPool, caches: CachePool, clock: Clock, sweep: Sweep) -> Task:
    """The benchmark as a task: every run takes weights and a cache from elsewhere in the pools.

    It begins after a sweep of the caches, as a step does whose weights are larger than they are. Attention, whose
    benchmarks have next to no weights, has a sweep of its own in every layer before it.
    """
    drawn = random.Random(benchmark.id)
    placement = placed(
        [benchmark.context] * benchmark.batch,
        benchmark.new_tokens,
        form=benchmark.form,
        device=str(weights.values.device),
    )
    shape = (benchmark.batch, benchmark.new_tokens)
    tokens = torch.randint(0, benchmark.model.vocabulary, shape).to(weights.values.device)
    capacity = benchmark.context + benchmark.new_tokens

    def make() -> Marked:
        decoder = Decoder(benchmark.model, part_of(weights, benchmark.model, drawn), longest=capacity)
        cache = cache_in(caches, benchmark.model, benchmark.batch, capacity, drawn)
        sweep()

        def run(mark: Mark) -> None:
            def swept(name: str) -> None:
                mark(name)
                if name == BEFORE_ATTENTION:
                    sweep()
                    mark("sweep")

            own = swept if benchmark.is_attention else mark
            scores = decoder.step(tokens, placement, cache, scored=benchmark.scored, mark=own)
            scores.argmax(-1)
            mark("sampling")

        return run

    return Task(id=benchmark.id, make=make, clock=clock)


BEFORE_ATTENTION = "attention.rope_append"
"""Operation that attention follows."""

SWEPT_BYTES = 16e6
"""Bytes of a sweep on a processor: about the weights of a layer of the decoders that are run [B]."""


def sweep_of(pool: WeightPool, cache: float | None) -> Sweep:
    """A sweep through one stretch of a pool after another.

    Parameters
    ----------
    cache : last cache of a GPU, which a sweep is as large as; None on a processor. [B]
    """
    count = int((cache or SWEPT_BYTES) / pool.values.element_size())
    starts = itertools.count()

    def sweep() -> object:
        start = (next(starts) * 7919 * 1024) % max(1, pool.values.numel() - count)
        return pool.values[start : start + count].sum()

    return sweep


def part_of(pool: WeightPool, model: Model, drawn: random.Random) -> WeightPool:
    """A pool that begins anywhere in another, with room for a model."""
    part = object.__new__(WeightPool)
    part.form = pool.form
    start = drawn.randrange(0, max(1, (pool.values.numel() - pool_elements(model)) // 64)) * 64
    part.values = pool.values[start:]
    return part


def cache_in(pool: CachePool, model: Model, batch: int, capacity: int, drawn: random.Random) -> Cache:
    """A cache anywhere in a pool."""
    part = object.__new__(CachePool)
    part.form = pool.form
    size = cache_elements(model, batch, capacity)
    part.values = pool.values[drawn.randrange(0, max(1, (pool.values.numel() - size) // 64)) * 64 :]
    return part.view(model, batch, capacity)
