"""Progress, as a bar on a terminal and as lines in a log file, and timing of stages that work side by side."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO, TypeVar

T = TypeVar("T")


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counter of finished units, with the time left.

    Parameters
    ----------
    total
        How many units there are, None where that is unknown.
    label
        Name of the work, the line's first words.
    unit
        What is counted: ``patches``, ``tiles``, ``cells``.
    stream
        Output of the lines (default: standard error).
    interval
        Seconds between two lines; on a terminal the line is redrawn ten times as often.
    """

    def __init__(
        self,
        total: int | None = None,
        label: str = "",
        unit: str = "it",
        stream: TextIO | None = None,
        interval: float = 10.0,
    ) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.stream = stream or sys.stderr
        self.on_terminal = self.stream.isatty()
        self.interval = interval / 10 if self.on_terminal else interval
        self.count, self.note = 0, ""
        self.start = self.last = time.monotonic()

    def update(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units; `note` is shown behind the counts (losses, nuclei found)."""
        self.count += n
        self.note = note or self.note
        if time.monotonic() - self.last >= self.interval:
            self._show()

    def close(self) -> None:
        """Print the last line."""
        self._show(last=True)

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = self.count / elapsed
        words = [f"{self.label}: {self.count:,}"]
        if self.total:
            words[0] += f"/{self.total:,} {self.unit} ({100 * self.count / self.total:.0f} %)"
        else:
            words[0] += f" {self.unit}"
        words.append(f"{rate:,.1f} {self.unit}/s")
        if self.total and self.count and self.count < self.total:
            words.append(f"{clock((self.total - self.count) / rate)} left")
        else:
            words.append(f"{clock(elapsed)} taken")
        return ", ".join(words) + (f", {self.note}" if self.note else "")

    def _show(self, last: bool = False) -> None:
        self.last = time.monotonic()
        if self.on_terminal:
            self.stream.write("\r\x1b[K" + self._line() + ("\n" if last else ""))
        else:
            self.stream.write(self._line() + "\n")
        self.stream.flush()


def progress(
    iterable: Iterable[T],
    total: int | None = None,
    label: str = "",
    unit: str = "it",
    stream: TextIO | None = None,
) -> Iterator[T]:
    """Pass an iterable through and report on it.

    Parameters
    ----------
    iterable
        Items.
    total
        Its length; taken from ``len`` where it has one.
    label, unit, stream
        See `Progress`.

    Yields
    ------
    The items, unchanged.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    bar = Progress(total, label, unit, stream)
    try:
        for item in iterable:
            yield item
            bar.update()
    finally:
        bar.close()


class StageTimer:
    """Timer of stages: the seconds each stage's workers were busy, summed over workers.

    Parameters
    ----------
    workers
        Number of workers of each stage.
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
        """By stage: seconds, tiles a second that all its workers could do, fraction of time they were busy."""
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
        """Stage whose workers were busiest."""
        return max(self.seconds, key=lambda stage: self.seconds[stage] / self.workers[stage])
