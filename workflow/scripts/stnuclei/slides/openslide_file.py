"""Slides of scanner formats through openslide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide

from stnuclei.errors import UserError
from stnuclei.slides.slide import PLAUSIBLE_UM, Slide


class OpenslideSlide(Slide):
    """A slide of any format openslide knows.

    Raises
    ------
    UserError
        If openslide does not know it or cannot open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise UserError(f"{path}: neither tifffile nor openslide knows this format; export a tiled TIFF") from error
        except openslide.OpenSlideError as error:
            raise UserError(f"{path}: openslide cannot open it ({str(error)[:120]}); copy the slide again") from error
        self.levels = tuple((height, width) for width, height in self._slide.level_dimensions)
        mpp = self._slide.properties.get(openslide.PROPERTY_NAME_MPP_X)
        size = float(mpp) if mpp else 0.0
        self.stated_um = {"openslide.mpp-x": size} if PLAUSIBLE_UM[0] <= size <= PLAUSIBLE_UM[1] else {}
        vendor = self._slide.properties.get(openslide.PROPERTY_NAME_VENDOR)
        self.info = {"library": f"openslide {openslide.__library_version__}", "vendor": vendor}

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        scale = self._slide.level_downsamples[level]
        corner = (round(x0 * scale), round(y0 * scale))
        rgba = np.asarray(self._slide.read_region(corner, level, (x1 - x0, y1 - y0)))
        # Where the scanner saw nothing openslide gives transparent black; glass is white.
        return np.where(rgba[..., 3:] == 0, np.uint8(255), rgba[..., :3])

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
