"""Slides in zarr stores: the multiscale images of SpatialData and OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from stnuclei.slides.slide import Slide


class StoreSlide(Slide):
    """The pyramid of an image (c, y, x) inside a store, ours or another of SpatialData (zarr v2 or v3).

    Parameters
    ----------
    group
        Folder of the multiscale image, ``<store>/images/<name>``.
    """

    def __init__(self, group: Path) -> None:
        self.path, self.stated_um = group, {}
        multiscale: Any = zarr.open_group(group, mode="r")  # attributes are free JSON
        # OME-Zarr 0.5 keeps its entries under `ome`, 0.4 beside the others.
        described = multiscale.attrs.get("ome", multiscale.attrs)
        datasets = described["multiscales"][0]["datasets"]
        self._arrays = [multiscale[dataset["path"]] for dataset in datasets]
        self.levels = tuple(array.shape[1:] for array in self._arrays)
        self.info = {"library": f"zarr {zarr.__version__}", "chunks": list(self._arrays[0].chunks)}

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return np.asarray(self._arrays[level][:, y0:y1, x0:x1]).transpose(1, 2, 0)
