"""A run opened as SpatialData, of a store or of a raw folder, made into a `Sample`."""

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
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.check_nuclei import check_centres, check_nuclei
from stnuclei.io.elements import Elements, affines
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.pixel_size import settle
from stnuclei.io.polygons import repair
from stnuclei.io.sample import Sample, describe
from stnuclei.io.spatialdata_table import clean_table, owners
from stnuclei.slides.slide import PLAUSIBLE_UM, Slide

if TYPE_CHECKING:
    from spatialdata import SpatialData

#: Cell centres of a coordinate system are believed where they lie this near to the cells' nuclei, median, um.
_NEAR_UM = 25.0


@dataclass(frozen=True)
class Run:
    """A run opened as SpatialData, with its H&E.

    Parameters
    ----------
    source, platform, software
        For messages and the provenance.
    data, elements
        What was opened, and the elements to read of it.
    slide
        The H&E.
    he
        Coordinate system -> affine (3, 3) from he_px.
    stated
        Size of an H&E pixel, um, by the source that states it.
    alignment
        For the provenance: how the H&E was placed.
    files
        What identifies the sources.
    he_to_morphology
        (3, 3) to morphology px, None where the run has none.
    """

    source: Path
    platform: str
    software: str
    data: SpatialData
    elements: Elements
    slide: Slide
    he: Mapping[str, np.ndarray]
    stated: Mapping[str, float]
    alignment: Mapping[str, Any]
    files: list[Path]
    he_to_morphology: np.ndarray | None = None


def build_sample(given: SampleInputs, run: Run, coordinate_system: str | None = None) -> Sample:
    """Build a sample of an opened run: nuclei in he_px with their cells, raw counts, the slide left on disk.

    Raises
    ------
    UserError
        If elements share no coordinate system, do not fit together, or the pixel size is not known or not sure.
    """
    elements = run.elements
    warnings: list[str] = []
    to_he = join_nuclei(run, coordinate_system)
    size, record = _settle(given, run)
    stored = run.data.tables[elements.table]
    table = clean_table(str(run.source), stored, warnings)
    nuclei = read_nuclei(run, to_he, stored, warnings)
    boundaries = NucleusBoundaries.of_frame(nuclei)
    check_nuclei(run.source, run.slide, boundaries, size, f"{elements.nuclei_words} must be nuclei of this H&E")
    candidates = _candidates(run, to_he, stored)
    table = place_cells(table, nuclei, candidates, size, warnings)
    check_centres(run.source, f"table {elements.table}", boundaries, _centres(table), size)
    provenance = describe(
        name=given.name,
        platform=run.platform,
        tissue=given.tissue,
        software=run.software,
        elements={"he": elements.he, "nuclei": elements.nuclei_words, "table": elements.table},
        pixel_size=record,
        alignment=dict(run.alignment),
        files=run.files,
        checksums=given.checksums,
        slide=run.slide.info,
        warnings=warnings,
    )
    return Sample(given.name, table, nuclei, run.slide, size, given.tissue, run.he_to_morphology, provenance)


def join_nuclei(run: Run, wanted: str | None = None) -> dict[str, np.ndarray]:
    """Affine (3, 3) from each nuclei element's coordinates to he_px, through the coordinate system both are in.

    Parameters
    ----------
    run
        The run.
    wanted
        The coordinate system to use; None: the only one, or any where all agree to half a pixel.

    Raises
    ------
    UserError
        If H&E and nuclei share no coordinate system, or several that disagree.
    """
    return {name: _join(run, name, wanted) for name in run.elements.nuclei}


def _join(run: Run, name: str, wanted: str | None) -> np.ndarray:
    nuclei, he = affines(run.data[name]), run.elements.he or run.slide.path.name
    shared = sorted(set(run.he) & set(nuclei))
    names = f"H&E {he} ({', '.join(run.he)}) and {name} ({', '.join(nuclei)})"
    if wanted is not None and wanted not in shared:
        raise UserError(
            f"{run.source}: {names} are not both in coordinate system {wanted!r} by an affine transformation"
        )
    if not shared:
        raise UserError(
            f"{run.source}: {names} share no coordinate system; align them with spatialdata, write it again"
        )
    to_he = {system: np.linalg.inv(run.he[system]) @ nuclei[system] for system in ([wanted] if wanted else shared)}
    chosen = wanted or shared[0]
    height, width = run.slide.shape[:2]
    corners = np.array([[0.0, 0.0], [width, 0], [0, height], [width, height]])
    in_nuclei = apply(np.linalg.inv(to_he[chosen]), corners)
    apart = [system for system in to_he if np.abs(apply(to_he[system], in_nuclei) - corners).max() > 0.5]
    if apart:
        raise UserError(
            f"{run.source}: coordinate systems {chosen} and {apart[0]} put {name} at different places of {he}; name "
            "the right one in column coordinate_system"
        )
    return to_he[chosen]


def read_nuclei(run: Run, to_he: Mapping[str, np.ndarray], table: AnnData, warnings: list[str]) -> gpd.GeoDataFrame:
    """Read nuclei as polygons in he_px with the cell each belongs to.

    Returns
    -------
    Columns ``cell_id`` (str or None) and ``geometry`` (Polygon), index 0..n-1.

    Raises
    ------
    UserError
        If there is no outline, or no telling which cell a nucleus belongs to.
    """
    frames = {name: _outlines(run, name) for name in to_he}
    cell_id = owners(str(run.source), frames, table)
    outlines = np.concatenate(
        [
            shapely.transform(shapely.force_2d(frame.geometry.to_numpy()), lambda xy, m=to_he[name]: apply(m, xy))
            for name, frame in frames.items()
        ]
    )
    polygons, source = repair(outlines)
    if not len(polygons):
        raise UserError(f"{run.source}: no outline of {run.elements.nuclei_words} encloses anything")
    lost = len(outlines) - len(set(source))
    if lost:
        warnings.append(f"{lost:,} of {len(outlines):,} nucleus outlines enclose nothing and were dropped")
    ownerless = int(pd.isna(cell_id).sum())
    if ownerless:
        warnings.append(f"{ownerless:,} of {len(cell_id):,} nuclei belong to no cell of the table")
    return gpd.GeoDataFrame({"cell_id": cell_id[source]}, geometry=polygons)


def _outlines(run: Run, name: str) -> gpd.GeoDataFrame:
    """Polygons of an element; those of labels are traced and indexed by label."""
    from spatialdata import to_polygons

    if run.elements.nuclei_type == "shapes":
        return run.data[name]
    frame = to_polygons(run.data[name])
    # spatialdata 0.7.3 traces with a pixel's centre at its index, its own convention has it half a pixel further.
    frame = frame.set_geometry(frame.geometry.translate(0.5, 0.5))
    return frame.set_index("label") if "label" in frame else frame


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


def _candidates(run: Run, to_he: Mapping[str, np.ndarray], table: AnnData) -> list[np.ndarray]:
    """Cell centres (n_cells, 2) he_px by every frame that ``obsm`` may be in: spatialdata does not state it."""
    stored = [np.asarray(table.obsm[key], np.float64)[:, :2] for key in ("spatial", "global") if key in table.obsm]
    matrices = [next(iter(to_he.values())), *(np.linalg.inv(matrix) for matrix in run.he.values()), np.eye(3)]
    return [apply(matrix, points) for points in stored for matrix in matrices]


def _settle(given: SampleInputs, run: Run) -> tuple[float, dict[str, object]]:
    chosen, stated = given.he_um_per_px, dict(run.stated)
    if stated:
        first = next(iter(stated))
        derived = stated.pop(first)
        return settle(derived, first, stated, chosen, given.pixel_size_tolerance)
    if chosen is None:
        raise UserError(
            f"{run.source}: does not say how large an H&E pixel is; give it in column he_um_per_px (um_per_px in "
            "Python), often 0.25 at 40x"
        )
    if not PLAUSIBLE_UM[0] <= chosen <= PLAUSIBLE_UM[1]:
        raise UserError(f"{run.source}: he_um_per_px {chosen:g} is no pixel size of an H&E slide; 0.25 is usual at 40x")
    return float(chosen), {"um_per_px": float(chosen), "derived_from": "he_um_per_px", "stated": {}, "chosen": chosen}


def _centres(table: AnnData) -> pd.DataFrame:
    return pd.DataFrame(table.obsm["spatial"], columns=["x", "y"], index=table.obs_names)
