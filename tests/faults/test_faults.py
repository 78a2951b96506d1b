"""The drill on two stages and a broken network, in short; `make test-faults` runs all of it."""

import os
import re
import subprocess
import sys

from paths import ROOT


def test_whatever_breaks_the_restart_is_right(tmp_path):
    # A process of its own: the drill forks, which a process with threads must not.
    paths = os.pathsep.join([str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "faults.drill", "--quick", "predictions.zarr", "expression table", "downloads"],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    *lines, total = done.stdout.splitlines()
    assert done.returncode == 0 and total.startswith("15 rows, 0 wrong"), done.stdout + done.stderr[-2000:]
    assert len(lines) == 15 and all(line.startswith("ok") for line in lines), done.stdout
    kills = [int(found) for found in re.findall(r"SIGKILL at every write: (\d+) x restart gives the same", done.stdout)]
    assert len(kills) == 2 and min(kills) >= 2
