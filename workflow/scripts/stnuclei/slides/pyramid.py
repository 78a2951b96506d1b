"""A slide copied tile by tile into a sharded zarr v3 pyramid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import tensorstore as ts
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from stnuclei.progress import Progress
from stnuclei.slides.prefetch import prefetch_map
from stnuclei.slides.slide import WHITE, Slide

#: Chunks along a shard's side: one file holds 8 x 8 chunks.
_CHUNKS_A_SHARD = 8
_SMALLEST = 512
#: Shards on their way to disk, 50 MB each: the disk is fed while the next are read.
_MOST_PENDING = 3

#: First and last row and column of a shard, px: y0, y1, x0, x1.
_Box = tuple[int, int, int, int]


def level_shapes(height: int, width: int, smallest: int = _SMALLEST) -> list[tuple[int, int]]:
    """(height, width) of every level: halves, rounded down, until the longer side is at most `smallest`."""
    shapes = [(height, width)]
    while max(shapes[-1]) > smallest and min(shapes[-1]) >= 2:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def halve(pixels: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels, halves rounded up, (y, x, 3) uint8; an odd last row or column is dropped."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    if not height or not width:
        return np.empty((height, width, 3), np.uint8)
    # At exactly one half OpenCV's area means are these whole-number means, at fifteen times numpy's speed.
    return cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)


class _Shards:
    """Arrays of the pyramid; their shards go to disk in the background, a few at once.

    Parameters
    ----------
    paths
        Folders of the arrays, finest level first; they are created.
    shapes
        (height, width) of each.
    chunk
        Side of a chunk, px.
    threads
        How many compress.
    """

    def __init__(self, paths: list[Path], shapes: list[tuple[int, int]], chunk: int, threads: int) -> None:
        self.shapes, self.side = shapes, chunk * _CHUNKS_A_SHARD
        context = ts.Context({"data_copy_concurrency": {"limit": threads}})
        for path, shape in zip(paths, shapes, strict=True):
            _create(path, shape, chunk, self.side)
        self._arrays = [_opened(path, context) for path in paths]
        self._pending: deque[ts.WriteFutures] = deque()

    def box(self, level: int, row: int, column: int) -> _Box:
        """Pixels of a shard."""
        height, width = self.shapes[level]
        y0, x0 = row * self.side, column * self.side
        return y0, min(y0 + self.side, height), x0, min(x0 + self.side, width)

    def count(self, level: int) -> tuple[int, int]:
        """Rows and columns of shards of a level."""
        height, width = self.shapes[level]
        return -(-height // self.side), -(-width // self.side)

    def below(self, level: int, row: int, column: int) -> list[tuple[int, int]]:
        """Rows and columns of the shards of the next finer level that a shard is made from: two by two.

        At the end of an odd level a last row of one pixel may be left, which no coarser pixel holds; it goes with the
        last shard, so that it is written.
        """
        ranges = []
        for at, n, finer in zip((row, column), self.count(level), self.count(level - 1), strict=True):
            ranges.append(range(2 * at, finer if at == n - 1 else 2 * at + 2))
        return [(y, x) for y in ranges[0] for x in ranges[1]]

    def write(self, level: int, box: _Box, pixels: np.ndarray) -> None:
        """Begin to write a shard (y, x, 3), once few enough others are on their way."""
        y0, y1, x0, x1 = box
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        self.wait(_MOST_PENDING - 1)
        array = self._arrays[level][:, y0:y1, x0:x1]
        self._pending.append(array.write(planes, can_reference_source_data_indefinitely=True))

    def wait(self, most: int = 0) -> None:
        """Wait until at most so many shards are on their way to disk."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def settle(self) -> None:
        """Wait until nothing is being written, however it ended."""
        for future in self._pending:
            future.exception()


class _Copy:
    """A slide on its way into shards, from the finest level up: a coarse shard is made from the four below it.

    So each pixel is read once and each shard written once; memory is one shard a level and a few at the finest.
    """

    def __init__(self, shards: _Shards, finest: Iterator[np.ndarray]) -> None:
        self.shards, self.finest = shards, finest

    def write(self, level: int, row: int, column: int) -> np.ndarray:
        """Write one shard and all below it; return its pixels halved."""
        box = self.shards.box(level, row, column)
        pixels = self._from_below(level, row, column, box) if level else next(self.finest)
        self.shards.write(level, box, pixels)
        return halve(pixels)

    def _from_below(self, level: int, row: int, column: int, box: _Box) -> np.ndarray:
        pixels = np.empty((box[1] - box[0], box[3] - box[2], 3), np.uint8)
        half = self.shards.side // 2
        for y, x in self.shards.below(level, row, column):
            small = self.write(level - 1, y, x)
            top, left = (y - 2 * row) * half, (x - 2 * column) * half
            pixels[top : top + small.shape[0], left : left + small.shape[1]] = small
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
        Half of them read, half compress.

    Raises
    ------
    UserError
        If a tile of the slide cannot be decoded.
    """
    shapes = level_shapes(*slide.shape[:2])
    readers = max(threads // 2, 1)
    shards = _Shards([group / name for name in names], shapes, chunk, max(threads - readers, 1))
    top = len(shapes) - 1
    tops = list(np.ndindex(*shards.count(top)))
    boxes = [box for row, column in tops for box in _finest(shards, top, row, column)]
    bar = Progress(len(boxes), f"copying {slide.path.name}", "shards")

    def read(box: _Box) -> np.ndarray:
        pixels = slide.read(0, *box)
        bar.update()
        return pixels

    try:
        with closing(prefetch_map(read, boxes, readers)) as finest:
            copy = _Copy(shards, finest)
            for row, column in tops:
                copy.write(top, row, column)
        shards.wait()
    finally:
        # A shard still being written would put its file back into a folder that is being removed.
        shards.settle()
    bar.close()


def _finest(shards: _Shards, level: int, row: int, column: int) -> Iterator[_Box]:
    """Shards of the finest level below one, in the order in which `_Copy` asks for them."""
    if level == 0:
        yield shards.box(0, row, column)
        return
    for y, x in shards.below(level, row, column):
        yield from _finest(shards, level - 1, y, x)


def _opened(path: Path, context: ts.Context) -> ts.TensorStore:
    """Array described by zarr-python, written by tensorstore: fewer copies, and compressed beside the reading."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        # Glass is written like tissue (it takes no space): a shard that is absent is then one that was lost.
        "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, write=True, context=context).result()


def _create(path: Path, shape: tuple[int, int], chunk: int, side: int) -> None:
    """Describe the array of a level."""
    # A shard no larger than the level: a small level would else reserve 50 MB in memory.
    shard = [min(side, -(-length // chunk) * chunk) for length in shape]
    zarr.create_array(
        store=path,
        shape=(3, *shape),
        chunks=(3, chunk, chunk),
        shards=(3, *shard),
        dtype="uint8",
        fill_value=WHITE,
        # A flipped bit on disk is then an error and not a colour.
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
        dimension_names=("c", "y", "x"),
    )
