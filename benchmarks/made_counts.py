"""Counts that benchmarks of labels run on: simulated groups, and cells drawn from real ones."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.markers import load_markers

ROOT = Path(__file__).resolve().parents[1]
GROUPS = 40


def synthesise(n_cells: int, n_genes: int, path: Path, apart: bool = False, seed: int = 0) -> None:
    """Write raw counts: gamma-distributed means a group and gene, negative binomial counts, about 100 a cell."""
    random = np.random.default_rng(seed)
    share = random.dirichlet(np.full(GROUPS, 2.0))
    base = random.gamma(0.6, 1.0, n_genes)
    means = base * np.exp(random.normal(0, 1.5, (GROUPS, n_genes)) * (random.random((GROUPS, n_genes)) < 0.25))
    means *= 100 / means.sum(axis=1, keepdims=True)
    group, blocks = random.choice(GROUPS, n_cells, p=share), []
    other, weight = random.choice(GROUPS, n_cells, p=share), np.zeros(n_cells) if apart else random.beta(1, 2, n_cells)
    for start in range(0, n_cells, 20_000):
        part = slice(start, start + 20_000)
        w = weight[part, None]
        blend = (1 - w) * means[group[part]] + w * means[other[part]]
        rate = blend * random.gamma(4.0, 0.25, (len(w), 1)) * random.gamma(5.0, 0.2, (len(w), n_genes))
        blocks.append(sparse.csr_matrix(random.poisson(rate).astype(np.float32)))
    genes = sorted(set(load_markers().rows["symbol"]))
    names = [genes[i] for i in np.linspace(0, len(genes) - 1, n_genes).astype(int)]
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    anndata.AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=names)).write_h5ad(path)


def like_breast(n_cells: int, seed: int = 0) -> anndata.AnnData:
    """Counts drawn from those of the real cells in tests/data (Janesick et al. 2023), which have lineages to find."""
    source = anndata.read_h5ad(ROOT / "tests/data/janesick_breast/rep1_matched_3878cells_313genes.h5ad")
    counts, random = sparse.csr_matrix(source.X, dtype=np.float64), np.random.default_rng(seed)
    types = source.obs["cell_type"].astype("category").cat.codes.to_numpy()
    means = np.stack([np.asarray(counts[types == k].mean(axis=0)).ravel() for k in range(types.max() + 1)])
    blocks = []
    for rows in np.array_split(random.integers(0, source.n_obs, n_cells), max(n_cells // 5_000, 1)):
        # A third of a cell is its type's mean, so that no two cells drawn from one are alike.
        rate = 0.7 * counts[rows].toarray() + 0.3 * means[types[rows]]
        blocks.append(sparse.csr_matrix(random.poisson(rate).astype(np.float32)))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    return anndata.AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=source.var_names))
