"""Slides in zarr stores: the multiscale images of SpatialData and OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr

from stnuclei.errors import UserError
from stnuclei.slides.slide import PLAUSIBLE_UM, Slide

#: Decoded chunks kept for the next region, bytes.
_CACHE_BYTES = 1 << 26


class StoreSlide(Slide):
    """The pyramid of an RGB or RGBA image (c, y, x) inside a store, ours or another of SpatialData (zarr v2 or v3).

    Parameters
    ----------
    group
        Folder of the multiscale image, ``<store>/images/<name>``.
    """

    def __init__(self, group: Path) -> None:
        self.path = group
        try:
            self._open(group)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as error:
            # Stores come from strangers: missing or foreign metadata, codecs that nobody here has or wants (pickle).
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            raise UserError(f"{group}: is no OME-Zarr image that can be read ({reason}); export it again") from error

    def _open(self, group: Path) -> None:
        multiscale: Any = zarr.open_group(group, mode="r")  # attributes are free JSON
        # OME-Zarr 0.5 keeps its entries under `ome`, 0.4 beside the others.
        described = multiscale.attrs.get("ome", multiscale.attrs)
        datasets = described["multiscales"][0]["datasets"]
        self._arrays = [multiscale[dataset["path"]] for dataset in datasets]
        self.levels = tuple(array.shape[1:] for array in self._arrays)
        self.channels, self.stored_dtype = self._arrays[0].shape[0], np.dtype(self._arrays[0].dtype)
        # Of RGBA the colours; an image of other channels is read whole, so that its readers can refuse it.
        self._colours = slice(0, 3) if self.channels == 4 else slice(None)
        self.stated_um = _stated_um(described["multiscales"][0])
        self.info = {"library": f"zarr {zarr.__version__}", "chunks": list(self._arrays[0].chunks)}
        context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
        self._readers = [
            _reader(group / dataset["path"], array, context)
            for dataset, array in zip(datasets, self._arrays, strict=True)
        ]

    def check_shards(self) -> None:
        """Refuse an image of ours that lost files: zarr reads what is absent as glass.

        Raises
        ------
        UserError
            If a level has fewer files than shards.
        """
        for array in self._arrays:
            folder = self.path / array.basename / "c"
            wanted = int(np.prod([-(-n // s) for n, s in zip(array.shape, array.shards or array.chunks, strict=True)]))
            found = sum(path.is_file() for path in folder.rglob("*"))
            if found < wanted:
                raise UserError(f"{folder}: {wanted - found} of {wanted} files are lost; run read_sample again")

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        reader = self._readers[level]
        if isinstance(reader, zarr.Array):
            return np.asarray(reader[self._colours, y0:y1, x0:x1]).transpose(1, 2, 0)
        pixels = reader[self._colours, y0:y1, x0:x1].transpose([1, 2, 0])
        return np.asarray(pixels.read(order="C").result())


def _reader(path: Path, array: zarr.Array, context: ts.Context) -> ts.TensorStore | zarr.Array:
    """Array of zarr v3 through tensorstore: several threads read at once, for two thirds of zarr-python's CPU time."""
    if array.metadata.zarr_format != 3:
        return array
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "recheck_cached_data": "open"}
    try:
        return ts.open(spec, read=True, context=context).result()
    except ValueError:  # a codec that tensorstore has not: zarr-python reads it, or says why not
        return array


def _stated_um(multiscale: dict[str, Any]) -> dict[str, float]:
    """Size of a pixel where the axes are in micrometers; spatialdata itself writes them without a unit."""
    axes = {axis["name"]: axis for axis in multiscale.get("axes", []) if isinstance(axis, dict)}
    scales = [
        steps["scale"]
        for steps in multiscale["datasets"][0].get("coordinateTransformations", [])
        if steps.get("type") == "scale"
    ]
    if axes.get("x", {}).get("unit") not in ("micrometer", "micron", "um") or not scales:
        return {}
    um = float(scales[0][list(axes).index("x")])
    return {"OME-Zarr scale": um} if PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1] else {}
