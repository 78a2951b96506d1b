"""Nearest neighbours of cells in principal component space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.clustering.lists import Lists, make_lists, margin_for, search_all, search_lists

# Up to here every pair is compared: 1.5 CPU seconds. Beyond, cells are compared with those of the nearest lists only.
EXACT_CELLS = 30_000
# Recall the search by lists aims at, on the sample that sets how many lists are searched.
TARGET_RECALL = 0.96
RECALL_SAMPLE = 500


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
    lists
        (n,) int32, k-means list of each cell; None where all pairs were compared.
    """

    indices: np.ndarray
    distances: np.ndarray
    recall: float
    method: str
    lists: np.ndarray | None = None


def nearest_neighbours(points: np.ndarray, n_neighbors: int = 15, *, seed: int = 0, threads: int = 1) -> Neighbours:
    """Find the nearest neighbours of every point, itself among them as scanpy counts.

    Exact with faiss up to `EXACT_CELLS` points. Beyond, points are put into k-means lists, and a point is compared
    with those of the lists whose centres are at most a margin farther than the nearest: the margin that reaches
    `TARGET_RECALL` on a sample of points. What it reached is measured on another sample. Unlike graph indices it gives
    the same neighbours every time, on any number of threads.

    Parameters
    ----------
    points
        (n, d) float32.
    n_neighbors
        Neighbours a point, itself included; at most n.
    seed
        Seed of the lists and of the samples.
    threads
        Threads of the search.

    Returns
    -------
    Neighbours
    """
    import faiss

    points = np.ascontiguousarray(points, dtype=np.float32)
    k = min(n_neighbors, len(points))
    if len(points) <= EXACT_CELLS:
        faiss.omp_set_num_threads(threads)
        return _tidy(*faiss.knn(points, points, k), 1.0, "exact")
    random = np.random.default_rng(seed)
    lists = make_lists(points, seed=seed, threads=threads)
    rows, truth = _sample(lists, points, k, random, threads)
    margin = margin_for(lists, points[rows], truth, TARGET_RECALL)
    squared, indices = search_lists(lists, k, margin, threads=threads)
    few = np.flatnonzero((indices < 0).any(axis=1))  # points whose lists hold fewer than k
    if len(few):
        faiss.omp_set_num_threads(threads)
        squared[few], indices[few] = faiss.knn(points[few], points, k)
    near = _tidy(squared, indices, 0.0, "lists")
    rows, truth = _sample(lists, points, k, random, threads)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(near.indices[rows], truth, strict=True))
    return Neighbours(near.indices, near.distances, hits / truth.size, "lists", lists.of_points())


def _sample(
    lists: Lists, points: np.ndarray, k: int, random: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some points, and the true neighbours of each."""
    rows = random.choice(len(points), min(RECALL_SAMPLE, len(points)), replace=False)
    return rows, search_all(lists, points[rows], k, threads=threads)


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
