"""Samples from SpatialData stores, whatever platform they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.io.alignment import apply
from stnuclei.io.check_nuclei import check_centres, check_nuclei
from stnuclei.io.elements import Elements, affines, choose_elements, element_metadata, opened
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.pixel_size import settle
from stnuclei.io.polygons import repair
from stnuclei.io.provenance import describe
from stnuclei.io.sample import Sample
from stnuclei.io.spatialdata_table import clean_table, owners
from stnuclei.slides.ome_zarr import StoreSlide
from stnuclei.slides.slide import PLAUSIBLE_UM

if TYPE_CHECKING:
    from spatialdata import SpatialData

#: Coordinate systems that are in micrometers by their name.
_UM_SYSTEMS = ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "microns", "micrometer", "micrometers")
#: Cell centres of a coordinate system are believed where they lie this near to the cells' nuclei, median, um.
_NEAR_UM = 25.0


@dataclass(frozen=True)
class Frames:
    """Where elements lie on the H&E.

    Parameters
    ----------
    system
        The coordinate system that joins them.
    he
        Coordinate system -> affine (3, 3) from he_px.
    """

    system: str
    he: Mapping[str, np.ndarray]

    def to_he(self, element: Any) -> np.ndarray | None:
        """Affine (3, 3) from an element's coordinates to he_px; None where they share no coordinate system."""
        steps = affines(element)
        system = self.system if self.system in steps else next((name for name in self.he if name in steps), None)
        return None if system is None else np.linalg.inv(self.he[system]) @ steps[system]


def read_spatialdata(
    given: SampleInputs,
    *,
    he_element: str | None = None,
    nuclei_element: str | None = None,
    table_element: str | None = None,
    coordinate_system: str | None = None,
    um_per_px: float | None = None,
) -> Sample:
    """Read a SpatialData store; see `stnuclei.io.read_sample`."""
    store = given.path
    if given.he_image or given.he_alignment:
        raise UserError(f"{store}: a SpatialData store holds its H&E and alignment; leave he_image, he_alignment empty")
    elements = choose_elements(store, he_element, nuclei_element, table_element)
    slide = StoreSlide(store / "images" / str(elements.he))
    with opened(store, elements) as data:
        frames = join_frames(store, data, elements, slide.shape[:2], coordinate_system)
        stated = stated_um(data, elements, frames) | slide.stated_um
        size, record = _settle(given, stated, um_per_px)
        warnings: list[str] = []
        stored = data.tables[elements.table]
        table = clean_table(str(store), stored, warnings)
        nuclei = read_nuclei(store, data, elements, frames, stored, warnings)
        check_nuclei(store, slide, nuclei, size, f"element {elements.nuclei} must be nuclei of image {elements.he}")
        table = place_cells(table, nuclei, _candidates(data, elements, frames, stored), size, warnings)
        check_centres(store, f"table {elements.table}", nuclei, _centres(table), size)
        morphology = _he_to_morphology(data, frames)
        attributes = dict(data.attrs)
    provenance = describe(
        name=given.name,
        platform="spatialdata",
        tissue=given.tissue,
        software=str(attributes.get("spatialdata_io_reader", "not said")),
        elements={"he": elements.he, "nuclei": elements.nuclei, "table": elements.table},
        pixel_size=record,
        alignment={"kind": "spatialdata", "coordinate_system": frames.system},
        files=_files(store, elements),
        checksums=given.checksums,
        slide=slide.info,
        warnings=warnings,
    )
    return Sample(given.name, table, nuclei, slide, size, given.tissue, morphology, provenance)


def join_frames(
    store: Path, data: SpatialData, elements: Elements, size: tuple[int, int], wanted: str | None = None
) -> Frames:
    """Find the coordinate system in which the nuclei lie on the H&E.

    Parameters
    ----------
    store, data, elements
        The store and what was opened of it.
    size
        Height and width of the H&E, px.
    wanted
        The coordinate system to use; None: the only one, or any where all agree to half a pixel.

    Raises
    ------
    UserError
        If image and nuclei share no coordinate system, or several that disagree.
    """
    he, nuclei = affines(data[elements.he]), affines(data[elements.nuclei])
    shared = sorted(set(he) & set(nuclei))
    names = f"image {elements.he} ({', '.join(he)}) and {elements.nuclei} ({', '.join(nuclei)})"
    if wanted is not None and wanted not in shared:
        raise UserError(f"{store}: {names} are not both in coordinate system {wanted!r} by an affine transformation")
    if not shared:
        raise UserError(f"{store}: {names} share no coordinate system; align them with spatialdata and write it again")
    chosen = wanted or shared[0]
    to_he = {system: np.linalg.inv(he[system]) @ nuclei[system] for system in ([wanted] if wanted else shared)}
    corners = np.array([[0.0, 0.0], [size[1], 0], [0, size[0]], [size[1], size[0]]])
    in_nuclei = apply(np.linalg.inv(to_he[chosen]), corners)
    apart = [s for s in to_he if np.abs(apply(to_he[s], in_nuclei) - corners).max() > 0.5]
    if apart:
        raise UserError(
            f"{store}: coordinate systems {chosen} and {apart[0]} put {elements.nuclei} at different places of "
            f"{elements.he}; name the right one in column coordinate_system"
        )
    return Frames(chosen, he)


def stated_um(data: SpatialData, elements: Elements, frames: Frames) -> dict[str, float]:
    """Size of an H&E pixel by what the store states, um, by where it states it."""
    stated: dict[str, float] = {}
    ours = data.attrs.get("stnuclei") or {}
    if "um_per_px" in ours and elements.he == "he_image":
        stated["the store's stnuclei attributes"] = float(ours["um_per_px"])
    for system, matrix in frames.he.items():
        if system.lower() in _UM_SYSTEMS:
            stated[f"coordinate system {system}"] = _scale(matrix)
    if data.attrs.get("spatialdata_io_reader") == "xenium" and elements.nuclei_type == "shapes":
        # spatialdata_io keeps Xenium's outlines in um and scales them to morphology pixels by a transformation.
        to_he = frames.to_he(data[elements.nuclei])
        stated["outlines of spatialdata_io.xenium, which are in um"] = 1 / _scale(to_he)
    return stated


def read_nuclei(
    store: Path, data: SpatialData, elements: Elements, frames: Frames, table: AnnData, warnings: list[str]
) -> gpd.GeoDataFrame:
    """Read nuclei as polygons in he_px with the cell each belongs to.

    Returns
    -------
    Columns ``cell_id`` (str or None) and ``geometry`` (Polygon), index 0..n-1.

    Raises
    ------
    UserError
        If there is no outline, or no telling which cell a nucleus belongs to.
    """
    element = data[elements.nuclei]
    to_he = frames.to_he(element)
    if to_he is None:
        raise UserError(f"{store}: {elements.nuclei} and {elements.he} share no coordinate system")
    frame = element if elements.nuclei_type == "shapes" else _traced(element)
    cell_id = owners(str(store), elements.nuclei, frame, table)
    outlines = shapely.transform(shapely.force_2d(frame.geometry.to_numpy()), lambda xy: apply(to_he, xy))
    polygons, source = repair(outlines)
    if not len(polygons):
        raise UserError(f"{store}: no outline of {elements.nuclei} encloses anything; write the store again")
    lost = len(outlines) - len(set(source))
    if lost:
        warnings.append(f"{lost:,} of {len(outlines):,} nucleus outlines enclose nothing and were dropped")
    ownerless = int(pd.isna(cell_id).sum())
    if ownerless:
        warnings.append(f"{ownerless:,} of {len(cell_id):,} nuclei belong to no cell of the table")
    return gpd.GeoDataFrame({"cell_id": cell_id[source]}, geometry=polygons)


def place_cells(
    table: AnnData, nuclei: gpd.GeoDataFrame, candidates: list[np.ndarray], um_per_px: float, warnings: list[str]
) -> AnnData:
    """Give each cell its centre, he_px: the stored one whose frame brings it to its nucleus, else its nuclei's.

    Parameters
    ----------
    table
        Cells; ``obsm["spatial"]`` is replaced.
    nuclei
        With ``cell_id``, he_px.
    candidates
        Centres (n_cells, 2) he_px by each frame they could be meant in, NaN where unknown.
    um_per_px
        H&E pixel size.
    warnings
        Grows by how many cells have no centre and were left out.
    """
    centre = nuclei.geometry.centroid
    mean = pd.DataFrame({"x": centre.x, "y": centre.y}).groupby(nuclei["cell_id"]).mean()
    nuclear = mean.reindex(table.obs_names).to_numpy()
    chosen, nearest = nuclear, _NEAR_UM
    for points in candidates:
        distance = np.hypot(*(points - nuclear).T) * um_per_px
        median = float(np.nanmedian(distance)) if np.isfinite(distance).any() else np.inf
        if median < nearest:
            chosen, nearest = np.where(np.isnan(points), nuclear, points), median
    known = np.isfinite(chosen).all(axis=1)
    if not known.all():
        warnings.append(f"{int((~known).sum()):,} cells without nucleus or position were left out")
    table.obsm["spatial"] = chosen
    return table if known.all() else table[known].copy()


def _candidates(data: SpatialData, elements: Elements, frames: Frames, table: AnnData) -> list[np.ndarray]:
    """Cell centres by every frame that ``obsm["spatial"]`` may be in, and by the annotated element's outlines."""
    out: list[np.ndarray] = []
    if "spatial" in table.obsm:
        points = np.asarray(table.obsm["spatial"], np.float64)[:, :2]
        nuclei_to_he = frames.to_he(data[elements.nuclei])
        matrices = [nuclei_to_he, *(np.linalg.inv(matrix) for matrix in frames.he.values()), np.eye(3)]
        out += [apply(matrix, points) for matrix in matrices if matrix is not None]
    return out


def _traced(labels: Any) -> gpd.GeoDataFrame:
    """Outlines of a label image, indexed by label."""
    from spatialdata import to_polygons

    frame = to_polygons(labels)
    return frame.set_index("label") if "label" in frame else frame


def _settle(given: SampleInputs, stated: dict[str, float], um_per_px: float | None) -> tuple[float, dict[str, object]]:
    chosen = given.he_um_per_px if um_per_px is None else um_per_px
    if not stated:
        if chosen is None:
            raise UserError(
                f"{given.path}: does not say how large an H&E pixel is; give it in column he_um_per_px (um_per_px in "
                "Python), often 0.25 at 40x"
            )
        if not PLAUSIBLE_UM[0] <= chosen <= PLAUSIBLE_UM[1]:
            raise UserError(
                f"{given.path}: he_um_per_px {chosen:g} is no pixel size of an H&E slide; 0.25 is usual at 40x"
            )
        return float(chosen), {
            "um_per_px": float(chosen),
            "derived_from": "he_um_per_px",
            "stated": {},
            "chosen": chosen,
        }
    first, *others = stated
    rest = {source: stated[source] for source in others}
    return settle(stated[first], first, rest, chosen, given.pixel_size_tolerance)


def _scale(matrix: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def _centres(table: AnnData) -> pd.DataFrame:
    return pd.DataFrame(table.obsm["spatial"], columns=["x", "y"], index=table.obs_names)


def _he_to_morphology(data: SpatialData, frames: Frames) -> np.ndarray | None:
    """Matrix (3, 3) to morphology px where the store is known to have them: ours, or spatialdata_io's of Xenium."""
    if "morphology_px" in frames.he:
        return frames.he["morphology_px"]
    if data.attrs.get("spatialdata_io_reader") == "xenium":
        return frames.he.get("global")
    return None


def _files(store: Path, elements: Elements) -> list[Path]:
    """Files whose checksums identify what was read, without reading all pixels."""
    outlines = store / "shapes" / elements.nuclei / "shapes.parquet"
    files = [element_metadata(store, "images", str(elements.he))]
    return [*files, outlines] if outlines.is_file() else files
