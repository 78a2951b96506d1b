"""Nearest neighbours of cells in principal component space and the weighted graph they make."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numba
import numpy as np
from scipy import sparse

# Up to here every pair is compared; beyond, cells are compared with those of the nearest blocks only.
EXACT_CELLS = 150_000
BLOCK_CELLS = 1024
# Recall the blocked search aims at, on the sample that sets how many blocks are searched.
TARGET_RECALL = 0.96
RECALL_SAMPLE = 1_000


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours of each cell, itself first.

    Parameters
    ----------
    indices
        (n, k) int32.
    distances
        (n, k) float32, Euclidean, ascending; 0 to itself.
    recall
        Share of true neighbours found: 1 where the search was exact, else measured on a sample of cells.
    method
        ``exact`` or ``blocked``.
    """

    indices: np.ndarray
    distances: np.ndarray
    recall: float
    method: str


def nearest_neighbours(
    points: np.ndarray, n_neighbors: int = 15, *, seed: int = 0, threads: int = 1, exact_cells: int = EXACT_CELLS
) -> Neighbours:
    """Find the nearest neighbours of every point, itself among them as scanpy counts.

    Exact with faiss up to `exact_cells` points. Beyond, k-means blocks of about `BLOCK_CELLS` points are made and the
    points of a block compared, in one matrix product, with all points of the nearest blocks: of so many as a sample of
    cells needs for `TARGET_RECALL`. What it reached is measured on another sample. Unlike graph indices it gives
    the same neighbours every time, on any number of threads.

    Parameters
    ----------
    points
        (n, d) float32.
    n_neighbors
        Neighbours a point, itself included; at most n.
    seed
        Seed of the blocks and of the samples.
    threads
        Threads of faiss.

    Returns
    -------
    Neighbours
    """
    import faiss

    faiss.omp_set_num_threads(threads)
    points = np.ascontiguousarray(points, dtype=np.float32)
    k = min(n_neighbors, len(points))
    if len(points) <= exact_cells:
        return _tidy(*faiss.knn(points, points, k), 1.0, "exact")
    random = np.random.default_rng(seed)
    blocks = _Blocks.of(points, seed)
    searched = blocks.needed(points, k, random)
    found = _tidy(*blocks.search(points, k, searched), 0.0, "blocked")
    sample = random.choice(len(points), min(RECALL_SAMPLE, len(points)), replace=False)
    truth = faiss.knn(points[sample], points, k)[1]
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found.indices[sample], truth, strict=True))
    return Neighbours(found.indices, found.distances, hits / truth.size, "blocked")


@dataclass(frozen=True)
class _Blocks:
    """Points in k-means blocks: block of each point, points by block, and blocks by nearness to each block."""

    block: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, seed: int) -> _Blocks:
        import faiss

        n_blocks = ceil(len(points) / BLOCK_CELLS)
        # A few points a block are enough to spread the centres, and the cost does not grow with n squared.
        means = faiss.Kmeans(points.shape[1], n_blocks, niter=8, seed=seed + 1, max_points_per_centroid=64)
        means.train(points)
        block = faiss.knn(points, means.centroids, 1)[1].ravel()
        order = np.argsort(block, kind="stable")
        starts = np.searchsorted(block[order], np.arange(n_blocks + 1))
        return cls(block, order, starts, faiss.knn(means.centroids, means.centroids, n_blocks)[1])

    def needed(self, points: np.ndarray, k: int, random: np.random.Generator) -> int:
        """Nearest blocks to search so that a sample of points finds `TARGET_RECALL` of its neighbours."""
        import faiss

        sample = random.choice(len(points), min(RECALL_SAMPLE, len(points)), replace=False)
        truth = faiss.knn(points[sample], points, k)[1]
        place = np.argsort(self.near[self.block[sample]], axis=1)
        ranks = np.take_along_axis(place, self.block[truth], axis=1)
        return int(np.quantile(ranks, TARGET_RECALL)) + 1

    def search(self, points: np.ndarray, k: int, searched: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and indices (n, k) of the nearest in the `searched` nearest blocks of each block."""
        import faiss

        ranked = np.ascontiguousarray(points[self.order])
        squared = np.empty((len(points), k), np.float32)
        indices = np.empty((len(points), k), np.int64)
        for b in range(len(self.near)):
            own = slice(self.starts[b], self.starts[b + 1])
            if own.start == own.stop:
                continue
            pool = np.concatenate([np.arange(self.starts[c], self.starts[c + 1]) for c in self.near[b][:searched]])
            if len(pool) < k:
                pool = np.arange(len(points))
            distance, place = faiss.knn(ranked[own], ranked[pool], k)
            squared[self.order[own]], indices[self.order[own]] = distance, self.order[pool[place]]
        return squared, indices


def _tidy(squared: np.ndarray, indices: np.ndarray, recall: float, method: str) -> Neighbours:
    """Put each point first in its own row with distance 0; the products behind faiss leave it slightly above."""
    own = np.arange(len(indices))
    place = np.where(indices == own[:, None], 0, 1)
    missing = place.min(axis=1) == 1
    # Where many points coincide the point itself can be crowded out: it takes the last place's seat.
    indices[missing, -1], place[missing, -1] = own[missing], 0
    order = np.argsort(place, axis=1, kind="stable")
    indices = np.take_along_axis(indices, order, axis=1)
    distances = np.sqrt(np.maximum(np.take_along_axis(squared, order, axis=1), 0))
    distances[:, 0] = 0
    return Neighbours(indices.astype(np.int32), distances.astype(np.float32), recall, method)


def connectivities(neighbours: Neighbours) -> sparse.csr_matrix:
    """Fuzzy neighbourhood graph of UMAP (McInnes, Healy and Melville 2018, sections 3.1 and 4.1).

    Each cell i has rho_i, the distance to its nearest other, and sigma_i such that the sum over its neighbours of
    exp(-(d_ij - rho_i) / sigma_i) is log2(k); the two directions are joined by a + b - a b.

    Returns
    -------
    (n, n) symmetric float32 CSR with an empty diagonal.
    """
    n, k = neighbours.indices.shape
    weights = _membership(neighbours.distances)
    rows = np.repeat(np.arange(n, dtype=np.int32), k - 1)
    graph = sparse.csr_matrix((weights.ravel(), (rows, neighbours.indices[:, 1:].ravel())), shape=(n, n))
    back = graph.T.tocsr()
    joined = (graph + back - graph.multiply(back)).tocsr()
    joined.eliminate_zeros()
    return joined.astype(np.float32)


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
