"""Clocks for work in torch: CPU time of this thread, wall time, or CUDA events; all tell the time of every mark."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

from rooflinesim.validation.device.decoder import Mark

Marked = Callable[[Mark], object]
"""Work that calls a mark with the name of each of its operations once that is issued."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One run: seconds of each marked operation in order, and of the whole by the clock, the wall and the host.

    `host_time` is what issuing the work took, which is all of it where the host does the work. `start` is by the
    performance counter [s]. `marks` and `time` have been divided by `pace`, where that is not 1.
    """

    marks: tuple[tuple[str, float], ...]
    time: float
    wall_time: float
    host_time: float
    start: float
    pace: float = 1.0

    def at_pace(self, pace: float) -> "Sample":
        """The run as it would have been had all around it not taken `pace` times as long as usual."""
        marks = tuple((name, seconds / pace) for name, seconds in self.marks)
        return dataclasses.replace(self, marks=marks, time=self.time / pace, pace=self.pace * pace)


class Clock(Protocol):
    """What times work."""

    name: str

    def timed(self, run: Marked) -> Sample:
        """Run once and tell the times."""


class HostClock:
    """Clock of work that the host does itself: `thread` counts the CPU time of this thread alone, `wall` all time.

    On a shared machine the CPU time of one thread leaves out the time in which another process had the core.
    """

    def __init__(self, name: str = "thread CPU time") -> None:
        self.name = name
        self._now = time.thread_time if name == "thread CPU time" else time.perf_counter

    def timed(self, run: Marked) -> Sample:
        """Run once; a mark costs some 0.3 us."""
        names: list[str] = []
        times: list[float] = []
        now = self._now

        def mark(name: str) -> None:
            names.append(name)
            times.append(now())

        wall = time.perf_counter()
        start = now()
        run(mark)
        whole = now() - start
        lasted = time.perf_counter() - wall
        gaps = [after - before for before, after in zip([start, *times], times, strict=False)]
        marks = tuple(zip(names, gaps, strict=True))
        return Sample(marks=marks, time=whole, wall_time=lasted, host_time=whole, start=wall)


class Events(Protocol):
    """What an event clock needs of a device, as torch.cuda has it."""

    def event(self) -> Any:
        """A new event that can be timed."""

    def record(self, event: Any) -> None:
        """Put an event into the queue."""

    def elapsed(self, first: Any, second: Any) -> float:
        """Time between two events that have passed [s]."""

    def hold(self, seconds: float) -> None:
        """Keep the queue busy, so that what is issued meanwhile runs without gaps."""

    def synchronize(self) -> None:
        """Wait until the queue is empty."""


class EventClock:
    """Clock of a device with a queue: an event at the start and at every mark, one synchronisation at the end.

    With `holds` the queue is kept busy while the host issues the work, so that events tell the device's time and not
    the host's. The hold is as long as the last issue of the same clock took, and half as much again.
    """

    name = "CUDA events"

    def __init__(self, events: Events, *, holds: bool = True) -> None:
        self._events = events
        self._holds = holds
        self._issue_time = 0.02

    def timed(self, run: Marked) -> Sample:
        """Run once; work between two marks should take longer than the 0.5 us that events resolve."""
        events = self._events
        names: list[str] = []
        passed: list[Any] = []

        def mark(name: str) -> None:
            event = events.event()
            events.record(event)
            names.append(name)
            passed.append(event)

        start, end = events.event(), events.event()
        events.synchronize()
        wall = time.perf_counter()
        if self._holds:
            events.hold(1.5 * self._issue_time)
        issue = time.perf_counter()
        events.record(start)
        run(mark)
        events.record(end)
        issued = time.perf_counter() - issue
        events.synchronize()
        lasted = time.perf_counter() - wall
        self._issue_time = issued
        gaps = [events.elapsed(before, after) for before, after in zip([start, *passed], passed, strict=False)]
        whole = events.elapsed(start, end)
        marks = tuple(zip(names, gaps, strict=True))
        return Sample(marks=marks, time=whole, wall_time=lasted, host_time=issued, start=wall)


class CudaEvents:
    """Events of the current CUDA stream."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        # `_sleep` counts clock cycles, whose rate in kHz the properties of the device tell where torch has them.
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self._cycles_per_s = 1e3 * float(getattr(properties, "clock_rate", 1_700_000) or 1_700_000)

    def event(self) -> Any:
        """A new event that can be timed."""
        return self._cuda.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        """Put an event into the current stream."""
        event.record()

    def elapsed(self, first: Any, second: Any) -> float:
        """Time between two events that have passed [s]."""
        return 1e-3 * float(first.elapsed_time(second))

    def hold(self, seconds: float) -> None:
        """Let the stream wait; at most a second, in case the clock is told wrong."""
        self._cuda._sleep(int(min(seconds, 1.0) * self._cycles_per_s))

    def synchronize(self) -> None:
        """Wait for the device."""
        self._cuda.synchronize()


def clock_of(device: str, threads: int) -> Clock:
    """Clock of a device: events on a GPU; on a CPU the time of the thread, or of the wall where there are several."""
    if device.startswith("cuda"):
        return EventClock(CudaEvents())
    return HostClock("thread CPU time" if threads == 1 else "wall time")


def step_clock_of(device: str, threads: int) -> Clock:
    """Clock of whole steps: as above, but a GPU's events wait for the host, as a step that is launched does."""
    return EventClock(CudaEvents(), holds=False) if device.startswith("cuda") else clock_of(device, threads)
