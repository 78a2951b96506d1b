"""MERSCOPE output folders, through spatialdata_io."""

from __future__ import annotations

import numpy as np

from stnuclei.errors import UserError
from stnuclei.io.alignment import scale_of
from stnuclei.io.elements import Elements
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.raw_folders import build_aligned, read_folder
from stnuclei.io.sample import Sample

_TRANSFORM = "images/micron_to_mosaic_pixel_transform.csv"
_NEEDED = ("cell_by_gene.csv", "cell_metadata.csv", "cell_boundaries.parquet", _TRANSFORM)


def read_merscope(given: SampleInputs) -> Sample:
    """Read a MERSCOPE region's folder; the alignment takes H&E px to pixels of its mosaic.

    Its outlines are taken as nuclei: they are where the run was segmented by DAPI; of cell outlines the sample's own
    checks (area, distance) may pass, and the training then learns cells.
    """
    data = read_folder(given.path, "merscope", _NEEDED, transcripts=False, mosaic_images=False)
    path = given.path / _TRANSFORM
    to_mosaic = np.genfromtxt(path)
    if to_mosaic.shape != (3, 3) or not np.isfinite(to_mosaic).all() or scale_of(to_mosaic) <= 0:
        raise UserError(f"{path}: is no 3x3 matrix from um to mosaic pixels; copy it from the run's output folder")
    elements = Elements(None, (next(iter(data.shapes)),), "shapes", "table")
    files = [given.path / name for name in _NEEDED]
    return build_aligned(given, data, elements, to_mosaic, files)
