"""Regions that a person drew on the slide, in QuPath or another program, as GeoJSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from stnuclei.errors import UserError
from stnuclei.io.polygons import read_geojson

#: Role of a region -> names of its class, letter case and QuPath's ``*`` aside.
NAMES: dict[str, tuple[str, ...]] = {
    "tumour": ("tumour", "tumor", "cancer", "neoplastic", "malignant"),
    "normal": ("normal", "healthy", "benign"),
    "exclude": ("exclude", "excluded", "ignore", "artifact", "artefact"),
    # QuPath's own classes, and plain words for "here".
    "include": ("include", "region", "roi", "tissue", "stroma", "immune cells", "necrosis", "other"),
}


@dataclass(frozen=True)
class Regions:
    """Regions in which patches and labels may lie, he_px.

    Parameters
    ----------
    include
        Union of the regions to keep to; None: the whole slide.
    exclude
        Union of the regions to leave out, possibly empty.
    normal
        Union of the regions without malignant cells, possibly empty.
    names
        Class names of the regions, each once, sorted.
    drawn
        Role and outline of each region as drawn.
    """

    include: shapely.Geometry | None
    exclude: shapely.Geometry
    normal: shapely.Geometry
    names: tuple[str, ...]
    drawn: tuple[tuple[str, shapely.Geometry], ...]

    def contains(self, xy: np.ndarray) -> np.ndarray:
        """Points (n, 2) he_px that are kept, (n,) bool."""
        points = shapely.points(np.asarray(xy, np.float64))
        kept = ~shapely.intersects(self.exclude, points)
        return kept if self.include is None else kept & shapely.intersects(self.include, points)

    def in_normal(self, xy: np.ndarray) -> np.ndarray:
        """Points (n, 2) he_px in tissue drawn as normal, (n,) bool."""
        return shapely.intersects(self.normal, shapely.points(np.asarray(xy, np.float64)))


def read_regions(path: str | Path, other_names: Sequence[str] = ()) -> Regions:
    """Read regions in pixels of the H&E.

    Those of the role ``exclude`` are left out; all others are kept to. Where there are only regions to leave out, the
    rest of the slide is kept.

    Parameters
    ----------
    path
        GeoJSON.
    other_names
        Class names beside those of `NAMES`; their regions are kept to.

    Raises
    ------
    UserError
        If the file is no GeoJSON of polygons, holds none, or one has a class that is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of regions (column regions)")
    shapes, properties = read_geojson(path)
    if not len(shapes):
        raise UserError(f"{path}: holds no region; export the annotations as GeoJSON again")
    shapes = shapely.make_valid(shapes)
    names = [class_name(entry) or str(entry.get("name") or "") for entry in properties]
    roles = np.array([_role(path, name, other_names) for name in names], dtype=object)
    include = None if (roles == "exclude").all() else shapely.union_all(shapes[roles != "exclude"])
    exclude, normal = (shapely.union_all(shapes[roles == role]) for role in ("exclude", "normal"))
    shapely.prepare([exclude if include is None else include, exclude, normal])
    drawn = tuple(zip(roles.tolist(), shapes, strict=True))
    return Regions(include, exclude, normal, tuple(sorted({name for name in names if name})), drawn)


def _role(path: Path, name: str, other_names: Sequence[str]) -> str:
    """Role of a region's class; a region without one is kept to."""
    plain = name.casefold().rstrip("*").strip()
    if not plain or plain in {other.casefold().rstrip("*").strip() for other in other_names}:
        return "include"
    for role, names in NAMES.items():
        if plain in names:
            return role
    known = ", ".join(word for names in NAMES.values() for word in names)
    raise UserError(
        f"{path}: region {name!r} is not known ({known}); correct its class, or list it in the setting "
        "regions.other_names"
    )


def class_name(properties: Mapping[str, Any]) -> str:
    """Name of a GeoJSON feature's class, "" without one.

    QuPath writes ``classification`` with ``name``, or with ``names`` of a class and its parts; other programs the name
    alone, or ``class``.
    """
    given = properties.get("classification") or properties.get("class")
    if isinstance(given, Mapping):
        given = given.get("name") or ": ".join(map(str, given.get("names") or ()))
    return str(given or "")
