"""A slide swept once in tile order, at the resolution that is needed, block by block of a coarse map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stnuclei.slides import Slide


def read_um(
    slide: Slide, um_per_px: float, target: float, x: float, y: float, width: int, height: int
) -> tuple[np.ndarray, float]:
    """Read a region near a wanted pixel size, without resampling by fractions.

    Parameters
    ----------
    slide
        The slide.
    um_per_px
        Its pixel size.
    target
        Wanted pixel size, um; what comes is between 1/sqrt(2) and sqrt(2) times that where the slide is fine enough.
    x, y
        Top-left corner, he_px.
    width, height
        Wanted size, pixels of the size that comes.

    Returns
    -------
    (height, width, 3) float32, white outside the slide, and how many he_px a pixel of it is wide.
    """
    level, mean = plan(slide, um_per_px, target)
    scale = slide.downsample(level) * mean
    x0, y0 = round(x / slide.downsample(level)), round(y / slide.downsample(level))
    pixels = slide.read(level, y0, y0 + height * mean, x0, x0 + width * mean)
    return block_mean(pixels, mean), scale


def plan(slide: Slide, um_per_px: float, target: float) -> tuple[int, int]:
    """Level to read, and pixels to average along each side, for a pixel of about `target` um."""
    level = slide.level_for(max(target / um_per_px, 1.0))
    return level, max(round(target / (um_per_px * slide.downsample(level))), 1)


def block_mean(pixels: np.ndarray, n: int) -> np.ndarray:
    """Mean over n x n blocks of (y, x, 3), float32."""
    if n == 1:
        return pixels.astype(np.float32)
    height, width = pixels.shape[0] // n, pixels.shape[1] // n
    blocks = pixels[: height * n, : width * n].reshape(height, n, width, n, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


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
    level, mean = plan(slide, um_per_px, target)
    fine = slide.downsample(level) * mean  # he_px a working pixel is wide
    coarse = block_um / um_per_px  # he_px a map pixel is wide
    rows, columns = (edges(side, fine, coarse) for side in slide.shape[:2])
    step = max(int(1536 * fine / coarse), 1)
    for r in range(0, len(rows) - 1, step):
        y = rows[r : r + step + 1]
        for c in range(0, len(columns) - 1, step):
            x = columns[c : c + step + 1]
            bounds = ((y[0] - margin) * mean, (y[-1] + margin) * mean, (x[0] - margin) * mean, (x[-1] + margin) * mean)
            yield r, c, block_mean(slide.read(level, *map(int, bounds)), mean), y - y[0] + margin, x - x[0] + margin


def edges(length: int, fine: float, coarse: float) -> np.ndarray:
    """Where map pixels begin, in working pixels, the end included (n + 1,) int64."""
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
