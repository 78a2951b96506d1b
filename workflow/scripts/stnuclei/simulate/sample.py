"""One simulated slide on disk: the Xenium bundle, its H&E scan, and the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from skimage.draw import polygon

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.simulate.fields import draw_stain, expose
from stnuclei.simulate.images import he_matrix, paint_dapi, to_he, write_ome
from stnuclei.simulate.paint import paint_tissue
from stnuclei.simulate.panel import draw_counts
from stnuclei.simulate.segmentation import PIXEL_UM, Segmentation, segment
from stnuclei.simulate.tissue import Tissue, grow_tissue
from stnuclei.simulate.transcripts import features, scatter
from stnuclei.simulate.xenium import (
    Layout,
    cell_names,
    count_features,
    layout_of,
    write_cells,
    write_cells_zarr,
    write_experiment,
    write_matrix,
    write_polygons,
    write_transcripts,
)


@dataclass(frozen=True)
class BundleSettings:
    """Form of a simulated bundle.

    Parameters
    ----------
    layout
        ``xoa1`` (integer ids, one nucleus a cell) or ``xoa3`` (string ids, cells with two nuclei or none).
    size_um
        Width and height of the morphology image.
    he_um_per_px
        Pixel size of the H&E scan.
    misalignment_um
        By how much (x, y) in the morphology frame the alignment file is wrong, for trying the alignment check on it.
    annotated
        Also write ``annotation.csv`` (cell_id, label: fine types) and ``annotation_classes.tsv`` (label, class).
    """

    layout: str = "xoa3"
    size_um: tuple[float, float] = (640.0, 740.0)
    he_um_per_px: float = 0.2738
    misalignment_um: tuple[float, float] = (0.0, 0.0)
    annotated: bool = False


def simulate_sample(out: str | Path, tissue: str, seed: int, **settings: Any) -> dict[str, float]:
    """Write one simulated Xenium bundle with its H&E scan; gives its numbers of cells, nuclei, genes and transcripts.

    Parameters
    ----------
    out
        Folder of the bundle; its name is the sample's name. What stands there is replaced. The truth, which the
        workflow never reads, goes to ``<out>/../truth/<name>``.
    tissue
        An organ the simulator knows.
    seed
        Equal seeds give equal files.
    **settings
        See `BundleSettings`.

    Raises
    ------
    UserError
        If tissue or layout is not known, or the slide is smaller than 100 um.
    """
    out, wanted = Path(out), BundleSettings(**settings)
    form, (width, height), he_um = layout_of(wanted.layout), wanted.size_um, wanted.he_um_per_px
    if min(width, height) < 100 or he_um <= 0:
        raise UserError(f"simulated slide {out.name}: size_um must be 100 or more each way and he_um_per_px above 0")
    model = grow_tissue(tissue, (width, height), seed)
    rng = np.random.default_rng([seed, 13])
    cells = segment(model, rng, form.vertices, form.expansion_um, several=form.strings)
    with atomic_write(out, directory=True) as folder:
        facts, ids = _write_tables(folder, out.name, model, cells, form, rng)
        _write_dapi(folder, out.name, model, cells.nucleus_mask.shape, form, rng)
        matrix, shape = he_matrix((width, height), he_um, 90 + rng.uniform(-2.5, 2.5), 25.0)
        _write_he(folder, out.name, model, matrix, shape, he_um, seed)
        _write_alignment(folder, out.name, matrix, wanted.misalignment_um)
        if wanted.annotated:
            _write_annotation(folder, model, cells, ids, rng)
        with atomic_write(out.parent / "truth" / out.name, directory=True) as aside:
            _write_truth(aside, model, cells, ids, matrix, shape)
    return facts | {"he_rows": shape[0], "he_columns": shape[1]}


def _write_tables(
    folder: Path, name: str, model: Tissue, cells: Segmentation, form: Layout, rng: np.random.Generator
) -> tuple[dict[str, float], list[str] | np.ndarray]:
    counts, genes = draw_counts(model.organ, cells.cell_types, cells.centroid_um, rng)
    panel = features(genes, form.name)
    transcripts = scatter(counts, panel, cells, rng)
    everything = count_features(transcripts, len(cells.cell_types), panel)
    ids, prefix = cell_names(len(cells.cell_types), form, rng)
    write_cells(folder / "cells.parquet", cells, everything, panel, ids, form)
    write_matrix(folder / "cell_feature_matrix.h5", everything, panel, ids)
    write_polygons(folder / "nucleus_boundaries.parquet", cells.nucleus_polygons, cells.nucleus_cell, ids, form)
    write_polygons(folder / "cell_boundaries.parquet", cells.cell_polygons, np.arange(len(prefix)), ids, form)
    write_transcripts(folder / "transcripts.parquet", transcripts, panel, ids, form)
    write_cells_zarr(folder / "cells.zarr.zip", cells, prefix, form)
    facts = {
        "cells": len(prefix),
        "nuclei": len(cells.nucleus_polygons),
        "genes": len(genes),
        "transcripts": len(transcripts),
        "transcripts_per_cell": float(np.median(np.asarray(counts.sum(axis=1)))),
        "transcripts_per_100um": float(100 * counts.sum() / cells.cell_area_um2.sum()),
    }
    write_experiment(folder / "experiment.xenium", name, model.organ.name, facts, form)
    return facts, ids


def _write_dapi(
    folder: Path, name: str, model: Tissue, shape: tuple[int, int], form: Layout, rng: np.random.Generator
) -> None:
    dapi = paint_dapi(model, shape, rng)
    if form.strings:
        (folder / "morphology_focus").mkdir()
        write_ome(folder / "morphology_focus" / "morphology_focus_0000.ome.tif", dapi, PIXEL_UM, f"{name} DAPI")
        return
    for file in ("morphology_focus.ome.tif", "morphology_mip.ome.tif"):
        write_ome(folder / file, dapi, PIXEL_UM, f"{name} DAPI")


def _write_he(
    folder: Path, name: str, model: Tissue, matrix: np.ndarray, shape: tuple[int, int], um_per_px: float, seed: int
) -> None:
    rng = np.random.default_rng([seed, 14])
    image = expose(to_he(paint_tissue(model, um_per_px, seed), matrix, um_per_px, shape), draw_stain(rng), rng)
    write_ome(folder / f"{name}_he_image.ome.tif", image, um_per_px, f"{name} H&E", jpeg=90)


def _write_alignment(folder: Path, name: str, matrix: np.ndarray, misalignment_um: tuple[float, float]) -> None:
    stated = matrix.copy()
    stated[:2, 2] += np.array(misalignment_um) / PIXEL_UM
    lines = [",".join(repr(float(value)) for value in row) for row in stated]
    (folder / f"{name}_he_imagealignment.csv").write_text("\n".join(lines) + "\n")


def _write_annotation(
    folder: Path, model: Tissue, cells: Segmentation, ids: list[str] | np.ndarray, rng: np.random.Generator
) -> None:
    """Fine types of most cells; some are left open, as annotators do."""
    labels = np.where(rng.uniform(size=len(cells.cell_types)) < 0.04, "Unlabeled", cells.cell_types)
    pd.DataFrame({"cell_id": ids, "label": labels}).to_csv(folder / "annotation.csv", index=False)
    classes = {**model.organ.classes(), "Unlabeled": "Unknown"}
    used = sorted(set(labels))
    table = pd.DataFrame({"label": used, "class": [classes[label] for label in used]})
    table.to_csv(folder / "annotation_classes.tsv", sep="\t", index=False)


def _write_truth(
    folder: Path,
    model: Tissue,
    cells: Segmentation,
    ids: list[str] | np.ndarray,
    matrix: np.ndarray,
    shape: tuple[int, int],
) -> None:
    """Write the truth: cells, all nuclei of the section, and their instances in H&E px (uint16, row + 1)."""
    classes = model.organ.classes()
    table = pd.DataFrame({"cell_id": np.asarray(ids).astype(str), "cell_type": cells.cell_types})
    table["label"] = [classes[name] for name in cells.cell_types]
    table.to_parquet(folder / "cells.parquet", index=False)
    owner = pd.Series(cells.nucleus_cell, index=cells.source)
    back = np.linalg.inv(matrix)
    instances = np.zeros(shape, np.uint16)
    rows = []
    for k, nucleus in enumerate(model.nuclei):
        outline = _in_he(nucleus.outline(40), back)
        fill(instances, outline, k + 1)
        cell = str(np.asarray(ids)[owner[k]]) if k in owner.index else None
        x, y = _in_he(np.array([[nucleus.x, nucleus.y]]), back)[0]
        rows.append((k + 1, cell, nucleus.cell_type, classes[nucleus.cell_type], x, y))
    columns = ["instance", "cell_id", "cell_type", "label", "he_x", "he_y"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "nuclei.parquet", index=False)
    tifffile.imwrite(folder / "instances.tif", instances, compression="zlib", tile=(512, 512))


def _in_he(xy_um: np.ndarray, back: np.ndarray) -> np.ndarray:
    return xy_um / PIXEL_UM @ back[:2, :2].T + back[:2, 2]


def fill(instances: np.ndarray, outline: np.ndarray, value: int) -> None:
    """Draw a polygon (n, 2) of pixel corners (x, y) into `instances` where nothing is yet."""
    rows, columns = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, instances.shape)
    free = instances[rows, columns] == 0
    instances[rows[free], columns[free]] = value
