"""Start-up of a whole decode command beside the bare imports that it needs, medians of alternating runs.

Run: python benchmarks/startup.py [RUNS]
"""

import statistics
import subprocess
import sys
import time

BARE = [sys.executable, "-c", "import typer, numpy, yaml, rich.table, pydantic"]
MAIN = "from rooflinesim.cli.app import main; main()"
DECODE = [sys.executable, "-c", MAIN, "decode", "llama3-8b", "--gpu", "h100"]
HELP = [sys.executable, "-c", MAIN, "--help"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    times: dict[str, list[float]] = {"bare imports": [], "decode": [], "--help": []}
    for _ in range(runs):
        for name, command in zip(times, (BARE, DECODE, HELP), strict=True):
            times[name].append(seconds(command))
    bare = statistics.median(times["bare imports"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:13s} {median * 1e3:6.0f} ms  {median / bare:5.2f} x bare  (min {min(measured) * 1e3:.0f} ms)")


if __name__ == "__main__":
    main()
