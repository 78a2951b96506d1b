"""Cells of a Xenium bundle and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.io.features import CONTROL, GENE, PROTEIN, classify
from stnuclei.io.matrix import FeatureMatrix, take_columns
from stnuclei.io.tables import find_table, numbers, read_columns, texts

_KEPT = ("transcript_counts", "total_counts", "cell_area", "nucleus_area", "nucleus_count", "segmentation_method")


@dataclass(frozen=True)
class Cells:
    """The cells table.

    Attributes
    ----------
    path
        What was read.
    ids
        Cell ids, str, in the table's order.
    centroids_um
        (n, 2) float64, (x, y) um in the morphology frame.
    obs
        What else the instrument says of each cell, indexed by id.
    """

    path: Path
    ids: pd.Index
    centroids_um: np.ndarray
    obs: pd.DataFrame


def read_cells(folder: Path) -> Cells:
    """Read cells.parquet (or .csv.gz), any XOA version.

    Raises
    ------
    UserError
        If it is missing or damaged, names a cell twice, or holds coordinates that are no numbers.
    """
    path = find_table(folder, "cells")
    columns = read_columns(path, ("cell_id", "x_centroid", "y_centroid"), _KEPT)
    ids = pd.Index(texts(path, "cell_id", columns["cell_id"]), dtype=object)
    if ids.has_duplicates:
        twice = ids[ids.duplicated()]
        raise UserError(f"{path}: {len(twice):,} cell ids are there twice, such as {twice[0]}; copy it again")
    centroids = np.column_stack([numbers(path, axis, columns[axis]) for axis in ("x_centroid", "y_centroid")])
    obs = pd.DataFrame({key: columns[key].to_pandas().to_numpy() for key in _KEPT if key in columns}, index=ids)
    obs.insert(0, "cell_id", ids.to_numpy())
    return Cells(path, ids, centroids, obs)


def join(cells: Cells, matrix: FeatureMatrix, warnings: list[str]) -> AnnData:
    """Put counts to cells: genes as the table, proteins in ``obsm``, controls as a count in ``obs``.

    Parameters
    ----------
    cells, matrix
        Of one bundle; the matrix is put into the cells' order by id, and its counts are used up.
    warnings
        Grows by what is odd but no error.

    Returns
    -------
    Cells x genes, int32 CSR, index = cell id; ``var``: ``gene_ids``.

    Raises
    ------
    UserError
        If the two do not hold the same cells, or there is no gene.
    """
    counts = _in_order(cells, matrix)
    kinds = classify(matrix.types, matrix.names)
    if not (kinds == GENE).any():
        types = ", ".join(sorted(set(matrix.types))) or "none"
        raise UserError(f"{matrix.path}: none of its {len(kinds):,} features is a gene (types: {types})")
    controls = np.asarray(counts[:, kinds == CONTROL].sum(axis=1)).ravel().astype(np.int32)
    proteins = counts[:, kinds == PROTEIN].toarray() / matrix.protein_scale
    genes = take_columns(counts, kinds == GENE).astype(np.int32, copy=False)
    var = pd.DataFrame(
        {"gene_ids": matrix.ids[kinds == GENE]}, index=pd.Index(matrix.names[kinds == GENE], dtype=object)
    )
    table = AnnData(genes, obs=cells.obs.copy(), var=var)
    if not table.var_names.is_unique:
        warnings.append(f"{int(table.var_names.duplicated().sum())} genes share a name; -1, -2 ... was put behind it")
        table.var_names_make_unique()
    table.obs["control_counts"] = controls
    if (kinds == PROTEIN).any():
        table.obsm["protein"] = pd.DataFrame(proteins, index=table.obs_names, columns=matrix.names[kinds == PROTEIN])
    if not genes.nnz:
        raise UserError(f"{matrix.path}: not one transcript is counted in any cell; is the run complete?")
    return table


def _in_order(cells: Cells, matrix: FeatureMatrix) -> sp.csr_matrix:
    if np.array_equal(matrix.barcodes, cells.ids.to_numpy()):
        return matrix.counts
    barcodes = pd.Index(matrix.barcodes)
    if barcodes.has_duplicates:
        raise UserError(f"{matrix.path}: barcode {barcodes[barcodes.duplicated()][0]} is there twice; copy it again")
    row = barcodes.get_indexer(cells.ids)
    if (row < 0).any() or len(barcodes) != len(cells.ids):
        lacking = cells.ids[row < 0]
        example = f", {len(lacking):,} of them, such as {lacking[0]}, not in the matrix" if len(lacking) else ""
        raise UserError(
            f"{matrix.path}: has {len(barcodes):,} cells, {cells.path.name} has {len(cells.ids):,}{example}; "
            "the files are of different runs"
        )
    return matrix.counts[row]
