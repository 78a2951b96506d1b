"""Elements of a SpatialData store (zarr v2 or v3): listed, chosen, and opened without the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.errors import UserError, first_line
from stnuclei.joblog import quiet
from stnuclei.slides.ome_zarr import StoreSlide

if TYPE_CHECKING:
    from spatialdata import SpatialData

#: Columns of samples.tsv that name an element, by the element's role.
COLUMNS = {"H&E image": "he_element", "nuclei": "nuclei_element", "table": "table_element"}


@dataclass(frozen=True)
class Elements:
    """Names of the elements a sample is read from.

    Parameters
    ----------
    he
        Image, 8-bit RGB; None where the H&E is a file outside the store.
    nuclei
        Shapes (polygons) or labels; one element, or one for each field of view.
    nuclei_type
        ``shapes`` or ``labels``.
    table
        Cells x genes.
    """

    he: str | None
    nuclei: tuple[str, ...]
    nuclei_type: str
    table: str

    @property
    def paths(self) -> list[tuple[str, str]]:
        """Folder and name of each element in the store."""
        images = [("images", self.he)] if self.he else []
        return [*images, *((self.nuclei_type, name) for name in self.nuclei), ("tables", self.table)]

    @property
    def nuclei_words(self) -> str:
        """The nuclei's elements for messages."""
        return self.nuclei[0] if len(self.nuclei) == 1 else f"{self.nuclei[0]} to {self.nuclei[-1]}"


def choose_elements(
    store: Path, he: str | None = None, nuclei: str | None = None, table: str | None = None
) -> Elements:
    """Choose the elements of a sample: those named, else the only ones that can be meant.

    Nuclei are polygons or labels. Among several, those called after nuclei are preferred, then polygons to labels (the
    same nuclei are often stored as both).

    Raises
    ------
    UserError
        If an element is not there, or several could be meant; they are listed.
    """
    if not _metadata_file(store):
        raise UserError(f"{store}: is no zarr store; give a SpatialData store in column path")
    names = {element_type: _names(store, element_type) for element_type in ("images", "labels", "shapes", "tables")}
    image = _choose(store, "H&E image", he, names["images"], lambda name: _is_rgb(store, name))
    outlines = [name for name in names["shapes"] if _has_polygons(store, name)]
    chosen = _choose(
        store, "nuclei", nuclei, [*outlines, *names["labels"]], None, _preferred(outlines, names["labels"])
    )
    element_type = "shapes" if chosen in outlines else "labels"
    return Elements(image, (chosen,), element_type, _choose(store, "table", table, names["tables"]))


@contextmanager
def opened(store: Path, elements: Elements) -> Iterator[SpatialData]:
    """Open a store with the chosen elements alone; images and labels stay on disk.

    spatialdata reads all shapes and tables of a store, of a Xenium run gigabytes that are not needed. It is given a
    folder of links to the chosen ones.

    Raises
    ------
    UserError
        If spatialdata cannot read them.
    """
    import spatialdata

    with TemporaryDirectory(prefix="stnuclei-elements-") as folder:
        view = Path(folder) / "view.zarr"
        _link(store, view, elements.paths)
        try:
            with quiet("ome_zarr"):
                data = spatialdata.read_zarr(view)
            lacking = [name for _, name in elements.paths if name not in data]
        except Exception as error:  # whatever the libraries below spatialdata raise on a damaged store
            damaged = _damaged(store, elements)
            raise UserError(
                f"{damaged}: spatialdata cannot read it ({first_line(error, 160)}); write the store again"
            ) from error
        if lacking:
            raise UserError(
                f"{store}: element {lacking[0]} is damaged, spatialdata leaves it out; write the store again"
            )
        yield data


def _damaged(store: Path, elements: Elements) -> Path:
    """Path of the first element that cannot be read by itself, else of the store: errors below seldom name it."""
    import spatialdata

    for element_type, name in elements.paths:
        with TemporaryDirectory(prefix="stnuclei-elements-") as folder:
            try:
                _link(store, Path(folder) / "view.zarr", [(element_type, name)])
                with quiet("ome_zarr"):
                    spatialdata.read_zarr(Path(folder) / "view.zarr")
            except Exception:  # noqa: BLE001 as above; the error itself is told by the caller
                return store / element_type / name
    return store


def element_metadata(store: Path, element_type: str, name: str) -> Path:
    """Path of the file that describes an element."""
    path = _metadata_file(store / element_type / name)
    if path is None:
        raise UserError(f"{store}: {element_type}/{name} is not there")
    return path


def affines(element: Any) -> dict[str, np.ndarray]:
    """Coordinate system -> affine (3, 3) that takes the element's (x, y) there; systems without one are left out."""
    from spatialdata.transformations import get_transformation

    out: dict[str, np.ndarray] = {}
    for system, transformation in get_transformation(element, get_all=True).items():
        try:
            out[system] = np.asarray(transformation.to_affine_matrix(("x", "y"), ("x", "y")), np.float64)
        except (ValueError, NotImplementedError):
            continue
    return out


def _names(store: Path, element_type: str) -> list[str]:
    folder = store / element_type
    return sorted(path.name for path in folder.iterdir() if _metadata_file(path)) if folder.is_dir() else []


def _metadata_file(path: Path) -> Path | None:
    return next((path / name for name in ("zarr.json", ".zattrs", ".zgroup") if (path / name).is_file()), None)


def _is_rgb(store: Path, name: str) -> bool:
    try:
        slide = StoreSlide(store / "images" / name)
    except (OSError, KeyError, ValueError, TypeError, IndexError):
        return False
    return len(slide.levels[0]) == 2 and slide.channels in (3, 4) and slide.stored_dtype == np.uint8


def _has_polygons(store: Path, name: str) -> bool:
    """True if shapes are outlines: circles are points with a column `radius`."""
    path = store / "shapes" / name / "shapes.parquet"
    try:
        return path.is_file() and "radius" not in pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); write the store again") from error


def _preferred(outlines: Sequence[str], labels: Sequence[str]) -> list[list[str]]:
    nuclear = [[name for name in names if "nucle" in name.lower()] for names in (outlines, labels)]
    return [*nuclear, list(outlines), list(labels)]


def _choose(
    store: Path,
    role: str,
    wanted: str | None,
    names: Sequence[str],
    fits: Callable[[str], bool] | None = None,
    preferred: Sequence[Sequence[str]] | None = None,
) -> str:
    column = COLUMNS[role]
    if wanted:
        if wanted not in names:
            raise UserError(f"{store}: has no {role} {wanted!r} (column {column}); it has {_listed(names)}")
        return wanted
    candidates = [name for name in names if fits is None or fits(name)]
    for group in [*(preferred or []), candidates]:
        if len(group) == 1:
            return group[0]
        if len(group) > 1:
            raise UserError(
                f"{store}: has {len(group)} {role} elements ({_listed(group)}); name one in column {column}"
            )
    raise UserError(f"{store}: has no element that can be the {role}; it has {_listed(names)} (column {column})")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "none"


def _link(store: Path, view: Path, paths: Sequence[tuple[str, str]]) -> None:
    """Make a store of links: the root's and folders' own metadata are copied, without lists of what is left out."""
    _copy_group(store, view, None)
    for element_type, name in paths:
        _copy_group(store / element_type, view / element_type, name)
        (view / element_type / name).symlink_to((store / element_type / name).resolve(), target_is_directory=True)


def _copy_group(source: Path, target: Path, name: str | None) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in ("zarr.json", ".zgroup", ".zattrs"):
        if (source / file).is_file():
            content = json.loads((source / file).read_text())
            content.pop("consolidated_metadata", None)
            attributes = content.get("attributes", content)
            if name is not None and "labels" in attributes:
                attributes["labels"] = [name]
            (target / file).write_text(json.dumps(content))
