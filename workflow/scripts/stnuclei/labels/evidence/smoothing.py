"""Expression averaged over similar cells, a part at a time: memory stays bounded however large slide and panel are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import anndata
import numpy as np
from scipy import sparse

from stnuclei.clustering.clustering import principal_components
from stnuclei.clustering.counts import log_normalised
from stnuclei.clustering.neighbours import nearest_neighbours

_GENES_AT_ONCE = 64
_VALUES_AT_ONCE = 2**28  # 1 GB of float32


@dataclass(frozen=True)
class SimilarCells:
    """Cells with the neighbours they are averaged over.

    Parameters
    ----------
    shares
        From `root_shares`.
    mean
        (n, n) float32 CSR, rows sum to 1, that averages over each cell and its neighbours; None leaves cells alone.
    steps
        How many times the average is taken.
    """

    shares: sparse.csc_matrix
    mean: sparse.csr_matrix | None
    steps: int

    @classmethod
    def of(
        cls,
        adata: anndata.AnnData,
        *,
        n_neighbors: int = 15,
        steps: int = 2,
        n_pcs: int = 50,
        seed: int = 0,
        threads: int = 1,
    ) -> SimilarCells:
        """Find the neighbours by expression, each cell its own first.

        Parameters
        ----------
        adata
            Cells x genes, raw counts, no cell without counts.
        n_neighbors
            Cells averaged over, the cell itself included.
        steps
            How many times; 0 leaves cells alone.
        n_pcs, seed, threads
            Of the principal components and the search.
        """
        if steps == 0 or adata.n_obs < 3:
            return cls(root_shares(adata), None, 0)
        points = principal_components(log_normalised(adata), n_pcs, seed)
        near = nearest_neighbours(points, n_neighbors, seed=seed, threads=threads).indices
        n, k = near.shape
        parts = (np.full(n * k, 1 / k, np.float32), near.ravel(), np.arange(0, n * k + 1, k))
        return cls(root_shares(adata), sparse.csr_matrix(parts, shape=(n, n)), steps)

    def by_genes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All cells, a block of genes at a time: places of the genes, float32 (cells, genes of the block)."""
        for start in range(0, self.shares.shape[1], _GENES_AT_ONCE):
            genes = np.arange(start, min(start + _GENES_AT_ONCE, self.shares.shape[1]))
            values = self.shares[:, genes].toarray()
            for _ in range(self.steps):
                values = self.mean @ values
            yield genes, values

    def by_cells(self, cells: np.ndarray, genes: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Some genes together, some cells at a time: slice of `cells`, float32 (cells of the block, genes)."""
        at_once = max(_VALUES_AT_ONCE // max(len(genes), 1), 1)
        for start in range(0, len(cells), at_once):
            part = slice(start, min(start + at_once, len(cells)))
            values = np.empty((part.stop - part.start, len(genes)), np.float32)
            own = self.mean[cells[part]] if self.steps else None
            for first in range(0, len(genes), _GENES_AT_ONCE):
                block = slice(first, first + _GENES_AT_ONCE)
                smoothed = self.shares[:, genes[block]].toarray()
                for _ in range(self.steps - 1):
                    smoothed = self.mean @ smoothed
                values[:, block] = smoothed[cells[part]] if own is None else own @ smoothed
            yield part, values


def root_shares(adata: anndata.AnnData) -> sparse.csc_matrix:
    """Square root of each gene's share of its cell's counts, float32 CSC, cells x genes.

    The root levels the variance of counts: without it the two or three most abundant genes decide everything.
    """
    counts = sparse.csr_matrix(adata.X, dtype=np.float32, copy=True)
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    counts.data = np.sqrt(counts.data / np.repeat(totals, np.diff(counts.indptr)).astype(np.float32))
    return counts.tocsc()


def group_means(shares: sparse.spmatrix, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of each group's rows.

    Parameters
    ----------
    shares
        (cells, genes) sparse.
    groups
        (cells,) int; cells of group -1 are left out.

    Returns
    -------
    Group numbers (groups,), their sizes (groups,), means (groups, genes) float64.
    """
    inside = np.flatnonzero(groups >= 0)
    names, row, sizes = np.unique(groups[inside], return_inverse=True, return_counts=True)
    weights = (1 / sizes[row]).astype(np.float64)
    average = sparse.csr_matrix((weights, (row, inside)), shape=(len(names), shares.shape[0]))
    return names, sizes, np.asarray((average @ shares).todense(), dtype=np.float64)
