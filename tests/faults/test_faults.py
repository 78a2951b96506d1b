"""The drill on a few stages, in short; `make test-faults` runs all of it."""

import os
import subprocess
import sys

from paths import ROOT

STAGES = {
    "patches.zarr": 5,
    "sample.zarr": 5,
    "labels": 5,
    "exports of a slide": 3,
    "expression table": 5,
    "download": 1,
}


def test_whatever_breaks_the_restart_is_right(tmp_path):
    # A process of its own: the drill forks, which a process with threads must not.
    paths = os.pathsep.join([str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "faults.drill", "--quick", *STAGES],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and all(line.startswith("ok") for line in lines), done.stdout + done.stderr[-2000:]
    for stage, faults in STAGES.items():
        own = [line for line in lines if line[6:].startswith(f"{stage}: ")]
        assert len(own) == faults, done.stdout
        if faults > 1:
            kills = int(own[0].split(" x ")[0].split()[-1])
            assert kills >= 2 and own[0].endswith("restart gives the same content")
