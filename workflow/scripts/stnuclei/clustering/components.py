"""Principal components of log-normalised counts."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from stnuclei.clustering.blocks import over_blocks

# From so many cells on, and up to so many genes, the covariance of all genes costs less than Lanczos rounds over the
# counts (0.9 for 3.0 CPU seconds at 100,000 x 400). Smaller samples keep the components they always had.
MANY_CELLS, FEW_GENES = 30_000, 1_000
# Cells made dense at once, 32 MB of 1,000 genes.
BLOCK = 8_192


# BLAS adds in another order on another number of threads: last bits would become other neighbours, and other clusters.
@threadpool_limits.wrap(limits=1, user_api="blas")
def principal_components(
    expression: sparse.csr_matrix, n_pcs: int = 50, seed: int = 0, *, threads: int = 1
) -> np.ndarray:
    """Scores of the cells on the first principal components, float32 (n, at most n_pcs).

    Centred without making the table dense: sklearn's PCA with ARPACK or, on large samples of small panels, the
    eigenvectors of the covariance, summed block by block. Fewer than three cells or genes keep their values.
    """
    n_cells, n_genes = expression.shape
    n_pcs = min(n_pcs, n_cells - 1, n_genes - 1)
    if n_pcs < 2:
        return np.asarray(expression.todense(), dtype=np.float32)
    if n_cells >= MANY_CELLS and n_genes <= FEW_GENES:
        return _by_covariance(expression, n_pcs, threads)
    from sklearn.decomposition import PCA

    scores = PCA(n_pcs, svd_solver="arpack", random_state=seed).fit_transform(expression)
    return np.ascontiguousarray(scores, dtype=np.float32)


def _by_covariance(expression: sparse.csr_matrix, n_pcs: int, threads: int) -> np.ndarray:
    n_cells, n_genes = expression.shape
    mean = np.asarray(expression.mean(axis=0, dtype=np.float64), dtype=np.float32).ravel()

    def products(rows: slice) -> np.ndarray:
        block = expression[rows].toarray() - mean
        return block.T @ block

    def project(rows: slice) -> None:
        scores[rows] = (expression[rows].toarray() - mean) @ axes

    scatter = np.zeros((n_genes, n_genes))
    for of_block in over_blocks(products, n_cells, BLOCK, threads):
        scatter += of_block
    axes = linalg.eigh(scatter, subset_by_index=[n_genes - n_pcs, n_genes - 1])[1][:, ::-1].astype(np.float32)
    scores = np.empty((n_cells, n_pcs), np.float32)
    list(over_blocks(project, n_cells, BLOCK, threads))
    return scores
