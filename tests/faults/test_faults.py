"""The drill on two stages, in short; `make test-faults` runs all of it."""

import os
import subprocess
import sys

import pytest

from paths import ROOT


@pytest.mark.parametrize("stage", ["patches.zarr", "expression table"])
def test_whatever_breaks_the_restart_is_right(stage, tmp_path):
    # A process of its own: the drill forks, which a process with threads must not.
    paths = os.pathsep.join([str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "faults.drill", "--quick", stage],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 5 and all(line.startswith("ok") for line in lines), done.stdout
    kills = int(lines[0].split(" x ")[0].split()[-1])
    assert kills >= 2 and lines[0].endswith("restart gives the same content")
