"""Sweep of a strip from top to bottom: reading, network and separation side by side, with a row of maps in memory.

While the network works on a batch of tiles, the next batches are read and the tiles whose neighbours all have their
maps are separated, in threads that release the interpreter. Of a row of maps only what the row below needs is kept.
Batches never hold tiles of two rows, so that a resumed run sees the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from stnuclei.prediction.inference import Inference
from stnuclei.prediction.instances import SeparationSettings, separate_tile
from stnuclei.prediction.nuclei_arrays import NucleiArrays
from stnuclei.prediction.search_region import SearchRegion
from stnuclei.prediction.tile_reader import TileReader
from stnuclei.prediction.tiles import Strip, TileMaps
from stnuclei.progress import Progress, StageTimer
from stnuclei.slides.prefetch import prefetch_map

#: Stages of a segmentation, as `StageTimer` times them.
READING, NETWORK, SEPARATION, MERGING = "reading", "network", "post-processing", "merging"


@dataclass(frozen=True)
class SweepJob:
    """Everything a sweep needs.

    Parameters
    ----------
    reader, inference
        Sources of tiles and of maps.
    needed
        (rows, columns) bool: tiles that are needed.
    region, separation
        Region that is searched for nuclei; settings of their separation.
    batch_size, threads
        See `SlideSettings`.
    timer, progress
        Updated as the work proceeds.
    """

    reader: TileReader
    inference: Inference
    needed: np.ndarray
    region: SearchRegion
    separation: SeparationSettings
    batch_size: int
    threads: int
    timer: StageTimer
    progress: Progress

    def batches(self, strip: Strip, first: int) -> Iterator[tuple[int, list[int]]]:
        """Row and columns of each batch, from the row before `first` on, with a column more on each side."""
        begin, end = max(strip.begin - 1, 0), min(strip.end + 1, self.needed.shape[1])
        for row in range(max(first - 1, 0), len(self.needed)):
            columns = (np.flatnonzero(self.needed[row, begin:end]) + begin).tolist()
            for k in range(0, len(columns), self.batch_size):
                yield row, columns[k : k + self.batch_size]


@dataclass(frozen=True)
class Row:
    """Row of a strip: `nuclei` of each tile, the number of tiles, and how many of them are damaged."""

    number: int
    nuclei: list[NucleiArrays]
    tiles: int
    damaged: int


def sweep(job: SweepJob, strip: Strip, first: int) -> Iterator[Row]:
    """Rows of a strip from `first` on, in order."""
    pool = ThreadPoolExecutor(job.threads, thread_name_prefix="stnuclei-separate")
    batches = prefetch_map(lambda batch: _read(job, *batch), job.batches(strip, first), readers(job.threads))
    maps = prefetch_map(lambda tiles: _infer(job, *tiles), batches, job.inference.workers)
    try:
        with closing(batches), closing(maps):
            yield from _MapBuffer(job, strip, first, pool).rows(maps)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def readers(threads: int) -> int:
    """Number of threads that read tiles."""
    return max(1, min(4, threads // 2))


Tiles = tuple[int, list[int], np.ndarray, list[int]]
RowMaps = tuple[int, list[int], list[TileMaps], list[int]]


def _read(job: SweepJob, row: int, columns: list[int]) -> Tiles:
    with job.timer.of(READING):
        images, bad = job.reader.batch(row, columns)
    return row, columns, images, bad


def _infer(job: SweepJob, row: int, columns: list[int], images: np.ndarray, bad: list[int]) -> RowMaps:
    grid = job.reader.grid
    with job.timer.of(NETWORK):
        maps = job.inference(images, grid.overlap)
    for column, tile in zip(columns, maps, strict=True):
        x, y = grid.corner(row, column)
        tile.foreground[max(grid.height - y, 0) :] = False
        tile.foreground[:, max(grid.width - x, 0) :] = False
        if column in bad:
            tile.foreground[:] = False
    return row, columns, maps, bad


class _MapBuffer:
    """Maps in memory, and the tiles being separated."""

    def __init__(self, job: SweepJob, strip: Strip, first: int, pool: ThreadPoolExecutor) -> None:
        self.job, self.strip, self.first, self.pool = job, strip, first, pool
        self.maps: dict[tuple[int, int], TileMaps] = {}
        self.bad: dict[int, int] = {}
        self.running: deque[Future[NucleiArrays]] = deque()

    def rows(self, coming: Iterator[RowMaps]) -> Iterator[Row]:
        """Rows in order, each one row late: its last tiles are long finished by then."""
        todo = deque(self.job.batches(self.strip, self.first))
        late: deque[tuple[int, list[Future[NucleiArrays]]]] = deque()
        for row in range(max(self.first - 1, 0), len(self.job.needed) + 1):
            futures: list[Future[NucleiArrays]] = []
            above = self._to_separate(row - 1)
            while todo and todo[0][0] == row:
                todo.popleft()
                reached = self._take(next(coming))
                futures += self._separate(row - 1, above, reached - 1)
            futures += self._separate(row - 1, above, self.job.needed.shape[1])
            self._forget(row - 1)
            if row - 1 >= self.first:
                late.append((row - 1, futures))
            if len(late) > 1:
                yield self._row(*late.popleft())
        while late:
            yield self._row(*late.popleft())

    def _to_separate(self, row: int) -> deque[int]:
        """Columns of a row, without the neighbouring strips', that are to be separated."""
        if row < self.first:
            return deque()
        strip = self.strip
        return deque((np.flatnonzero(self.job.needed[row, strip.begin : strip.end]) + strip.begin).tolist())

    def _take(self, batch: RowMaps) -> int:
        """Keep a batch's maps; the last column they reach."""
        row, columns, maps, bad = batch
        self.maps.update({(row, column): tile for column, tile in zip(columns, maps, strict=True)})
        self.bad[row] = self.bad.get(row, 0) + sum(self.strip.begin <= c < self.strip.end for c in bad)
        self.job.progress.update(len(columns))
        return columns[-1]

    def _separate(self, row: int, columns: deque[int], reached: int) -> list[Future[NucleiArrays]]:
        """Start the tiles of a row whose neighbours below reach to `reached`; drop the maps behind them."""
        futures = []
        while columns and columns[0] <= reached:
            column = columns.popleft()
            near = {
                (dy, dx): self.maps[row + dy, column + dx]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (row + dy, column + dx) in self.maps
            }
            futures.append(self.pool.submit(self._tile, near, row, column))
            self.running.append(futures[-1])
            if (row, column - 1) in self.maps:
                self.maps[row, column - 1] = self.maps[row, column - 1].lower()
            # Bounds the windows in memory: a finished one is awaited before the next is started.
            while len(self.running) > 2 * self.job.threads:
                self.running.popleft().result()
        return futures

    def _tile(self, near: dict[tuple[int, int], TileMaps], row: int, column: int) -> NucleiArrays:
        job, grid = self.job, self.job.reader.grid
        with job.timer.of(SEPARATION):
            return separate_tile(near, grid.corner(row, column), grid.core, job.separation, job.region)

    def _forget(self, row: int) -> None:
        """Drop the maps above a row, and all but the lower rows of the row itself."""
        self.maps = {key: maps.lower() if key[0] == row else maps for key, maps in self.maps.items() if key[0] >= row}

    def _row(self, row: int, futures: list[Future[NucleiArrays]]) -> Row:
        return Row(row, [future.result() for future in futures], len(futures), self.bad.pop(row, 0))
