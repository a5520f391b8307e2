"""Exchanges among several devices of one machine, timed in a process for each."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from rooflinesim.validation.exchange_fit import ExchangeTime

SIZES = (2048, 32768, 524288, 8388608, 134217728)
"""Messages that are exchanged [B]."""

REPEATS = 20
"""Exchanges behind each median; as many again warm the library up at most."""


def exchange_times(
    ranks: int, *, kind: str = "cuda", sizes: Sequence[int] = SIZES, repeats: int = REPEATS
) -> tuple[ExchangeTime, ...]:
    """Median times of collectives among the first `ranks` devices; those that the library lacks are left out."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_worker, args=(ranks, kind, folder, tuple(sizes), repeats), nprocs=ranks)
        rows = json.loads((Path(folder) / "times.json").read_text(encoding="utf-8"))
    return tuple(ExchangeTime(**row) for row in rows)


def _worker(rank: int, ranks: int, kind: str, folder: str, sizes: Sequence[int], repeats: int) -> None:
    from torch import distributed

    backend = "nccl" if kind == "cuda" else "gloo"
    if kind == "cuda":
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    distributed.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    device = f"cuda:{rank}" if kind == "cuda" else "cpu"
    rows = []
    for size in sizes:
        for name, exchange in _exchanges(distributed, size, ranks, device).items():
            seconds = _median(distributed, exchange, kind, repeats)
            if seconds is not None:
                rows.append({"op": name, "ranks": ranks, "message_bytes": float(size), "time": seconds})
    if rank == 0:
        (Path(folder) / "times.json").write_text(json.dumps(rows), encoding="utf-8")
    distributed.destroy_process_group()


def _exchanges(distributed: Any, size: int, ranks: int, device: str) -> dict[str, Callable[[], object]]:
    """Collectives of a message: what each device holds, gives as its share, or sends to all others together."""
    held = torch.rand(size // 4, device=device)
    gathered = torch.empty(ranks * held.numel(), device=device)
    dealt = torch.rand(ranks * max(1, held.numel() // ranks), device=device)
    received = torch.empty_like(dealt)
    return {
        "all_reduce": lambda: distributed.all_reduce(held),
        "all_gather": lambda: distributed.all_gather_into_tensor(gathered, held),
        "all_to_all": lambda: distributed.all_to_all_single(received, dealt),
    }


def _median(distributed: Any, exchange: Callable[[], object], kind: str, repeats: int) -> float | None:
    """Median time of an exchange among processes that begin together [s]; None where the library lacks it."""
    times = []
    try:
        for _ in range(3 + repeats):
            distributed.barrier()
            start = time.perf_counter()
            exchange()
            if kind == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    except (RuntimeError, NotImplementedError):
        # A library says so only when it is asked: gloo has no all-to-all, for one.
        return None
    return sorted(times[3:])[repeats // 2]
