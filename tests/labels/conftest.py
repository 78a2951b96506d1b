"""Tables the label tests share."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from paths import DATA
from stnuclei.clustering import cluster_cells
from stnuclei.config.labels import ClusteringBlock
from stnuclei.markers import load_markers

GROUPS = {
    "Epithelial": ("EPCAM", "KRT8", "KRT18", "KRT7", "CDH1", "KRT19"),
    "Inflammatory": ("PTPRC", "CD3E", "CD3D", "CD2", "CD8A", "CD4"),
    "Connective": ("COL1A1", "COL1A2", "LUM", "DCN", "PDGFRA", "COL3A1"),
}


def make_table(n_cells: int = 600, seed: int = 0, filler: int = 40) -> anndata.AnnData:
    """Counts of three groups that each express their markers, with filler genes nobody marks."""
    random = np.random.default_rng(seed)
    genes = [gene for markers in GROUPS.values() for gene in markers] + [f"FILL{i}" for i in range(filler)]
    group = np.arange(n_cells) % len(GROUPS)
    means = np.full((n_cells, len(genes)), 0.3)
    for place in range(len(GROUPS)):
        means[group == place, 6 * place : 6 * place + 6] = 4.0
    counts = sparse.csr_matrix(random.poisson(means).astype(np.int32))
    obs = pd.DataFrame({"truth": np.array(list(GROUPS))[group]}, index=[f"cell{i}" for i in range(n_cells)])
    table = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))
    table.obsm["spatial"] = random.uniform(0, 1000, (n_cells, 2))
    return table


@pytest.fixture(scope="session")
def table() -> anndata.AnnData:
    return make_table()


@pytest.fixture(scope="session")
def clustering(table):
    return cluster_cells(table, settings=ClusteringBlock(resolution=1.0))


@pytest.fixture(scope="session")
def markers():
    return load_markers()


@pytest.fixture(scope="session")
def janesick():
    return anndata.read_h5ad(DATA / "janesick_breast" / "rep1_matched_3878cells_313genes.h5ad")
