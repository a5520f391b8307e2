"""A question to be asked again: what a scenario file says, every value that may vary as a tuple of values."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from rooflinesim import units
from rooflinesim.errors import FieldError
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

Question = Literal["decode", "prefill", "crossover", "memory", "speculate", "serve", "simulate", "plan"]
Method = Literal["draft-model", "eagle", "medusa", "mtp", "ngram", "self", "lookahead"]
AcceptanceKind = Literal["conditional", "drafted", "length", "length-with-bonus", "curve"]


def names(*default: str | None) -> Any:
    """Declare a field of names that may vary."""
    return dataclasses.field(default=default, metadata={"axis": True})


def _devices() -> Any:
    return quantity("1", default=(), minimum=1, maximum=4096, axis=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Parallelism(Noun):
    """How a model is spread over devices; see `Deployment`. Ways that are left out are 1; a plan looks at all."""

    tensor: tuple[int, ...] = _devices()
    pipeline: tuple[int, ...] = _devices()
    expert: tuple[int, ...] = _devices()
    data: tuple[int, ...] = _devices()

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Formats(Noun):
    """Number formats of weights and KV cache; None is what the checkpoint says."""

    weights: tuple[str | None, ...] = names(None)
    kv_cache: tuple[str | None, ...] = names(None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Speculation(Noun):
    """How tokens are drafted ahead of the model: a method, what drafts, how far, and how often it is right.

    `draft` is a model or a head; it runs on `draft_hardware` (the model's own devices unless given), spread over
    `draft_tensor` of them, in `draft_weights`, and reads `draft_context` tokens at most. `draft_cost_ratio` to a plain
    step, or `draft_pass_time`, replace what a pass is counted to take. `exit_layer` belongs to the method self, `heads`
    to medusa, `hit_rate` to ngram. `acceptance_rate` is measured as `acceptance_kind` says (a curve is its values by
    position), at the draft length `acceptance_at` where that matters, and falls by `decay` from token to token.
    """

    method: Method
    draft: str | None = None
    draft_hardware: str | None = None
    draft_tensor: int | None = quantity("1", default=None, minimum=1, maximum=4096)
    draft_weights: str | None = None
    draft_context: int | None = quantity("tokens", default=None, minimum=1)
    draft_cost_ratio: float | None = quantity("1", default=None)
    draft_pass_time: float | None = quantity("s", default=None)
    draft_length: tuple[int, ...] = quantity("tokens", default=(), axis=True, maximum=1024)
    tree: str | None = None
    exit_layer: int | None = quantity("1", default=None, minimum=1)
    heads: int = quantity("1", default=5, minimum=1)
    hit_rate: float = quantity("1", default=1.0, maximum=1.0)
    acceptance_rate: tuple[float, ...] = quantity("1", default=(), axis=True)
    acceptance_kind: AcceptanceKind = "conditional"
    acceptance_at: float | None = quantity("tokens", default=None, positive=True)
    decay: float = quantity("1", default=1.0, maximum=1.0)
    temperature: float | None = quantity("1", default=None)

    def __post_init__(self) -> None:
        units.check(self)
        is_rate = self.acceptance_kind in ("conditional", "drafted", "curve")
        if is_rate and max(self.acceptance_rate, default=0.0) > 1:
            raise FieldError(
                "acceptance_rate",
                f"{max(self.acceptance_rate):g} is above 1; a mean length is given with acceptance_kind: length",
            )
        if self.method == "draft-model" and self.draft is None:
            raise FieldError("draft", "missing: the method draft-model needs one; write it like draft: llama3-8b")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Traffic(Noun):
    """What users ask for: an open loop of `requests_per_s`, a closed loop of `users`, or the requests of a `trace`.

    `cached_share` of each prompt is found in a prefix cache. `prompt_spread`, `output_spread` and `burstiness` are
    squared coefficients of variation: of the lengths (0 is equal lengths, 1 those of an exponential law), and of the
    gaps between requests (1 is a Poisson process).
    """

    requests_per_s: tuple[float, ...] = quantity("1", default=(), axis=True, positive=True)
    users: tuple[int, ...] = quantity("1", default=(), axis=True, minimum=1)
    prompt_tokens: tuple[int, ...] = quantity("tokens", default=(), axis=True, minimum=1)
    output_tokens: tuple[int, ...] = quantity("tokens", default=(), axis=True, minimum=1)
    cached_share: tuple[float, ...] = quantity("1", default=(0.0,), axis=True, maximum=1.0)
    prompt_spread: float = quantity("1", default=0.0, maximum=100.0)
    output_spread: float = quantity("1", default=0.0, maximum=100.0)
    burstiness: float = quantity("1", default=1.0, maximum=1000.0)
    trace: str | None = None

    def __post_init__(self) -> None:
        units.check(self)
        given = [name for name in ("requests_per_s", "users", "trace") if getattr(self, name)]
        if len(given) != 1:
            raise FieldError(
                given[1] if given else "requests_per_s",
                f"stands beside {given[0]}; give one of requests_per_s, users and trace"
                if given
                else "missing; give requests_per_s, users or trace",
            )
        for name in ("prompt_tokens", "output_tokens"):
            if self.trace is None and not getattr(self, name):
                raise FieldError(name, f"missing; write it like {name}: 1200")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Batching(Noun):
    """How engines form steps: requests at once (as many as fit into memory unless given), and tokens of a step.

    `chunk_tokens` of 0, or none, runs whole prompts before any further decode step. A plan chooses what is left out.
    """

    batch_limit: tuple[int, ...] = quantity("1", default=(), axis=True, minimum=1)
    chunk_tokens: tuple[int, ...] = quantity("tokens", default=(), axis=True)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prefill(Noun):
    """Engines that read prompts for others that decode: how many (1), on what, and how the cache moves.

    `hardware` is that of the decoding engines unless given, `transfer_bandwidth` one network port per device.
    """

    hardware: str | None = None
    tensor: tuple[int, ...] = _devices()
    pipeline: tuple[int, ...] = _devices()
    expert: tuple[int, ...] = _devices()
    data: tuple[int, ...] = _devices()
    replicas: tuple[int, ...] = _devices()
    transfer_bandwidth: float | None = quantity("B/s", default=None, positive=True)

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Simulation(Noun):
    """How much to simulate: generated requests (a trace has its own), all arrivals `rate_scale` times as fast."""

    requests: int = quantity("1", default=2000, minimum=1, maximum=1_000_000)
    rate_scale: float = quantity("1", default=1.0, positive=True, maximum=1e6)
    seed: int = quantity("1", default=0)

    def __post_init__(self) -> None:
        units.check(self)


def _target() -> Any:
    return quantity("s", default=(), axis=True, positive=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Objective(Noun):
    """What the answer must meet: time per output token and to the first token, mean and percentiles."""

    tpot_mean: tuple[float, ...] = _target()
    tpot_p50: tuple[float, ...] = _target()
    tpot_p95: tuple[float, ...] = _target()
    tpot_p99: tuple[float, ...] = _target()
    ttft_mean: tuple[float, ...] = _target()
    ttft_p50: tuple[float, ...] = _target()
    ttft_p95: tuple[float, ...] = _target()
    ttft_p99: tuple[float, ...] = _target()

    def __post_init__(self) -> None:
        units.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Scenario(Noun):
    """A question and what it is asked about; a field of several values is an axis.

    `model`, `hardware` and `stack` are names or paths of profiles. `question` is what `run` answers; without one it
    follows from what the scenario says, see `asked`. `prompt` are the tokens of a prefill, `context` those that are
    cached before a step. `replicas` share the traffic, each under the `policy`; with `prefill` prompts run on engines
    of their own. `price` is that of one device, by its name under `hardware`. A plan takes at most `maximum_devices`,
    and looks at fleets with engines for prompts and without unless `disaggregated` says which.
    """

    name: str = ""
    question: Question | None = None
    model: tuple[str, ...] = dataclasses.field(metadata={"axis": True})
    hardware: tuple[str, ...] = dataclasses.field(metadata={"axis": True})
    stack: tuple[str, ...] = names("generic")
    memory: tuple[float, ...] = quantity("B", default=(), axis=True, positive=True)
    routing: str | None = None
    parallelism: Parallelism = dataclasses.field(default=Parallelism())
    precision: Formats = dataclasses.field(default=Formats())
    batch: tuple[int, ...] = quantity("1", default=(), axis=True, minimum=1)
    context: tuple[int, ...] = quantity("tokens", default=(), axis=True)
    prompt: tuple[int, ...] = quantity("tokens", default=(), axis=True, minimum=1)
    speculation: Speculation | None = None
    traffic: Traffic | None = None
    replicas: tuple[int, ...] = _devices()
    policy: Batching = dataclasses.field(default=Batching())
    prefill: Prefill | None = None
    disaggregated: bool | None = None
    maximum_devices: int | None = quantity("1", default=None, minimum=1, maximum=1_000_000)
    simulation: Simulation = dataclasses.field(default=Simulation())
    objective: Objective | None = None
    price: Mapping[str, float] = quantity("USD/h", default=None)

    def __post_init__(self) -> None:
        units.check(self)
        for device in self.price or {}:
            if device not in self.hardware:
                raise FieldError(
                    f"price.{device}", f"no such device under hardware, which names {', '.join(self.hardware)}"
                )

    @property
    def asked(self) -> Question:
        """The question: the one that is named, else that of which the scenario holds the facts."""
        if self.question is not None:
            return self.question
        if self.traffic is not None and self.objective is not None:
            return "plan"
        if self.traffic is not None and not self.prompt and not self.batch:
            return "simulate" if self.traffic.trace else "serve"
        if self.speculation is not None:
            return "speculate"
        return "prefill" if self.prompt else "decode"

    @property
    def combinations(self) -> int:
        """Number of deployments that the scenario names."""
        return math.prod(
            len(values)
            for values in (
                self.model,
                self.hardware,
                self.stack,
                self.memory or (None,),
                self.parallelism.tensor or (1,),
                self.parallelism.pipeline or (1,),
                self.parallelism.expert or (1,),
                self.parallelism.data or (1,),
                self.precision.weights,
                self.precision.kv_cache,
            )
        )
