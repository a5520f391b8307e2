"""Time of one vectorised call over a million points of speculation: batch x context x draft length x acceptance.

Run: python benchmarks/million_rounds.py. Pin it to one core with `taskset -c 0` where other work runs.
"""

import time

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.speculation.acceptance import Acceptance
from rooflinesim.analysis.speculation.draft_model import DraftModel
from rooflinesim.analysis.speculation.methods import Speculation
from rooflinesim.analysis.speculation.speculate import speculate
from rooflinesim.api.answers import deployment

POINTS = 1_000_000


def axes() -> dict[str, tuple[np.ndarray, ...]]:
    """Batch, context, draft length and acceptance: all combinations of four axes, and a million unrelated points."""
    draw = np.random.default_rng(0)
    grid = np.meshgrid(
        np.arange(1.0, 101.0), np.arange(1.0, 51.0) * 512, np.arange(10.0), np.linspace(0.3, 0.95, 20), indexing="ij"
    )
    return {
        "grid": tuple(one.ravel() for one in grid),
        "random": (
            draw.integers(1, 512, POINTS).astype(float),
            draw.integers(1, 32768, POINTS).astype(float),
            draw.integers(0, 9, POINTS).astype(float),
            draw.random(POINTS),
        ),
    }


def main() -> None:
    hardware = rs.load_hardware("h100-sxm")
    print("target       stack    points   seconds of one core")
    for target, draft in (("llama3-70b", "llama3-8b"), ("deepseek-v3", "llama3-8b")):
        for name in ("ideal", "generic"):
            stack = rs.load_stack(name)
            asked, own = (
                deployment(model=rs.load_model(one), hardware=hardware, stack=stack, tp=8) for one in (target, draft)
            )
            speculation = Speculation(target=asked, method=DraftModel(draft=own))
            for kind, (batch, context, length, rate) in axes().items():
                start = time.process_time()
                speculate(
                    speculation, batch=batch, context=context, draft_length=length, acceptance=Acceptance(value=rate)
                )
                print(f"{target:12s} {name:8s} {kind:8s} {time.process_time() - start:.2f}")


if __name__ == "__main__":
    main()
