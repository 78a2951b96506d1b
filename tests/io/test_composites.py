"""The composite samples against their truth, and against what spatialdata-io reads of the same bundle."""

import numpy as np
import pandas as pd
import pytest
import shapely

from stnuclei.io import read_sample

PLATFORM = {"composite_a": "xenium", "composite_hest": "hest"}


@pytest.fixture(scope="module", params=PLATFORM)
def composite(request, shared):
    name = request.param
    sample = read_sample(PLATFORM[name], shared / "data" / name, sample=name, tissue="Colon")
    truth = shared / "data" / "truth"
    return sample, *(pd.read_parquet(truth / f"truth_{kind}{name}.parquet") for kind in ("", "nuclei_"))


def test_every_cell_has_its_counts(composite):
    sample, cells, _ = composite
    cells = cells.set_index("cell_id")
    assert set(sample.table.obs_names) == set(cells.index) and sample.table.n_obs == len(cells)
    total = np.asarray(sample.table.X.sum(axis=1)).ravel()
    assert np.array_equal(total, cells.loc[sample.table.obs_names, "total_counts"])


def test_every_nucleus_lies_where_it_was_drawn(composite):
    sample, _, nuclei = composite
    nuclei = nuclei.dropna(subset="cell_id")
    assert len(sample.nuclei) == len(nuclei)
    assert sorted(sample.nuclei["cell_id"]) == sorted(nuclei["cell_id"])
    # Nuclei of one cell have the same id; the nearest of them is meant.
    centre = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(nuclei[["he_x", "he_y"]].to_numpy()).query(centre)
    assert np.quantile(distance, 0.999) < 1.5  # px of 0.25 um
    assert (nuclei["cell_id"].to_numpy()[nearest] == sample.nuclei["cell_id"]).mean() > 0.9995


def test_pixel_size_agrees_everywhere(composite):
    sample, *_ = composite
    record = sample.provenance["pixel_size"]
    assert sample.um_per_px == pytest.approx(0.25, rel=1e-6)
    assert all(value == pytest.approx(0.25, rel=1e-3) for value in record["stated"].values())


def test_spatialdata_io_reads_the_same_cells_and_nuclei(shared):
    import spatialdata_io

    folder = shared / "data" / "composite_a"
    theirs = spatialdata_io.xenium(
        folder, transcripts=False, morphology_focus=False, morphology_mip=False, aligned_images=False,
        cells_labels=False, nucleus_labels=False, cells_boundaries=False,
    )  # fmt: skip
    ours = read_sample("xenium", folder, sample="a", checksums=False)
    table = theirs.tables["table"]
    assert list(table.obs["cell_id"]) == list(ours.table.obs["cell_id"])
    assert (table[:, ours.table.var_names].X != ours.table.X).nnz == 0
    polygons = theirs.shapes["nucleus_boundaries"]
    assert list(polygons["cell_id"]) == list(ours.nuclei["cell_id"])
    matrix = np.linalg.inv(ours.he_to_morphology) / 1.0
    to_he = matrix @ np.diag([1 / 0.2125, 1 / 0.2125, 1.0])
    moved = shapely.transform(polygons.geometry.to_numpy(), lambda xy: xy @ to_he[:2, :2].T + to_he[:2, 2])
    assert np.allclose(
        shapely.get_coordinates(moved), shapely.get_coordinates(ours.nuclei.geometry.to_numpy()), atol=1e-3
    )
