"""nuclei.parquet: the nuclei of a slide as GeoParquet, written and read in pieces.

Columns, one row a nucleus: ``nucleus_id`` int64 (1..n in file order); ``class`` str; ``class_id`` int8;
``class_probability`` float32, share of the nucleus's pixels that have the class; ``probability_<class>`` float32, mean
probability over its pixels, one column a class, background first; ``centroid_x`` and ``centroid_y`` float32, he_px;
``area_um2`` float32, of its pixels; ``image`` str (name of the picture) only where a folder of pictures was segmented;
``embedding`` float16 list of fixed length only where embeddings were asked for; ``geometry`` WKB polygon, he_px. In
he_px, pixel i of the slide spans [i, i + 1]. Where a cell classifier gave the classes, ``class_probability`` and
``probability_<class>`` are its probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from stnuclei.errors import UserError, first_line
from stnuclei.taxonomy import Taxonomy

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

FORMAT, VERSION = "stnuclei-nuclei", 1
EMBEDDING = "embedding"
ROW_GROUP = 1 << 16
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    # crs null: a plane whose place on Earth is not known; without the entry readers take degrees.
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}},
}


def vectors_to_arrow(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Column of vectors (n, E), E > 0, in float16."""
    flat = np.ascontiguousarray(vectors, np.float16).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), vectors.shape[1])


def vectors_from_arrow(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Vectors (n, E) float16 of a column of `vectors_to_arrow`."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, whole.type.list_size)


def schema(classes: list[str], images: bool = False, embedding: int = 0) -> pa.Schema:
    """Columns of the file; `classes` are the names, background first, `embedding` the length of the vectors."""
    vectors = [(EMBEDDING, pa.list_(pa.float16(), embedding))] if embedding else []
    probabilities = [(f"probability_{name}", pa.float32()) for name in classes]
    picture = [("image", pa.string())] if images else []
    return pa.schema(
        [
            ("nucleus_id", pa.int64()),
            ("class", pa.string()),
            ("class_id", pa.int8()),
            ("class_probability", pa.float32()),
            *probabilities,
            ("centroid_x", pa.float32()),
            ("centroid_y", pa.float32()),
            ("area_um2", pa.float32()),
            *picture,
            *vectors,
            ("geometry", pa.binary()),
        ]
    )


class NucleiWriter:
    """Writes the file in row groups; at most one of them is held in memory.

    Parameters
    ----------
    path
        The file; give a temporary one and rename it.
    classes
        Names, background first.
    images
        Whether rows name their picture.
    embedding
        Length of the vector that each row holds; 0: none.
    """

    def __init__(self, path: str | Path, classes: list[str], images: bool = False, embedding: int = 0) -> None:
        self._schema = schema(classes, images, embedding)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)
        self._held: list[pa.Table] = []
        self._rows = self.nuclei = 0
        self.by_class: dict[str, int] = dict.fromkeys(classes[1:], 0)

    def write(self, table: pa.Table) -> None:
        """Append nuclei; `table` has the file's columns but for ``nucleus_id``, in any order, and perhaps others."""
        if not len(table):
            return
        ids = pa.array(np.arange(self.nuclei + 1, self.nuclei + len(table) + 1))
        table = table.append_column("nucleus_id", ids).select(self._schema.names).cast(self._schema)
        self.nuclei += len(table)
        for count in table["class"].value_counts().to_pylist():
            self.by_class[count["values"]] = self.by_class.get(count["values"], 0) + count["counts"]
        self._held.append(table)
        self._rows += len(table)
        if self._rows >= ROW_GROUP:
            self._flush(everything=False)

    def _flush(self, everything: bool) -> None:
        held = pa.concat_tables(self._held)
        whole = len(held) if everything else len(held) // ROW_GROUP * ROW_GROUP
        for begin in range(0, whole, ROW_GROUP):
            self._file.write_table(held.slice(begin, min(ROW_GROUP, whole - begin)), row_group_size=ROW_GROUP)
        # Copied, so that what was written is not kept alive by a slice of it.
        rest = held.slice(whole)
        self._held = [rest.take(pa.array(np.arange(len(rest))))] if len(rest) else []
        self._rows = len(rest)

    def close(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Write what is held and the key-value metadata ``geo`` and ``stnuclei``; None: only let go of the file."""
        if metadata is not None:
            if self._held:
                self._flush(everything=True)
            content = {"format": FORMAT, "version": VERSION, **metadata}
            self._file.add_key_value_metadata({"geo": json.dumps(_GEO), "stnuclei": json.dumps(content)})
        self._file.close()


class NucleiFile:
    """Read access to a nuclei.parquet, piece by piece.

    Parameters
    ----------
    path
        The file, or the folder `stnuclei.prediction.segment_slide` wrote.

    Raises
    ------
    UserError
        If it is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path / "nuclei.parquet" if path.is_dir() else path
        try:
            # Buffered ahead, the whole file would be in memory by the time its last row is read.
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False)
            self.metadata: dict[str, Any] = json.loads(self._file.metadata.metadata[b"stnuclei"])
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise UserError(
                f"{self.path}: is no nuclei.parquet ({first_line(error)}); run segment_slide again"
            ) from error
        if self.metadata.get("format") != FORMAT or self.metadata.get("version") != VERSION:
            raise UserError(f"{self.path}: was written by another version of stnuclei; run segment_slide again")

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Classes, ids and colours of the model."""
        return Taxonomy.from_dict(self.metadata["taxonomy"], where=str(self.path))

    @property
    def classes(self) -> list[str]:
        """Names of the probabilities' columns, background first."""
        return list(self.metadata["classes"])

    @property
    def um_per_px(self) -> float:
        """Size of a slide pixel (he_px)."""
        return float(self.metadata["slide_um_per_px"])

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._file.schema_arrow.names)

    def arrow_batches(self, columns: list[str] | None = None, size: int = ROW_GROUP) -> Iterator[pa.RecordBatch]:
        """Arrow batches of at most `size` rows in file order; ``geometry`` is WKB."""
        try:
            yield from self._file.iter_batches(batch_size=size, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.path}: is damaged ({first_line(error)}); run segment_slide again") from error

    def batches(self, columns: list[str] | None = None, size: int = ROW_GROUP) -> Iterator[GeoDataFrame]:
        """GeoDataFrames of at most `size` rows in file order, index running through the file.

        Parameters
        ----------
        columns
            What is wanted beside ``geometry``; None: everything but the vectors (`embedding_batches`).
        size
            Most rows at once.
        """
        from geopandas import GeoDataFrame  # heavy: who goes through the Arrow batches does without

        wanted = [name for name in self.columns if name != EMBEDDING] if columns is None else columns
        names = [*dict.fromkeys([*wanted, "geometry"])]
        begin = 0
        for batch in self.arrow_batches(names, size):
            frame = batch.to_pandas()
            frame.index = range(begin, begin + len(frame))
            begin += len(frame)
            yield GeoDataFrame(frame.drop(columns="geometry"), geometry=shapely.from_wkb(frame["geometry"]))

    @property
    def embedding_dim(self) -> int:
        """Length of the nuclei's vectors, 0 where the file holds none."""
        if EMBEDDING not in self.columns:
            return 0
        return int(self._file.schema_arrow.field(EMBEDDING).type.list_size)

    def embedding_batches(self, size: int = ROW_GROUP) -> Iterator[np.ndarray]:
        """Vectors (at most `size`, E) float16 in file order."""
        for batch in self.arrow_batches([EMBEDDING], size):
            yield vectors_from_arrow(batch.column(0))

    def read(self, columns: list[str] | None = None) -> GeoDataFrame:
        """Read all nuclei at once, without their vectors: for small slides and for looking."""
        import pandas as pd
        from geopandas import GeoDataFrame, GeoSeries

        batches = list(self.batches(columns))
        if not batches:
            names = [name for name in columns or self.columns if name not in ("geometry", EMBEDDING)]
            empty = self._file.schema_arrow.empty_table().select(names).to_pandas()
            return GeoDataFrame(empty, geometry=GeoSeries([], dtype="geometry"))
        return GeoDataFrame(pd.concat(batches), geometry="geometry")
