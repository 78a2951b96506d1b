"""Range of the HV gradients, measured once for a whole slide.

The published procedure scales the gradients of the distance maps by their extremes over whatever picture it is given,
so a nucleus is cut differently in another tile. Here the extremes are measured once, on squares spread over the tissue,
and their medians hold for every nucleus of the slide: the result no longer depends on the tiling. On PanNuke-like
patches the extremes differ by about 10 % from patch to patch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from stnuclei.cellvit.postprocess import GradientRange, gradient_range
from stnuclei.cellvit.targets import hv_maps
from stnuclei.prediction.search_region import SearchRegion
from stnuclei.prediction.tile_reader import TileReader
from stnuclei.prediction.tiles import TileGrid, TileMaps
from stnuclei.progress import progress

#: Side of a square in network pixels, and the greatest number of them.
SQUARE, SQUARES = 768, 12
#: One square is measured of so many with tissue, where that makes no more than `SQUARES` and no fewer than three.
_ONE_IN = 16
_LEAST_FOREGROUND = 0.005

Infer = Callable[[np.ndarray, int], list[TileMaps]]


def calibrate(reader: TileReader, infer: Infer, region: SearchRegion, um_per_px: float) -> GradientRange:
    """Measure the gradients on three to `SQUARES` squares with much tissue, by the size of the slide.

    Parameters
    ----------
    reader
        Of the slide.
    infer
        Pictures and the crop -> maps.
    region
        Region that is searched for nuclei.
    um_per_px
        Size of a network pixel.

    Returns
    -------
    Medians of the squares' extremes; where no square shows nuclei, the extremes of ideal discs that touch.
    """
    grid = reader.grid
    ranges = []
    for x, y in progress(squares(grid, region, reader.ratio), label="measuring HV gradients", unit="squares"):
        maps = _square_maps(reader, infer, x, y)
        if maps is None:
            continue
        inside = np.s_[..., : max(grid.height - y, 1), : max(grid.width - x, 1)]
        if maps.foreground[inside].mean() >= _LEAST_FOREGROUND:
            ranges.append(gradient_range(maps.hv[inside], um_per_px))
    if not ranges:
        return ideal_range(um_per_px)
    return GradientRange(*np.median(np.array(ranges), axis=0).tolist())


def squares(grid: TileGrid, region: SearchRegion, ratio: float) -> list[tuple[int, int]]:
    """Corners (x, y) of squares to measure on, spread over those with at least half as much tissue as the fullest."""
    corners = [(x, y) for y in range(0, grid.height, SQUARE) for x in range(0, grid.width, SQUARE)]
    ends = [(min(x + SQUARE, grid.width), min(y + SQUARE, grid.height)) for x, y in corners]
    tissue = np.array(
        [
            region.fraction(*(v * ratio for v in (*corner, *end))) * (end[0] - corner[0]) * (end[1] - corner[1])
            for corner, end in zip(corners, ends, strict=True)
        ]
    )
    full = np.flatnonzero((tissue > 0) & (tissue >= tissue.max() / 2))
    count = min(SQUARES, max(len(full) // _ONE_IN, 3), len(full))
    chosen = np.unique(np.linspace(0, len(full) - 1, count).round().astype(int))
    return [corners[k] for k in full[chosen]]


def _square_maps(reader: TileReader, infer: Infer, x: int, y: int) -> TileMaps | None:
    """Maps of a square, put together from as many tiles as it takes; None where one of them is damaged."""
    grid = reader.grid
    # These tiles begin at the square's corner, not on the slide's grid.
    steps = range(0, SQUARE, grid.core)
    rows = []
    for dy in steps:
        row = []
        for dx in steps:
            image = reader.at(x + dx - grid.overlap, y + dy - grid.overlap)
            if image is None:
                return None
            row.append(infer(image[None], grid.overlap)[0])
        rows.append(_joined(row, -1))
    return _joined(rows, -2)


def _joined(pieces: list[TileMaps], axis: int) -> TileMaps:
    names = ("foreground", "hv", "types")
    whole = [np.concatenate([getattr(piece, name) for piece in pieces], axis) for name in names]
    rows = slice(0, SQUARE) if axis == -2 else slice(None)
    columns = slice(0, SQUARE) if axis == -1 else slice(None)
    foreground, hv, types = (array[..., rows, columns] for array in whole)
    return TileMaps(foreground, hv, types)


def ideal_range(um_per_px: float) -> GradientRange:
    """Gradients of three discs of 6 um, two that touch in x and two that touch in y."""
    radius = 3.0 / um_per_px
    side = int(8 * radius)
    y, x = np.mgrid[:side, :side] + 0.5
    labels = np.zeros((side, side), np.int32)
    for number, (u, v) in enumerate([(2, 2), (4, 2), (2, 4)], start=1):
        labels[(x - u * radius) ** 2 + (y - v * radius) ** 2 < radius**2] = number
    return gradient_range(hv_maps(torch.from_numpy(labels[None]))[0].numpy(), um_per_px)
