"""Output tokens per second of serving benchmarks, from both times of a row: as measured and as predicted."""

from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.comparison import RATE, Comparison, joined
from rooflinesim.validation.published import MeasuredRun

FIRST, REST = ":ttft", ":tpot"


def with_throughput(found: Comparison, runs: Sequence[MeasuredRun]) -> Comparison:
    r"""The same rows, and one of throughput for each benchmark of which both times were predicted.

    A closed loop of b requests makes, all replicas together,

    .. math:: X = \frac{b\, n}{TTFT + (n - 1)\, TPOT}

    tokens a second, n per request: Little's law over a request's lifetime. Its band holds both times' ends together,
    as if they were off in the same direction.
    """
    by_id = {run.id: run for run in runs}
    place = {str(name): index for index, name in enumerate(found.ids)}
    pairs = [
        (place[name], place[other])
        for name in place
        if name.endswith(REST) and (other := name.removesuffix(REST) + FIRST) in place
    ]
    if not pairs:
        return found
    rest, first = (np.array(indices) for indices in zip(*pairs, strict=True))
    mine = [by_id[str(name)] for name in found.ids[rest]]
    output = np.array([run.output for run in mine])
    tokens = output * np.array([run.batch * run.layout.replicas for run in mine])

    def rate(times: np.ndarray) -> np.ndarray:
        return np.asarray(tokens / (times[first] + (output - 1.0) * times[rest]))

    labels = {name: values[rest] for name, values in found.labels.items()}
    kinds = np.char.rpartition(labels["regime"].astype(str), ", ")[:, 2]
    made = Comparison(
        ids=np.array([str(name).removesuffix(REST) + ":throughput" for name in found.ids[rest]], dtype=object),
        measured=rate(found.measured),
        predicted=rate(found.predicted),
        low=rate(found.high),
        high=rate(found.low),
        roofline=rate(found.roofline),
        labels={
            **labels,
            "metric": np.full(rest.size, "throughput", dtype=object),
            "regime": np.array([f"throughput, {kind}" for kind in kinds], dtype=object),
            "unit": np.full(rest.size, RATE, dtype=object),
        },
        skipped=(),
    )
    seconds = {"unit": np.full(found.ids.size, "s", dtype=object)}
    return joined([found.with_labels({**found.labels, **seconds}), made])
