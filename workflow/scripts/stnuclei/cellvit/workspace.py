"""Arrays used again from call to call: fresh pages of memory cost a tile as much time as the arithmetic on them."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

_LINE = 64  # bytes of a line of the cache, and of the widest vectors: loads across two lines take twice as long
# NumPy asks for huge pages from 4 MB on: looking up hundreds of small ones costs as much as a patch's arithmetic.
_BLOCK = 8 << 20


class _Workspace(threading.local):
    """Memory of a thread by name, the arrays last made of it, and the unused rest of the latest block."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}
        self.latest: dict[str, np.ndarray] = {}
        self.free = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        """(size,) uint8, aligned."""
        if self.free.size < size:
            block = np.empty(max(_BLOCK, size + _LINE), np.uint8)
            self.free = block[-block.ctypes.data % _LINE :]
        taken, self.free = self.free[:size], self.free[-(-size // _LINE) * _LINE :]
        return taken


_workspace = _Workspace()


def reused(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Array kept by the calling thread under a name, in which an earlier call's values may lie.

    Parameters
    ----------
    name
        One for each use: the array is valid until the thread asks for the name again.
    shape, dtype
        As for ``numpy.empty``. Memory grows to the largest array asked for, and stays until the thread ends.

    Returns
    -------
    C-contiguous array whose first byte is aligned to 64 bytes.
    """
    latest = _workspace.latest.get(name)
    if latest is not None and latest.shape == shape and latest.dtype == dtype:
        return latest
    size = math.prod(shape) * np.dtype(dtype).itemsize
    array = _workspace.kept.get(name)
    if array is None or array.size < size:
        array = _workspace.kept[name] = _workspace.take(size)
    _workspace.latest[name] = array[:size].view(dtype).reshape(shape)
    return _workspace.latest[name]
