"""Nuclei from polygons to pixels: scanline fill at pixel centres.

A pixel belongs to a polygon when its centre lies inside (even-odd rule: holes stay empty); a centre on an edge belongs
to the polygon on its right or below, so polygons that share an edge share no pixel and leave none free. Over many
nuclei the number of pixels equals the polygons' area. Where nuclei overlap the smaller lies on top; of two of equal
area, the one that comes later in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import shapely


@dataclass(frozen=True)
class Outlines:
    """Polygons of K nuclei as flat arrays.

    Parameters
    ----------
    xy
        float64 (V, 2): vertices of all rings, each ring closed.
    ring_first
        int64 (R + 1,): first vertex of each ring, then V.
    nucleus_first
        int64 (K + 1,): first ring of each nucleus, then R. A nucleus without outline has no ring.
    bounds
        float64 (K, 4): x0, y0, x1, y1; NaN without outline.
    area
        float64 (K,): size of the polygons as given, which orders them; 0 without outline.
    """

    xy: np.ndarray
    ring_first: np.ndarray
    nucleus_first: np.ndarray
    bounds: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        return len(self.area)

    @classmethod
    def of(cls, geometries: np.ndarray, matrix: np.ndarray | None = None) -> Outlines:
        """Take the vertices out of polygons and multipolygons.

        Parameters
        ----------
        geometries
            (K,) shapely geometries. Invalid ones are made valid; of collections the polygons count; None, empty and
            line-like ones have no outline.
        matrix
            (3, 3) transform of the vertices; none: identity.
        """
        geometries = _valid(np.asarray(geometries, dtype=object))
        polygons, nucleus = _polygons(geometries)
        rings, polygon = shapely.get_rings(polygons, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        matrix = np.eye(3) if matrix is None else np.asarray(matrix, np.float64)
        xy = _transformed(xy, matrix)
        area = np.nan_to_num(shapely.area(geometries)) if len(geometries) else np.zeros(0)
        nucleus_first = _starts(nucleus[polygon], len(geometries))
        return cls.from_rings(np.ascontiguousarray(xy), _starts(ring, len(rings)), nucleus_first, area)

    @classmethod
    def from_rings(
        cls, xy: np.ndarray, ring_first: np.ndarray, nucleus_first: np.ndarray, area: np.ndarray
    ) -> Outlines:
        """Outlines of flat arrays, see the class; their boxes are found."""
        return cls(xy, ring_first, nucleus_first, _bounds(xy, ring_first[nucleus_first]), area)

    def within(self, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
        """Rows, ascending int64, of nuclei whose box meets a region."""
        left, top, right, bottom = self.bounds.T
        return np.flatnonzero((right > x0) & (left < x1) & (bottom > y0) & (top < y1))

    def paint(self, rows: np.ndarray, x0: int, y0: int, width: int, height: int) -> np.ndarray:
        """Paint nuclei into a region.

        Parameters
        ----------
        rows
            Which nuclei, ascending.
        x0, y0, width, height
            The region, px in the outlines' frame.

        Returns
        -------
        int32 (height, width): 1 + the nucleus' index in `rows`, 0 background.
        """
        labels = np.zeros((height, width), np.int32)
        order = np.argsort(-self.area[rows], kind="stable")
        _paint(labels, _Rings(self.xy, self.ring_first, self.nucleus_first, self.bounds), rows, order, x0, y0)
        return labels


def rasterize(geometries: np.ndarray, width: int, height: int, matrix: np.ndarray | None = None) -> np.ndarray:
    """Label map int32 (height, width) of polygons; k is the k-th polygon, 0 background.

    Parameters
    ----------
    geometries
        (K,) shapely geometries, see `Outlines.of`.
    width, height
        Size of the map, px.
    matrix
        (3, 3) from the polygons' coordinates to pixels of the map, pixel 0 spanning 0 to 1; none: identity.
    """
    outlines = Outlines.of(geometries, matrix)
    return outlines.paint(np.arange(len(outlines)), 0, 0, width, height)


def _valid(geometries: np.ndarray) -> np.ndarray:
    bad = ~shapely.is_missing(geometries) & ~shapely.is_valid(geometries)
    if bad.any():
        geometries = geometries.copy()
        geometries[bad] = shapely.make_valid(geometries[bad])
    return geometries


def _polygons(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All polygons in the geometries, and whose each is."""
    if _are_polygons(geometries).all():
        return geometries, np.arange(len(geometries))
    polygons, owner = shapely.get_parts(geometries, return_index=True)
    # Twice: making valid may give a collection of multipolygons.
    polygons, inner = shapely.get_parts(polygons, return_index=True)
    owner = owner[inner]
    kept = _are_polygons(polygons)
    return polygons[kept], owner[kept]


def _are_polygons(geometries: np.ndarray) -> np.ndarray:
    """True where a geometry is one polygon that is not empty, bool (n,)."""
    return (shapely.get_type_id(geometries) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(geometries)


def _transformed(xy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    if np.array_equal(matrix, np.eye(3)):
        return xy
    return xy @ matrix[:2, :2].T + matrix[:2, 2]


def _starts(owner: np.ndarray, n: int) -> np.ndarray:
    """First index of each of n owners' items among items sorted by owner, and the end; int64 (n + 1,)."""
    return np.searchsorted(owner, np.arange(n + 1)).astype(np.int64)


def _bounds(xy: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Boxes (K, 4) of the vertices first[k]:first[k + 1]; NaN where there are none."""
    bounds = np.full((len(first) - 1, 4), np.nan)
    has = np.flatnonzero(np.diff(first) > 0)
    if len(has):
        starts = first[has]
        bounds[has, :2] = np.minimum.reduceat(xy, starts)
        bounds[has, 2:] = np.maximum.reduceat(xy, starts)
    return bounds


class _Rings(NamedTuple):
    """Arrays of `Outlines`, as numba takes them."""

    xy: np.ndarray
    ring_first: np.ndarray
    nucleus_first: np.ndarray
    bounds: np.ndarray


@numba.njit(nogil=True, cache=True)
def _paint(labels: np.ndarray, outlines: _Rings, rows: np.ndarray, order: np.ndarray, x0: int, y0: int) -> None:
    xy, ring_first, nucleus_first, bounds = outlines
    height, width = labels.shape
    most = 0
    for k in rows:
        most = max(most, ring_first[nucleus_first[k + 1]] - ring_first[nucleus_first[k]])
    crossings = np.empty(most + 1, np.float64)
    for item in order:
        k = rows[item]
        top = max(int(np.ceil(bounds[k, 1] - y0 - 0.5)), 0)
        bottom = min(int(np.ceil(bounds[k, 3] - y0 - 0.5)), height)
        for r in range(top, bottom):
            n = _cross(xy, ring_first, nucleus_first[k], nucleus_first[k + 1], y0 + r + 0.5, crossings)
            for i in range(0, n - 1, 2):
                begin = max(int(np.ceil(crossings[i] - x0 - 0.5)), 0)
                end = min(int(np.ceil(crossings[i + 1] - x0 - 0.5)), width)
                for c in range(begin, end):
                    labels[r, c] = item + 1


@numba.njit(nogil=True, cache=True)
def _cross(xy: np.ndarray, ring_first: np.ndarray, ring_begin: int, ring_end: int, y: float, out: np.ndarray) -> int:
    """Write where the line at `y` crosses the rings into `out`, ascending; how often it does."""
    n = 0
    for ring in range(ring_begin, ring_end):
        for v in range(ring_first[ring], ring_first[ring + 1] - 1):
            xa, ya, xb, yb = xy[v, 0], xy[v, 1], xy[v + 1, 0], xy[v + 1, 1]
            if ya > yb:  # the same arithmetic for both polygons that share the edge
                xa, ya, xb, yb = xb, yb, xa, ya
            if ya <= y < yb:
                x = xa + (y - ya) * (xb - xa) / (yb - ya)
                i = n
                while i > 0 and out[i - 1] > x:
                    out[i] = out[i - 1]
                    i -= 1
                out[i] = x
                n += 1
    return n
