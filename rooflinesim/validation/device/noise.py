"""How quiet is the machine? What other processes took, and what that did to a thread that was timed."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rooflinesim.validation.device.clock import HostClock, Sample
from rooflinesim.validation.device.decoder import Mark

WALL_LIMIT = 1.1
"""Wall over CPU time of a thread, the 90th percentile of probes, from which a machine is called noisy [1]."""

OTHER_CORES = 0.5
"""Cores that other processes keep busy from which a machine is called noisy [1]."""

STEAL_LIMIT = 0.02
"""Cores that the host of a virtual machine takes from which a machine is called noisy [1]."""

DRIFT_LIMIT = 0.04
"""Mean difference between even and odd rounds from which a machine is called noisy [1]."""

CLOCK_LIMIT = 0.03
"""Share by which a round's clock rate may differ from the median of all rounds [1]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """Signs of other work on the machine while something was measured; None where they cannot be told.

    `wall_ratio` is the 90th percentile of wall over CPU time of samples of a millisecond and more, `other_cores` what
    other processes kept busy, `stolen_cores` what the host of a virtual machine took, `drift` the mean difference of
    even and odd rounds.
    """

    wall_ratio: float | None
    other_cores: float | None
    stolen_cores: float | None
    drift: float | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is not quiet."""
        found = []
        if self.wall_ratio is not None and self.wall_ratio > WALL_LIMIT:
            found.append(f"wall time is {self.wall_ratio:.2f} x CPU time at the 90th percentile (limit {WALL_LIMIT})")
        if self.other_cores is not None and self.other_cores > OTHER_CORES:
            found.append(f"other processes keep {self.other_cores:.1f} cores busy (limit {OTHER_CORES})")
        if self.stolen_cores is not None and self.stolen_cores > STEAL_LIMIT:
            found.append(f"the host takes {self.stolen_cores:.2f} cores (limit {STEAL_LIMIT})")
        if self.drift is not None and self.drift > DRIFT_LIMIT:
            found.append(f"even and odd rounds differ by {self.drift:.1%} (limit {DRIFT_LIMIT:.0%})")
        return tuple(found)

    @property
    def verdict(self) -> str:
        """Quiet or noisy, with the reasons."""
        return f"noisy: {'; '.join(self.reasons)}" if self.reasons else "quiet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """Time that all cores together and this process have been busy, and that the host has stolen [s]."""

    at: float
    busy: float
    own: float
    stolen: float


def cpu_times(path: Path = Path("/proc/stat")) -> CpuTimes | None:
    """Counters of the system; None where it has none that can be read."""
    try:
        fields = [float(one) for one in path.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        tick = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = fields
    own = time.process_time()
    busy = (user + nice + system + interrupts + soft) / tick
    return CpuTimes(at=time.perf_counter(), busy=busy, own=own, stolen=stolen / tick)


def noise_between(
    before: CpuTimes | None, after: CpuTimes | None, samples: Sequence[Sample] = (), drift: float | None = None
) -> Noise:
    """Noise between two readings of the counters, and in samples that were timed by CPU and wall time."""
    ratios = [sample.wall_time / sample.time for sample in samples if sample.time >= 1e-3]
    other = stolen = None
    if before is not None and after is not None and after.at > before.at:
        lasted = after.at - before.at
        other = max(0.0, (after.busy - before.busy - (after.own - before.own)) / lasted)
        stolen = max(0.0, (after.stolen - before.stolen) / lasted)
    return Noise(
        wall_ratio=float(np.quantile(ratios, 0.9)) if ratios else None,
        other_cores=other,
        stolen_cores=stolen,
        drift=drift,
    )


def quiet_test(seconds: float = 1.0) -> Noise:
    """Noise that a short probe of a single thread sees: multiplications of a few milliseconds each."""
    import torch

    first, second = torch.rand(384, 384), torch.rand(384, 384)
    clock = HostClock()
    before = cpu_times()
    samples = []

    def probe(_mark: Mark) -> None:
        for _ in range(4):
            first @ second

    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        samples.append(clock.timed(probe))
    return noise_between(before, cpu_times(), samples)


def even_odd_difference(by_round: Sequence[Sequence[tuple[int, float]]]) -> float | None:
    """Mean over tasks of how far the medians of even and odd rounds are apart [1]; None where no task has both."""
    apart = []
    for times in by_round:
        even = [time for number, time in times if number % 2 == 0]
        odd = [time for number, time in times if number % 2]
        if even and odd:
            apart.append(abs(float(np.median(even) / np.median(odd)) - 1.0))
    return float(np.mean(apart)) if apart else None


def steady_rounds(clock_rates: Sequence[float]) -> tuple[int, ...]:
    """Rounds whose clock rate is within `CLOCK_LIMIT` of the median of all; all where none is known."""
    if not clock_rates:
        return ()
    middle = float(np.median(clock_rates))
    return tuple(index for index, rate in enumerate(clock_rates) if abs(rate / middle - 1.0) <= CLOCK_LIMIT)
