"""Region of a slide that is searched for nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stnuclei.errors import UserError
from stnuclei.prediction.tiles import MARGIN, TileGrid
from stnuclei.quality.tissue_map import BLURRED, TISSUE, TissueMap

#: Nuclei are kept this far outside the tissue: the map's edge is no sharper.
AROUND_UM = 16.0


@dataclass(frozen=True)
class SearchRegion:
    """Part of a slide that is searched; does not depend on tiles.

    Parameters
    ----------
    wanted
        (H, W) bool map of the tissue and its surroundings, None where everything is searched.
    he_px_per_px
        he_px along a pixel of the map.
    box
        x0, y0, x1, y1 he_px: a nucleus counts where its centroid lies inside.
    mm2
        Tissue (blurred tissue included) inside the box; without a map the box's area.
    """

    wanted: np.ndarray | None
    he_px_per_px: float
    box: tuple[float, float, float, float]
    mm2: float

    @classmethod
    def of(
        cls, width: int, height: int, um_per_px: float, tissue: TissueMap | None, region: Sequence[float] | None
    ) -> SearchRegion:
        """From the slide's size (he_px), its tissue map (None: everything) and a region x0, y0, x1, y1 (he_px).

        Raises
        ------
        UserError
            If the region lies outside the slide, has no area, or the area holds no tissue.
        """
        box = _box(width, height, region)
        if tissue is None:
            return cls(None, 1.0, box, (box[2] - box[0]) * (box[3] - box[1]) * um_per_px**2 / 1e6)
        is_tissue = np.isin(tissue.classes, (TISSUE, BLURRED))
        scale = tissue.he_px_per_px
        inside = is_tissue[_slices(box, scale)]
        if not inside.any():
            raise UserError("prediction: the slide or region to segment holds no tissue; give another one")
        reach = int(np.ceil(AROUND_UM / tissue.um_per_px))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
        wanted = cv2.dilate(is_tissue.astype(np.uint8), disc).astype(bool)
        return cls(wanted, scale, box, float(inside.sum()) * (scale * um_per_px) ** 2 / 1e6)

    def contains(self, xy: np.ndarray) -> np.ndarray:
        """Mask of the points (n, 2) he_px that lie inside, (n,) bool."""
        x, y = np.asarray(xy, np.float64).T
        inside = (x >= self.box[0]) & (y >= self.box[1]) & (x < self.box[2]) & (y < self.box[3])
        if self.wanted is not None:
            row, column = (np.floor(v / self.he_px_per_px).astype(np.int64) for v in (y, x))
            height, width = self.wanted.shape
            # The map's last pixel may end before the slide does.
            inside &= self.wanted[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return inside

    def needed_tiles(self, grid: TileGrid, ratio: float) -> np.ndarray:
        """Tiles of a grid that are needed, (rows, columns) bool.

        Parameters
        ----------
        grid
            In network pixels.
        ratio
            he_px along a network pixel.

        Returns
        -------
        Those within the margin of the region: every nucleus in it is then seen with its surroundings.
        """
        out = np.zeros((grid.rows, grid.columns), bool)
        for row, column in np.ndindex(out.shape):
            x, y = grid.corner(row, column)
            reach = (x - MARGIN, y - MARGIN, x + grid.core + MARGIN, y + grid.core + MARGIN)
            out[row, column] = self.touches(*(v * ratio for v in reach))
        return out

    def touches(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """True if a box (he_px) holds any of the region."""
        box = (max(x0, self.box[0]), max(y0, self.box[1]), min(x1, self.box[2]), min(y1, self.box[3]))
        if box[0] >= box[2] or box[1] >= box[3]:
            return False
        return self.wanted is None or bool(self.wanted[_slices(box, self.he_px_per_px)].any())

    def fraction(self, x0: float, y0: float, x1: float, y1: float) -> float:
        """Fraction of a box (he_px) that is searched, to the map's pixel."""
        if not self.touches(x0, y0, x1, y1):
            return 0.0
        return 1.0 if self.wanted is None else float(self.wanted[_slices((x0, y0, x1, y1), self.he_px_per_px)].mean())


def _slices(box: Sequence[float], scale: float) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (v / scale for v in box)
    x0, y0 = int(max(x0, 0)), int(max(y0, 0))
    return slice(y0, max(int(np.ceil(y1)), y0 + 1)), slice(x0, max(int(np.ceil(x1)), x0 + 1))


def _box(width: int, height: int, region: Sequence[float] | None) -> tuple[float, float, float, float]:
    if region is None:
        return (0.0, 0.0, float(width), float(height))
    if len(region) != 4:
        raise UserError(f"prediction.region: {list(region)} are not the four numbers x0, y0, x1, y1")
    x0, y0, x1, y1 = (float(v) for v in region)
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UserError(
            f"prediction.region: x {x0:g}-{x1:g}, y {y0:g}-{y1:g} holds nothing of the slide ({width} x {height} px); "
            "give x0, y0, x1, y1 in full-resolution pixels"
        )
    return box
