"""Several measurements of one device as one: what drifts between them is in the medians of all."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from rooflinesim.validation.device.kernels import Benchmark
from rooflinesim.validation.device.measure import Measured
from rooflinesim.validation.device.noise import Noise
from rooflinesim.validation.measured_fit import TimedOp

Times = tuple[tuple[int, float], ...]


def pooled(parts: Sequence[Measured]) -> Measured:
    """Samples of all parts, their rounds numbered on; noise and scatter are the worst of them."""
    kernels: dict[str, tuple[TimedOp, Times]] = {}
    experts: dict[Benchmark, Times] = defaultdict(tuple)
    reads: dict[float, tuple[float, ...]] = defaultdict(tuple)
    rounds = 0
    for part in parts:
        for one in part.kernels:
            key = f"{one.form} {one.op!r}"
            held = kernels[key][1] if key in kernels else ()
            kernels[key] = one, (*held, *_numbered(one.times, rounds))
        for benchmark, times in part.experts:
            experts[benchmark] += _numbered(times, rounds)
        for size, seconds in part.reads.items():
            reads[size] += tuple(seconds)
        rounds += part.rounds
    return dataclasses.replace(
        parts[0],
        kernels=tuple(dataclasses.replace(one, times=times) for one, times in kernels.values()),
        experts=tuple(experts.items()),
        reads=dict(reads),
        launch_times=tuple(one for part in parts for one in part.launch_times),
        pace_spread=max(part.pace_spread for part in parts),
        scatter=max(part.scatter for part in parts),
        noise=worst_noise([part.noise for part in parts]),
        rounds=rounds,
        seconds=sum(part.seconds for part in parts),
        is_interrupted=any(part.is_interrupted for part in parts),
    )


def _numbered(times: Times, first: int) -> Times:
    return tuple((first + number, seconds) for number, seconds in times)


def worst_noise(parts: Sequence[Noise]) -> Noise:
    """The largest of each sign of noise that was seen."""

    def worst(name: str) -> float | None:
        return max((value for one in parts if (value := getattr(one, name)) is not None), default=None)

    return Noise(**{field.name: worst(field.name) for field in dataclasses.fields(Noise)})
