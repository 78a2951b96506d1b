"""`Slide`: the common form of all slides, a pyramid of RGB images read by regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stnuclei.errors import UserError

#: Pixel sizes an H&E slide can have, um/px; a stated size outside it means something else (dpi, another unit).
PLAUSIBLE_UM = (0.05, 2.0)
#: Value of pixels outside a slide: glass.
WHITE = 255


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
        """Width of a pixel of `level` in full-resolution pixels."""
        return float(np.sqrt(np.prod(self.levels[0]) / np.prod(self.levels[level])))

    def level_for(self, downsample: float) -> int:
        """Return the smallest level that is still at least as fine as `downsample`."""
        fine = [k for k in range(len(self.levels)) if self.downsample(k) <= downsample * 1.01]
        return max(fine, key=self.downsample)

    def read(self, level: int, y0: int, y1: int, x0: int, x1: int, fill: int = WHITE) -> np.ndarray:
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

        Raises
        ------
        UserError
            If pixels inside the slide cannot be decoded.
        """
        return pad_outside(partial(self._decoded, level), self.levels[level], (y0, y1, x0, x1), fill)

    def _decoded(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        try:
            return self._read(level, y0, y1, x0, x1)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            # What tifffile, imagecodecs, openslide and zarr raise on damaged tiles. TypeError, KeyError and IndexError
            # are left alone: they would be a mistake of this program, and the slide would be blamed for it.
            message = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            raise UserError(
                f"{self.path}: pixels at x {x0}-{x1}, y {y0}-{y1} of level {level} cannot be decoded ({message}); "
                "copy or export the slide again"
            ) from error

    def __getitem__(self, key: Any) -> np.ndarray:
        """Index the full resolution as numpy would; only the rows and columns asked for are decoded."""
        rows, columns, channels = _three_keys(key)
        (y0, y1, rows), (x0, x1, columns) = _bounds(rows, self.shape[0]), _bounds(columns, self.shape[1])
        return self.read(0, y0, y1, x0, x1)[rows, columns, channels]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        pixels = self[:]
        return pixels if dtype is None else pixels.astype(dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.path.name}, {self.shape[1]} x {self.shape[0]} px, {len(self.levels)} levels)"
        )


def pad_outside(
    read: Callable[[int, int, int, int], np.ndarray],
    size: tuple[int, int],
    bounds: tuple[int, int, int, int],
    fill: int = WHITE,
) -> np.ndarray:
    """Read a region that may reach outside an image.

    Parameters
    ----------
    read
        Takes y0, y1, x0, x1 inside the image to pixels (y1 - y0, x1 - x0, 3) uint8.
    size
        Height and width of the image.
    bounds
        y0, y1, x0, x1, half-open.
    fill
        Value of pixels outside.

    Returns
    -------
    (y1 - y0, x1 - x0, 3) uint8.
    """
    y0, y1, x0, x1 = (int(bound) for bound in bounds)
    top, bottom = (min(max(y, 0), size[0]) for y in (y0, y1))
    left, right = (min(max(x, 0), size[1]) for x in (x0, x1))
    if (top, bottom, left, right) == (y0, y1, x0, x1):
        return read(y0, y1, x0, x1)
    out = np.full((max(y1 - y0, 0), max(x1 - x0, 0), 3), fill, np.uint8)
    if bottom > top and right > left:
        out[top - y0 : bottom - y0, left - x0 : right - x0] = read(top, bottom, left, right)
    return out


def _three_keys(key: Any) -> tuple[Any, Any, Any]:
    """Keys of rows, columns and channels: an ellipsis and missing keys are filled with whole axes."""
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((k for k, item in enumerate(keys) if item is Ellipsis), len(keys))
    rest = keys[at + 1 :]
    rows, columns, channels = keys[:at] + [slice(None)] * (3 - at - len(rest)) + rest
    return rows, columns, channels


def _bounds(key: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Contiguous range to read, and what to take of it."""
    if not isinstance(key, slice):
        index = range(length)[int(key)]
        return index, index + 1, 0
    picked = range(length)[key]
    if not picked:
        return 0, 0, slice(None)
    # A negative step takes the range from its end, which is where `picked` starts.
    return min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1, slice(None, None, picked.step)


#: A slide on disk, or its pixels (y, x, 3) uint8 in memory.
SlideOrArray: TypeAlias = Slide | np.ndarray
