"""Rows of serving benchmarks as facts: time per output token and to the first one at a concurrency."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.analysis.requests import Serving
from rooflinesim.errors import UnsupportedError
from rooflinesim.validation.published import Layout, MeasuredRun
from rooflinesim.validation.tables import Table, number

Phase = Literal["", "prefill_", "decode_"]
"""Start of the names of columns about workers: all of an aggregated row, or those of one phase."""

_PRECISIONS = {
    "": ("bf16", "weights assumed bf16: not stated"),
    "bf16": ("bf16", ""),
    "fp8": ("fp8", ""),
    "fp4": ("nvfp4", ""),
    "nvfp4": ("nvfp4", ""),
    "int4": (None, "int4 is read as the checkpoint's own format"),
    "mxfp4": (None, "mxfp4 is read as the checkpoint's own format"),
}
"""Number formats by the table's precision, with what was assumed."""


def serving_runs(
    table: Table, model_name: Callable[[str], str] = str
) -> tuple[tuple[MeasuredRun, ...], tuple[Skipped, ...]]:
    """Times per output token and to the first token of a table of serving benchmarks; rows that are none, with why.

    `model_name` says which model a label stands for: fine-tuned models do the same work as the one that they are of.
    """
    runs: list[MeasuredRun] = []
    skipped = list(table.skipped)
    for row in table.rows:
        try:
            runs.extend(_runs(row))
        except UnsupportedError as error:
            skipped.append(Skipped(id=row["id"], reason=str(error)))
    kept, repeated = _distinct(runs, model_name)
    return kept, (*skipped, *repeated)


SERVING = "serving benchmarks"
"""Source of all rows of such tables."""

TWIN = 1.2
"""Ratio of two times of one setup from which they are not the same work [1]."""


def _distinct(
    runs: Sequence[MeasuredRun], model_name: Callable[[str], str]
) -> tuple[tuple[MeasuredRun, ...], tuple[Skipped, ...]]:
    """Runs without repeats, and without those that did less work per token than another run of the same setup.

    Tables of serving benchmarks do not say whether multi-token prediction was on. More requests at once never
    shorten a step: a time per token that is further below one of as many or fewer requests than noise explains
    cannot be that of plain decoding.
    """
    setups: dict[tuple[object, ...], list[MeasuredRun]] = defaultdict(list)
    for run in runs:
        setup = (run.device, run.engine, model_name(run.model), run.weights, run.layout, run.serving)
        setups[*setup, run.prompt, run.output].append(run)
    kept, skipped = [], []
    for same in setups.values():
        seen: dict[tuple[float, float], str] = {}
        for run in same:
            slowest = max((other for other in same if other.batch <= run.batch), key=lambda other: other.time)
            if (run.batch, run.time) in seen:
                first = seen[run.batch, run.time]
                skipped.append(Skipped(id=run.id, reason=f"the same measurement as {first}"))
            elif "first_token" not in run.serving and slowest.time > TWIN * run.time:
                requests = "as many" if slowest.batch == run.batch else "fewer"
                reason = (
                    f"the same setup with {requests} requests also took {slowest.time / run.time:.2f} times as long:"
                    " multi-token prediction was probably on, which the table does not say"
                )
                skipped.append(Skipped(id=run.id, reason=reason))
            else:
                kept.append(run)
            seen[run.batch, run.time] = run.id
    return tuple(kept), tuple(skipped)


def _runs(row: Mapping[str, str]) -> list[MeasuredRun]:
    """Both times of one row.

    Raises
    ------
    UnsupportedError : with the reason why it cannot be used.
    """
    is_disaggregated = row.get("mode", "agg").strip().lower().startswith("disagg")
    if is_disaggregated and not number(row.get("decode_num_workers")):
        raise UnsupportedError("disaggregated, and the row does not say over how many decode workers requests spread")
    precision = row["precision"].strip().lower()
    if precision not in _PRECISIONS:
        raise UnsupportedError(
            f"precision {row['precision']!r} is not known; give {', '.join(filter(None, _PRECISIONS))}"
        )
    weights, note = _PRECISIONS[precision]
    prompt, output = number(row["isl"]), number(row["osl"])
    if not prompt or not output or min(prompt, output) <= 0:
        raise UnsupportedError(f"isl {row['isl']!r} and osl {row['osl']!r} are no lengths in tokens")
    context = prompt + output / 2.0
    measured = {"tpot_ms": number(row["tpot_ms"]), "ttft_ms": number(row["ttft_ms"])}
    bad = [name for name, value in measured.items() if value is not None and value <= 0]
    if bad:
        raise UnsupportedError(f"{bad[0]} {row[bad[0]]!r} is no positive number")
    found = []
    for metric, value in measured.items():
        if value is None:
            continue
        is_first = metric == "ttft_ms"
        serving, phase = _SERVING[is_disaggregated, is_first]
        layout, layout_note = serving_layout(row, phase)
        layout, requests = _spread(row, layout, is_disaggregated)
        found.append(
            MeasuredRun(
                id=f"{row['id']}:{metric.removesuffix('_ms')}",
                labels={
                    **row,
                    "source": SERVING,
                    "source_id": f"{row['backend']} {row.get('backend_version', '')}".strip(),
                    "kind": "serving",
                    "metric": metric,
                    "engine": row["backend"],
                    "model": row["model_path"],
                    "notes": "",
                },
                device=row["gpu"],
                engine=row["backend"],
                year=None,
                model=row["model_path"],
                weights=weights,
                kv_cache="fp8" if weights in ("fp8", "nvfp4") else None,
                layout=layout,
                serving=serving,
                batch=max(1.0, requests / layout.replicas),
                prompt=prompt,
                output=output,
                context=context,
                time=value * 1e-3,
                notes=tuple(filter(None, (note, layout_note))),
            )
        )
    if not found:
        raise UnsupportedError("neither tpot_ms nor ttft_ms is given")
    return found


_SERVING: Mapping[tuple[bool, bool], tuple[Serving, Phase]] = {
    (False, False): ("closed_loop", ""),
    (False, True): ("queued_first_token", ""),
    (True, False): ("decode", "decode_"),
    (True, True): ("disaggregated_first_token", "prefill_"),
}
"""What a time was measured in, and the columns of the workers that it was measured on: those that decode make the
tokens after the first, those of prompts the first; by whether the row is disaggregated and the time a first token's."""


def serving_layout(row: Mapping[str, str], phase: Phase) -> tuple[Layout, str]:
    """How a benchmark's devices are used, or those of one phase of a disaggregated one, and what was assumed.

    Experts are spread over all devices of a group. Where a table's device count is the product of equal
    tensor and expert ranks of the experts, the group has been counted twice: it is as large as one of them.

    Raises
    ------
    UnsupportedError : if no tensor parallelism is stated.
    """

    def count(name: str) -> int:
        return int(number(row.get(phase + name)) or 0)

    tensor, data = count("tp_size"), max(1, count("attention_dp_size"))
    if tensor < 1:
        raise UnsupportedError(f"{phase}tp_size {row.get(phase + 'tp_size')!r} is no number of devices")
    slices, expert = count("moe_tp_size"), max(1, count("moe_ep_size"))
    note = ""
    if slices == expert > 1 and tensor * data == slices * expert:
        note = f"{tensor * data} devices are read as {expert}: tensor and expert ranks of one group were multiplied"
        tensor, data = (expert, 1) if data == 1 else (1, expert)
    return (
        Layout(
            tensor=tensor,
            pipeline=max(1, count("pp_size")),
            expert=min(expert, tensor * data),
            data=data,
            replicas=max(1, count("num_workers")),
            is_disaggregated=bool(phase),
        ),
        note,
    )


def _spread(row: Mapping[str, str], layout: Layout, is_disaggregated: bool) -> tuple[Layout, float]:
    """Requests in flight, of all replicas together, and the layout with the replicas that they are spread over.

    The id says how many ran, else the batch of each attention rank. Where an aggregated row's id names several times
    as many as its batch holds, they ran on as many replicas, or, if the row leaves the attention ranks open and they
    are the tensor ranks, attention was data parallel.

    Raises
    ------
    UnsupportedError : if neither is stated.
    """
    named = re.search(r"_c(\d+)(?:_|$)", row["id"])
    start = "decode_" if is_disaggregated else ""
    ranks = max(1.0, number(row.get(start + "attention_dp_size")) or 1.0)
    batch = number(row.get(start + "batch_size"))
    if named:
        requests = float(named[1])
        replicas = requests / (batch * ranks) if batch and not is_disaggregated else 1.0
        if replicas == layout.tensor > 1 and number(row.get("attention_dp_size")) is None:
            layout = dataclasses.replace(layout, tensor=1, data=layout.tensor)
        elif replicas > 1 and replicas.is_integer():
            layout = dataclasses.replace(layout, replicas=int(replicas))
        return layout, requests
    if batch is None or batch < 1:
        raise UnsupportedError("neither the id (_cN_) nor the batch size says how many requests ran")
    workers = number(row.get("decode_num_workers")) if is_disaggregated else layout.replicas
    return layout, batch * ranks * (workers or 1.0)
