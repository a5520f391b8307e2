"""Sweeps on a Dask cluster: the same rows as on one machine, also when a worker dies."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rooflinesim.api.sweep import sweep_plan, written
from rooflinesim.cli.app import run
from rooflinesim.config.scenarios import load_one_scenario
from rooflinesim.specs.scenario import Scenario

distributed = pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

ENTRY = "from rooflinesim.cli.app import main; main()"
TEXT = "model: llama3-8b\nhardware: [h100, l4]\nbatch: 1:200:+1\ncontext: 1:6401:+32\n"
POINTS = 80_400


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    path = tmp_path / "grid.yaml"
    path.write_text(TEXT)
    return load_one_scenario(path)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two worker processes on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with distributed.LocalCluster(**options) as one:
        yield one


def alone(scenario: Scenario, output: Path) -> pd.DataFrame:
    return written(sweep_plan(scenario=scenario, output=output, chunk_points=4000), workers=1).to_frame()


def on_cluster(scenario: Scenario, output: Path, address: str) -> pd.DataFrame:
    plan = sweep_plan(scenario=scenario, output=output, scheduler=address, chunk_points=4000)
    return written(plan, scheduler=address).to_frame()


def test_two_workers_make_the_rows_that_one_machine_makes(scenario: Scenario, tmp_path: Path, cluster: Any):
    address = cluster.scheduler_address
    found = on_cluster(scenario, tmp_path / "parts.parquet", address)
    assert found.shape[0] == POINTS
    pd.testing.assert_frame_equal(found, alone(scenario, tmp_path / "whole.parquet"), check_exact=True)
    names = sorted(one.name for one in (tmp_path / "parts.parquet").iterdir())
    assert names == [f"part-{index:06d}.parquet" for index in range(21)]
    # CSV stays one file, byte for byte.
    on_cluster(scenario, tmp_path / "a.csv", address)
    alone(scenario, tmp_path / "b.csv")
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.csv", "b.csv")}
    assert len(digests) == 1


def test_a_worker_that_dies_loses_nothing(scenario: Scenario, tmp_path: Path, cluster: Any):
    """Killed without warning once three of the 21 parts are there."""
    output = tmp_path / "parts.parquet"
    killed: list[int] = []

    def kill() -> None:
        folder = tmp_path / "parts.parquet.parts"
        while len(list(folder.glob("part-*.json"))) < 3:
            if output.exists():
                return
            time.sleep(0.005)
        pid = next(iter(cluster.workers.values())).pid
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    found = on_cluster(scenario, output, cluster.scheduler_address)
    killer.join()
    assert killed, "the sweep was over before a worker could be killed"
    pd.testing.assert_frame_equal(found, alone(scenario, tmp_path / "whole.parquet"), check_exact=True)


def test_a_local_cluster_is_started_when_asked_for(tmp_path: Path):
    """The program itself, as a user types it; the second time it replaces what is there."""
    (tmp_path / "grid.yaml").write_text("model: llama3-8b\nhardware: h100\nbatch: 1:64\n")
    command = [sys.executable, "-c", ENTRY, "sweep", "grid.yaml", "-o", "out.parquet", "--scheduler", "local"]
    for _ in range(2):
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert said.stdout.startswith("out.parquet: 7 rows") or ": 7 rows, " in said.stdout
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 7


def test_a_scheduler_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "grid.yaml"
    path.write_text(TEXT)
    for address in ("tcp://127.0.0.1:9", "no address"):
        assert run(["sweep", str(path), "-o", str(tmp_path / "out.parquet"), "--scheduler", address, "-q"]) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"error: --scheduler: nothing answers at '{address}'")
        assert len(said.err.splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["grid.yaml"]
