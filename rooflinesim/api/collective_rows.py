"""Tables of collectives as operations."""

import numpy as np

from rooflinesim.api.kernel_rows import STACKS, KernelGroup, KernelRows, Sheet, grouped
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.deployment import link_of, reach_of
from rooflinesim.specs.formats import number_format
from rooflinesim.validation.tables import Table
from rooflinesim.workload.op import Op, OpKind

KINDS: dict[str, OpKind] = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "all_gather",
    "alltoall": "all_to_all",
    "all_to_all": "all_to_all",
}

SMALL = 2.0 * 1024**2
"""Message up to which a decode step's collectives count as small [B]."""


def collective_rows(table: Table) -> KernelRows:
    """Rows of a table of collectives; those that the host launched one by one are left out."""
    sheet = Sheet(table)
    hardware = sheet.devices()
    gpu, library, version, kind = (sheet.words(name) for name in ("gpu", "library", "version", "op"))
    kernel, dtype = sheet.words("kernel"), sheet.words("dtype")
    ranks, message = sheet.counts("num_gpus", 2.0), sheet.counts("message_bytes")
    time = 1e-6 * sheet.numbers("latency_us")
    sheet.drop(~(time > 0), "latency_us is no positive time")
    sheet.drop(~np.isin(kind, list(KINDS)), lambda index: f"collective {kind[index]!r} is not known")
    eager = np.char.endswith(kernel.astype(str), "_eager")
    sheet.drop(eager, "launched by the host each time: the host is measured, not the link")
    # SGLang has shipped TensorRT-LLM's kernels in some versions, and says so.
    owner = np.where(kernel == "TRTLLM", "trtllm", library)
    groups = []
    link_name = np.full(time.size, "", dtype=object)
    for key, found in grouped((gpu, owner, kind, ranks), sheet.kept):
        device, count = hardware[str(key[0])], int(float(str(key[3])))
        link = link_of(device, count)
        if link is None or reach_of(device) < count:
            sheet.drop(np.isin(np.arange(time.size), found), f"{device.name} has no link to {count} devices")
            continue
        link_name[found] = link.name.split(" ")[0].rstrip("0123456789")
        groups.append((device, STACKS.get(str(key[1]), "generic"), str(key[2]), count, found))
    at = sheet.kept
    place = np.full(time.size, -1)
    place[at] = np.arange(at.size)
    small = np.where(message <= SMALL, "<= 2 MB", "> 2 MB").astype(object)
    return KernelRows(
        ids=sheet.ids[at],
        time=time[at],
        labels={
            "kind": np.full(at.size, table.kind, dtype=object),
            "gpu": gpu[at],
            "dtype": dtype[at],
            "framework": library[at],
            "version": version[at],
            "kernel": kernel[at],
            "op": kind[at],
            "regime": (kind + " " + small + ", " + link_name)[at],
            "link": link_name[at],
            "ranks": ranks[at],
            "message_bytes": message[at],
        },
        bands=np.where(message[at] <= SMALL, "collectives_small", "collectives_large").astype(object),
        groups=tuple(
            KernelGroup(
                hardware=device,
                stack=stack,
                ops=(collective_op(op, message[found], count),),
                members=place[found],
                on_chip=np.zeros(found.size),
                devices=count,
            )
            for device, stack, op, count, found in groups
        ),
        skipped=sheet.skipped(),
    )


def collective_op(name: str, message: np.ndarray, ranks: int) -> Op:
    """A collective on messages of which each rank holds all (all-reduce) or a share (the others).

    Raises
    ------
    UnsupportedError : if the name is not known.
    """
    if name not in KINDS:
        raise UnsupportedError(f"collective {name!r} is not known; known: {', '.join(KINDS)}")
    kind = KINDS[name]
    share = message / ranks
    sent = {"all_reduce": message, "all_gather": share, "all_to_all": (ranks - 1.0) * share}[kind]
    return Op(name=name, kind=kind, count=1.0, form=number_format("bf16"), network_bytes=sent, ranks=ranks)
