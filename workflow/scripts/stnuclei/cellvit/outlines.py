"""Outlines of the nuclei of a label map: OpenCV's contours, and polygons that have the nuclei's area.

OpenCV's contour joins the centres of border pixels and so loses half a pixel all around (a quarter of the area of a
nucleus 8 px wide); the official tables hold it. `outline_polygons` goes through the middles of the border pixels'
outer sides: of a piece without holes the polygon's area is that of its pixels less half a pixel, diagonal borders are
straight, and it never touches itself. It equals ``skimage.measure.find_contours(mask, 0.5)`` without the points on
straight lines.
"""

from __future__ import annotations

import itertools

import cv2
import numba
import numpy as np
import shapely

from stnuclei.cellvit.components import find_runs
from stnuclei.cellvit.nuclei import Shapes

# The eight neighbours against the clock from the east, for the walk over pixel centres.
_DX = np.array([1, 1, 0, -1, -1, -1, 0, 1], np.int64)
_DY = np.array([0, -1, -1, -1, 0, 1, 1, 1], np.int64)
# One step along a pixel's side: east, south, west, north, the nucleus on the right hand.
_STEP_X = np.array([1, 0, -1, 0], np.int64)
_STEP_Y = np.array([0, 1, 0, -1], np.int64)
# From a corner, the two pixels ahead: to the left and to the right of each direction.
_LEFT = np.array([[0, -1], [0, 0], [-1, 0], [-1, -1]], np.int64)
_RIGHT = np.array([[0, 0], [-1, 0], [-1, -1], [0, -1]], np.int64)


def contours(instances: np.ndarray, table: Shapes) -> list[np.ndarray]:
    """Outlines of the nuclei of a table, in its order.

    Parameters
    ----------
    instances
        (H, W) integers: the map the table was made from.
    table
        Its nuclei.

    Returns
    -------
    (k, 2) int32 (x, y) px each: centres of the border pixels at which the outer border turns, equal to OpenCV's first
    contour. Fewer than three points (a dot, a straight line) are no polygon; the official code leaves such nuclei out
    of its tables.
    """
    if len(find_runs(instances, True).area) - 1 == len(table):  # every nucleus in one piece
        points, starts, _ = _trace_all(np.ascontiguousarray(instances), table.id, table.bbox, False)
        points = points.astype(np.int32)
        return [points[a:b] for a, b in itertools.pairwise(starts.tolist())]
    return [_contour(instances, k, *box) for k, box in zip(table.id.tolist(), table.bbox.tolist(), strict=True)]


def _contour(instances: np.ndarray, k: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    crop = (instances[y0:y1, x0:x1] == k).view(np.uint8)
    return cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))[0][0][:, 0]


def is_polygon(instances: np.ndarray, table: Shapes) -> np.ndarray:
    """Mask of the nuclei whose outline has at least three points: (M,) bool, without tracing the plain ones."""
    sides = table.bbox[:, 2:] - table.bbox[:, :2]
    polygon = np.ones(len(table), bool)
    # no more pixels than the longer side: perhaps a line
    for row in np.flatnonzero(table.area <= sides.max(1, initial=0)):
        polygon[row] = len(_contour(instances, int(table.id[row]), *table.bbox[row].tolist())) >= 3
    return polygon


def outline_polygons(
    instances: np.ndarray, ids: np.ndarray, bbox: np.ndarray, area: np.ndarray, simplify_px: float = 0.0
) -> np.ndarray:
    """Polygons of some nuclei.

    Parameters
    ----------
    instances
        (H, W) integers.
    ids, bbox, area
        (n,) ids, (n, 4) boxes x0, y0, x1, y1 with ends exclusive, (n,) px: as `stnuclei.cellvit.nuclei` gives them.
    simplify_px
        Points are left out where the outline moves by no more than this.

    Returns
    -------
    (n,) shapely polygons in px, pixel i spanning [i, i + 1]; valid. Holes are filled; of a nucleus in several pieces
    the largest is taken.
    """
    if not len(ids):
        return np.zeros(0, object)
    points, starts, enclosed = _trace_all(np.ascontiguousarray(instances), ids, bbox, True)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(ids)), np.diff(starts)))
    polygons = shapely.polygons(rings)
    for row in np.flatnonzero(enclosed < area):  # less than its pixels: in several pieces
        polygons[row] = _largest_piece(instances, int(ids[row]), *bbox[row].tolist())
    if simplify_px > 0:
        # Keeping the topology would take twelve times as long and is needed by hardly any nucleus.
        simple = shapely.simplify(polygons, simplify_px, preserve_topology=False)
        sound = (shapely.get_type_id(simple) == shapely.GeometryType.POLYGON) & shapely.is_valid(simple)
        polygons = np.where(sound & ~shapely.is_empty(simple), simple, polygons)
    return polygons


def _largest_piece(instances: np.ndarray, k: int, x0: int, y0: int, x1: int, y1: int) -> shapely.Polygon:
    crop = (instances[y0:y1, x0:x1] == k).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=4)
    largest = int(stats[1:, cv2.CC_STAT_AREA].argmax()) + 1
    x, y, width, height = stats[largest, :4]
    box = np.array([[x, y, x + width, y + height]], np.int32)
    points, _, _ = _trace_all(pieces, np.array([largest], np.int32), box, True)
    return shapely.Polygon(points + (x0, y0))


@numba.njit(cache=True, nogil=True)
def _trace_all(
    instances: np.ndarray, ids: np.ndarray, bbox: np.ndarray, sides: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk around each nucleus from its first pixel in raster order, along pixel sides or over pixel centres.

    Returns the points (K, 2) float64, the index at which each nucleus begins (n + 1,), and the pixels each walk along
    sides encloses (n,).
    """
    points = np.empty((256 + 64 * ids.size, 2), np.float64)
    starts = np.zeros(ids.size + 1, np.int64)
    enclosed = np.zeros(ids.size, np.int64)
    used = 0
    for i in range(ids.size):
        x, y = bbox[i, 0], bbox[i, 1]
        while instances[y, x] != ids[i]:
            x += 1
        # Every pixel has four sides, and its centre is visited at most four times.
        needed = 4 * (bbox[i, 2] - bbox[i, 0]) * (bbox[i, 3] - bbox[i, 1]) + 2
        if used + needed > points.shape[0]:
            larger = np.empty((2 * points.shape[0] + needed, 2), np.float64)
            larger[:used] = points[:used]
            points = larger
        if sides:
            used, enclosed[i] = _walk_sides(instances, ids[i], x, y, points, used)
        else:
            used = _walk_centres(instances, ids[i], x, y, points, used)
        starts[i + 1] = used
    return points[:used].copy(), starts, enclosed


@numba.njit(cache=True, nogil=True, inline="always")
def _holds(instances: np.ndarray, k: int, x: int, y: int) -> bool:
    return 0 <= y < instances.shape[0] and 0 <= x < instances.shape[1] and instances[y, x] == k


@numba.njit(cache=True, nogil=True)
def _walk_centres(instances: np.ndarray, k: int, x0: int, y0: int, points: np.ndarray, used: int) -> int:
    """Follow the outer border by pixel centres (Suzuki and Abe 1985) from its first pixel; returns the points used."""
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


@numba.njit(cache=True, nogil=True)
def _walk_sides(instances: np.ndarray, k: int, x0: int, y0: int, points: np.ndarray, used: int) -> tuple[int, int]:
    """Walk around the piece whose first pixel is (x0, y0), clockwise; points used, and pixels inside the walk."""
    first = used
    x, y, direction, doubled = x0, y0, 0, 0
    turn = 1  # how the walk turned onto the side it is on: the first comes round the corner of the first pixel
    while True:
        doubled += x * _STEP_Y[direction] - y * _STEP_X[direction]
        middle_x, middle_y = x + 0.5 * _STEP_X[direction], y + 0.5 * _STEP_Y[direction]
        x, y = x + _STEP_X[direction], y + _STEP_Y[direction]
        left, right = _LEFT[direction], _RIGHT[direction]
        # Pixels that only touch by a corner are apart: the walk turns right before it looks across the corner.
        if not _holds(instances, k, x + right[0], y + right[1]):
            after = 1
        elif _holds(instances, k, x + left[0], y + left[1]):
            after = -1
        else:
            after = 0
        # Of sides in line only the first and the last one's middles are needed.
        if turn != 0 or after != 0:
            points[used, 0], points[used, 1] = middle_x, middle_y
            used += 1
        direction = (direction + after) & 3
        turn = after
        if x == x0 and y == y0 and direction == 0:
            break
    points[used] = points[first]
    return used + 1, abs(doubled) // 2
