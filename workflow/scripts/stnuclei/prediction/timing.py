"""How long each stage of a segmentation worked, and which of them the others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

READING, NETWORK, SEPARATION, MERGING = "reading", "network", "post-processing", "merging"


class Stages:
    """Seconds each stage's workers were busy, summed over workers.

    Parameters
    ----------
    workers
        How many work at once in each stage.
    """

    def __init__(self, workers: Mapping[str, int]) -> None:
        self.workers = dict(workers)
        self.seconds = dict.fromkeys(self.workers, 0.0)
        self._lock = threading.Lock()
        self._begin = time.monotonic()

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the time of the block, wherever it runs."""
        begin = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.monotonic() - begin

    def report(self, tiles: int) -> dict[str, dict[str, float]]:
        """For each stage: seconds, tiles a second all its workers could do, and the share of time they were busy."""
        elapsed = max(time.monotonic() - self._begin, 1e-9)
        return {
            stage: {
                "seconds": round(seconds, 2),
                "tiles_per_second": round(tiles * self.workers[stage] / max(seconds, 1e-9), 2),
                "busy": round(seconds / (elapsed * self.workers[stage]), 3),
            }
            for stage, seconds in self.seconds.items()
        }

    def binding(self) -> str:
        """The stage whose workers were busiest."""
        return max(self.seconds, key=lambda stage: self.seconds[stage] / self.workers[stage])
