"""A strip of a slide swept from top to bottom: reading, network and separation side by side, a row of maps in memory.

While the network works on a batch of tiles, the next batches are read and the cells whose neighbours all have their
maps are separated, in threads that leave the interpreter to the others. Of a row of maps only what the row below needs
is kept. Batches never hold tiles of two rows, so that a run that goes on after a stop sees the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from stnuclei.patches.prefetch import ahead
from stnuclei.prediction.inference import Inference
from stnuclei.prediction.instances import Separation, separate_cell
from stnuclei.prediction.maps import CellMaps
from stnuclei.prediction.nuclei_arrays import FoundNuclei
from stnuclei.prediction.reading import TileReader
from stnuclei.prediction.search_region import SearchArea
from stnuclei.prediction.tiles import Strip
from stnuclei.prediction.timing import NETWORK, READING, SEPARATION, Stages
from stnuclei.progress import Progress


@dataclass(frozen=True)
class Job:
    """All that sweeping needs.

    Parameters
    ----------
    reader, inference
        Where tiles and maps come from.
    cells
        (rows, columns) bool: cells that are needed.
    area, how
        Whose nuclei are wanted; how they are separated.
    batch_size, threads
        See `SlideSettings`.
    stages, progress
        Told what is done.
    """

    reader: TileReader
    inference: Inference
    cells: np.ndarray
    area: SearchArea
    how: Separation
    batch_size: int
    threads: int
    stages: Stages
    progress: Progress

    def batches(self, strip: Strip, first: int) -> Iterator[tuple[int, list[int]]]:
        """Row and columns of each batch, from the row before `first` on, with a column more on each side."""
        begin, end = max(strip.begin - 1, 0), min(strip.end + 1, self.cells.shape[1])
        for row in range(max(first - 1, 0), len(self.cells)):
            columns = (np.flatnonzero(self.cells[row, begin:end]) + begin).tolist()
            for k in range(0, len(columns), self.batch_size):
                yield row, columns[k : k + self.batch_size]


@dataclass(frozen=True)
class Row:
    """What was found in a row of a strip: `nuclei` of each cell, how many cells, how many of them damaged."""

    number: int
    nuclei: list[FoundNuclei]
    tiles: int
    damaged: int


def sweep(job: Job, strip: Strip, first: int) -> Iterator[Row]:
    """Rows of a strip from `first` on, in order."""
    pool = ThreadPoolExecutor(job.threads, thread_name_prefix="stnuclei-separate")
    batches = ahead(lambda batch: _read(job, *batch), job.batches(strip, first), readers(job.threads))
    maps = ahead(lambda tiles: _infer(job, *tiles), batches, len(job.inference.networks))
    try:
        with closing(batches), closing(maps):
            yield from _Canvas(job, strip, first, pool).rows(maps)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def readers(threads: int) -> int:
    """How many threads read tiles."""
    return max(1, min(4, threads // 2))


Tiles = tuple[int, list[int], np.ndarray, list[int]]
RowMaps = tuple[int, list[int], list[CellMaps], list[int]]


def _read(job: Job, row: int, columns: list[int]) -> Tiles:
    with job.stages.of(READING):
        images, bad = job.reader.batch(row, columns)
    return row, columns, images, bad


def _infer(job: Job, row: int, columns: list[int], images: np.ndarray, bad: list[int]) -> RowMaps:
    grid = job.reader.grid
    with job.stages.of(NETWORK):
        maps = job.inference(images, grid.overlap)
    for column, one in zip(columns, maps, strict=True):
        x, y = grid.corner(row, column)
        one.foreground[max(grid.height - y, 0) :] = False
        one.foreground[:, max(grid.width - x, 0) :] = False
        if column in bad:
            one.foreground[:] = False
    return row, columns, maps, bad


class _Canvas:
    """The maps in memory, and the cells being separated."""

    def __init__(self, job: Job, strip: Strip, first: int, pool: ThreadPoolExecutor) -> None:
        self.job, self.strip, self.first, self.pool = job, strip, first, pool
        self.maps: dict[tuple[int, int], CellMaps] = {}
        self.bad: dict[int, int] = {}
        self.running: deque[Future[FoundNuclei]] = deque()

    def rows(self, coming: Iterator[RowMaps]) -> Iterator[Row]:
        """Rows in order, each one row late: its last cells are then long done."""
        todo = deque(self.job.batches(self.strip, self.first))
        late: deque[tuple[int, list[Future[FoundNuclei]]]] = deque()
        for row in range(max(self.first - 1, 0), len(self.job.cells) + 1):
            futures: list[Future[FoundNuclei]] = []
            above = self._own(row - 1)
            while todo and todo[0][0] == row:
                todo.popleft()
                reached = self._take(next(coming))
                futures += self._separate(row - 1, above, reached - 1)
            futures += self._separate(row - 1, above, self.job.cells.shape[1])
            self._forget(row - 1)
            if row - 1 >= self.first:
                late.append((row - 1, futures))
            if len(late) > 1:
                yield self._row(*late.popleft())
        while late:
            yield self._row(*late.popleft())

    def _own(self, row: int) -> deque[int]:
        """The strip's own cells of a row that are to be separated."""
        if row < self.first:
            return deque()
        strip = self.strip
        return deque((np.flatnonzero(self.job.cells[row, strip.begin : strip.end]) + strip.begin).tolist())

    def _take(self, batch: RowMaps) -> int:
        """Keep a batch's maps; the last column they reach."""
        row, columns, maps, bad = batch
        self.maps.update({(row, column): one for column, one in zip(columns, maps, strict=True)})
        self.bad[row] = self.bad.get(row, 0) + sum(self.strip.begin <= c < self.strip.end for c in bad)
        self.job.progress.update(len(columns))
        return columns[-1]

    def _separate(self, row: int, cells: deque[int], reached: int) -> list[Future[FoundNuclei]]:
        """Begin with the cells of a row whose neighbours below reach to `reached`; make room behind them."""
        futures = []
        while cells and cells[0] <= reached:
            column = cells.popleft()
            near = {
                (dy, dx): self.maps[row + dy, column + dx]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (row + dy, column + dx) in self.maps
            }
            futures.append(self.pool.submit(self._cell, near, row, column))
            self.running.append(futures[-1])
            if (row, column - 1) in self.maps:
                self.maps[row, column - 1] = self.maps[row, column - 1].lower()
            while len(self.running) > 2 * self.job.threads:
                self.running.popleft().result()
        return futures

    def _cell(self, near: dict[tuple[int, int], CellMaps], row: int, column: int) -> FoundNuclei:
        job, grid = self.job, self.job.reader.grid
        with job.stages.of(SEPARATION):
            return separate_cell(near, grid.corner(row, column), grid.core, job.how, job.area)

    def _forget(self, row: int) -> None:
        """Let go of what is above a row, and of all but the lower part of the row itself."""
        self.maps = {key: maps.lower() if key[0] == row else maps for key, maps in self.maps.items() if key[0] >= row}

    def _row(self, row: int, futures: list[Future[FoundNuclei]]) -> Row:
        return Row(row, [future.result() for future in futures], len(futures), self.bad.pop(row, 0))
