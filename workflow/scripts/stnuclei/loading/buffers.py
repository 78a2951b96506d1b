"""Memory of batches, used again: fresh pages for 110 MB a batch would cost more than reading the patches."""

from __future__ import annotations

import weakref

import numpy as np


class Buffers:
    """Hands out arrays and takes each back when nobody refers to it any more.

    An array, its views, the tensors made from it, and reads that still write into it all hold it; only when the last of
    them is gone is its memory given to the next batch. So a caller may keep a batch as long as it likes.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[tuple[int, ...], str], list[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Return an array of arbitrary content."""
        free = self._free.setdefault((shape, dtype), [])
        memory = free.pop() if free else np.empty(shape, dtype)
        # What is lent is a second array object over the same memory: its end can be watched, the memory stays.
        lent = np.frombuffer(memory.data, dtype).reshape(shape) if memory.size else memory.view()
        weakref.finalize(_owner(lent), free.append, memory).atexit = False
        return lent


def _owner(array: np.ndarray) -> np.ndarray:
    """The array object that all views of `array` hold on to."""
    return array.base if isinstance(array.base, np.ndarray) else array
