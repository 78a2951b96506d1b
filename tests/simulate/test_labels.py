"""The simulated counts carry what labelling looks for: the demo is no demo otherwise."""

import anndata
import numpy as np
import pandas as pd
import pytest

from stnuclei.clustering import cluster_cells
from stnuclei.labels import label_cells
from stnuclei.simulate import grow_tissue
from stnuclei.simulate.organs import ORGANS
from stnuclei.simulate.panel import draw_counts


@pytest.mark.parametrize("organ", ORGANS)
def test_published_rule_and_ours_label_most_cells_right(organ):
    tissue = grow_tissue(organ, (440.0, 440.0), 5)
    types = [nucleus.cell_type for nucleus in tissue.nuclei]
    xy = np.array([[nucleus.x, nucleus.y] for nucleus in tissue.nuclei])
    counts, genes = draw_counts(tissue.organ, types, xy, np.random.default_rng(5))
    cells = pd.DataFrame({"cell_id": [str(k) for k in range(len(types))]}, index=[str(k) for k in range(len(types))])
    adata = anndata.AnnData(counts, obs=cells, var=pd.DataFrame(index=genes))
    clusters = cluster_cells(adata)
    truth = np.array(tissue.classes())
    assert {"Neoplastic", "Inflammatory", "Connective", "Epithelial"} == set(truth)
    for method in ("paper", "stnuclei"):
        found = label_cells(adata, method, organ, clusters=clusters.cells, ranked_genes=clusters.ranked_genes)
        label = found.cells["label"].to_numpy()
        right = {name: (label == truth)[truth == name].mean() for name in set(truth)}
        assert (label == truth).mean() > 0.85 and min(right.values()) > 0.7, (method, right)
