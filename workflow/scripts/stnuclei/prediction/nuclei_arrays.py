"""Nuclei as columns of arrays, between separation and the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa
import shapely

from stnuclei.io.nuclei_file import EMBEDDING, vectors_from_arrow, vectors_to_arrow


@dataclass(frozen=True)
class NucleiArrays:
    """n nuclei.

    Parameters
    ----------
    class_id
        (n,) int8, 1..C-1.
    class_probability
        (n,) float32: fraction of the nucleus's pixels that have the class, or the classifier's probability of it.
    probabilities
        (n, C) float32 mean over its pixels, or the classifier's, background first.
    centroid
        (n, 2) float64 (x, y) he_px.
    area_um2
        (n,) float32.
    bbox
        (n, 4) int32 x0, y0, x1, y1 in network pixels of the slide, ends exclusive.
    area
        (n,) int32 network pixels.
    owned
        (n,) bool: the middle of its box lies in the core of the tile it was found from.
    crossing
        (n,) bool: it lies on or near a border of that core.
    geometry
        (n,) shapely polygons, he_px.
    embedding
        (n, E) float16 vector of tokens; E is 0 where none is kept, and None stands for that.
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
    embedding: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.embedding is None:
            object.__setattr__(self, "embedding", np.zeros((len(self.class_id), 0), np.float16))

    def __len__(self) -> int:
        return len(self.class_id)

    def take(self, rows: np.ndarray) -> NucleiArrays:
        """Select rows, by indices or a mask."""
        return NucleiArrays(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concat(arrays: Sequence[NucleiArrays]) -> NucleiArrays:
        """Join at least one, in order; empty ones may be of another number of classes or length of vectors."""
        held = [one for one in arrays if len(one)] or list(arrays[-1:])
        return NucleiArrays(*(np.concatenate([getattr(a, f.name) for a in held]) for f in fields(NucleiArrays)))

    def with_embedding(self, vectors: np.ndarray) -> NucleiArrays:
        """The same nuclei with their vectors (n, E)."""
        return replace(self, embedding=vectors)

    @staticmethod
    def none(classes: int, embedding: int = 0) -> NucleiArrays:
        """Empty arrays for so many classes, background counted, and vectors of that length."""
        return NucleiArrays(
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
            np.zeros((0, embedding), np.float16),
        )

    def to_arrow(self, classes: Sequence[str], image: str | None = None) -> pa.Table:
        """Columns of nuclei.parquet but `nucleus_id` and, under names with a dot, those that merging needs."""
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
            **({EMBEDDING: vectors_to_arrow(self.embedding)} if self.embedding.shape[1] else {}),
        }
        return pa.table(columns)

    @staticmethod
    def from_arrow(table: pa.Table, classes: Sequence[str]) -> NucleiArrays:
        """Read a table of `to_arrow`."""

        def column(name: str, dtype: type = np.float32) -> np.ndarray:
            return table[name].to_numpy().astype(dtype, copy=False)

        def stack(names: Sequence[str], dtype: type) -> np.ndarray:
            return np.stack([column(name, dtype) for name in names], axis=1)

        return NucleiArrays(
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
            vectors_from_arrow(table[EMBEDDING]) if EMBEDDING in table.column_names else None,  # type: ignore[arg-type]
        )
