"""Tiles of a TIFF level, decoded in the thread that asks for them; the last ones are kept.

zarr over tifffile decodes all tiles in the one thread of its event loop, whoever asks, and copies each twice more: a
sweep costs a third less CPU this way, and several threads read at once.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

import numpy as np
import tifffile

#: Decoded tiles kept for the next region, bytes: the two rows of tiles that neighbouring small regions share.
_CACHE_BYTES = 1 << 26


class TileCache:
    """The tiles decoded last, of all levels of a slide; several threads may use it."""

    def __init__(self, most_bytes: int = _CACHE_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._tiles: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        """Tile of a level and an index, None where it is not kept."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int], tile: np.ndarray) -> None:
        """Keep a tile, and forget those not used for longest."""
        with self._lock:
            if key not in self._tiles:
                self._bytes += tile.nbytes
            self._tiles[key] = tile
            while self._bytes > self._most:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


class TiledLevel:
    """One level of a TIFF whose only page holds RGB or RGBA pixels in tiles.

    Parameters
    ----------
    level
        The level, for which `is_tiled_rgb` is true.
    number
        Its number in the pyramid.
    cache
        Shared by the levels.
    """

    def __init__(self, level: tifffile.TiffPageSeries, number: int, cache: TileCache) -> None:
        self._page, self._number, self._cache = level.keyframe, number, cache
        self._file = self._page.parent.filehandle
        self._columns = -(-self._page.imagewidth // self._page.tilewidth)
        self._options = {"jpegtables": self._page.jpegtables, "jpegheader": self._page.jpegheader}
        # A cached property that threads must not make at once.
        self._decode = self._page.decode

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels (y1 - y0, x1 - x0, 3) uint8 of a region inside the level."""
        out = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        length, width = self._page.tilelength, self._page.tilewidth
        for top in range(y0 // length * length, y1, length):
            for left in range(x0 // width * width, x1, width):
                tile = self._tile(top // length * self._columns + left // width)
                above, below = max(top, y0), min(top + length, y1)
                before, after = max(left, x0), min(left + width, x1)
                pixels = tile[above - top : below - top, before - left : after - left, :3]
                out[above - y0 : below - y0, before - x0 : after - x0] = pixels
        return out

    def _tile(self, index: int) -> np.ndarray:
        """Tile (length, width, samples) uint8, from the cache or the file."""
        tile = self._cache.get((self._number, index))
        if tile is None:
            tile = self._decoded(index)
            self._cache.put((self._number, index), tile)
        return tile

    def _decoded(self, index: int) -> np.ndarray:
        page = self._page
        # Philips leaves tiles without tissue out, the last row even of the list (tifffile, issue 249).
        listed = index < len(page.dataoffsets)
        offset, count = (page.dataoffsets[index], page.databytecounts[index]) if listed else (0, 0)
        if offset == 0 or count == 0:
            return np.full(page.chunks, page.nodata, np.uint8)
        options = {name: value for name, value in self._options.items() if value is not None}
        # Unlike seek and read, pread needs no lock.
        data = os.pread(self._file.fileno(), count, offset)
        tile = self._decode(data, index, _fullsize=True, **options)[0]
        return np.asarray(tile).reshape(page.chunks)


def is_tiled_rgb(level: tifffile.TiffPageSeries) -> bool:
    """True if a level is one page of tiles, each holding all colours of its pixels."""
    page = level.keyframe
    return page.is_tiled and page.axes == "YXS" and len(level.pages) == 1 and level.transform is None
