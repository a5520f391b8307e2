"""A sweep killed at random moments, and the file that it ends with.

Run: python benchmarks/interrupted_sweeps.py [KILLS] [.csv|.parquet]. Each round starts a sweep of two million points,
kills it without warning at a moment drawn from its usual duration, takes it up again, and compares the bytes with those
of a sweep that was left alone.
"""

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIO = """\
model: llama3-70b
hardware: h100
stack: vllm
parallelism: {tensor: [2, 4, 8]}
batch: 1:500:+1
context: 1:48001:+32
"""
ENTRY = "from rooflinesim.cli.app import main; main()"


def started(scenario: Path, output: Path) -> "subprocess.Popen[bytes]":
    arguments = [sys.executable, "-c", ENTRY, "sweep", str(scenario), "-o", str(output), "--quiet"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    suffix = sys.argv[2] if len(sys.argv) > 2 else ".parquet"
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        scenario, whole = Path(folder, "scenario.yaml"), Path(folder, f"whole{suffix}")
        scenario.write_text(SCENARIO)
        start = time.perf_counter()
        assert started(scenario, whole).wait() == 0
        usual = time.perf_counter() - start
        print(f"left alone: {usual:.1f} s, {whole.stat().st_size:,} bytes")
        equal = 0
        for number in range(1, kills + 1):
            output = Path(folder, f"killed{suffix}")
            process, delay = started(scenario, output), rng.uniform(0.0, usual)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            is_there = output.exists()
            parts = len(list(output.with_name(f"{output.name}.parts").glob("part-*.json")))
            half_written = is_there and digest(output) != digest(whole)
            assert started(scenario, output).wait() == 0
            same = digest(output) == digest(whole) and not half_written
            equal += same
            state = "finished" if is_there else f"{parts} parts"
            print(f"{number:3d}: killed after {delay:5.2f} s with {state:9s}: {'equal' if same else 'DIFFERENT'}")
            output.unlink()
        print(f"{equal} of {kills} equal, none half-written under the final name" if equal == kills else "FAILED")
        sys.exit(equal != kills)


if __name__ == "__main__":
    main()
