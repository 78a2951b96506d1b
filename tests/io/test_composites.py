"""The composite samples against their truth."""

import numpy as np
import pandas as pd
import pytest
import shapely
from scipy.spatial import cKDTree

from stnuclei.io import read_sample


@pytest.mark.parametrize(("name", "platform"), [("composite_a", "xenium"), ("composite_hest", "hest")])
def test_counts_nuclei_and_pixel_size_are_those_of_the_truth(shared, name, platform):
    sample = read_sample(platform, shared / "data" / name, sample=name, tissue="Colon")
    cells, nuclei = (
        pd.read_parquet(shared / "data" / "truth" / f"truth_{kind}{name}.parquet") for kind in ("", "nuclei_")
    )
    check_counts(sample, cells.set_index("cell_id"))
    check_nuclei(sample, nuclei.dropna(subset="cell_id"))
    record = sample.provenance["pixel_size"]
    assert sample.um_per_px == pytest.approx(0.25, rel=1e-6)
    assert all(value == pytest.approx(0.25, rel=1e-3) for value in record["stated"].values())


def check_counts(sample, cells):
    assert set(sample.table.obs_names) == set(cells.index) and sample.table.n_obs == len(cells)
    total = np.asarray(sample.table.X.sum(axis=1)).ravel()
    assert np.array_equal(total, cells.loc[sample.table.obs_names, "total_counts"])


def check_nuclei(sample, nuclei):
    assert len(sample.nuclei) == len(nuclei)
    assert sorted(sample.nuclei["cell_id"]) == sorted(nuclei["cell_id"])
    # Nuclei of one cell have the same id; the nearest of them is meant.
    centre = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
    distance, nearest = cKDTree(nuclei[["he_x", "he_y"]].to_numpy()).query(centre)
    assert np.quantile(distance, 0.999) < 1.5  # px of 0.25 um
    assert (nuclei["cell_id"].to_numpy()[nearest] == sample.nuclei["cell_id"]).mean() > 0.9995
