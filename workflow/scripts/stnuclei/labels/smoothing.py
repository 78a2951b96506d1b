"""Expression averaged over similar cells, a few genes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import anndata
import numpy as np
from scipy import sparse

from stnuclei.labels.clustering import principal_components
from stnuclei.labels.expression import log_normalised
from stnuclei.labels.neighbours import nearest_neighbours

GENES_AT_ONCE = 64


def neighbour_mean(
    adata: anndata.AnnData, *, n_neighbors: int = 15, n_pcs: int = 50, seed: int = 0, threads: int = 1
) -> sparse.csr_matrix:
    """Matrix that averages over each cell and its nearest neighbours by expression.

    Parameters
    ----------
    adata
        Cells x genes, raw counts, no cell without counts.
    n_neighbors
        Cells averaged over, the cell itself included.
    n_pcs, seed, threads
        Of the principal components and the search.

    Returns
    -------
    (n, n) float32 CSR, rows sum to 1.
    """
    points = principal_components(log_normalised(adata), n_pcs, seed)
    near = nearest_neighbours(points, n_neighbors, seed=seed, threads=threads).indices
    n, k = near.shape
    return sparse.csr_matrix(
        (np.full(n * k, 1 / k, np.float32), near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n)
    )


def root_shares(adata: anndata.AnnData) -> sparse.csc_matrix:
    """Square root of each gene's share of its cell's counts, float32 CSC, cells x genes.

    The root levels the variance of counts: without it the two or three most abundant genes decide everything.
    """
    counts = sparse.csr_matrix(adata.X, dtype=np.float32, copy=True)
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    counts.data = np.sqrt(counts.data / np.repeat(totals, np.diff(counts.indptr)).astype(np.float32))
    return counts.tocsc()


def smoothed_blocks(
    shares: sparse.csc_matrix,
    mean: sparse.csr_matrix | None,
    steps: int,
    genes: np.ndarray,
    rows: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Smoothed expression, a block of genes at a time: memory stays at two dense blocks however large the panel.

    Parameters
    ----------
    shares
        From `root_shares`.
    mean
        From `neighbour_mean`; None leaves cells as they are.
    steps
        How many times the mean is taken.
    genes
        Columns wanted, int.
    rows
        Cells wanted, int; None for all.

    Yields
    ------
    Columns of the block, and float32 (cells, genes of the block).
    """
    for start in range(0, len(genes), GENES_AT_ONCE):
        block = genes[start : start + GENES_AT_ONCE]
        values = shares[:, block].toarray()
        for step in range(steps if mean is not None else 0):
            last = step == steps - 1 and rows is not None
            values = (mean[rows] if last else mean) @ values
        if rows is not None and len(values) != len(rows):
            values = values[rows]
        yield block, values
