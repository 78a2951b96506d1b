"""Nearest neighbours of cells in principal component space and the weighted graph they make."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numba
import numpy as np
from scipy import sparse

# Up to here every pair is compared; beyond, cells are compared with those of the nearest lists only.
EXACT_CELLS = 150_000
LIST_CELLS = 1024
# Recall the search by lists aims at, on the sample that sets how many lists are searched.
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
        Fraction of the true neighbours that were found: 1 for the exact search, else measured on a sample of cells.
    method
        ``exact`` or ``lists``.
    """

    indices: np.ndarray
    distances: np.ndarray
    recall: float
    method: str


def nearest_neighbours(
    points: np.ndarray, n_neighbors: int = 15, *, seed: int = 0, threads: int = 1, exact_cells: int = EXACT_CELLS
) -> Neighbours:
    """Find the nearest neighbours of every point, itself among them as scanpy counts.

    Exact with faiss up to `exact_cells` points. Beyond, an inverted file of k-means lists of about `LIST_CELLS` points:
    a point is compared with those of the lists nearest to it, of so many as a sample of points needs for
    `TARGET_RECALL`. What it reached is measured on another sample. Unlike graph indices it gives the same neighbours
    every time, on any number of threads.

    Parameters
    ----------
    points
        (n, d) float32.
    n_neighbors
        Neighbours a point, itself included; at most n.
    seed
        Seed of the lists and of the samples.
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
    index = _lists(points, seed)
    _choose_probes(index, points, k, random)
    squared, indices = _search(index, points, k)
    few = np.flatnonzero((indices < 0).any(axis=1))  # points whose lists hold fewer than k
    if len(few):
        squared[few], indices[few] = faiss.knn(points[few], points, k)
    near = _tidy(squared, indices, 0.0, "lists")
    sample, truth = _sample(points, k, random)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(near.indices[sample], truth, strict=True))
    return Neighbours(near.indices, near.distances, hits / truth.size, "lists")


def _lists(points: np.ndarray, seed: int) -> Any:
    """Put points into the inverted lists of faiss."""
    import faiss

    index: Any = faiss.index_factory(points.shape[1], f"IVF{ceil(len(points) / LIST_CELLS)},Flat")
    # A few points a list are enough to spread the centres, and the cost does not grow with n squared.
    index.cp.niter, index.cp.seed, index.cp.max_points_per_centroid = 8, seed + 1, 64
    index.train(points)
    index.add(points)
    return index


def _search(index: Any, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and indices (n, k), queries grouped by inverted list so that lists stay in cache."""
    order = np.argsort(index.quantizer.search(points, 1)[1].ravel(), kind="stable")
    squared, indices = np.empty((len(points), k), np.float32), np.empty((len(points), k), np.int64)
    squared[order], indices[order] = index.search(points[order], k)
    return squared, indices


def _sample(points: np.ndarray, k: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some points, and the true neighbours of each."""
    import faiss

    rows = random.choice(len(points), min(RECALL_SAMPLE, len(points)), replace=False)
    return rows, faiss.knn(points[rows], points, k)[1]


def _choose_probes(index: Any, points: np.ndarray, k: int, random: np.random.Generator) -> None:
    """Let the index search as few lists as find `TARGET_RECALL` of a sample's neighbours, in steps of a tenth."""
    rows, truth = _sample(points, k, random)
    index.nprobe = 1
    while index.nprobe < index.nlist:
        reached = index.search(points[rows], k)[1]
        if sum(len(np.intersect1d(a, b)) for a, b in zip(reached, truth, strict=True)) >= TARGET_RECALL * truth.size:
            return
        index.nprobe = min(max(index.nprobe + 1, int(index.nprobe * 1.1)), index.nlist)


def _tidy(squared: np.ndarray, indices: np.ndarray, recall: float, method: str) -> Neighbours:
    """Put each point first in its own row with distance 0; the products behind faiss leave it slightly above."""
    rows = np.arange(len(indices))
    is_other = indices != rows[:, None]
    missing = is_other.all(axis=1)
    # Where many points coincide the point itself can be crowded out: it replaces the last neighbour.
    indices[missing, -1], is_other[missing, -1] = rows[missing], False
    order = np.argsort(is_other, axis=1, kind="stable")
    indices = np.take_along_axis(indices, order, axis=1)
    distances = np.sqrt(np.maximum(np.take_along_axis(squared, order, axis=1), 0))
    distances[:, 0] = 0
    return Neighbours(indices.astype(np.int32), distances.astype(np.float32), recall, method)


def connectivities(neighbours: Neighbours) -> sparse.csr_matrix:
    """Fuzzy neighbourhood graph of UMAP (McInnes, Healy and Melville 2018, sections 3.1 and 4.1).

    `umap.umap_.fuzzy_simplicial_set` gives the same graph but for differences of 2e-7 in the weights; this is kept so
    that clusters of earlier versions can be repeated exactly.

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
