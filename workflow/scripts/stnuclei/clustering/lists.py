"""Nearest neighbours among many points: k-means lists of points, compared list by list as matrix products.

Products of blocks of points cost a fifth of the same distances taken point by point, as by an inverted file of faiss
(2 for 10 ns a pair of 50 components): every number that is loaded serves hundreds of distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil

import numba
import numpy as np

from stnuclei.clustering.blocks import over_blocks
from stnuclei.progress import progress

# Lists for each square root of the number of points: distances to centres and to points then cost about the same.
LISTS_PER_ROOT = 1.25
# Points that are searched for together: their distances to all centres are held at once.
BLOCK = 4_096
# Of them, as many a product that it stays in the second cache until it has been looked through.
PRODUCT_ROWS = 256
# Points that a sample is compared with in one product.
PRODUCT_POINTS = 1_024


@dataclass(frozen=True)
class Lists:
    """Points in the order of the k-means lists they belong to.

    Parameters
    ----------
    points
        (n, d) float32, list after list.
    order
        (n,) int64, row of each of `points` in the table they came from.
    bounds
        (l + 1,) int64, where each list begins in `points`, and the end.
    centres
        (l, d) float32.
    """

    points: np.ndarray
    order: np.ndarray
    bounds: np.ndarray
    centres: np.ndarray

    @cached_property
    def half_lengths(self) -> np.ndarray:
        """Half the squared length of each of `points`, float32 (n,)."""
        return _lengths(self.points) / 2

    def of_points(self) -> np.ndarray:
        """List of each point of the table the lists were made of, int32 (n,)."""
        numbers = np.empty(len(self.order), np.int32)
        numbers[self.order] = np.repeat(np.arange(len(self.centres), dtype=np.int32), np.diff(self.bounds))
        return numbers


def make_lists(points: np.ndarray, *, seed: int = 0, threads: int = 1) -> Lists:
    """Group points by the nearest of about ``1.25 sqrt(n)`` k-means centres.

    Parameters
    ----------
    points
        (n, d) float32.
    seed
        Seed of the k-means.
    threads
        Threads that assign points to centres.
    """
    import faiss

    number = int(LISTS_PER_ROOT * np.sqrt(len(points)))
    # Few rounds on a few points a list spread the centres well enough; one thread, so that bits repeat.
    faiss.omp_set_num_threads(1)
    few = {"min_points_per_centroid": 1, "max_points_per_centroid": 40}
    means = faiss.Kmeans(points.shape[1], number, niter=5, seed=seed + 1, **few)
    means.train(points)
    centres = np.asarray(means.centroids)
    found = over_blocks(lambda rows: _to_centres(points[rows], centres).argmin(axis=1), len(points), BLOCK, threads)
    nearest = np.concatenate(list(found))
    order = np.argsort(nearest, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=number))])
    return Lists(points[order], order, bounds, centres)


def margin_for(lists: Lists, points: np.ndarray, neighbours: np.ndarray, recall: float) -> float:
    """Margin within which the lists of `recall` of a sample's true neighbours lie.

    Parameters
    ----------
    points
        (m, d) float32, the sample.
    neighbours
        (m, k) int64, rows of the true neighbours of each in the table that the lists were made of.

    Returns
    -------
    Squared distance by which the centre of a list may be farther than the nearest.
    """
    far = _to_centres(points, lists.centres)
    of_neighbours = lists.of_points()[neighbours]
    return float(np.quantile(np.take_along_axis(far - far.min(axis=1, keepdims=True), of_neighbours, axis=1), recall))


def search_lists(lists: Lists, k: int, margin: float, *, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of every point among those of the lists within the margin.

    Returns
    -------
    Squared distances (n, k) float32, ascending, and rows (n, k) int64, -1 where the lists hold fewer than k points,
    both in the order of the table that the lists were made of.
    """
    squared, indices = np.empty((len(lists.order), k), np.float32), np.empty((len(lists.order), k), np.int64)
    found = over_blocks(lambda rows: (rows, *_search_block(lists, rows, k, margin)), len(lists.order), BLOCK, threads)
    blocks = ceil(len(lists.order) / BLOCK)
    for rows, nearest, positions in progress(found, blocks, "finding neighbours", "blocks of cells"):
        squared[lists.order[rows]] = nearest
        indices[lists.order[rows]] = np.where(positions < 0, -1, lists.order[positions])
    return squared, indices


def _search_block(lists: Lists, rows: slice, k: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and positions in `lists.points`, both (m, k), of the neighbours of a block of its points."""
    points = lists.points[rows]
    far = _to_centres(points, lists.centres)
    near, queries = np.nonzero((far <= far.min(axis=1, keepdims=True) + margin).T)
    nearest, positions = _no_neighbours(len(points), k)
    changes = np.concatenate([[0], np.flatnonzero(np.diff(near)) + 1, [len(near)]])
    for begin, stop in pairwise(changes):
        first, end = lists.bounds[near[begin]], lists.bounds[near[begin] + 1]
        members, half_lengths = lists.points[first:end], lists.half_lengths[first:end]
        for part in np.array_split(queries[begin:stop], ceil((stop - begin) / PRODUCT_ROWS)):
            _keep_nearest(points[part] @ members.T, half_lengths, first, part, nearest, positions)
    return 2 * nearest + _lengths(points)[:, None], positions


def search_all(lists: Lists, points: np.ndarray, k: int, *, threads: int = 1) -> np.ndarray:
    """Nearest neighbours of a sample of points among all, int64 (m, k): rows of the table the lists were made of."""
    nearest, positions = _no_neighbours(len(points), k)

    def search(rows: slice) -> None:
        numbers = np.arange(rows.start, rows.stop)
        for first in range(0, len(lists.points), PRODUCT_POINTS):
            members = slice(first, first + PRODUCT_POINTS)
            products = points[rows] @ lists.points[members].T
            _keep_nearest(products, lists.half_lengths[members], first, numbers, nearest, positions)

    list(over_blocks(search, len(points), PRODUCT_ROWS // 2, threads))
    return lists.order[positions]


def _no_neighbours(m: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (m, k) where none is found yet: how far, and which."""
    return np.full((m, k), np.inf, np.float32), np.full((m, k), -1, np.int32)


def _to_centres(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (m, l) of points to centres, less the points' own squared lengths."""
    return _lengths(centres) - 2 * (points @ centres.T)


def _lengths(points: np.ndarray) -> np.ndarray:
    """Squared lengths (n,) of points."""
    return np.einsum("nd,nd->n", points, points)


# Without NaN and signed zeros the least of a group is a vector instruction.
_FLAGS = {"nnan", "nsz"}
_GROUP = 16


@numba.njit(cache=True, nogil=True, fastmath=_FLAGS)
def _keep_nearest(
    products: np.ndarray,
    half_lengths: np.ndarray,
    first: int,
    rows: np.ndarray,
    nearest: np.ndarray,
    positions: np.ndarray,
) -> None:
    """Put members of a list among the k nearest of some rows, which stay sorted.

    Compared is ``|y|^2 / 2 - xy``, which ranks members y as their distance to x does. Members are looked at in groups,
    of a length known to the compiler: most groups hold none that is near enough.
    """
    groups = len(half_lengths) // _GROUP
    for a, row in enumerate(rows):
        worst = nearest[row, -1]
        for group in range(groups):
            start, least = group * _GROUP, np.float32(np.inf)
            for b in range(_GROUP):
                least = min(least, half_lengths[start + b] - products[a, start + b])
            if least < worst:
                for b in range(start, start + _GROUP):
                    value = half_lengths[b] - products[a, b]
                    if value < worst:
                        worst = _insert(value, first + b, row, nearest, positions)
        for b in range(groups * _GROUP, len(half_lengths)):
            value = half_lengths[b] - products[a, b]
            if value < worst:
                worst = _insert(value, first + b, row, nearest, positions)


@numba.njit(cache=True, nogil=True, fastmath=_FLAGS)
def _insert(value: float, member: int, row: int, nearest: np.ndarray, positions: np.ndarray) -> float:
    """Sort a member in among the nearest of a row; what is the last of them then."""
    position = nearest.shape[1] - 1
    while position > 0 and nearest[row, position - 1] > value:
        nearest[row, position], positions[row, position] = nearest[row, position - 1], positions[row, position - 1]
        position -= 1
    nearest[row, position], positions[row, position] = value, member
    return nearest[row, -1]
