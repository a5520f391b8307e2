"""Time and memory of one vectorised decode call over a million (batch, context) points of a 70B model.

Run: python benchmarks/million_points.py. Pin it to one core with `taskset -c 0` where other work runs.
"""

import resource
import time

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.decode import decode
from rooflinesim.api.answers import deployment

POINTS_PER_AXIS = 1000


def main() -> None:
    model = rs.load_model("llama3-70b")
    hardware = rs.load_hardware("h100")
    batch = np.repeat(np.arange(1.0, POINTS_PER_AXIS + 1), POINTS_PER_AXIS)
    context = np.tile(np.arange(1.0, POINTS_PER_AXIS + 1) * 32, POINTS_PER_AXIS)
    print("stack     TP  points      seconds  points/s    peak MB")
    for stack in ("ideal", "generic"):
        for ranks in (1, 8):
            asked = deployment(model=model, hardware=hardware, stack=rs.load_stack(stack), tp=ranks)
            start = time.perf_counter()
            result = decode(asked, batch=batch, context=context)
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            points = result.step_time.size
            print(f"{stack:8s}  {ranks:2d}  {points:,}  {seconds:9.2f}  {points / seconds:9,.0f}  {peak:8,.0f}")


if __name__ == "__main__":
    main()
