"""Whole files read ahead of the patches asked from them, for disks that seek slowly."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

_PIECE = 8 << 20


class Sweep:
    """A thread that reads files from their beginning to their end into the system's cache, a few ahead of the reader.

    The patches are then found in memory. If the system throws pages away the only harm is a slow read: what is read,
    and in which order, never depends on this.

    Parameters
    ----------
    files
        In the order they will be needed; those that are not there are passed over.
    ahead
        Files read before the reader has said that it needs them.
    """

    def __init__(self, files: Iterable[Sequence[Path]], ahead: int) -> None:
        self._files = list(files)
        self._allowed = threading.Semaphore(max(1, ahead))
        self._stop = threading.Event()
        self._done = [threading.Event() for _ in self._files]
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="stnuclei-sweep", daemon=True)

    def __enter__(self) -> Sweep:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._allowed.release()
        self._thread.join()

    def need(self, count: int, patience: float) -> None:
        """Say that the first `count` files are needed now; wait until they are in memory, at most `patience` s."""
        while self._next < count:
            self._allowed.release()
            self._done[self._next].wait(patience)
            self._next += 1

    def _run(self) -> None:
        memory = bytearray(_PIECE)
        for paths, done in zip(self._files, self._done, strict=True):
            self._allowed.acquire()
            for path in paths:
                self._read(path, memory)
            done.set()
        for done in self._done:
            done.set()

    def _read(self, path: Path, memory: bytearray) -> None:
        try:
            with open(path, "rb", buffering=0) as file:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                while not self._stop.is_set() and file.readinto(memory):
                    pass
        except OSError:
            return  # the read of the patch itself will tell what is wrong
