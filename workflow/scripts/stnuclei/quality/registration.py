"""Per-tile registration of nuclei to the haematoxylin channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stnuclei.io.sample import Sample
from stnuclei.progress import progress
from stnuclei.quality.shift import Correlator, Shift, fit_affine, transform
from stnuclei.quality.tiles import SIDE, WORKING_UM, choose_tiles, contrast, nuclei_in, paint_tile, read_density
from stnuclei.quality.tissue_map import TissueMap

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

#: A peak lower than this many standard deviations of the rest is chance.
_SURE, _SURE_TILE = 8.0, 6.5
#: Fewer nuclei than this fraction darker than their ring cannot be nuclei on nuclei; chance is a half.
_DARKER, _CLEARLY_DARKER = 0.6, 0.85
_COARSE_UM = 6.0
#: Largest shift that is looked for, um.
REACH_UM = 40.0


@dataclass(frozen=True)
class Measured:
    """Registration of the nuclei as they lie, from all tiles."""

    tiles: pd.DataFrame
    shared: Shift
    contrast: float
    darker_fraction: float
    scale: float  # he_px along a working pixel
    um_per_px: float  # of the slide

    @property
    def shift_px(self) -> tuple[float, float]:
        """Shared shift (x, y), he_px."""
        return self.shared.x * self.scale, self.shared.y * self.scale

    @property
    def shift_um(self) -> tuple[float, float]:
        """Shared shift (x, y), um."""
        return self.shift_px[0] * self.um_per_px, self.shift_px[1] * self.um_per_px

    @property
    def affine(self) -> dict[str, Any] | None:
        """Shift of the slide by the tiles that are sure of theirs; see `fit_affine`."""
        return fit_affine(self.tiles, self.um_per_px)

    @property
    def n_nuclei(self) -> int:
        """Nuclei compared with their surroundings."""
        return int(self.tiles["n_nuclei"].sum()) if len(self.tiles) else 0


class ShiftScorer:
    """Scores nuclei on one slide, wherever they are moved to; the slide's tiles are decoded once.

    Parameters
    ----------
    sample
        The slide.
    tissue
        Only nuclei on clean tissue count; None: all.
    most, seed
        At most so many tiles (1 MB of memory each), drawn by the seed.
    """

    def __init__(self, sample: Sample, tissue: TissueMap | None, most: int, seed: int) -> None:
        self.sample, self.tissue, self.most, self.seed = sample, tissue, most, seed
        self.white = np.array(tissue.info["glass"]) if tissue and "glass" in tissue.info else np.full(3, 245.0)
        self._densities: dict[tuple[float, float], np.ndarray] = {}

    def density(self, corner: np.ndarray) -> np.ndarray:
        """Haematoxylin density of a tile, (SIDE, SIDE) float32."""
        key = (float(corner[0]), float(corner[1]))
        if key not in self._densities:
            if len(self._densities) >= 2 * self.most:
                self._densities.clear()
            self._densities[key] = read_density(self.sample, corner, self.white)
        return self._densities[key]

    def measure(self, nuclei: GeoDataFrame) -> Measured:
        """Measure contrast and shift of nuclei (he_px)."""
        grid = choose_tiles(self.sample, nuclei, self.tissue, self.most, self.seed)
        polygons = nuclei.geometry.to_numpy()
        correlator = Correlator(SIDE, _COARSE_UM / WORKING_UM)
        um = grid.scale * self.sample.um_per_px
        rows = []
        for corner in progress(grid.corners, label="tiles looked at", unit="tiles"):
            labels = paint_tile(polygons[nuclei_in(nuclei, corner, grid.side)], corner, grid.scale)
            difference, darker, n = contrast(labels, self.density(corner))
            shift = correlator.add((labels > 0).astype(np.float32), self.density(corner))
            rows.append((*(corner + grid.side / 2), n, difference, darker, shift.x * um, shift.y * um, shift.certainty))
        shared = correlator.shift(int(REACH_UM / WORKING_UM)) if rows else Shift(0.0, 0.0, 0.0)
        return _summed(rows, shared, grid.scale, self.sample.um_per_px)

    def moved(self, matrix: np.ndarray) -> Measured:
        """Measure the sample's nuclei moved by an affine (3, 3), he_px -> he_px."""
        return self.measure(transform(self.sample.nuclei, matrix))

    def best(self, measured: Measured) -> Measured:
        """The nuclei where they would fit best: as they lie, shifted, or moved by the affine their tiles agree on.

        Edges of tissue make peaks too; only where nuclei become darker than their surroundings is a shift one of
        nuclei.
        """
        if measured.darker_fraction >= _CLEARLY_DARKER or not len(measured.tiles):
            return measured
        tried = [self.moved(correction_of(kind, measured)) for kind in ("translation", "affine")]
        return max([measured, *tried], key=lambda candidate: candidate.darker_fraction)


def _summed(rows: list[tuple[float, ...]], shared: Shift, scale: float, um_per_px: float) -> Measured:
    names = ["x", "y", "n_nuclei", "contrast", "darker_fraction", "shift_x_um", "shift_y_um", "certainty"]
    tiles = pd.DataFrame(rows, columns=names).astype({"n_nuclei": int})
    tiles["sure"] = tiles["certainty"] >= _SURE_TILE
    weight = tiles["n_nuclei"].to_numpy()
    if not weight.sum():
        return Measured(tiles, shared, 0.0, 0.5, scale, um_per_px)
    contrast, darker = (float(np.average(tiles[name], weights=weight)) for name in ("contrast", "darker_fraction"))
    return Measured(tiles, shared, contrast, darker, scale, um_per_px)


def believable(measured: Measured, best: Measured) -> bool:
    """True if the shift that was measured is one of nuclei."""
    return measured.shared.certainty >= _SURE and best.darker_fraction >= _DARKER


def correction_of(refine: str, measured: Measured) -> np.ndarray:
    """The correction asked for; a translation where the tiles do not carry an affine."""
    affine = measured.affine
    if refine == "affine" and affine is not None:
        return np.array(affine["matrix"])
    correction = np.eye(3)
    correction[:2, 2] = measured.shift_px
    return correction
