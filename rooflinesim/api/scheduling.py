"""Where the chunks of a sweep are made: in this process, on all cores, or on a Dask cluster; no engine of our own."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rooflinesim.errors import FileError, UnsupportedError

T = TypeVar("T")
Task = Callable[[int], T]

AHEAD = 3
"""Chunks that wait for each worker, so that none idles and memory stays bounded."""

RETRIES = 10
"""Times that a chunk may lose its worker on a cluster before the sweep gives up."""


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(task: Task[T], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
    """Results of a task, made one after another in this process."""
    for index in indices:
        yield index, task(index)


def on_cores(task: Task[T], indices: Iterable[int], workers: int) -> Iterator[tuple[int, T]]:
    """Results of a task, made by worker processes, in the order of the indices.

    Raises
    ------
    FileError : if a worker was killed.
    """
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    waiting: list[tuple[int, Future[T]]] = []
    rest = iter(indices)
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        while True:
            more = itertools.islice(rest, AHEAD * workers - len(waiting))
            waiting.extend((index, pool.submit(task, index)) for index in more)
            if not waiting:
                return
            index, future = waiting.pop(0)
            yield index, future.result()
    except BrokenProcessPool:
        raise FileError(
            "a worker process was killed, perhaps for want of memory; what is done is kept:"
            " run the same command again, with fewer --workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, end with it, and use one core."""
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):
        import pyarrow

        pyarrow.set_cpu_count(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed says nothing to its workers, who would wait for work for ever.
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def on_dask(task: Task[T], indices: Iterable[int], address: str) -> Iterator[tuple[int, T]]:
    """Results of a task, made on a Dask cluster in any order; `local` starts one on this machine.

    What a worker that dies has not handed over is made by another.

    Raises
    ------
    UnsupportedError : if Dask is not installed.
    FileError : if there is no scheduler at the address, or the cluster loses a chunk again and again.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise UnsupportedError(
            "--scheduler needs the optional Dask: pip install 'rooflinesim[distributed]'; or leave it out"
        ) from None
    settings = {"distributed.scheduler.allowed-failures": RETRIES, "distributed.comm.timeouts.connect": "5s"}
    with dask.config.set(settings), contextlib.ExitStack() as opened:
        client = opened.enter_context(_client(distributed, address, opened))
        rest = iter(indices)
        running = distributed.as_completed(with_results=False)
        names: dict[Any, int] = {}

        def submit(count: int) -> None:
            for index in itertools.islice(rest, count):
                future = client.submit(task, index, key=f"rooflinesim-{os.getpid()}-{index}", retries=RETRIES)
                names[future.key] = index
                running.add(future)

        submit(AHEAD * max(1, sum(client.nthreads().values())))
        for future in running:
            try:
                result = future.result()
            except (distributed.KilledWorker, distributed.CancelledError) as error:
                raise FileError(
                    f"the cluster at {address} gave up a chunk: {error}; what is done is kept: run the command again"
                ) from None
            index = names.pop(future.key)
            # Released before more is asked for, so that the cluster holds little.
            del future
            submit(1)
            yield index, result


def _client(distributed: Any, address: str, opened: contextlib.ExitStack) -> Any:
    if address == "local":
        cluster = opened.enter_context(
            distributed.LocalCluster(
                n_workers=core_count(),
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        )
        return distributed.Client(cluster)
    try:
        return distributed.Client(address, timeout="5s")
    except (OSError, ValueError, TypeError) as error:
        raise FileError(
            f"--scheduler: nothing answers at {address!r:.100} ({error}); start one with `dask scheduler` and"
            " `dask worker ADDRESS`, or write --scheduler local"
        ) from None
