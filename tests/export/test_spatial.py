"""SpatialData store of a slide: read back by spatialdata, with the names squidpy and napari-spatialdata look for."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import spatialdata
from spatialdata.models import get_table_keys
from spatialdata.transformations import get_transformation

from export import made_nuclei as made
from stnuclei.export import find_slide, spatialdata_store, write_spatialdata
from stnuclei.io.nuclei_file import NucleiFile

MATRIX = np.array([[0.0, -1.2, 900.0], [1.2, 0.0, 10.0], [0, 0, 1]])


@pytest.fixture
def store(segmented, tmp_path):
    """Write the store with the slide and an alignment, and read it back."""
    nuclei = NucleiFile(segmented)
    write_spatialdata(nuclei, tmp_path / "slide.zarr", find_slide(nuclei), he_to_morphology=MATRIX)
    return spatialdata.read_zarr(tmp_path / "slide.zarr")


def test_elements_belong_together(store, segmented):
    frame = NucleiFile(segmented).read()
    assert {name for _, name, _ in store.gen_elements()} == {"he_image", "nuclei", "table"}
    assert store["nuclei"].geometry.geom_equals_exact(frame.geometry.set_axis(store["nuclei"].index), 1e-9).all()
    table = store["table"]
    assert get_table_keys(table) == ("nuclei", "region", "nucleus_id")
    assert not list(store.validate_table_in_spatialdata(table) or [])
    joined, rows = spatialdata.join_spatialelement_table(store, "nuclei", table=table, how="inner")
    assert len(joined["nuclei"]) == len(rows) == 500
    values = spatialdata.get_values("class", sdata=store, element_name="nuclei", table_name="table")
    assert values["class"].astype(str).tolist() == frame["class"].tolist()


def test_table_is_coloured_and_placed_as_scanpy_and_squidpy_expect(store, segmented):
    frame, table = NucleiFile(segmented).read(), store["table"]
    assert isinstance(table.obs["class"].dtype, pd.CategoricalDtype)
    assert list(table.uns["class_colors"]) == [made.TAXONOMY.color_of(c) for c in table.obs["class"].cat.categories]
    np.testing.assert_allclose(table.obsm["spatial"], frame[["centroid_x", "centroid_y"]], rtol=1e-6)
    assert list(table.var_names) == made.CLASSES
    np.testing.assert_allclose(table[:, "Neoplastic"].X[:, 0], frame["probability_Neoplastic"])
    assert table.obs["class_probability"].between(0.6, 1.0).all()


def test_image_and_coordinate_systems(store, segmented):
    nuclei = NucleiFile(segmented)
    image = store["he_image"]["scale0"].ds["image"]
    assert image.shape == (3, 900, 1200)
    np.testing.assert_array_equal(image[:, 100:110, 200:210], find_slide(nuclei)[100:110, 200:210].transpose(2, 0, 1))
    assert set(store.coordinate_systems) == {"global", "um", "morphology_px"}
    for element in ("nuclei", "he_image"):
        to_um = get_transformation(store[element], "um").to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(np.diag(to_um), [0.25, 0.25, 1])
    morphology = get_transformation(store["nuclei"], "morphology_px").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(morphology, MATRIX)
    assert store.attrs["stnuclei"]["model"]["architecture"] == "cellvit-tiny"


def test_without_image_and_without_nuclei(segmented, tmp_path):
    write_spatialdata(segmented, tmp_path / "plain.zarr")
    assert {name for _, name, _ in spatialdata.read_zarr(tmp_path / "plain.zarr").gen_elements()} == {"nuclei", "table"}
    empty = made.write(tmp_path / "empty.parquet", made.outlines(made.grid(0)), np.zeros(0, int))
    write_spatialdata(empty, tmp_path / "empty.zarr")
    assert not list(spatialdata.read_zarr(tmp_path / "empty.zarr").gen_elements())


def test_nuclei_are_written_in_pieces_and_the_store_is_the_same(store, segmented, tmp_path, monkeypatch):
    frame, batches = NucleiFile(segmented).read(), NucleiFile.arrow_batches

    def small(self, columns=None, size=64):
        return batches(self, columns, min(size, 64))

    monkeypatch.setattr(NucleiFile, "arrow_batches", small)
    monkeypatch.setattr(NucleiFile, "read", None)  # all outlines at once
    monkeypatch.setattr(spatialdata_store, "ROW_GROUP", 100)
    write_spatialdata(segmented, tmp_path / "pieces.zarr")
    pieces = spatialdata.read_zarr(tmp_path / "pieces.zarr")
    assert pieces["nuclei"].geometry.geom_equals(store["nuclei"].geometry).all()
    assert pieces["nuclei"].index.name == "nucleus_id"
    ours, theirs = pieces["table"], store["table"]
    assert np.array_equal(ours.X, theirs.X) and np.array_equal(ours.obsm["spatial"], theirs.obsm["spatial"])
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    assert list(ours.uns["class_colors"]) == list(theirs.uns["class_colors"])
    path = tmp_path / "pieces.zarr" / "shapes" / "nuclei" / "shapes.parquet"
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    np.testing.assert_allclose(geo["columns"]["geometry"]["bbox"], frame.total_bounds)
