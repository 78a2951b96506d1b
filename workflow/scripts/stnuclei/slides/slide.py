"""Slides on disk, read by regions: the common form, and which library opens what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.errors import UserError

#: Pixel sizes an H&E slide can have, um/px; a stated size outside it means something else (dpi, another unit).
PLAUSIBLE_UM = (0.05, 2.0)


class Slide(ABC):
    """A pyramid of RGB images that looks like one lazy (y, x, 3) uint8 array.

    Attributes
    ----------
    path
        The file or store.
    levels
        (height, width) of every level, full resolution first.
    stated_um
        um/px that the file's metadata state, by the field that states it; without what cannot be meant (72 dpi).
    info
        What else is worth keeping: library, axes, compression.
    """

    path: Path
    levels: tuple[tuple[int, int], ...]
    stated_um: dict[str, float]
    info: dict[str, Any]

    @abstractmethod
    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels (y1 - y0, x1 - x0, 3) uint8 of a region that lies inside the level."""

    def close(self) -> None:
        """Let go of the file, where one is held."""
        return

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, 3."""
        return (*self.levels[0], 3)

    @property
    def dtype(self) -> np.dtype:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def downsample(self, level: int) -> float:
        """How many full-resolution pixels a pixel of `level` is wide."""
        return float(np.sqrt(np.prod(self.levels[0]) / np.prod(self.levels[level])))

    def level_for(self, downsample: float) -> int:
        """Return the smallest level that is still at least as fine as `downsample`."""
        fine = [k for k in range(len(self.levels)) if self.downsample(k) <= downsample * 1.01]
        return max(fine, key=self.downsample)

    def read(self, level: int, y0: int, y1: int, x0: int, x1: int, fill: int = 255) -> np.ndarray:
        """Read a region of a level; what lies outside the slide is `fill`.

        Parameters
        ----------
        level
            0 is full resolution.
        y0, y1, x0, x1
            Half-open bounds in the level's own pixels; may reach outside.
        fill
            Value of pixels outside.

        Returns
        -------
        (y1 - y0, x1 - x0, 3) uint8.
        """
        height, width = self.levels[level]
        ya, yb = np.clip((y0, y1), 0, height)
        xa, xb = np.clip((x0, x1), 0, width)
        if (ya, yb, xa, xb) == (y0, y1, x0, x1):
            return self._decoded(level, y0, y1, x0, x1)
        out = np.full((max(y1 - y0, 0), max(x1 - x0, 0), 3), fill, np.uint8)
        if yb > ya and xb > xa:
            out[ya - y0 : yb - y0, xa - x0 : xb - x0] = self._decoded(level, ya, yb, xa, xb)
        return out

    def _decoded(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        try:
            return self._read(level, int(y0), int(y1), int(x0), int(x1))
        except (OSError, ValueError, RuntimeError, IndexError, KeyError, TypeError) as error:
            # The decoders of a damaged tile raise whatever their library raises.
            message = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            raise UserError(
                f"{self.path}: pixels at x {x0}-{x1}, y {y0}-{y1} of level {level} cannot be decoded ({message}); "
                "copy or export the slide again"
            ) from error

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = key[:at] + (slice(None),) * (4 - len(key)) + key[at + 1 :]
        rows, columns, channels = (*key, *(slice(None),) * (3 - len(key)))
        (y0, y1, after_y), (x0, x1, after_x) = _bounds(rows, self.shape[0]), _bounds(columns, self.shape[1])
        pixels = self.read(0, y0, y1, x0, x1)
        return pixels[(after_y, *(slice(None),) * 2)][(*(slice(None),) * (not isinstance(after_y, int)), after_x)][
            ..., channels
        ]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        pixels = self[:]
        return pixels if dtype is None else pixels.astype(dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.path.name}, {self.shape[1]} x {self.shape[0]} px, {len(self.levels)} levels)"
        )


def _bounds(key: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Contiguous range to read, and what to take of it."""
    if isinstance(key, slice):
        picked = range(length)[key]
        if not len(picked):
            return 0, 0, slice(None)
        low, high = min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1
        return low, high, slice(None, None, picked.step) if picked.step > 0 else slice(None, None, picked.step)
    index = range(length)[int(key)]
    return index, index + 1, 0
