"""How long replaying a trace takes, in how much memory, what it says; and the made-up trace that the scenarios ship.

Run: OMP_NUM_THREADS=1 python benchmarks/trace_replay.py TRACE.csv [--model llama3-8b --gpu a100 --stack vllm], or
--make scenarios/parts/made-up-trace.csv to write that file again: requests drawn with a fixed seed, twenty quiet
minutes with a burst of four times the rate in the middle, and lengths of a gamma law. No service was measured for it.
Times are those of the processor, so that other work on the machine disturbs them little.
"""

import argparse
import csv
import resource
import time
from pathlib import Path

import numpy as np

import rooflinesim as rs
from rooflinesim.analysis.serving.arrivals import faster, load_of
from rooflinesim.analysis.serving.load import Fleet, Policy
from rooflinesim.analysis.serving.simulation import simulate
from rooflinesim.analysis.serving.steady import steady_state
from rooflinesim.config.traces import COLUMNS, load_trace


def make(path: Path) -> None:
    random = np.random.default_rng(2024)
    quiet, burst = 1.0, 4.0
    rate_of = [(0.0, 480.0, quiet), (480.0, 600.0, burst), (600.0, 1200.0, quiet)]
    arrived = np.concatenate([np.sort(random.uniform(a, b, random.poisson(rate * (b - a)))) for a, b, rate in rate_of])
    prompt = np.maximum(np.round(random.gamma(1.0, 1100.0, arrived.size)), 1.0).astype(int)
    output = np.maximum(np.round(random.gamma(1.6, 130.0, arrived.size)), 1.0).astype(int)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip([f"{one:.3f}" for one in arrived], prompt.tolist(), output.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trace", type=Path, nargs="?")
    parser.add_argument("--make", type=Path)
    parser.add_argument("--model", default="llama3-8b")
    parser.add_argument("--gpu", default="a100")
    parser.add_argument("--stack", default="vllm")
    asked = parser.parse_args()
    if asked.make is not None:
        make(asked.make)
        return
    deployment = rs.deployment(
        model=rs.load_model(asked.model), hardware=rs.load_hardware(asked.gpu), stack=rs.load_stack(asked.stack)
    )
    fleet = Fleet(decode=deployment)
    print(
        f"{'rate':>5s} {'chunk':>6s} {'CPU s':>6s} {'steps':>8s} {'req/s':>6s} {'TPOT ms':>8s} {'TTFT s':>8s} saturates"
    )
    for scale in (1.0, 10.0):
        for chunk in (None, 512, 2048):
            start = time.process_time()
            requests = faster(load_trace(asked.trace), scale)
            policy = Policy(batch_limit=256, chunk_tokens=chunk)
            run = simulate(fleet, requests, policy)
            taken = time.process_time() - start
            limit = float(steady_state(fleet, load_of(requests), policy).saturating_requests_per_s[0])
            found = run.requests
            print(
                f"{scale:5g} {chunk or 'whole':>6} {taken:6.1f} {run.steps:8,d} {requests.size / run.duration:6.2f}"
                f" {1e3 * np.mean(found.tpot[found.output > 1]):8.1f} {np.mean(found.ttft):8.2f} {limit:.2f}/s"
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
