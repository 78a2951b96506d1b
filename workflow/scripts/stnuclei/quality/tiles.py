"""Tiles of a slide that the alignment is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely

from stnuclei.io.sample import Sample
from stnuclei.patches.raster import rasterize
from stnuclei.quality.stain import haematoxylin
from stnuclei.quality.tissue_map import TISSUE, TissueMap
from stnuclei.slides.regions import level_and_block, read_um

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

#: Pixel size the check works at, um.
WORKING_UM = 0.5
SIDE = 512
_RING_UM = 2.0
_RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(_RING_UM / WORKING_UM) + 1,) * 2)


@dataclass(frozen=True)
class RegistrationTiles:
    """Square tiles over a slide.

    Attributes
    ----------
    corners
        (n, 2) float64, top-left (x, y), he_px.
    scale
        he_px along a working pixel.
    """

    corners: np.ndarray
    scale: float

    @property
    def side(self) -> float:
        """Side of a tile, he_px."""
        return SIDE * self.scale


def choose_tiles(
    sample: Sample, nuclei: GeoDataFrame, tissue: TissueMap | None, most: int, seed: int
) -> RegistrationTiles:
    """Choose tiles with enough nuclei on clean tissue, spread over the slide.

    Parameters
    ----------
    sample, nuclei
        The slide, and its nuclei in he_px (perhaps moved).
    tissue
        Nuclei that lie on anything but tissue are not counted; None counts all.
    most
        At most so many tiles, drawn by `seed`.
    seed
        Of the draw.
    """
    level, n = level_and_block(sample.he, WORKING_UM / sample.um_per_px)
    scale = sample.he.downsample(level) * n
    side = SIDE * scale
    centre = shapely.get_coordinates(shapely.centroid(nuclei.geometry.to_numpy()))
    height, width = sample.he.shape[:2]
    inside = (centre >= 0).all(axis=1) & (centre < (width, height)).all(axis=1)
    if tissue is not None:
        inside &= tissue.at(centre) == TISSUE
    keys, counts = np.unique(np.floor(centre[inside] / side).astype(np.int64), axis=0, return_counts=True)
    enough = keys[counts >= min(15, max(int(np.percentile(counts, 50)), 5))] if len(keys) else keys
    if len(enough) > most:
        enough = enough[np.sort(np.random.default_rng(seed).permutation(len(enough))[:most])]
    return RegistrationTiles(enough * side, scale)


def read_density(sample: Sample, corner: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Haematoxylin density of the tile at `corner` (x, y) he_px, (SIDE, SIDE) float32; `white` is glass (3,)."""
    pixels, _ = read_um(sample.he, sample.um_per_px, WORKING_UM, corner[0], corner[1], SIDE, SIDE)
    return haematoxylin(pixels, white)


def nuclei_in(nuclei: GeoDataFrame, corner: np.ndarray, side: float) -> np.ndarray:
    """Rows of the nuclei that touch a tile."""
    box = shapely.box(corner[0], corner[1], corner[0] + side, corner[1] + side)
    return np.sort(nuclei.sindex.query(box))


def paint_tile(polygons: np.ndarray, corner: np.ndarray, scale: float) -> np.ndarray:
    """Paint polygons (he_px) into a tile, (SIDE, SIDE) int32: 0 nothing, k the (k-1)-th polygon."""
    to_tile = np.diag([1 / scale, 1 / scale, 1.0])
    to_tile[:2, 2] = -np.asarray(corner) / scale
    return rasterize(polygons, SIDE, SIDE, to_tile)


def contrast(labels: np.ndarray, density: np.ndarray) -> tuple[float, float, int]:
    """Haematoxylin inside nuclei against around them.

    Parameters
    ----------
    labels
        (SIDE, SIDE) int32, nuclei.
    density
        (SIDE, SIDE) float32.

    Returns
    -------
    Mean inside minus mean in a ring of 2 um (other nuclei left out); fraction of nuclei darker than their ring; how
    many nuclei were compared.
    """
    # The largest number within reach; which of two near nuclei gets a ring pixel does not matter.
    ring = cv2.dilate(labels.astype(np.uint16), _RING).astype(np.int32)
    ring[labels > 0] = 0
    n = int(labels.max()) + 1
    sums = [np.bincount(area.ravel(), density.ravel(), n)[1:] for area in (labels, ring)]
    sizes = [np.bincount(area.ravel(), minlength=n)[1:] for area in (labels, ring)]
    both = (sizes[0] > 0) & (sizes[1] > 0)
    if not both.any():
        return 0.0, 0.5, 0
    inside, around = (total[both] / size[both] for total, size in zip(sums, sizes, strict=True))
    weight = sizes[0][both]
    return float(np.average(inside - around, weights=weight)), float(np.mean(inside > around)), int(both.sum())
