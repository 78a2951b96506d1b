"""Nearest neighbours among many points: k-means lists of points, compared list by list as matrix products.

A product of two blocks of points costs a tenth of the same distances taken point by point (an inverted file of faiss),
since every number that is loaded serves hundreds of distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import numba
import numpy as np
from threadpoolctl import threadpool_limits

# Lists for each square root of the number of points: distances to centres and to points then cost about the same.
LISTS_PER_ROOT = 1.25
# Points that are searched for together: their distances to all centres are held at once.
BLOCK = 4_096
# Of them, as many a product that it stays in the second cache until it has been looked through.
PRODUCT_ROWS = 256


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

    def to_centres(self, points: np.ndarray) -> np.ndarray:
        """Squared distances (m, l) of points to all centres, less the points' own squared lengths."""
        return _lengths(self.centres) - 2 * (points @ self.centres.T)


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
    # Few rounds on a few points a list spread the centres well enough, and the cost does not grow with n squared.
    means = faiss.Kmeans(points.shape[1], number, niter=5, seed=seed + 1, max_points_per_centroid=40)
    means.train(points)
    centres = Lists(points, np.arange(len(points)), np.empty(0, np.int64), means.centroids)
    found = _over_blocks(lambda rows: centres.to_centres(points[rows]).argmin(axis=1), len(points), threads)
    nearest = np.concatenate(list(found))
    order = np.argsort(nearest, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=number))])
    return Lists(points[order], order, bounds, means.centroids)


def margin_for(lists: Lists, rows: np.ndarray, neighbours: np.ndarray, recall: float) -> float:
    """Margin within which the lists of `recall` of a sample's true neighbours lie.

    Parameters
    ----------
    rows
        (m,) int64, rows of the sample in the table that the lists were made of.
    neighbours
        (m, k) int64, rows of the true neighbours of each.

    Returns
    -------
    Squared distance by which the centre of a list may be farther than the nearest.
    """
    place = np.empty(len(lists.order), np.int64)
    place[lists.order] = np.arange(len(lists.order))
    far = lists.to_centres(lists.points[place[rows]])
    of_neighbour = np.searchsorted(lists.bounds, place[neighbours], side="right") - 1
    return float(np.quantile(np.take_along_axis(far - far.min(axis=1, keepdims=True), of_neighbour, axis=1), recall))


def search_lists(lists: Lists, k: int, margin: float, *, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of every point among those of the lists within the margin.

    Returns
    -------
    Squared distances (n, k) float32, ascending, and rows (n, k) int64, -1 where the lists hold fewer than k points,
    both in the order of the table that the lists were made of.
    """
    squared, indices = np.empty((len(lists.order), k), np.float32), np.empty((len(lists.order), k), np.int64)
    found = _over_blocks(lambda rows: (rows, *_search_block(lists, rows, k, margin)), len(lists.order), threads)
    for rows, nearest, places in found:
        squared[lists.order[rows]] = nearest
        indices[lists.order[rows]] = np.where(places < 0, -1, lists.order[places])
    return squared, indices


def _over_blocks(work, n: int, threads: int) -> Iterator:
    """Results of `work` on blocks of rows in their order; the products of each on one thread, so that bits repeat."""
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, blocks)


def _search_block(lists: Lists, rows: slice, k: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and places in `lists.points`, both (m, k), of the neighbours of a block of its points."""
    points = lists.points[rows]
    far = lists.to_centres(points)
    within = (far <= far.min(axis=1, keepdims=True) + margin).T
    nearest, places = np.full((len(points), k), np.inf, np.float32), np.full((len(points), k), -1, np.int32)
    for number in np.flatnonzero(within.any(axis=1)):
        first, end = lists.bounds[number], lists.bounds[number + 1]
        members, queries = lists.points[first:end], np.flatnonzero(within[number])
        half_lengths = _lengths(members) / 2
        for part in np.array_split(queries, ceil(len(queries) / PRODUCT_ROWS)):
            _keep_nearest(points[part] @ members.T, half_lengths, first, part, nearest, places)
    return 2 * nearest + _lengths(points)[:, None], places


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
    places: np.ndarray,
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
                        worst = _insert(value, first + b, row, nearest, places)
        for b in range(groups * _GROUP, len(half_lengths)):
            value = half_lengths[b] - products[a, b]
            if value < worst:
                worst = _insert(value, first + b, row, nearest, places)


@numba.njit(cache=True, nogil=True, fastmath=_FLAGS)
def _insert(value: float, member: int, row: int, nearest: np.ndarray, places: np.ndarray) -> float:
    """Put a member in its place among the nearest of a row; what is the last of them then."""
    place = nearest.shape[1] - 1
    while place > 0 and nearest[row, place - 1] > value:
        nearest[row, place], places[row, place] = nearest[row, place - 1], places[row, place - 1]
        place -= 1
    nearest[row, place], places[row, place] = value, member
    return nearest[row, -1]
