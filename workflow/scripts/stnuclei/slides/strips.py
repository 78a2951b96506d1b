"""Sweep of a slide in tile order at a working pixel size, aligned to the pixels of a coarse map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stnuclei.slides.regions import block_mean, level_and_block
from stnuclei.slides.slide import Slide


def strips(
    slide: Slide, um_per_px: float, target: float, block_um: float, margin: int = 4
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
    """Sweep the slide in tiles that are whole numbers of map pixels.

    Parameters
    ----------
    slide, um_per_px
        The slide and its pixel size.
    target
        Pixel size to work at, um.
    block_um
        Pixel size of the map.
    margin
        Pixels around each tile that filters may look at.

    Yields
    ------
    First map row and column of the tile; its pixels (y, x, 3) float32 with the margin; the rows and the columns of
    it at which map pixels begin, ending with where the last ends.
    """
    level, n = level_and_block(slide, target / um_per_px)
    fine = slide.downsample(level) * n  # he_px a working pixel is wide
    coarse = block_um / um_per_px  # he_px a map pixel is wide
    rows, columns = (edges(side, fine, coarse) for side in slide.shape[:2])
    step = max(int(1536 * fine / coarse), 1)
    for r in range(0, len(rows) - 1, step):
        y = rows[r : r + step + 1]
        for c in range(0, len(columns) - 1, step):
            x = columns[c : c + step + 1]
            bounds = ((y[0] - margin) * n, (y[-1] + margin) * n, (x[0] - margin) * n, (x[-1] + margin) * n)
            yield r, c, block_mean(slide.read(level, *map(int, bounds)), n), y - y[0] + margin, x - x[0] + margin


def edges(length: int, fine: float, coarse: float) -> np.ndarray:
    """First working pixel of each map pixel, the end included (n + 1,) int64."""
    n = int(np.ceil(length / coarse))
    marks = np.rint(np.arange(n + 1) * coarse / fine).astype(np.int64)
    marks[-1] = max(int(length / fine), marks[-2] + 1)
    return marks


def bin_mean(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Mean of (y, x, ...) over each map pixel, (len(rows) - 1, len(columns) - 1, ...)."""
    inner = values[rows[0] : rows[-1], columns[0] : columns[-1]]
    sums = np.add.reduceat(np.add.reduceat(inner, rows[:-1] - rows[0], axis=0), columns[:-1] - columns[0], axis=1)
    area = np.outer(np.diff(rows), np.diff(columns))
    return sums / area.reshape(area.shape + (1,) * (values.ndim - 2))
