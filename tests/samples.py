"""Samples in memory, of arrays that a test makes up."""

import geopandas as gpd
import numpy as np
from anndata import AnnData

from stnuclei.io import Sample
from stnuclei.slides import Slide


class PixelSlide(Slide):
    """A slide in memory."""

    def __init__(self, pixels, path):
        self.pixels, self.path, self.levels = pixels, path, (pixels.shape[:2],)
        self.stated_um, self.info = {}, {}

    def _read(self, level, y0, y1, x0, x1):
        return self.pixels[y0:y1, x0:x1]


def noise(height, width, random) -> np.ndarray:
    """Pixels (height, width, 3) uint8 without any structure."""
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_sample(name, pixels, table: AnnData, geometry, owner, um_per_px=0.25) -> Sample:
    """Sample with outlines `geometry` of the cells `owner` (None: of no cell)."""
    nuclei = gpd.GeoDataFrame({"cell_id": owner}, geometry=geometry)
    return Sample(name, table, nuclei, PixelSlide(pixels, f"{name}.tif"), um_per_px, "Breast")
