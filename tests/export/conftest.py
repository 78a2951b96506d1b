"""A slide of pixels, its nuclei and its tissue map."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from export import made_nuclei as made
from stnuclei.quality.tissue_map import TissueMap

HEIGHT, WIDTH, UM = 900, 1200, 0.25


@pytest.fixture
def segmented(tmp_path) -> Path:
    """Give a folder as the slide engine leaves it: 500 nuclei, tissue on the left three quarters of the slide."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(180, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "slide.tif",
        pixels,
        tile=(256, 256),
        photometric="rgb",
        resolution=(1e4 / UM, 1e4 / UM),
        resolutionunit="CENTIMETER",
    )
    out = tmp_path / "out"
    out.mkdir()
    centers = made.grid(500, step=32.0, width=25) + 10
    made.write(
        out / "nuclei.parquet",
        made.outlines(centers),
        1 + (centers[:, 0] // 200).astype(int) % 5,
        um_per_px=UM,
        size=(HEIGHT, WIDTH),
        slide="slide",
        slide_path=str(tmp_path / "slide.tif"),
        tissue_mm2=HEIGHT * WIDTH * 0.75 * UM**2 / 1e6,
    )
    classes = np.zeros((30, 40), np.uint8)
    classes[:, :30] = 1
    TissueMap(classes, 30 * UM, 30.0).save(out / "tissue.tif")
    return out
