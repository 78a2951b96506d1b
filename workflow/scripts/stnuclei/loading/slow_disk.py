"""For disks that seek slowly: an order of patches file by file, and whole files read ahead of need."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from stnuclei.patches.arrays import SHARD

_PIECE = 8 << 20  # bytes read at once: large enough for a spinning disk, small enough to stop soon


def by_shards(
    order: np.ndarray, lengths: Sequence[int], *, seed: int, window: int = 8, shard: int = SHARD
) -> np.ndarray:
    """Rearrange the patches of an epoch for sequential reading.

    Shards (files) come in random order; `window` of them are open at a time, and patches are drawn at random from
    those (a shuffle buffer of ``window * shard`` patches). What the sampler drew, how often, and so its weights, stays:
    only the order changes.

    Parameters
    ----------
    order
        int64 (n,), patch numbers of one process, from any sampler.
    lengths
        Patches of each store, in the order of the sources.
    seed
        Of the shuffling; one number an epoch and process.
    window
        Shards that are mixed.
    shard
        Patches a file holds.

    Returns
    -------
    int64 (n,), a permutation of `order`.
    """
    order = np.asarray(order, np.int64)
    random = np.random.default_rng(seed)
    shard_of = shard_numbers(order, lengths, shard)
    turn = random.permutation(int(shard_of.max(initial=-1)) + 1)[shard_of]
    # A sliding window: each patch is delayed by up to `window` shards. Sorting by the delayed place is a shuffle
    # buffer whose content is always the last `window` shards, and needs no state.
    ranks = np.unique(turn, return_inverse=True)[1]
    return order[np.argsort(ranks + random.random(len(order)) * window, kind="stable")]


def shard_numbers(numbers: np.ndarray, lengths: Sequence[int], shard: int = SHARD) -> np.ndarray:
    """File of each patch, counted over all stores, int64 (n,)."""
    first = np.cumsum([0, *lengths])
    source = np.searchsorted(first, numbers, side="right") - 1
    shards = np.cumsum([0, *(-(-n // shard) for n in lengths)])
    return shards[source] + (numbers - first[source]) // shard


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
