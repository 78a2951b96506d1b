"""Xenium output folders of XOA 1.0 to 4.x and of xeniumranger."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from anndata import AnnData

from stnuclei.config.user_table import alignment_files
from stnuclei.errors import UserError
from stnuclei.io.alignment import Alignment, apply, read_alignment
from stnuclei.io.boundaries import SCHEMA, NucleusBoundaries
from stnuclei.io.cells import Cells, join, read_cells
from stnuclei.io.check_nuclei import check_centres, check_nuclei
from stnuclei.io.experiment import Experiment, find_morphology, read_experiment
from stnuclei.io.inputs import SampleInputs, find_alignment, find_he
from stnuclei.io.matrix import read_matrix
from stnuclei.io.nuclear_counts import with_nuclear_counts
from stnuclei.io.nuclei_file import ROW_GROUP
from stnuclei.io.pixel_size import settle
from stnuclei.io.polygons import build_polygons, group_pieces, repair
from stnuclei.io.sample import Sample, describe
from stnuclei.io.tables import check_numbers, coded_texts, find_table, numbers, read_columns, whole_numbers
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import Slide

_NO_CELL = ("-1", "UNASSIGNED", "")
_AXES = ("vertex_x", "vertex_y")


def read_xenium(given: SampleInputs, *, count_in: Literal["cells", "nuclei"] = "cells", min_qv: float = 20.0) -> Sample:
    """Read a Xenium output folder; see `stnuclei.io.read_sample`."""
    folder = given.path
    experiment = read_experiment(folder)
    alignment_path = find_alignment(folder, given.he_alignment)
    alignment = read_alignment(alignment_path, experiment.pixel_size)
    slide = open_slide(find_he(folder, given.he_image))
    um_per_px, size_record = _pixel_size(given, slide, alignment, str(alignment_path), experiment.pixel_size)
    warnings: list[str] = []
    table, nuclei = _cells_and_nuclei(folder, um_to_he(alignment, experiment), um_per_px, warnings)
    counted: dict[str, Any] = {"count_in": count_in}
    if count_in == "nuclei":
        table, numbers_counted = with_nuclear_counts(table, folder, min_qv)
        counted |= {"min_qv": min_qv, **numbers_counted}
    check_nuclei(
        alignment_path, slide, nuclei, um_per_px, "it must take H&E px of this slide to morphology px", alignment
    )
    morphology = find_morphology(folder, experiment)
    provenance = describe(
        name=given.name,
        platform="xenium",
        tissue=given.tissue,
        software=experiment.software,
        pixel_size=size_record,
        morphology_um_per_px=experiment.pixel_size,
        morphology=morphology and {"channels": morphology.channels, "shape": morphology.shape},
        transcripts=counted,
        alignment={"kind": alignment.kind, "mirrored": alignment.mirrored, **alignment.info},
        files=_files(folder, slide, alignment_path),
        checksums=given.checksums,
        slide=slide.info,
        warnings=warnings,
    )
    return Sample(given.name, table, nuclei, slide, um_per_px, given.tissue, alignment.matrix, provenance)


def _pixel_size(
    given: SampleInputs, slide: Slide, alignment: Alignment, alignment_path: str, morphology_um: float
) -> tuple[float, dict[str, object]]:
    """Pixel size that alignment and slide agree on (`settle`); an alignment whose inverse agrees is named."""
    stated = {f"{slide.path.name} {where}": um for where, um in slide.stated_um.items()}
    derived, tolerance = alignment.um_per_px(morphology_um), given.pixel_size_tolerance
    try:
        return settle(derived, f"alignment {Path(alignment_path).name}", stated, given.he_um_per_px, tolerance)
    except UserError as error:
        inverse = morphology_um**2 / derived
        if given.he_um_per_px is None and all(abs(um / inverse - 1) <= tolerance for um in stated.values()):
            raise UserError(f"{error}; the other way round it would agree: {alignment.inverse_means}") from error
        raise


def read_cell_table(folder: str | Path) -> AnnData:
    """Read the counts of a Xenium output folder; no H&E is needed.

    Returns
    -------
    Cells x genes, raw counts int32; ``obsm["spatial"]`` (n, 2) float64, um in the morphology frame.

    Raises
    ------
    UserError
        If cells or counts are missing or damaged.
    """
    cells = read_cells(Path(folder))
    table = join(cells, read_matrix(Path(folder)), [])
    table.obsm["spatial"] = cells.centroids_um
    return table


def _cells_and_nuclei(
    folder: Path, to_he: np.ndarray, um_per_px: float, warnings: list[str]
) -> tuple[AnnData, NucleusBoundaries]:
    cells = read_cells(folder)
    table = join(cells, read_matrix(folder), warnings)
    table.obsm["spatial"] = apply(to_he, cells.centroids_um)
    nuclei = read_nuclei(folder, cells, to_he, warnings)
    where = pd.DataFrame(table.obsm["spatial"], columns=["x", "y"], index=cells.ids)
    check_centres(find_table(folder, "nucleus_boundaries"), cells.path.name, nuclei, where, um_per_px)
    return table, nuclei


def um_to_he(alignment: Alignment, experiment: Experiment) -> np.ndarray:
    """Matrix (3, 3) from um in the morphology frame to he_px: H&E px = inv(M) @ (um / pixel size)."""
    return np.linalg.inv(alignment.matrix) @ np.diag([1 / experiment.pixel_size, 1 / experiment.pixel_size, 1.0])


def read_nuclei(folder: Path, cells: Cells, to_he: np.ndarray, warnings: list[str]) -> NucleusBoundaries:
    """Read nucleus polygons into he_px, packed as WKB: some thousand at a time are polygons.

    Rows are grouped by ``label_id`` where the table has it (XOA 2 on: a cell may own several nuclei), else by cell.

    Parameters
    ----------
    folder
        The bundle.
    cells
        Its cells, which the nuclei must belong to.
    to_he
        (3, 3) from um to he_px.
    warnings
        Grows by what was dropped.

    Raises
    ------
    UserError
        If the table is damaged, names cells that are not there, or holds no polygon.
    """
    path = find_table(folder, "nucleus_boundaries")
    columns = read_columns(path, ("cell_id", *_AXES), ("label_id",), coded=("cell_id",))
    code, names = coded_texts(path, "cell_id", columns.pop("cell_id"))
    owner = _owners(path, names, cells)
    for axis in _AXES:
        check_numbers(path, axis, columns[axis])
    group = whole_numbers(path, "label_id", columns.pop("label_id")) if "label_id" in columns else code
    pieces, outlines, lost = [], 0, 0
    for rows in group_pieces(group, ROW_GROUP):
        vertices = np.column_stack([numbers(path, axis, _picked(columns[axis], rows)) for axis in _AXES])
        first, polygons = build_polygons(group[rows], apply(to_he, vertices))
        repaired, source = repair(polygons)
        ids = owner.take(pa.array(code[rows][first[source]]))
        pieces.append(pa.table([ids, pa.array(shapely.to_wkb(repaired), pa.binary())], schema=SCHEMA))
        outlines, lost = outlines + len(polygons), lost + len(polygons) - len(np.unique(source))
    if lost:
        warnings.append(f"{lost:,} of {outlines:,} nucleus outlines enclose nothing and were dropped")
    if lost == outlines:
        raise UserError(f"{path}: no nucleus outline encloses anything; copy it again")
    return NucleusBoundaries.of_table(pa.concat_tables(pieces))


def _owners(path: Path, names: pa.Array, cells: Cells) -> pa.Array:
    """Cells that nuclei may belong to (k,), null for the names that mean none.

    Raises
    ------
    UserError
        If one is not among the cells.
    """
    free = pc.is_in(names, value_set=pa.array(_NO_CELL))
    unknown = names.filter(pc.invert(pc.or_(free, pc.is_in(names, value_set=pa.array(cells.ids, pa.string())))))
    if len(unknown):
        raise UserError(
            f"{path}: {len(unknown):,} cell ids, such as {unknown[0]}, are not in {cells.path.name}; "
            "the files are of different runs"
        )
    return pc.if_else(free, pa.scalar(None, pa.string()), names)


def _picked(column: pa.ChunkedArray, rows: slice | np.ndarray) -> pa.ChunkedArray:
    return column.slice(rows.start, rows.stop - rows.start) if isinstance(rows, slice) else column.take(pa.array(rows))


def _files(folder: Path, slide: Slide, alignment_path: str | Path) -> list[Path]:
    files = [folder / "experiment.xenium", slide.path, find_table(folder, "cells")]
    files += [find_table(folder, "nucleus_boundaries"), folder / "cell_feature_matrix.h5"]
    return [path for path in (*files, *alignment_files(alignment_path)) if path.is_file()]
