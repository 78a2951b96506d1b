"""Nuclei segmented anew by another program, their counts summed again: from transcripts, from 2-um bins or a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
import shapely

from stnuclei.errors import UserError, first_line
from stnuclei.io.alignment import apply
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.check_nuclei import check_nuclei
from stnuclei.io.features import GENE, classify
from stnuclei.io.h5ad import read_h5ad
from stnuclei.io.hest_counts import Codes, gene_flags
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.matrix import read_matrix_file
from stnuclei.io.polygons import read_geojson, repair
from stnuclei.io.sample import Sample
from stnuclei.io.spatialdata_table import clean_table
from stnuclei.io.tables import batches, column_names, find_table, numbers, read_columns, texts
from stnuclei.progress import progress

#: Properties and columns that name a nucleus' cell: xeniumranger and spatialdata, Proseg and Baysor, ours, QuPath.
_ID_NAMES = ("cell_id", "cell", "nucleus_id", "id")
_MIN_QV = 20.0
_BINS = "filtered_feature_bc_matrix.h5"


def resegment(sample: Sample, given: SampleInputs) -> Sample:
    """Replace a sample's nuclei and cells by those of `given.nuclei`, and their counts by `given.counts`.

    Parameters
    ----------
    sample
        The run as its own reader reads it; its slide, pixel size and alignment are kept.
    given
        ``nuclei``: GeoJSON or GeoParquet; behind ``#`` the unit of its coordinates, ``um`` (of the run) or ``he_px``.
        Without one it is um for Xenium, which Proseg, Baysor and xeniumranger write, else he_px. ``counts``: a
        transcripts.parquet, a folder of Visium HD bins, or an h5ad of the same cells; None: the run's own.

    Raises
    ------
    UserError
        If a file cannot be read, the unit is not known for this run, or nothing is counted in any nucleus.
    """
    path, unit = split_unit(str(given.nuclei))
    to_he = _um_to_he(sample)
    unit = unit or ("he_px" if to_he is None else "um")
    if unit == "um" and to_he is None:
        raise UserError(f"{path}: where um lie on the H&E is known of Xenium runs alone; give pixels (#he_px)")
    nuclei = read_outlines(path, np.eye(3) if to_he is None or unit == "he_px" else to_he)
    boundaries = NucleusBoundaries.of_frame(nuclei)
    check_nuclei(path, sample.he, boundaries, sample.um_per_px, f"are its coordinates {unit} of this run?")
    counts = Path(given.counts) if given.counts else _own_counts(given.path)
    table = count(counts, nuclei, to_he)
    provenance = {**sample.provenance, "resegmentation": {"nuclei": path.name, "unit": unit, "counts": counts.name}}
    return replace(sample, table=table, nuclei=nuclei, provenance=provenance)


def split_unit(nuclei: str) -> tuple[Path, str]:
    """Path and unit of ``path#unit``; the unit is empty where none is given.

    Raises
    ------
    UserError
        If the unit is neither ``um`` nor ``he_px``.
    """
    path, _, unit = nuclei.partition("#")
    if unit not in ("", "um", "he_px"):
        raise UserError(f"{path}: unit {unit!r} behind # is neither um nor he_px")
    return Path(path), unit


def read_outlines(path: Path, to_he: np.ndarray) -> gpd.GeoDataFrame:
    """Read outlines with the cell each belongs to, taken to he_px by `to_he` (3, 3).

    Returns
    -------
    Columns ``cell_id`` (str; a running number where the file names none) and ``geometry`` (Polygon), index 0..n-1.

    Raises
    ------
    UserError
        If it is neither GeoJSON nor GeoParquet, or no outline encloses anything.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of nuclei (column nuclei)")
    if path.suffix in (".geojson", ".json"):
        outlines, properties = read_geojson(path)
        columns: Mapping[str, Any] = pd.DataFrame(properties)
    else:
        outlines, columns = _read_geoparquet(path)
    name = next((name for name in _ID_NAMES if name in columns), None)
    ids = pd.Series(range(1, len(outlines) + 1) if name is None else columns[name]).astype(str).to_numpy(object)
    moved = shapely.transform(shapely.force_2d(outlines), lambda xy: apply(to_he, xy))
    polygons, source = repair(moved)
    if not len(polygons):
        raise UserError(f"{path}: no outline encloses anything; export the nuclei again")
    return gpd.GeoDataFrame({"cell_id": ids[source]}, geometry=polygons)


def _read_geoparquet(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    try:
        frame = gpd.read_parquet(path)
    except (ValueError, OSError, KeyError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: is neither GeoJSON nor GeoParquet ({first_line(error)}); export the nuclei again"
        ) from error
    columns = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    if frame.index.name in _ID_NAMES:
        columns = columns.assign(**{str(frame.index.name): frame.index.to_numpy()})
    return np.asarray(frame.geometry.to_numpy(), dtype=object), columns


def count(path: Path, nuclei: gpd.GeoDataFrame, um_to_he: np.ndarray | None) -> anndata.AnnData:
    """Count genes in nuclei.

    Parameters
    ----------
    path
        transcripts.parquet, a folder of Visium HD bins, or an h5ad.
    nuclei
        he_px, with ``cell_id``.
    um_to_he
        (3, 3) from the transcripts' um; None: they must have ``he_x`` and ``he_y``.

    Returns
    -------
    Cells (in the order of the nuclei) x genes (sorted), int32 CSR, ``obsm["spatial"]`` the mean of a cell's nuclei.

    Raises
    ------
    UserError
        If it cannot be read or nothing is counted.
    """
    cells = pd.Index(pd.unique(nuclei["cell_id"]), dtype=object)
    if path.suffix == ".h5ad":
        counts, genes = _of_table(path, cells)
    elif path.is_dir():
        counts, genes = _of_bins(path, nuclei, cells)
    else:
        counts, genes = _of_transcripts(path, nuclei, cells, um_to_he)
    if not counts.nnz:
        raise UserError(f"{path}: not one transcript of a gene lies in a nucleus; do nuclei and counts fit together?")
    order = np.argsort(genes, kind="stable")
    table = anndata.AnnData(counts[:, order].astype(np.int32), obs=pd.DataFrame({"cell_id": cells}, index=cells))
    table.var_names = pd.Index(genes[order], dtype=object)
    centre = nuclei.geometry.centroid
    mean = pd.DataFrame({"x": centre.x, "y": centre.y}).groupby(nuclei["cell_id"]).mean()
    table.obsm["spatial"] = mean.loc[cells].to_numpy()
    return table


def _of_table(path: Path, cells: pd.Index) -> tuple[sp.csr_matrix, np.ndarray]:
    table = clean_table(str(path), read_h5ad(path), [])
    row = table.obs_names.get_indexer(cells)
    if (row < 0).all():
        raise UserError(f"{path}: none of its cells ({table.obs_names[0]}, ...) is a nucleus' ({cells[0]}, ...)")
    nothing = sp.csr_matrix((1, table.n_vars), dtype=np.int32)
    return sp.vstack([table.X, nothing], format="csr")[row], table.var_names.to_numpy(object)  # -1 is the last: none


def _of_bins(folder: Path, nuclei: gpd.GeoDataFrame, cells: pd.Index) -> tuple[sp.csr_matrix, np.ndarray]:
    """Sum the bins whose centre lies in a nucleus."""
    matrix = read_matrix_file(folder / _BINS)
    path = folder / "spatial" / "tissue_positions.parquet"
    columns = read_columns(path, ("barcode", "pxl_col_in_fullres", "pxl_row_in_fullres"))
    xy = np.column_stack([numbers(path, name, columns[name]) for name in ("pxl_col_in_fullres", "pxl_row_in_fullres")])
    row = pd.Index(texts(path, "barcode", columns["barcode"])).get_indexer(matrix.barcodes)
    if (row < 0).any():
        raise UserError(f"{path}: has no bin {matrix.barcodes[row < 0][0]} of {_BINS}; the files are of different runs")
    bins, cell = _cells_of_points(xy[row], nuclei, cells)
    kept = classify(matrix.types, matrix.names) == GENE
    shape = (len(cells), len(matrix.barcodes))
    summed = sp.csr_matrix((np.ones(len(bins)), (cell, bins)), shape=shape) @ matrix.counts[:, kept]
    return _by_name(summed, matrix.names[kept])


def _by_name(counts: sp.csr_matrix, names: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Sum the columns of genes that share a name."""
    genes, code = np.unique(names.astype(str), return_inverse=True)
    sums = sp.csr_matrix((np.ones(len(names)), (np.arange(len(names)), code)), shape=(len(names), len(genes)))
    return sp.csr_matrix(counts @ sums), genes.astype(object)


def _of_transcripts(
    path: Path, nuclei: gpd.GeoDataFrame, cells: pd.Index, um_to_he: np.ndarray | None
) -> tuple[sp.csr_matrix, np.ndarray]:
    names = column_names(path)
    on_slide = {"he_x", "he_y"} <= set(names)
    if not on_slide and um_to_he is None:
        raise UserError(f"{path}: has no columns he_x, he_y, and where its um lie on the H&E is not known")
    axes = ("he_x", "he_y") if on_slide else ("x_location", "y_location")
    tells_gene = next((name for name in ("is_gene", "codeword_category") if name in names), None)
    columns = [*axes, "feature_name", "qv", *([tells_gene] if tells_gene else [])]
    genes, keys = Codes(), [np.empty((0, 2), np.int64)]
    for batch in progress(batches(path, columns), label=path.name, unit="batches"):
        good = pc.greater_equal(batch["qv"], _MIN_QV).to_numpy(zero_copy_only=False).astype(bool)
        good &= gene_flags(path, batch, tells_gene)
        batch = batch.filter(pa.array(good))
        xy = np.column_stack([numbers(path, axis, batch[axis]) for axis in axes])
        points, cell = _cells_of_points(xy if um_to_he is None or on_slide else apply(um_to_he, xy), nuclei, cells)
        keys.append(np.column_stack([cell, genes.of(path, "feature_name", batch["feature_name"])[points]]))
    cell, gene = np.concatenate(keys).T
    shape = (len(cells), len(genes.names))
    return sp.csr_matrix((np.ones(len(cell)), (cell, gene)), shape=shape), np.array(list(genes.names), dtype=object)


def _cells_of_points(xy: np.ndarray, nuclei: gpd.GeoDataFrame, cells: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Points (he_px) that lie in a nucleus, and the number of its cell; of overlapping nuclei the first."""
    tree = shapely.STRtree(nuclei.geometry.to_numpy())
    point, nucleus = tree.query(shapely.points(xy), predicate="intersects")
    order = np.lexsort((nucleus, point))
    point, nucleus = point[order], nucleus[order]
    first = np.r_[True, point[1:] != point[:-1]] if len(point) else np.zeros(0, bool)
    return point[first], cells.get_indexer(nuclei["cell_id"])[nucleus[first]]


def _um_to_he(sample: Sample) -> np.ndarray | None:
    um = sample.provenance.get("morphology_um_per_px")
    if um is None or sample.he_to_morphology is None:
        return None
    return np.linalg.inv(sample.he_to_morphology) @ np.diag([1 / um, 1 / um, 1.0])


def _own_counts(folder: Path) -> Path:
    """The run's transcripts, or its 2-um bins."""
    bins = folder / "binned_outputs" / "square_002um"
    return bins if bins.is_dir() else find_table(folder, "transcripts")
