"""A simulated sample of HEST-1k is the Xenium run it was made from, in H&E pixels."""

import numpy as np

from stnuclei.io import read_sample
from stnuclei.simulate import simulate_hest, simulate_sample

SIZE = (200.0, 200.0)


def test_both_layouts_hold_the_same_cells_nuclei_and_counts(tmp_path):
    simulate_hest(tmp_path / "hest", "TENX1", "Colon", 4, size_um=SIZE)
    simulate_sample(tmp_path / "TENX1", "Colon", 4, size_um=SIZE)
    hest = read_sample("hest", tmp_path / "hest", sample="TENX1")
    xenium = read_sample("xenium", tmp_path / "TENX1", sample="TENX1", tissue="Colon")
    assert hest.tissue == "Colon" and hest.um_per_px == 0.2738
    assert len(hest.nuclei) == len(xenium.nuclei) > 100
    distance = hest.nuclei.geometry.centroid.distance(xenium.nuclei.geometry.centroid)
    assert distance.max() < 0.05
    # Cells without a nucleus and without one transcript are no rows of HEST's files.
    both = hest.table[:, xenium.table.var_names.intersection(hest.table.var_names)]
    counted = xenium.table[hest.table.obs_names, both.var_names]
    assert both.n_vars > 100 and np.array_equal(both.X.toarray(), counted.X.toarray())
