"""Landmarks set by hand on the H&E and on the run's image: of napari, QuPath, STalign, or tables of x and y."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from stnuclei.errors import UserError

#: Forms of landmark files, for messages.
FORMS = "napari's points csv, QuPath's points GeoJSON, STalign's _points.npy, a csv with columns x and y"
#: Classes that numpy writes into a pickled dict of lists of points; nothing else is unpickled, so no code can run.
_PICKLED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
}


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one image.

    Parameters
    ----------
    xy
        (n, 2) float64, x and y in the file's unit; of pixels the first one's corner is the origin.
    names
        A name for each, or empty where the file names none: then their order counts.
    """

    xy: np.ndarray
    names: tuple[str, ...] = ()


def read_landmark_pairs(files: Sequence[Path], unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Read landmarks on the H&E and on the run's image.

    Parameters
    ----------
    files
        The H&E's and the run's, or one npz of STalign with ``pointsI`` (H&E) and ``pointsJ`` (run), rows of (y, x).
    unit
        Unit of the run's landmarks, ``px`` or ``um``; those of the H&E are its full-resolution pixels.

    Returns
    -------
    H&E (n, 2) px and run (n, 2) in its unit, in the same order: by name where both files name each, else as stored.

    Raises
    ------
    UserError
        If a file cannot be read, or the two do not have the same landmarks.
    """
    he, run = _of_npz(files[0], unit) if len(files) == 1 else (_read(files[0], "px"), _read(files[1], unit))
    if he.names and run.names:
        alone = sorted(set(he.names) ^ set(run.names))
        if alone:
            raise UserError(f"{files[-1]}: landmark {alone[0]!r} is on one of the two images alone; set it on both")
        row = {name: k for k, name in enumerate(run.names)}
        return he.xy, run.xy[[row[name] for name in he.names]]
    if len(he.xy) != len(run.xy):
        raise UserError(
            f"{files[-1]}: has {len(run.xy)} landmarks, {files[0].name} has {len(he.xy)}; set the same ones on both, "
            "in the same order"
        )
    return he.xy, run.xy


def _read(path: Path, unit: str) -> Landmarks:
    if not path.is_file():
        raise UserError(f"{path}: no such file of landmarks (column he_alignment)")
    readers = {".csv": _of_csv, ".npy": _of_npy, ".json": _of_geojson, ".geojson": _of_geojson}
    reader = readers.get(path.suffix.lower())
    try:
        landmarks = reader(path, unit) if reader else None
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, pickle.UnpicklingError):
        landmarks = None
    if landmarks is None or landmarks.xy.ndim != 2 or landmarks.xy.shape[1:] != (2,):
        raise UserError(f"{path}: is no file of landmarks; accepted are {FORMS}")
    return landmarks


def _of_csv(path: Path, unit: str) -> Landmarks | None:
    """napari's points layer (``index, axis-0, axis-1, ...``: the last two axes are y, x), or columns x and y."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [{name.strip().lower(): value for name, value in row.items()} for row in csv.DictReader(file)]
    axes = sorted((name for name in rows[0] if name.startswith("axis-")), key=lambda name: int(name[5:]))
    if len(axes) >= 2:
        return Landmarks(_corner(_columns(rows, axes[-1], axes[-2]), unit))
    return Landmarks(_columns(rows, "x", "y")) if {"x", "y"} <= set(rows[0]) else None


def _columns(rows: list[dict[str, Any]], *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows])


def _corner(xy: np.ndarray, unit: str) -> np.ndarray:
    """Points of a program whose pixels have their centre at whole numbers (napari, matplotlib), from corners."""
    return xy + 0.5 if unit == "px" else xy


def _of_geojson(path: Path, unit: str) -> Landmarks:
    """QuPath's point annotations: (x, y) in px from the corner; named by annotation where all have names."""
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    features = content if isinstance(content, list) else content["features"]
    points: list[Any] = []
    names: list[str] = []
    for feature in features:
        geometry = feature["geometry"]
        inside = {"Point": [geometry["coordinates"]], "MultiPoint": geometry["coordinates"]}[geometry["type"]]
        name = (feature.get("properties") or {}).get("name")
        names += [f"{name} {k}" for k in range(len(inside))] if name else []
        points += [point[:2] for point in inside]
    unique = len(names) == len(points) == len(set(names))
    return Landmarks(np.array(points, np.float64), tuple(names) if unique else ())


def _of_npy(path: Path, unit: str) -> Landmarks:
    """STalign's point_annotator: a pickled dict, name of a structure -> list of (x, y); pixel centres whole numbers."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        _, _, dtype = header(file)
        if not dtype.hasobject:
            raise ValueError("no dict of points")
        points = _Unpickler(file).load().item()
    names = [f"{name} {k}" for name, inside in points.items() for k in range(len(inside))]
    xy = np.array([point for inside in points.values() for point in inside], np.float64)
    return Landmarks(_corner(xy, unit), tuple(names))


def _of_npz(path: Path, unit: str) -> tuple[Landmarks, Landmarks]:
    if not path.is_file():
        raise UserError(f"{path}: no such file of landmarks (column he_alignment)")
    try:
        with np.load(path, allow_pickle=False) as content:
            he, run = (np.asarray(content[name], np.float64)[:, 1::-1] for name in ("pointsI", "pointsJ"))
    except Exception as error:  # zipfile, numpy and zlib raise what they like on a damaged archive
        raise UserError(f"{path}: holds no pointsI and pointsJ as STalign takes them (rows of y, x)") from error
    return Landmarks(_corner(he, "px")), Landmarks(_corner(run, unit))


class _Unpickler(pickle.Unpickler):
    """Unpickler of numpy arrays, plain lists, dicts, texts and numbers."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a class, if it is one of numpy's."""
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is no point")
        return super().find_class(module, name)
