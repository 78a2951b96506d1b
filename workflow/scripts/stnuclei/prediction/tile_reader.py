"""Reader of a slide's tiles at the network's pixel size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.errors import UserError
from stnuclei.prediction.tiles import TileGrid
from stnuclei.slides.regions import read_region
from stnuclei.slides.slide import WHITE, SlideOrArray


@dataclass(frozen=True)
class TileReader:
    """Reader of the tiles of a grid.

    Parameters
    ----------
    slide
        (Y, X, 3) uint8, read by slices.
    ratio
        he_px along a network pixel; tiles are area means of the full resolution (see `stnuclei.slides.regions`).
    grid
        The tiles.
    damaged
        ``stop`` or ``skip``.
    """

    slide: SlideOrArray
    ratio: float
    grid: TileGrid
    damaged: str = "stop"

    def batch(self, row: int, columns: list[int]) -> tuple[np.ndarray, list[int]]:
        """Tiles of a row.

        Returns
        -------
        (n, tile, tile, 3) uint8, white outside the slide, and the columns that could not be decoded (white as well).

        Raises
        ------
        UserError
            At the first tile that cannot be decoded, with its position, unless such tiles are skipped.
        """
        images = np.empty((len(columns), self.grid.tile, self.grid.tile, 3), np.uint8)
        bad: list[int] = []
        for first, last in _runs(columns):
            try:
                self._read_run(row, columns[first:last], images[first:last])
            except UserError:
                bad += self._read_singly(row, columns[first:last], images[first:last])
        return images, bad

    def at(self, x: int, y: int) -> np.ndarray | None:
        """Read the tile (tile, tile, 3) whose top-left corner (network pixels) is anywhere; None where it is skipped.

        Raises
        ------
        UserError
            As `batch`.
        """
        try:
            return read_region(self.slide, x, y, self.grid.tile, self.grid.tile, self.ratio)
        except UserError as error:
            self._skip_or_stop(error)
            return None

    def _skip_or_stop(self, error: UserError) -> None:
        """Stop at a damaged tile, or say that it is left out."""
        if self.damaged == "stop":
            raise UserError(f"{error}, or leave such tiles out with damaged: skip") from error
        print(f"left out: {error}", flush=True)

    def _read_run(self, row: int, columns: list[int], images: np.ndarray) -> None:
        """Read neighbouring tiles at once: their overlaps, and the file's tiles, are decoded once."""
        grid = self.grid
        x, y = grid.corner(row, columns[0])
        width = (len(columns) - 1) * grid.core + grid.tile
        block = read_region(self.slide, x - grid.overlap, y - grid.overlap, width, grid.tile, self.ratio)
        for k, image in enumerate(images):
            image[:] = block[:, k * grid.core : k * grid.core + grid.tile]

    def _read_singly(self, row: int, columns: list[int], images: np.ndarray) -> list[int]:
        bad: list[int] = []
        for k, column in enumerate(columns):
            try:
                self._read_run(row, [column], images[k : k + 1])
            except UserError as error:
                self._skip_or_stop(error)
                images[k], bad = WHITE, [*bad, column]
        return bad


def _runs(columns: list[int]) -> list[tuple[int, int]]:
    """Stretches of neighbouring columns, as positions in the list."""
    breaks = [k for k in range(1, len(columns)) if columns[k] != columns[k - 1] + 1]
    return list(zip([0, *breaks], [*breaks, len(columns)], strict=True))
