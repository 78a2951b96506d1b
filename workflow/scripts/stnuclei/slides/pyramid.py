"""A slide copied tile by tile into a sharded zarr v3 pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from stnuclei.progress import Progress
from stnuclei.slides.slide import Slide

#: Chunks along a shard's side: one file holds 8 x 8 chunks.
_CHUNKS_A_SHARD = 8
_SMALLEST = 512


def level_shapes(height: int, width: int, smallest: int = _SMALLEST) -> list[tuple[int, int]]:
    """(height, width) of every level: halves, rounded down, until the longer side is at most `smallest`."""
    shapes = [(height, width)]
    while max(shapes[-1]) > smallest and min(shapes[-1]) >= 2:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def halve(pixels: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels, (y, x, 3) uint8; an odd last row or column is dropped."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    even = pixels[:height, :width].astype(np.uint16)
    total = even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


class _Writer:
    """Writes shards from the finest level up: a coarse shard is made from the four below it, so each is written once.

    Memory is one shard a level (50 MB), whatever the slide.
    """

    def __init__(self, slide: Slide, arrays: list[zarr.Array], side: int, bar: Progress) -> None:
        self.slide, self.arrays, self.side, self.bar = slide, arrays, side, bar
        self.shapes = [array.shape[1:] for array in arrays]

    def write(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Write one shard and all below it; return its pixels (y, x, 3), None where it lies outside."""
        y0, x0 = row * self.side, column * self.side
        height = min(self.shapes[level][0] - y0, self.side)
        width = min(self.shapes[level][1] - x0, self.side)
        if height <= 0 or width <= 0:
            return None
        if level == 0:
            pixels = self.slide.read(0, y0, y0 + height, x0, x0 + width)
            self.bar.update()
        else:
            pixels = self._from_below(level, row, column, height, width)
        self.arrays[level][:, y0 : y0 + height, x0 : x0 + width] = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return pixels

    def _from_below(self, level: int, row: int, column: int, height: int, width: int) -> np.ndarray:
        pixels = np.full((height, width, 3), 255, np.uint8)
        half = self.side // 2
        for dy, dx in np.ndindex(2, 2):
            below = self.write(level - 1, 2 * row + dy, 2 * column + dx)
            if below is not None:
                small = halve(below)
                quarter = pixels[dy * half : (dy + 1) * half, dx * half : (dx + 1) * half]
                quarter[: small.shape[0], : small.shape[1]] = small[: quarter.shape[0], : quarter.shape[1]]
        return pixels


def write_pyramid(slide: Slide, group: Path, names: list[str], chunk: int = 512, threads: int = 1) -> None:
    """Copy a slide into arrays ``group/names[k]``, (3, y, x) uint8, zarr v3 with one shard per 8 x 8 chunks.

    Parameters
    ----------
    slide
        Where pixels come from.
    group
        Folder of the multiscale image.
    names
        Array names, one a level of `level_shapes`.
    chunk
        Side of a chunk, px.
    threads
        Shards of the coarsest levels written at once.

    Raises
    ------
    UserError
        If a tile of the slide cannot be decoded.
    """
    shapes = level_shapes(*slide.shape[:2])
    side = chunk * _CHUNKS_A_SHARD
    arrays = [_create(group / name, shape, chunk, side) for name, shape in zip(names, shapes, strict=True)]
    total = -(-shapes[0][0] // side) * -(-shapes[0][1] // side)
    bar = Progress(total, f"copying {slide.path.name}", "shards")
    writer = _Writer(slide, arrays, side, bar)
    # Subtrees two levels under the top are independent; what stands over them is small and written after.
    with zarr.config.set({"threading.max_workers": threads, "async.concurrency": threads}):
        _sweep(writer, len(shapes) - 1, threads)
    bar.close()


def _sweep(writer: _Writer, top: int, threads: int) -> None:
    height, width = writer.shapes[top]
    tiles = list(_grid(height, width, writer.side))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda tile: writer.write(top, *tile), tiles):
            pass


def _grid(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    yield from np.ndindex(-(-height // side), -(-width // side))


def _create(path: Path, shape: tuple[int, int], chunk: int, side: int) -> zarr.Array:
    # A shard no larger than the level: a small level would else reserve 50 MB in memory.
    shard = [min(side, -(-length // chunk) * chunk) for length in shape]
    return zarr.create_array(
        store=path,
        shape=(3, *shape),
        chunks=(3, chunk, chunk),
        shards=(3, *shard),
        dtype="uint8",
        fill_value=255,
        # A flipped bit on disk is then an error and not a colour.
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
        dimension_names=("c", "y", "x"),
        # Glass is written like tissue (it takes no space): a shard that is absent is then one that was lost.
        config={"write_empty_chunks": True},
    )
