"""Clocks tell each operation's time; that of a device with a queue counts events, tested with a queue made up."""

import time

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device.clock import EventClock, HostClock, clock_of  # noqa: E402
from rooflinesim.validation.device.gpu import gpu_state  # noqa: E402


class Queue:
    """A device that works through what is issued, one piece after another, and notes when each event passes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.held: list[float] = []
        self.waits = 0

    def event(self) -> dict[str, float]:
        return {}

    def record(self, event: dict[str, float]) -> None:
        event["at"] = self.now

    def elapsed(self, first: dict[str, float], second: dict[str, float]) -> float:
        return second["at"] - first["at"]

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)
        self.now += seconds

    def synchronize(self) -> None:
        self.waits += 1

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_events_tell_the_time_of_each_operation_and_not_that_of_the_hold_before() -> None:
    queue = Queue()

    def run(mark) -> None:
        queue.work(3e-3)
        mark("gemm")
        queue.work(1e-3)
        mark("norm")

    sample = EventClock(queue).timed(run)
    assert dict(sample.marks) == pytest.approx({"gemm": 3e-3, "norm": 1e-3})
    assert sample.time == pytest.approx(4e-3)
    assert queue.held == [pytest.approx(0.03)]
    assert queue.waits == 2


def test_the_queue_is_held_for_as_long_as_issuing_took_the_last_time_and_half_as_much_again() -> None:
    queue = Queue()
    clock = EventClock(queue)

    def slow_host(mark) -> None:
        time.sleep(0.01)
        mark("step")

    first = clock.timed(slow_host)
    clock.timed(slow_host)
    assert first.host_time >= 0.01
    assert queue.held[1] == pytest.approx(1.5 * first.host_time)


def test_a_clock_that_holds_nothing_times_what_the_host_makes_of_it() -> None:
    queue = Queue()
    EventClock(queue, holds=False).timed(lambda mark: mark("step"))
    assert queue.held == []


def test_cpu_time_leaves_out_what_a_thread_waits_and_the_wall_does_not() -> None:
    def sleeper(mark) -> None:
        time.sleep(0.02)
        mark("sleep")

    by_thread, by_wall = HostClock().timed(sleeper), HostClock("wall time").timed(sleeper)
    assert by_thread.time < 0.01
    assert by_thread.wall_time >= 0.02
    assert by_wall.time >= 0.02
    assert [name for name, _ in by_thread.marks] == ["sleep"]


def test_one_thread_is_timed_by_its_own_time_and_several_by_the_wall() -> None:
    assert clock_of("cpu", 1).name == "thread CPU time"
    assert clock_of("cpu", 2).name == "wall time"


def test_the_state_of_a_gpu_is_read_from_what_its_driver_prints() -> None:
    state = gpu_state(0, lambda _index: "1980, 412.50, 61, 0x0000000000000000\n")
    assert state is not None
    assert (state.clock_rate, state.power, state.temperature, state.throttled_by) == (1.98e9, 412.5, 61.0, None)
    hot = gpu_state(0, lambda _index: "1410, [N/A], 88, 0x0000000000000040\n")
    assert hot is not None
    assert (hot.power, hot.throttled_by) == (None, "0x0000000000000040")


def test_a_machine_without_that_tool_tells_nothing() -> None:
    def missing(_index: int) -> str:
        raise FileNotFoundError("nvidia-smi")

    assert gpu_state(0, missing) is None
    assert gpu_state(0, lambda _index: "No devices were found\n") is None
