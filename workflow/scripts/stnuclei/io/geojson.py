"""GeoJSON outlines: nuclei and regions as QuPath, xeniumranger, Proseg and others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from stnuclei.errors import UserError

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


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
    other = ~np.isin(shapely.get_type_id(polygons), _POLYGONAL)
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
        message = str(error).splitlines()[0][:120]
        raise UserError(f"{path}: a geometry cannot be read ({message}); export the outlines again") from error
