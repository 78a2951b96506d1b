"""Regions that a person drew on the slide, in QuPath or another program, as GeoJSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from stnuclei.errors import UserError
from stnuclei.io.geojson import read_geojson

#: Class names, letter case and QuPath's ``*`` aside, of regions that are left out.
EXCLUDED = ("exclude", "excluded", "ignore", "artifact", "artefact")


@dataclass(frozen=True)
class Regions:
    """Where patches may lie, he_px.

    Parameters
    ----------
    include
        Union of the regions to keep to; None: the whole slide.
    exclude
        Union of the regions to leave out, possibly empty.
    names
        Class names of the regions, each once, sorted.
    """

    include: shapely.Geometry | None
    exclude: shapely.Geometry
    names: tuple[str, ...]

    def contains(self, xy: np.ndarray) -> np.ndarray:
        """Points (n, 2) he_px that are kept, (n,) bool."""
        points = shapely.points(np.asarray(xy, np.float64))
        kept = ~shapely.intersects(self.exclude, points)
        return kept if self.include is None else kept & shapely.intersects(self.include, points)


def read_regions(path: str | Path) -> Regions:
    """Read regions in pixels of the H&E.

    Those classified as one of `EXCLUDED` are left out; all others, whatever their class, are kept to. Where there are
    only regions to leave out, the rest of the slide is kept.

    Raises
    ------
    UserError
        If the file is no GeoJSON of polygons or holds none.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of regions (column regions)")
    shapes, properties = read_geojson(path)
    if not len(shapes):
        raise UserError(f"{path}: holds no region; export the annotations as GeoJSON again")
    shapes = shapely.make_valid(shapes)
    names = [_class_name(entry) for entry in properties]
    excluded = np.array([name.lower().rstrip("*") in EXCLUDED for name in names], bool)
    include = None if excluded.all() else shapely.union_all(shapes[~excluded])
    exclude = shapely.union_all(shapes[excluded])
    shapely.prepare([exclude if include is None else include, exclude])
    return Regions(include, exclude, tuple(sorted({name for name in names if name})))


def _class_name(properties: dict[str, Any]) -> str:
    classification = properties.get("classification")
    name = classification.get("name") if isinstance(classification, dict) else properties.get("name")
    return str(name or "")
