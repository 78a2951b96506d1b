"""Weighted graph that the nearest neighbours of cells make."""

from __future__ import annotations

import numba
import numpy as np
from scipy import sparse

from stnuclei.clustering.neighbours import Neighbours


def connectivities(neighbours: Neighbours) -> sparse.csr_matrix:
    """Fuzzy neighbourhood graph of UMAP (McInnes, Healy and Melville 2018, sections 3.1 and 4.1).

    `umap.umap_.fuzzy_simplicial_set` gives the same graph but for differences of 2e-7 in the weights; this is kept so
    that clusters of earlier versions can be repeated exactly.

    Each cell i has rho_i, the distance to its nearest other, and sigma_i such that the sum over its neighbours of
    exp(-(d_ij - rho_i) / sigma_i) is log2(k); the two directions are joined by a + b - a b.

    Returns
    -------
    (n, n) float32 CSR, the upper triangle: each edge of the undirected graph once, none from a cell to itself.
    """
    n, k = neighbours.indices.shape
    weights = _membership(neighbours.distances).ravel()
    begins = np.arange(n + 1) * (k - 1)
    found = sparse.csr_matrix((weights, neighbours.indices[:, 1:].ravel(), begins), shape=(n, n))
    found.sort_indices()
    # At ten million cells each of these takes a gigabyte: none is kept longer than it is needed.
    there, back = sparse.triu(found, k=1, format="csr"), sparse.tril(found, k=-1, format="csr")
    del weights, found
    back = back.T.tocsr()
    both, joined = there.multiply(back), there + back
    del there, back
    joined = (joined - both).tocsr()
    joined.eliminate_zeros()
    return joined.astype(np.float32, copy=False)


@numba.njit(cache=True)
def _membership(distances: np.ndarray) -> np.ndarray:
    """Weights (n, k - 1) of each cell's neighbours besides itself, by bisection for sigma."""
    n, k = distances.shape
    target = np.log2(k)
    overall = 0.0
    for i in range(n):
        for j in range(k):
            overall += distances[i, j]
    overall /= n * k
    weights = np.zeros((n, k - 1), np.float32)
    for i in range(n):
        rho, mean = 0.0, 0.0
        for j in range(k):
            mean += distances[i, j] / k
            if rho == 0.0 and distances[i, j] > 0.0:
                rho = distances[i, j]
        low, high, sigma = 0.0, np.inf, 1.0
        for _ in range(64):
            total = 0.0
            for j in range(1, k):
                beyond = distances[i, j] - rho
                total += np.exp(-beyond / sigma) if beyond > 0 else 1.0
            if abs(total - target) < 1e-5:
                break
            if total > target:
                high = sigma
                sigma = (low + high) / 2
            else:
                low = sigma
                sigma = sigma * 2 if high == np.inf else (low + high) / 2
        # UMAP's floor: no kernel narrower than a thousandth of the mean distance.
        sigma = max(sigma, 1e-3 * (mean if rho > 0 else overall))
        for j in range(1, k):
            beyond = distances[i, j] - rho
            weights[i, j - 1] = 1.0 if beyond <= 0 or sigma == 0 else np.exp(-beyond / sigma)
    return weights
