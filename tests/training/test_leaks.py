"""Long runs: memory, file handles and threads after many batches are those after a few.

STNUCLEI_BATCHES=10000 pytest tests/training/test_leaks.py is the long form (minutes); `make test-faults` runs it.
"""

import gc
import os
import threading
from pathlib import Path

import numpy as np

from stnuclei.loading.loader import PatchLoader, ReadSettings
from training.conftest import write_source

BATCHES = int(os.environ.get("STNUCLEI_BATCHES", "600"))


def state() -> tuple[float, int, int]:
    """Memory (MB), open files and threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()


def test_batches_leave_nothing_behind(tmp_path):
    source = write_source(tmp_path, "a", 24, "Breast", 0)
    order = np.random.default_rng(0).integers(0, 24, (BATCHES, 4))
    seen = []
    for number, batch in enumerate(PatchLoader([source], "pannuke", 4, order, reading=ReadSettings(threads=2))):
        assert batch["image"].shape[0] == 4
        if (number + 1) % (BATCHES // 4) == 0:
            seen.append(state())
    print("MB, files, threads after each quarter:", seen)
    # The first quarter fills caches and buffers; from there on a batch may not keep as much as 1 kB.
    assert seen[-1][0] - seen[0][0] < max(4.0, 0.75 * BATCHES / 1000), seen
    assert seen[-1][1] <= seen[0][1] and seen[-1][2] <= seen[0][2], seen
