"""Outlines of all nuclei of a label map by border following (Suzuki and Abe 1985), compiled."""

from __future__ import annotations

import numba
import numpy as np

# east, north-east, north, ... against the clock
_DX = np.array([1, 1, 0, -1, -1, -1, 0, 1], np.int64)
_DY = np.array([0, -1, -1, -1, 0, 1, 1, 1], np.int64)


def trace_borders(instances: np.ndarray, ids: np.ndarray, bbox: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow the outer border of each nucleus from its first pixel in raster order.

    Parameters
    ----------
    instances
        (H, W) integers.
    ids, bbox
        (M,) ids and (M, 4) their boxes x0, y0, x1, y1.

    Returns
    -------
    points (K, 2) int32 x, y: the pixels where the border turns, in the order and with the start of OpenCV's
    ``CHAIN_APPROX_SIMPLE``; starts (M + 1,) int64: nucleus i has ``points[starts[i]:starts[i + 1]]``. Of a nucleus
    in several pieces the piece of the first pixel is followed.
    """
    return _trace_all(np.ascontiguousarray(instances), ids, bbox)


@numba.njit(cache=True, nogil=True)
def _trace_all(instances: np.ndarray, ids: np.ndarray, bbox: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = np.empty((256 + 32 * ids.size, 2), np.int32)
    starts = np.zeros(ids.size + 1, np.int64)
    used = 0
    for i in range(ids.size):
        k = ids[i]
        x, y = bbox[i, 0], bbox[i, 1]
        while instances[y, x] != k:
            x += 1
        # a border has at most as many turns as pixels, and each pixel at most four visits
        room = 4 * (bbox[i, 2] - bbox[i, 0]) * (bbox[i, 3] - bbox[i, 1]) + 1
        if used + room > points.shape[0]:
            larger = np.empty((2 * points.shape[0] + room, 2), np.int32)
            larger[:used] = points[:used]
            points = larger
        used = _trace(instances, k, x, y, points, used)
        starts[i + 1] = used
    return points[:used].copy(), starts


@numba.njit(cache=True, nogil=True, inline="always")
def _holds(instances: np.ndarray, k: int, x: int, y: int) -> bool:
    return 0 <= y < instances.shape[0] and 0 <= x < instances.shape[1] and instances[y, x] == k


@numba.njit(cache=True, nogil=True)
def _trace(instances: np.ndarray, k: int, x0: int, y0: int, points: np.ndarray, used: int) -> int:
    """Append one border's turns; returns the number of points then used."""
    direction = 4  # nothing lies to the west of the first pixel, nor above
    for _ in range(8):
        direction = (direction - 1) & 7
        if _holds(instances, k, x0 + _DX[direction], y0 + _DY[direction]):
            break
    else:
        points[used, 0], points[used, 1] = x0, y0
        return used + 1
    x1, y1 = x0 + _DX[direction], y0 + _DY[direction]  # the border ends by the step from here to the start
    before = direction ^ 4
    x, y = x0, y0
    while True:
        direction = (direction + 1) & 7
        while not _holds(instances, k, x + _DX[direction], y + _DY[direction]):
            direction = (direction + 1) & 7
        if direction != before:
            points[used, 0], points[used, 1] = x, y
            used += 1
            before = direction
        next_x, next_y = x + _DX[direction], y + _DY[direction]
        if next_x == x0 and next_y == y0 and x == x1 and y == y1:
            return used
        x, y = next_x, next_y
        direction ^= 4
