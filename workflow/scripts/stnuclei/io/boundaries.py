"""Nuclei of a sample in pieces: outlines as WKB, of a store row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from stnuclei.io.nuclei_file import ROW_GROUP
from stnuclei.io.stored import Stored

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SCHEMA = pa.schema([("cell_id", pa.string()), ("geometry", pa.binary())])


class Measures(NamedTuple):
    """Measures of n nuclei: centroids (n, 2) float64, (x, y) he_px, and areas (n,) float64, he_px squared."""

    centroid: np.ndarray
    area: np.ndarray


class NucleusBoundaries(Stored["GeoDataFrame"]):
    """Nuclei of a sample, some thousand at a time: a polygon takes four times the memory of its WKB.

    Parameters
    ----------
    count
        How many nuclei there are.
    batches
        Gives, for names of columns, Arrow batches of at most `ROW_GROUP` rows in the nuclei's order: ``cell_id`` (text,
        null where a nucleus belongs to no cell) and ``geometry`` (WKB polygon, he_px).
    """

    def __init__(self, count: int, batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]) -> None:
        self._count = count
        self._batches = batches

    @classmethod
    def of_file(cls, path: Path) -> NucleusBoundaries:
        """Nuclei of a GeoParquet, which is read anew each time they are gone through.

        Raises
        ------
        OSError, ValueError
            If it is none, also later where its content is damaged.
        """

        def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            # Buffered ahead, the whole file would be in memory by the time its last row is read.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                yield from file.iter_batches(batch_size=ROW_GROUP, columns=list(columns))

        return cls(pq.read_metadata(path).num_rows, batches)

    @classmethod
    def of_table(cls, table: pa.Table) -> NucleusBoundaries:
        """Nuclei of an Arrow table in memory, columns of `SCHEMA`."""

        def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            yield from table.select(list(columns)).to_batches(max_chunksize=ROW_GROUP)

        return cls(len(table), batches)

    @classmethod
    def of_frame(cls, frame: GeoDataFrame) -> NucleusBoundaries:
        """Nuclei of a GeoDataFrame with columns ``cell_id`` and ``geometry``."""

        def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            for begin in range(0, len(frame), ROW_GROUP):
                rows = frame.iloc[begin : begin + ROW_GROUP]
                arrays = [_packed(rows, name) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

        return cls(len(frame), batches)

    def __len__(self) -> int:
        return self._count

    def batches(self, columns: Sequence[str] = ("cell_id", "geometry")) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Row of its first nucleus, and columns of each piece."""
        first = 0
        for batch in self._batches(columns):
            yield first, batch
            first += len(batch)

    def polygons(self) -> Iterator[tuple[int, np.ndarray]]:
        """Row of its first nucleus, and polygons (n,) of each piece."""
        for first, batch in self.batches(["geometry"]):
            yield first, from_wkb(batch["geometry"])

    def cell_ids(self) -> pa.ChunkedArray:
        """Cell of each nucleus (n,), text, null where it belongs to none."""
        pieces = [batch["cell_id"].cast(pa.string()) for _, batch in self.batches(["cell_id"])]
        return pa.chunked_array(pieces, pa.string())

    def rows_in(self, ids: pa.Array) -> np.ndarray:
        """Row of each nucleus' cell among `ids` (text), int64 (n,); -1 where it has none or it is not among them."""
        # An index of pandas would make a Python string of every cell, the largest thing in memory.
        found = pc.index_in(self.cell_ids(), value_set=ids, skip_nulls=True)
        return np.asarray(pc.fill_null(found, -1), np.int64)

    @cached_property
    def measures(self) -> Measures:
        """Centroid and area of each nucleus, found once."""
        found = Measures(np.empty((len(self), 2)), np.empty(len(self)))
        for first, polygons in self.polygons():
            rows = slice(first, first + len(polygons))
            found.centroid[rows] = shapely.get_coordinates(shapely.centroid(polygons))
            found.area[rows] = shapely.area(polygons)
        return found

    def total_bounds(self) -> np.ndarray:
        """Box (4,) of all nuclei: x0, y0, x1, y1, he_px."""
        boxes = np.array([shapely.total_bounds(polygons) for _, polygons in self.polygons()]).reshape(-1, 4)
        return np.r_[boxes[:, :2].min(0, initial=np.inf), boxes[:, 2:].max(0, initial=-np.inf)]

    def read(self) -> GeoDataFrame:
        """All nuclei at once: ``cell_id`` (str or None) and ``geometry``, index 0..n-1."""
        import geopandas  # heavy: who goes through the pieces does without

        ids = self.cell_ids().to_pandas().astype(object)
        polygons = np.concatenate([np.zeros(0, object), *(polygons for _, polygons in self.polygons())])
        return geopandas.GeoDataFrame({"cell_id": ids.where(ids.notna(), None)}, geometry=polygons)


def _packed(rows: GeoDataFrame, name: str) -> pa.Array:
    values = rows.geometry.to_wkb() if name == "geometry" else rows[name]
    return pa.array(values.to_numpy(object), SCHEMA.field(name).type, from_pandas=True)


def from_wkb(column: pa.Array) -> np.ndarray:
    """Geometries (n,) of an Arrow column of WKB."""
    return np.asarray(shapely.from_wkb(column.to_numpy(zero_copy_only=False)), dtype=object)
