"""Marker-controlled watershed and hole filling, compiled; equal to scikit-image and scipy, several times faster.

Pixels flood in the order of (level, time of arrival), where the level is the highest value on the way; each takes
the label of the pixel that reached it first. Levels never fall, so no heap is needed: the mask's values are ranked
once and every rank has a first-in-first-out list. A region with one marker is that marker's, in whatever order it is
flooded: only regions with several take part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from stnuclei.cellvit.components import Runs, find_runs
from stnuclei.cellvit.workspace import reused


class Pieces(NamedTuple):
    """Stretches of markers inside runs of a mask, in raster order.

    Parameters
    ----------
    run
        (P,) int32: index of the run of the mask.
    start, end
        (P,) int32: columns ``[start:end]`` of the run's row.
    label
        (P,) int32: the marker.
    """

    run: np.ndarray
    start: np.ndarray
    end: np.ndarray
    label: np.ndarray


def flood(heights: np.ndarray, markers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow markers over the mask in the order of heights.

    Parameters
    ----------
    heights
        (H, W) float, low values flood first.
    markers
        (H, W) int32, 0 where there is none, else 1 and up; those outside the mask are ignored.
    mask
        (H, W) bool or uint8: what may be flooded.

    Returns
    -------
    (H, W) int32: markers grown over 4-connected pixels; 0 outside the mask and in parts no marker reaches. Equal to
    ``skimage.segmentation.watershed(heights, markers, mask=mask)``, but that pixels of different markers which tie
    in height flood in raster order here, in an order that hangs on the state of a heap there.
    """
    seeds = find_runs(markers)
    runs = find_runs(mask)
    pieces = overlaps(runs, seeds, markers[seeds.row, seeds.start])
    bordered = np.pad(heights, 1).ravel()
    return flood_runs(mask.shape, runs, pieces, lambda pixels: bordered[pixels])


def flood_runs(
    shape: tuple[int, int], runs: Runs, pieces: Pieces, heights_at: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`flood` where mask and markers are known by runs, and heights are worked out only where they count.

    Parameters
    ----------
    shape
        (H, W).
    runs
        The mask's.
    pieces
        Markers inside them.
    heights_at
        Gives the heights, (n,) float, of pixels, (n,) int32 indices into a flat map with a border of one pixel,
        (H + 2, W + 2).

    Returns
    -------
    (H, W) int32.
    """
    labels = np.zeros(shape, np.int32)
    field = reused("field", ((shape[0] + 2) * (shape[1] + 2),), np.int32)
    owner, pixels, region = _share_out(labels, field, runs, pieces)
    if pixels.size:
        values = heights_at(pixels)
        order = np.argsort(values)  # NumPy's vectorised sort beats a compiled loop
        _flood_contested(labels, field, runs, owner, pixels, _rank(values, region, order, owner.size))
    return labels


@numba.njit(cache=True, nogil=True)
def _share_out(
    labels: np.ndarray, field: np.ndarray, runs: Runs, pieces: Pieces
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill the regions of one marker; owner of each region, and index and region of the pixels still to be flooded."""
    owner = _own(labels, runs, pieces)
    return owner, *_list_contested(field, labels.shape[1] + 2, runs, pieces, owner)


@numba.njit(cache=True, nogil=True)
def _flood_contested(
    labels: np.ndarray,
    field: np.ndarray,
    runs: Runs,
    owner: np.ndarray,
    pixels: np.ndarray,
    rank: np.ndarray,
) -> None:
    """Flood the regions of several markers."""
    stride = labels.shape[1] + 2
    _flood_ranks(field, stride, pixels, rank)
    for run in range(runs.row.size):
        if owner[runs.region[run]] < 0:
            y, start, end = runs.row[run], runs.start[run], runs.end[run]
            begin = (y + 1) * stride + 1
            labels[y, start:end] = field[begin + start : begin + end]


@numba.njit(cache=True, nogil=True)
def overlaps(runs: Runs, seeds: Runs, markers: np.ndarray) -> Pieces:
    """Pieces of the runs of markers that lie in the runs of a mask; `markers` (S,) holds each seed run's marker."""
    run, start, end, label = np.empty((4, runs.row.size + seeds.row.size), np.int32)
    count = first = 0
    for s in range(seeds.row.size):
        y, begin, stop = seeds.row[s], seeds.start[s], seeds.end[s]
        while first < runs.row.size and (runs.row[first] < y or (runs.row[first] == y and runs.end[first] <= begin)):
            first += 1
        r = first
        while r < runs.row.size and runs.row[r] == y and runs.start[r] < stop:
            run[count], label[count] = r, markers[s]
            start[count], end[count] = max(begin, runs.start[r]), min(stop, runs.end[r])
            count += 1
            r += 1
    return Pieces(run[:count], start[:count], end[:count], label[:count])


@numba.njit(cache=True, nogil=True)
def number_labels(pieces: Pieces) -> None:
    """Number, in place, the labels that occur 1..n in their order."""
    number = np.zeros(pieces.label.max() + 1 if pieces.label.size else 1, np.int32)
    for k in pieces.label:
        number[k] = 1
    count = 0
    for k in range(number.size):
        count += number[k]
        number[k] = count
    for i in range(pieces.label.size):
        pieces.label[i] = number[pieces.label[i]]


@numba.njit(cache=True, nogil=True)
def _own(labels: np.ndarray, runs: Runs, pieces: Pieces) -> np.ndarray:
    """Label of each region that holds one marker, 0 where there is none, -1 where there are several; the first are
    filled in."""
    owner = np.zeros(runs.area.size, np.int32)
    for i in range(pieces.run.size):
        k = runs.region[pieces.run[i]]
        owner[k] = pieces.label[i] if owner[k] == 0 or owner[k] == pieces.label[i] else -1
    for run in range(runs.row.size):
        label = owner[runs.region[run]]
        if label > 0:
            labels[runs.row[run], runs.start[run] : runs.end[run]] = label
    return owner


@numba.njit(cache=True, nogil=True)
def _list_contested(
    field: np.ndarray, stride: int, runs: Runs, pieces: Pieces, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Index and region of the pixels that take part, in raster order; `field` is filled, flat and with a border.

    Where to flood, `field` holds -1 less the pixel's number among those that take part: lists of those few stay in the
    cache, which lists of all pixels do not. Pixels inside a marker, all of whose neighbours are taken, change nothing
    and take no part.
    """
    size = 0
    for run in range(runs.row.size):
        if owner[runs.region[run]] < 0:
            size += runs.end[run] - runs.start[run]
    pixels, region = np.empty((2, size), np.int32)
    if size == 0:
        return pixels, region
    field[:] = 0
    for run in range(runs.row.size):
        if owner[runs.region[run]] < 0:
            begin = (runs.row[run] + 1) * stride + 1
            field[begin + runs.start[run] : begin + runs.end[run]] = -1
    for i in range(pieces.run.size):
        run = pieces.run[i]
        if owner[runs.region[run]] < 0:
            begin = (runs.row[run] + 1) * stride + 1
            field[begin + pieces.start[i] : begin + pieces.end[i]] = pieces.label[i]
    count = 0
    for run in range(runs.row.size):
        if owner[runs.region[run]] >= 0:
            continue
        begin = (runs.row[run] + 1) * stride + 1
        for i in range(begin + runs.start[run], begin + runs.end[run]):
            if field[i] < 0 or min(field[i - 1], field[i + 1], field[i - stride], field[i + stride]) < 0:
                pixels[count], region[count] = i, runs.region[run]
                field[i] = field[i] if field[i] > 0 else -1 - count
                count += 1
    return pixels[:count], region[:count]


@numba.njit(cache=True, nogil=True)
def _rank(values: np.ndarray, region: np.ndarray, order: np.ndarray, n_regions: int) -> np.ndarray:
    """Rank of each pixel by region and value, equal values sharing one: a region floods without the others, and only
    its own pixels are then in the cache."""
    rank = np.empty(values.size, np.int32)
    latest = np.zeros(n_regions + 1, np.int32)  # the rank last given in each region, at first that before its own
    latest[0] = -1
    for k in region:
        latest[k + 1] += 1
    latest = np.cumsum(latest)
    highest = np.full(n_regions, np.nan, values.dtype)  # equals nothing
    for i in order:
        k = region[i]
        if values[i] != highest[k]:
            highest[k] = values[i]
            latest[k] += 1
        rank[i] = latest[k]
    return rank


@numba.njit(cache=True, nogil=True)
def _flood_ranks(field: np.ndarray, stride: int, pixels: np.ndarray, rank: np.ndarray) -> None:
    """Flood `field` in place."""
    first = np.full(pixels.size, -1, np.int32)
    last, after = np.empty((2, pixels.size), np.int32)
    for number in range(pixels.size):
        if field[pixels[number]] > 0:
            _append(number, rank[number], first, last, after)
    for level in range(pixels.size):
        number = first[level]
        while number >= 0:
            pixel = pixels[number]
            for step in (-stride, -1, 1, stride):
                neighbour = -1 - field[pixel + step]
                if neighbour >= 0:
                    field[pixel + step] = field[pixel]
                    _append(neighbour, max(level, rank[neighbour]), first, last, after)
            number = after[number]


@numba.njit(cache=True, nogil=True)
def _append(number: int, rank: int, first: np.ndarray, last: np.ndarray, after: np.ndarray) -> None:
    after[number] = -1
    if first[rank] < 0:
        first[rank] = number
    else:
        after[last[rank]] = number
    last[rank] = number


def fill_holes(mask: np.ndarray) -> None:
    """Fill, in place, the background regions (4-connected) that do not touch the border; `mask` (H, W) uint8."""
    _fill_enclosed(mask, np.equal(mask, 0, out=reused("background", mask.shape, bool)))


@numba.njit(cache=True, nogil=True)
def _fill_enclosed(mask: np.ndarray, background: np.ndarray) -> None:
    height, width = mask.shape
    runs = find_runs(background)
    outer = np.zeros(runs.area.size, np.bool_)
    for run in range(runs.row.size):
        if runs.start[run] == 0 or runs.end[run] == width or runs.row[run] == 0 or runs.row[run] == height - 1:
            outer[runs.region[run]] = True
    for run in range(runs.row.size):
        if not outer[runs.region[run]]:
            mask[runs.row[run], runs.start[run] : runs.end[run]] = 1
