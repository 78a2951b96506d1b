"""Polygons from vertex tables and from GeoJSON, thousands at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from stnuclei.errors import UserError, first_line

_POLYGON, _MULTIPOLYGON = shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON


def build_polygons(group: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Build one polygon for every value of `group`.

    Parameters
    ----------
    group
        (n,) whole numbers; the rows of one polygon carry the same one, in the order of its outline.
    vertices
        (n, 2) float, (x, y).

    Returns
    -------
    First row of every group (k,), in that order, and polygons (k,); None where a group encloses nothing.
    """
    starts = _starts(group)
    order = None
    if _lie_apart(group[starts]):
        order = _contiguous(group)
        group, vertices = group[order], vertices[order]
        starts = _starts(group)
    sizes = np.diff(np.r_[starts, len(group)])
    polygons = np.full(len(starts), None, dtype=object)
    enough = sizes >= 3
    rows = np.repeat(enough, sizes)
    if enough.any():
        polygons[enough] = _from_rings(vertices[rows], sizes[enough])
    flat = enough & (shapely.area(polygons) <= 0)
    polygons[flat] = None
    return starts if order is None else order[starts], polygons


def group_pieces(group: np.ndarray, most: int) -> Iterator[slice | np.ndarray]:
    """Rows of whole groups, at most `most` groups at a time, groups in the order they first appear.

    `group` is that of `build_polygons`. Rows are a slice where the rows of each group lie together.
    """
    starts = _starts(group)
    order = _contiguous(group) if _lie_apart(group[starts]) else None
    starts = starts if order is None else _starts(group[order])
    for begin in range(0, len(starts), most):
        last = starts[begin + most] if begin + most < len(starts) else len(group)
        yield slice(starts[begin], last) if order is None else order[starts[begin] : last]


def _lie_apart(numbers: np.ndarray) -> bool:
    """True if a group's rows do not all follow each other; `numbers` are the groups as they begin."""
    # Counted from 1 in real files, which needs no sorting to see.
    return not (numbers[1:] > numbers[:-1]).all() and len(np.unique(numbers)) < len(numbers)


def _from_rings(vertices: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Polygons of one ring each, whose vertices follow each other."""
    ends = np.cumsum(sizes)
    if sizes.min() >= 4 and (vertices[ends - sizes] == vertices[ends - 1]).all():
        # Closed, as the instrument writes them: built in one step, in a third of the time.
        offsets = (np.r_[0, ends], np.arange(len(sizes) + 1))
        return shapely.from_ragged_array(shapely.GeometryType.POLYGON, vertices, offsets)
    ring = np.repeat(np.arange(len(sizes)), sizes)
    # linearrings closes what is open.
    return shapely.polygons(shapely.linearrings(vertices, indices=ring))


def _starts(group: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.r_[True, group[1:] != group[:-1]])


def _contiguous(group: np.ndarray) -> np.ndarray:
    """Order that brings the rows of a group together, groups in the order they first appear."""
    _, first, code = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return np.argsort(rank[code], kind="stable")


def repair(polygons: np.ndarray, min_fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Make polygons valid and single; what falls apart becomes several.

    Parameters
    ----------
    polygons
        (n,) Polygon, MultiPolygon or None.
    min_fraction
        Pieces smaller than this fraction of their polygon are dropped: crossings leave slivers.

    Returns
    -------
    Polygons (m,), all valid and with area, and the row of `polygons` each came from (m,).
    """
    polygons = np.asarray(polygons, dtype=object)
    source = np.flatnonzero(~shapely.is_missing(polygons) & ~shapely.is_empty(polygons))
    polygons = polygons[source]
    broken = ~shapely.is_valid(polygons)
    if not broken.any() and (shapely.get_type_id(polygons) == _POLYGON).all() and (shapely.area(polygons) > 0).all():
        return polygons, source
    if broken.any():
        polygons[broken] = shapely.make_valid(polygons[broken], method="structure", keep_collapsed=False)
    pieces, owner = shapely.get_parts(polygons, return_index=True)
    area = shapely.area(pieces)
    keep = (shapely.get_type_id(pieces) == _POLYGON) & (area > 0)
    largest = np.zeros(len(polygons))
    np.maximum.at(largest, owner[keep], area[keep])
    keep &= area >= min_fraction * largest[owner]
    return pieces[keep], source[owner[keep]]


def read_geojson(path: Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Read the polygons of a FeatureCollection, or of a list of features.

    Returns
    -------
    Polygons and MultiPolygons (n,), in the file's coordinates and order; the properties of each feature, with its
    ``id`` where the feature has one and its properties have none.

    Raises
    ------
    UserError
        If the file is no GeoJSON, or a geometry is no polygon.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        features = content if isinstance(content, list) else content["features"]
        geometries = [json.dumps(feature["geometry"]) for feature in features]
        properties = [_properties(feature) for feature in features]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: no GeoJSON (a FeatureCollection or a list of features with geometry)") from None
    polygons = _decoded(path, geometries)
    other = ~np.isin(shapely.get_type_id(polygons), (_POLYGON, _MULTIPOLYGON))
    if other.any():
        name = shapely.GeometryType(shapely.get_type_id(polygons[other][0])).name.title() if len(polygons) else ""
        raise UserError(f"{path}: outlines must be Polygon or MultiPolygon, not {name}")
    return polygons, properties


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = dict(feature.get("properties") or {})
    return {"id": feature["id"], **properties} if "id" in feature else properties


def _decoded(path: Path, geometries: list[str]) -> np.ndarray:
    try:
        return np.asarray(shapely.from_geojson(geometries), dtype=object)
    except shapely.errors.GEOSException as error:
        raise UserError(
            f"{path}: a geometry cannot be read ({first_line(error)}); export the outlines again"
        ) from error
