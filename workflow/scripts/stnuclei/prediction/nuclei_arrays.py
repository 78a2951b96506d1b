"""Nuclei on their way from a window to the file: columns of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import shapely


@dataclass(frozen=True)
class FoundNuclei:
    """n nuclei.

    Parameters
    ----------
    class_id
        (n,) int8, 1..C-1.
    class_probability
        (n,) float32: share of the nucleus's pixels that have the class.
    probabilities
        (n, C) float32 mean over its pixels, background first.
    centroid
        (n, 2) float64 (x, y) he_px.
    area_um2
        (n,) float32.
    bbox
        (n, 4) int32 x0, y0, x1, y1 in network pixels of the slide, ends exclusive.
    area
        (n,) int32 network pixels.
    owned
        (n,) bool: the middle of its box lies in the cell it was found from.
    crossing
        (n,) bool: it lies on or near a border of that cell.
    geometry
        (n,) shapely polygons, he_px.
    """

    class_id: np.ndarray
    class_probability: np.ndarray
    probabilities: np.ndarray
    centroid: np.ndarray
    area_um2: np.ndarray
    bbox: np.ndarray
    area: np.ndarray
    owned: np.ndarray
    crossing: np.ndarray
    geometry: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    def take(self, rows: np.ndarray) -> FoundNuclei:
        """Those of some rows (indices or a mask)."""
        return FoundNuclei(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concat(parts: Sequence[FoundNuclei]) -> FoundNuclei:
        """All of several, in order; at least one part."""
        return FoundNuclei(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FoundNuclei)))

    @staticmethod
    def none(classes: int) -> FoundNuclei:
        """No nuclei, of so many classes (background counted)."""
        return FoundNuclei(
            np.zeros(0, np.int8),
            np.zeros(0, np.float32),
            np.zeros((0, classes), np.float32),
            np.zeros((0, 2)),
            np.zeros(0, np.float32),
            np.zeros((0, 4), np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, bool),
            np.zeros(0, bool),
            np.zeros(0, object),
        )

    def to_arrow(self, classes: Sequence[str], image: str | None = None) -> pa.Table:
        """Columns of nuclei.parquet (but the number) and, under names with a dot, what merging needs."""
        columns = {
            "class": pa.DictionaryArray.from_arrays(self.class_id.astype(np.int32), list(classes)).cast(pa.string()),
            "class_id": self.class_id,
            "class_probability": self.class_probability,
            **{f"probability_{name}": np.ascontiguousarray(self.probabilities[:, k]) for k, name in enumerate(classes)},
            "centroid_x": np.ascontiguousarray(self.centroid[:, 0]),
            "centroid_y": np.ascontiguousarray(self.centroid[:, 1]),
            "area_um2": self.area_um2,
            **({} if image is None else {"image": pa.array([image] * len(self), pa.string())}),
            "geometry": pa.array(shapely.to_wkb(self.geometry), pa.binary()),
            **{
                f".{side}": np.ascontiguousarray(self.bbox[:, k])
                for k, side in enumerate("left top right bottom".split())
            },
            ".area": self.area,
            ".owned": self.owned,
            ".crossing": self.crossing,
        }
        return pa.table(columns)

    @staticmethod
    def from_arrow(table: pa.Table, classes: Sequence[str]) -> FoundNuclei:
        """Back from what `to_arrow` gave."""

        def column(name: str, dtype: type = np.float32) -> np.ndarray:
            return table[name].to_numpy().astype(dtype, copy=False)

        def stack(names: Sequence[str], dtype: type) -> np.ndarray:
            return np.stack([column(name, dtype) for name in names], axis=1)

        return FoundNuclei(
            column("class_id", np.int8),
            column("class_probability"),
            stack([f"probability_{name}" for name in classes], np.float32),
            stack(["centroid_x", "centroid_y"], np.float64),
            column("area_um2"),
            stack([f".{side}" for side in "left top right bottom".split()], np.int32),
            column(".area", np.int32),
            column(".owned", bool),
            column(".crossing", bool),
            shapely.from_wkb(table["geometry"].to_numpy()),
        )
