"""`TissueMap`: a small class map of a slide that says where patches may come from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stnuclei.errors import UserError
from stnuclei.files import atomic_write

BACKGROUND, TISSUE, BLURRED, PEN = 0, 1, 2, 3
NAMES = ("background", "tissue", "blurred", "pen or artefact")
COLOURS = ("#bbbbbb", "#2ca02c", "#ff7f0e", "#d62728")


@dataclass(frozen=True)
class TissueMap:
    """Kind of each pixel of a coarse map of a slide.

    Attributes
    ----------
    classes
        (H, W) uint8: 0 background, 1 tissue, 2 blurred tissue, 3 pen mark or artefact.
    um_per_px
        Size of its pixels.
    he_px_per_px
        Slide pixels along a map pixel; map pixel (row r, column c) covers he_px x in [c, c + 1) times this.
    info
        How it was found: thresholds, glass colour, sharpness.
    overview
        (H, W, 3) uint8 mean colour, for the picture; None after loading a map without it.
    """

    classes: np.ndarray
    um_per_px: float
    he_px_per_px: float
    info: dict[str, Any] = field(default_factory=dict)
    overview: np.ndarray | None = None

    def fraction(self, tissue_class: int) -> float:
        """Fraction of the slide's area that is of a class."""
        return float(np.mean(self.classes == tissue_class))

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Class at points (n, 2) he_px, (n,) uint8; background outside the slide."""
        column, row = np.floor(np.asarray(xy) / self.he_px_per_px).astype(np.int64).T
        inside = (row >= 0) & (row < self.classes.shape[0]) & (column >= 0) & (column < self.classes.shape[1])
        out = np.zeros(len(row), np.uint8)
        out[inside] = self.classes[row[inside], column[inside]]
        return out

    def save(self, path: str | Path) -> None:
        """Write a two-page TIFF: classes (uint8, zlib), then the overview; the numbers are in its description."""
        description = {"um_per_px": self.um_per_px, "he_px_per_px": self.he_px_per_px, "classes": NAMES, **self.info}
        resolution = (1e4 / self.um_per_px, 1e4 / self.um_per_px)
        with atomic_write(path) as aside, tifffile.TiffWriter(aside) as file:
            common: dict[str, Any] = {
                "compression": "zlib",
                "resolution": resolution,
                "resolutionunit": "CENTIMETER",
                "metadata": None,
            }
            file.write(self.classes, description=json.dumps(description), photometric="minisblack", **common)
            if self.overview is not None:
                file.write(self.overview, photometric="rgb", **common)

    @classmethod
    def load(cls, path: str | Path) -> TissueMap:
        """Read what `save` wrote.

        Raises
        ------
        UserError
            If it is no such file.
        """
        try:
            with tifffile.TiffFile(path) as file:
                info = json.loads(file.pages.first.description)
                classes = file.pages[0].asarray()
                overview = file.pages[1].asarray() if len(file.pages) > 1 else None
            info.pop("classes")
            return cls(classes, float(info.pop("um_per_px")), float(info.pop("he_px_per_px")), info, overview)
        except (OSError, ValueError, KeyError, IndexError, tifffile.TiffFileError) as error:
            raise UserError(f"{path}: is no tissue map ({str(error)[:100]}); run find_tissue again") from error
