"""Nuclei as a SpatialData element: GeoParquet in row groups, in the form that spatialdata gives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.io.boundaries import NucleusBoundaries


def first_nucleus(nuclei: NucleusBoundaries, transformations: dict[str, Any]) -> geopandas.GeoDataFrame:
    """The first nucleus as a SpatialData element, for spatialdata to write; `replace_nuclei` then writes all."""
    from spatialdata.models import ShapesModel

    _, polygons = next(nuclei.polygons())
    # Some text, so that the column is one of text also where the first nucleus belongs to no cell.
    frame = geopandas.GeoDataFrame({"cell_id": ["-"]}, geometry=polygons[:1])
    return ShapesModel.parse(frame, transformations=transformations)


def replace_nuclei(path: Path, nuclei: NucleusBoundaries) -> None:
    """Replace the first nucleus in a GeoParquet by all, in the file's own schema, piece by piece.

    Parameters
    ----------
    path
        ``shapes.parquet`` that spatialdata wrote of `first_nucleus`.
    nuclei
        All nuclei.
    """
    written = pq.read_schema(path)
    content = {key: json.loads(text) for key, text in written.metadata.items()}
    content[b"geo"]["columns"]["geometry"]["bbox"] = nuclei.total_bounds().tolist()
    content[b"pandas"]["index_columns"][0]["stop"] = len(nuclei)
    schema = written.with_metadata({key: json.dumps(text) for key, text in content.items()})
    with pq.ParquetWriter(path, schema, compression="snappy") as file:
        for _, batch in nuclei.batches(schema.names):
            file.write_table(pa.Table.from_batches([batch]).cast(schema))
