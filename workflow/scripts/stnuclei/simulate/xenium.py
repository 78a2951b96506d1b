"""Write a simulated slide as a Xenium bundle, in the layout of XOA 1 or XOA 3."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from scipy.sparse import coo_matrix, csc_matrix

from stnuclei.errors import UserError
from stnuclei.simulate.segmentation import PIXEL_UM, Segmentation
from stnuclei.simulate.transcripts import Features


@dataclass(frozen=True)
class Layout:
    """Differences between versions of the onboard analysis.

    Parameters
    ----------
    name
        ``xoa1`` or ``xoa3``.
    version
        As `analysis_sw_version` says it.
    vertices
        Distinct vertices of a polygon.
    expansion_um
        How far cells reach beyond nuclei.
    strings
        Whether cell ids are strings and polygons carry `label_id`; else ids are integers from 1.
    """

    name: str
    version: str
    vertices: int
    expansion_um: float
    strings: bool


LAYOUTS = {
    "xoa1": Layout("xoa1", "Xenium-1.0.1", 12, 15.0, False),
    "xoa3": Layout("xoa3", "xenium-3.0.0.15", 24, 5.0, True),
}


def layout_of(name: str) -> Layout:
    """Look a layout up.

    Raises
    ------
    UserError
        If the simulator does not write it.
    """
    if name not in LAYOUTS:
        raise UserError(f"layout {name!r}: the simulator writes {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def cell_names(n: int, form: Layout, rng: np.random.Generator) -> tuple[list[str] | np.ndarray, np.ndarray]:
    """Cell ids in row order, and their uint32 prefixes (equal to the ids in the layout of XOA 1)."""
    if not form.strings:
        ids = np.arange(1, n + 1, dtype=np.int32)
        return ids, ids.astype(np.uint32)
    prefix = np.sort(rng.choice(2**32, n, replace=False)).astype(np.uint32)
    letters = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
    return [f"{value:08x}".translate(letters) + "-1" for value in prefix], prefix


def write_polygons(
    path: Path, rings: list[np.ndarray], owner: np.ndarray, ids: list[str] | np.ndarray, form: Layout
) -> None:
    """Write boundaries: one row a vertex, rings closed, um on the pixel grid."""
    length = np.array([len(ring) for ring in rings])
    cell = np.repeat(owner, length)
    xy = np.concatenate(rings) * PIXEL_UM
    columns = {
        "cell_id": pa.array(np.asarray(ids)[cell]),
        "vertex_x": pa.array(xy[:, 0].astype(np.float32)),
        "vertex_y": pa.array(xy[:, 1].astype(np.float32)),
    }
    if form.strings:
        columns["label_id"] = pa.array(np.repeat(np.arange(1, len(rings) + 1, dtype=np.int32), length))
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_matrix(path: Path, counts: csc_matrix, panel: Features, ids: list[str] | np.ndarray) -> None:
    """Write the count matrix as 10x HDF5: features x cells, compressed columns, one column a cell."""
    by_cell = counts.tocsr()  # rows are cells: their CSR is the file's CSC
    by_cell.sort_indices()

    def text(values: list[str] | np.ndarray) -> np.ndarray:
        return np.array([str(value).encode() for value in values])

    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        options = {"compression": "gzip", "compression_opts": 4}
        matrix.create_dataset("barcodes", data=text(ids))
        matrix.create_dataset("data", data=by_cell.data.astype(np.int32), **options)
        matrix.create_dataset("indices", data=by_cell.indices.astype(np.int64), **options)
        matrix.create_dataset("indptr", data=by_cell.indptr.astype(np.int64))
        matrix.create_dataset("shape", data=np.array(by_cell.shape[::-1], dtype=np.int32))
        group = matrix.create_group("features")
        # The simulator knows no Ensembl ids: symbols stand for themselves.
        group.create_dataset("id", data=text(panel.names))
        group.create_dataset("name", data=text(panel.names))
        group.create_dataset("feature_type", data=text(panel.types))
        group.create_dataset("genome", data=text(["Unknown"] * len(panel.names)))
        group.create_dataset("_all_tag_keys", data=text(["genome"]))


def count_features(transcripts: pd.DataFrame, cells: int, panel: Features) -> csc_matrix:
    """Counts (cells, features) of genes and controls: transcripts of quality 20 and more that lie in cells."""
    good = transcripts[(transcripts.qv >= 20) & (transcripts.cell >= 0)]
    shape = (cells, len(panel.names))
    return coo_matrix((np.ones(len(good), np.int32), (good.cell, good.feature)), shape).tocsc()


def write_cells(
    path: Path, cells: Segmentation, counts: csc_matrix, panel: Features, ids: list[str] | np.ndarray, form: Layout
) -> None:
    """Write cells.parquet with the layout's columns."""
    kind = np.array(panel.types)

    def total(*names: str) -> np.ndarray:
        return np.asarray(counts[:, np.flatnonzero(np.isin(kind, names))].sum(axis=1)).ravel().astype(np.int64)

    zero = np.zeros(len(cells.cell_types), np.int64)
    counted = {"transcript_counts": total("Gene Expression"), "control_probe_counts": total("Negative Control Probe")}
    if form.strings:
        counted["genomic_control_counts"] = zero
    counted["control_codeword_counts"] = total("Negative Control Codeword")
    if form.strings:
        counted["unassigned_codeword_counts"] = total("Unassigned Codeword")
        counted["deprecated_codeword_counts"] = zero
    # XOA 1 has no column for blank codewords but counts them in the total.
    counted["total_counts"] = sum(counted.values()) + total("Blank Codeword")
    nucleus = pa.array(cells.nucleus_area_um2, mask=cells.nucleus_count == 0)
    columns = {
        "cell_id": pa.array(ids),
        "x_centroid": pa.array(cells.centroid_um[:, 0]),
        "y_centroid": pa.array(cells.centroid_um[:, 1]),
        **{name: pa.array(values) for name, values in counted.items()},
        "cell_area": pa.array(cells.cell_area_um2),
        "nucleus_area": nucleus,
    }
    if form.strings:
        columns["nucleus_count"] = pa.array(cells.nucleus_count.astype(np.int64))
        method = np.where(cells.nucleus_count > 0, "nucleus expansion of 5.0µm", "interior stain (18S)")
        columns["segmentation_method"] = pa.array([f"Segmented by {stain}" for stain in method])
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_transcripts(
    path: Path, transcripts: pd.DataFrame, panel: Features, ids: list[str] | np.ndarray, form: Layout
) -> None:
    """Write transcripts.parquet with the layout's columns."""
    cell = transcripts.cell.to_numpy()
    names = np.array(panel.names, dtype=object)[transcripts.feature]
    single = {key: pa.array(transcripts[key].to_numpy(np.float32)) for key in ("x", "y", "z", "qv")}
    columns = {
        "transcript_id": pa.array(np.arange(281474976710656, 281474976710656 + len(cell), dtype=np.uint64)),
        "cell_id": pa.array(np.append(np.asarray(ids), "UNASSIGNED" if form.strings else -1)[cell]),
        "overlaps_nucleus": pa.array(transcripts.in_nucleus.to_numpy(np.uint8)),
        # XOA 1 stores names as bytes.
        "feature_name": pa.array(names, pa.string() if form.strings else pa.binary()),
        "x_location": single["x"],
        "y_location": single["y"],
        "z_location": single["z"],
        "qv": single["qv"],
    }
    if not form.strings:
        columns["cell_id"] = columns["cell_id"].cast(pa.int32())
    else:
        row, column = (transcripts.y // 200).astype(int), (transcripts.x // 200).astype(int)
        columns["fov_name"] = pa.array([f"{chr(65 + i)}{j + 1}" for i, j in zip(row, column, strict=True)])
        columns["nucleus_distance"] = pa.array(transcripts.nucleus_distance.to_numpy(np.float32))
        columns["codeword_index"] = pa.array(transcripts.feature.to_numpy(np.int32))
        columns["codeword_category"] = pa.array(np.array(panel.categories, dtype=object)[transcripts.feature])
        columns["is_gene"] = pa.array(transcripts.feature.to_numpy() < panel.genes)
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_cells_zarr(path: Path, cells: Segmentation, prefix: np.ndarray, form: Layout) -> None:
    """Write cells.zarr.zip: ids, summary, masks, and since XOA 2 which cell owns each polygon."""
    with tempfile.TemporaryDirectory() as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=2)
        root.attrs.update(
            number_cells=len(prefix), name="CellSegmentationDataset", major_version=5 if form.strings else 1
        )
        put(root, "cell_id", np.stack([prefix, np.ones_like(prefix)], axis=1) if form.strings else prefix)
        area = np.where(cells.nucleus_count > 0, cells.nucleus_area_um2, np.nan)
        columns = {
            "cell_centroid_x": cells.centroid_um[:, 0],
            "cell_centroid_y": cells.centroid_um[:, 1],
            "cell_area": cells.cell_area_um2,
            "nucleus_centroid_x": cells.centroid_um[:, 0],
            "nucleus_centroid_y": cells.centroid_um[:, 1],
            "nucleus_area": area,
            "z_level": np.zeros(len(prefix)),
        } | ({"nucleus_count": cells.nucleus_count} if form.strings else {})
        summary = put(root, "cell_summary", np.stack(list(columns.values()), axis=1).astype(np.float64))
        summary.attrs["column_names"] = list(columns)
        masks = root.create_group("masks")
        put(masks, "0", cells.nucleus_mask)
        put(masks, "1", cells.cell_mask)
        put(masks, "homogeneous_transform", np.diag([1 / PIXEL_UM, 1 / PIXEL_UM, 1, 1]).astype(np.float32))
        if form.strings:
            sets = root.create_group("polygon_sets")
            for name, owner in (("0", cells.nucleus_cell), ("1", np.arange(len(prefix)))):
                put(sets.create_group(name), "cell_index", owner.astype(np.uint32))
        _zip(Path(folder), path)


def put(group: zarr.Group, name: str, values: np.ndarray) -> zarr.Array:
    """Store an array in chunks of at most 2048 along each axis."""
    chunks = tuple(min(2048, max(1, n)) for n in values.shape)
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)
    array[...] = values
    return array


def _zip(folder: Path, path: Path) -> None:
    """Pack a folder, with names in order and one fixed date so that equal content gives equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix(), date_time=(2026, 1, 1, 0, 0, 0))
            with archive.open(info, "w") as target, open(file, "rb") as source:
                shutil.copyfileobj(source, target)


def write_experiment(path: Path, name: str, tissue: str, facts: Mapping[str, float], form: Layout) -> None:
    """Write experiment.xenium with the keys the layout has."""
    old = not form.strings
    content: dict[str, Any] = {} if old else {"major_version": 5, "minor_version": 0, "patch_version": 0}
    content |= {
        "run_name": "SIMULATED tissue of stnuclei: no real sample",
        "run_start_time": "2026-01-01T00:00:00Z",
        "region_name": name,
        "preservation_method": "FFPE",
        "num_cells": int(facts["cells"]),
        "transcripts_per_cell": facts["transcripts_per_cell"] if old else round(facts["transcripts_per_cell"]),
        "transcripts_per_100um": facts["transcripts_per_100um"],
        "cassette_name": "N/A",
        "slide_id": "N/A",
        "panel_design_id": "simulated",
        "panel_name": f"stnuclei simulated {tissue}",
        "panel_organism": "Human",
        "panel_tissue_type": tissue,
        "panel_num_targets_predesigned": int(facts["genes"]),
        "panel_num_targets_custom": 0,
        "pixel_size": PIXEL_UM,
        "instrument_sn": "N/A",
        "instrument_sw_version": "N/A",
        "analysis_sw_version": form.version,
        "z_step_size": 3.0,
        "images": {"morphology_filepath": "morphology.ome.tif"},
        "xenium_explorer_files": {"cells_zarr_filepath": "cells.zarr.zip"},
    }
    if old:
        content["images"] |= {
            "morphology_mip_filepath": "morphology_mip.ome.tif",
            "morphology_focus_filepath": "morphology_focus.ome.tif",
        }
    else:
        content |= {"chemistry_version": "v1", "segmentation_stain": "N/A", "panel_type": "predesigned"}
        content["images"]["morphology_focus_filepath"] = "morphology_focus/morphology_focus_0000.ome.tif"
    path.write_text(json.dumps(content, indent=4) + "\n")
