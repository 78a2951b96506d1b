"""The network's maps, tile by tile, put together into windows that all show the same slide.

Each cell's maps come from the middle of its own tile, so every pixel of the slide has one value whoever looks at it:
two windows that both see a nucleus see the same nucleus. That is what lets nuclei be shared out without loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stnuclei.prediction.tiles import MARGIN


@dataclass(frozen=True)
class CellMaps:
    """Maps of a cell, or of its lower part.

    Parameters
    ----------
    foreground
        (h, w) bool, False outside the slide.
    hv
        (2, h, w) float32.
    types
        (C, h, w) float16 class probabilities: half the memory, and their third digit is kept.
    """

    foreground: np.ndarray
    hv: np.ndarray
    types: np.ndarray

    def lower(self) -> CellMaps:
        """Copy of the last `MARGIN` rows: all that the row of cells below needs."""
        return CellMaps(*(part[..., -MARGIN:, :].copy() for part in (self.foreground, self.hv, self.types)))


Neighbours = Mapping[tuple[int, int], CellMaps]


def window(neighbours: Neighbours, core: int) -> CellMaps:
    """Maps of a cell and `MARGIN` px around it.

    Parameters
    ----------
    neighbours
        (row, column) steps from the cell, (0, 0) being itself -> maps; those without tissue are missing and count as
        empty.
    core
        Side of a cell.

    Returns
    -------
    Maps of side ``core + 2 * MARGIN``.
    """
    side, channels = core + 2 * MARGIN, len(neighbours[0, 0].types)
    out = CellMaps(
        np.zeros((side, side), bool),
        np.zeros((2, side, side), np.float32),
        np.zeros((channels, side, side), np.float16),
    )
    to = {-1: slice(0, MARGIN), 0: slice(MARGIN, MARGIN + core), 1: slice(MARGIN + core, None)}
    # The cell above may be cut to its lower rows: counted from the end.
    of = {-1: slice(-MARGIN, None), 0: slice(None), 1: slice(0, MARGIN)}
    for (dy, dx), maps in neighbours.items():
        for whole, part in zip(
            (out.foreground, out.hv, out.types), (maps.foreground, maps.hv, maps.types), strict=True
        ):
            whole[..., to[dy], to[dx]] = part[..., of[dy], of[dx]]
    return out
