"""Nuclei in pieces, and rows dealt to parts on disk."""

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely

from stnuclei.io import boundaries as module
from stnuclei.io.boundaries import SCHEMA, NucleusBoundaries
from stnuclei.io.row_parts import RowParts


@pytest.fixture
def frame(monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP", 7)
    polygons = shapely.buffer(shapely.points(np.random.default_rng(0).uniform(0, 900, (40, 2))), 5.0)
    owner = [None if k % 9 == 0 else f"cell{k}" for k in range(40)]
    return gpd.GeoDataFrame({"cell_id": owner}, geometry=polygons)


@pytest.mark.parametrize("source", ["file", "table", "frame"])
def test_pieces_are_the_same_from_a_file_a_table_and_a_frame(frame, source, tmp_path):
    frame.to_parquet(tmp_path / "shapes.parquet")
    table = pa.table([pa.array(frame["cell_id"]), pa.array(frame.geometry.to_wkb())], schema=SCHEMA)
    sources = {
        "file": lambda: NucleusBoundaries.of_file(tmp_path / "shapes.parquet"),
        "table": lambda: NucleusBoundaries.of_table(table),
        "frame": lambda: NucleusBoundaries.of_frame(frame),
    }
    nuclei = sources[source]()
    assert len(nuclei) == 40
    assert [first for first, _ in nuclei.polygons()] == list(range(0, 40, 7))
    assert nuclei.cell_ids().to_pylist() == list(frame["cell_id"])
    centroids = shapely.get_coordinates(shapely.centroid(frame.geometry.to_numpy()))
    assert np.array_equal(nuclei.measures.centroid, centroids)
    assert np.array_equal(nuclei.measures.area, frame.area)
    assert np.array_equal(nuclei.total_bounds(), frame.total_bounds)
    whole = nuclei.read()
    assert whole.geometry.geom_equals_exact(frame.geometry, 0).all()
    assert list(whole["cell_id"]) == list(frame["cell_id"]) and whole["cell_id"][0] is None


def test_rows_come_back_by_part_in_the_order_they_were_dealt(tmp_path):
    schema = pa.schema([("row", pa.int64())])
    part = np.array([2, 0, 2, -1, 0, 2])
    with RowParts(tmp_path, schema) as parts:
        for begin in (0, 6):
            parts.deal(pa.record_batch([pa.array(np.arange(begin, begin + 6))], schema=schema), part)
    assert parts.read(0)["row"].to_pylist() == [1, 4, 7, 10]
    assert parts.read(2)["row"].to_pylist() == [0, 2, 5, 6, 8, 11]
    assert len(parts.read(1)) == 0 and parts.read(1).schema == schema
