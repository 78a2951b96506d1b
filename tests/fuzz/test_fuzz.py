"""300 broken inputs of every kind, seeds fixed: none ends in a traceback, none in content that is silently wrong."""

import os
import subprocess
import sys

from paths import ROOT


def test_the_corpus(tmp_path):
    paths = os.pathsep.join([str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.corpus", "--count", os.environ.get("STNUCLEI_FUZZ", "300")],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "inputs of" in done.stdout
