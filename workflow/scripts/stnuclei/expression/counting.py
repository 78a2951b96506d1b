"""Counts of patches: summed over the cells in them, or over single transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from stnuclei.errors import UserError
from stnuclei.expression.patch_assignment import PatchAssignment
from stnuclei.io import Sample
from stnuclei.io.features import GENE_CATEGORIES, is_control_name
from stnuclei.io.tables import batches, column_names, find_table, numbers, texts
from stnuclei.patches import PatchStore
from stnuclei.progress import progress


@dataclass(frozen=True)
class PatchCounts:
    """Raw counts of patches.

    Parameters
    ----------
    counts
        CSR int32 (patches, genes).
    cells
        int64 (patches,): cells counted in each patch.
    info
        Method of counting, and what lies in no patch.
    """

    counts: sp.csr_matrix
    cells: np.ndarray
    info: dict[str, Any]


def count_cells(sample: Sample, store: PatchStore) -> PatchCounts:
    """Sum the counts of the cells whose centre lies in each patch, each cell once (see `PatchAssignment`).

    Parameters
    ----------
    sample
        `stnuclei.io.Sample`: its table's raw counts and ``obsm["spatial"]`` (he_px) are used.
    store
        Patches cut from it.

    Raises
    ------
    UserError
        If patches and sample are not of one slide.
    """
    patch = _patch_of_cells(sample, store)
    inside = patch >= 0
    member = sp.csr_matrix(
        (np.ones(int(inside.sum()), np.int32), (patch[inside], np.flatnonzero(inside))),
        shape=(len(store), sample.table.n_obs),
    )
    counts = (member @ sp.csr_matrix(sample.table.X, dtype=np.int32)).tocsr()
    counts.sort_indices()
    info = {"counted": "cells", "cells_inside": int(inside.sum()), "cells_in_no_patch": int((~inside).sum())}
    return PatchCounts(counts, np.bincount(patch[inside], minlength=len(store)), info)


def _patch_of_cells(sample: Sample, store: PatchStore) -> np.ndarray:
    """int64 (cells,), -1 none; checked against the nuclei that the patches show."""
    if store.attrs.get("n_cells") != sample.table.n_obs or store.sample != sample.name:
        raise UserError(
            f"{store.path}: is of sample {store.sample} with {store.attrs.get('n_cells')} cells, the table of "
            f"{sample.name} has {sample.table.n_obs}; cut the patches again"
        )
    patch = PatchAssignment(store).of(np.asarray(sample.table.obsm["spatial"], np.float64))
    owner = store.cell_index
    shown = owner >= 0
    where = np.repeat(np.arange(len(store)), np.diff(store.offset))[shown]
    agrees = np.zeros(sample.table.n_obs, bool)
    agrees[owner[shown][patch[owner[shown]] == where]] = True
    seen = np.unique(owner[shown])
    seen = seen[patch[seen] >= 0]
    if len(seen) and agrees[seen].mean() < 0.5:
        raise UserError(
            f"{store.path}: of the cells whose nucleus a patch shows, {100 * (1 - agrees[seen].mean()):.0f} % lie in "
            f"another patch by the table of {sample.name}; both are not of one alignment: cut the patches again"
        )
    return patch


def count_transcripts(sample: Sample, store: PatchStore, path: str | Path, min_qv: float = 20.0) -> PatchCounts:
    """Count the genes' transcripts in each patch, in cells or not, batch by batch.

    Parameters
    ----------
    sample
        Gives the genes (columns) and takes um to he_px.
    store
        Patches cut from it.
    path
        ``transcripts.parquet`` of the run, its folder, or HEST-1k's ``{id}_transcripts.parquet`` (he_x, he_y).
    min_qv
        Phred-scaled quality; transcripts below are left out, and so are controls.

    Raises
    ------
    UserError
        If there is no such file, it lacks a column, or none of its transcripts lies in a patch.
    """
    path = Path(path)
    path = path if path.is_file() else find_table(path, "transcripts")
    positions = _Positions(path, sample)
    gene_of = {gene: number for number, gene in enumerate(sample.table.var_names)}
    cells = np.bincount(_inside(_patch_of_cells(sample, store)), minlength=len(store))
    assignment, total = PatchAssignment(store), sp.csr_matrix((len(store), len(gene_of)), dtype=np.int32)
    info: dict[str, Any] = {"counted": "transcripts", "min_qv": min_qv, "read": 0, "used": 0, "in_no_patch": 0}
    columns = [*positions.columns, "feature_name", "qv", *positions.gene_columns]
    for batch in progress(batches(path, columns), label=path.name, unit="batches"):
        gene = _genes(path, batch, gene_of, positions.gene_columns)
        good = pc.greater_equal(batch["qv"], min_qv).to_numpy(zero_copy_only=False).astype(bool) & (gene >= 0)
        patch = assignment.of(positions.of(batch)[good])
        column, row = gene[good][patch >= 0], _inside(patch)
        total += sp.csr_matrix((np.ones(len(row), np.int32), (row, column)), shape=total.shape)  # equal pairs add up
        info["read"] += len(gene)
        info["used"] += int((patch >= 0).sum())
        info["in_no_patch"] += int((patch < 0).sum())
    if not info["used"]:
        raise UserError(f"{path}: none of {info['read']:,} transcripts is a gene of {sample.name} in a patch")
    return PatchCounts(total, cells, info)


def _inside(patch: np.ndarray) -> np.ndarray:
    return patch[patch >= 0]


class _Positions:
    """Positions of a batch's transcripts, he_px."""

    def __init__(self, path: Path, sample: Sample) -> None:
        names = column_names(path)
        self.path = path
        known: tuple[str, ...] = ("is_gene", "codeword_category")
        self.gene_columns = [name for name in known if name in names][:1]
        self.columns = ["he_x", "he_y"] if {"he_x", "he_y"} <= set(names) else ["x_location", "y_location"]
        self._matrix = np.eye(3)
        if self.columns[0] == "he_x":
            return
        um = sample.provenance.get("morphology_um_per_px")
        if sample.he_to_morphology is None or not um:
            raise UserError(f"{path}: holds um, and {sample.name} has no alignment to its slide; count cells instead")
        self._matrix = np.linalg.inv(sample.he_to_morphology) @ np.diag([1 / um, 1 / um, 1.0])

    def of(self, batch: pa.RecordBatch) -> np.ndarray:
        """(n, 2) float64."""
        xy = np.column_stack([numbers(self.path, axis, batch[axis]) for axis in self.columns])
        return xy @ self._matrix[:2, :2].T + self._matrix[:2, 2]


def _genes(path: Path, batch: pa.RecordBatch, gene_of: dict[str, int], gene_columns: list[str]) -> np.ndarray:
    """Column of each transcript, int64 (n,); -1 for controls and what the table does not have."""
    coded = batch["feature_name"].dictionary_encode()
    names = texts(path, "feature_name", coded.dictionary).to_numpy()
    column = np.array([gene_of.get(name, -1) for name in names], np.int64)
    column[is_control_name(names)] = -1
    gene = column[coded.indices.to_numpy(zero_copy_only=False)]
    if gene_columns == ["is_gene"]:
        gene[~batch["is_gene"].cast(pa.bool_()).to_numpy(zero_copy_only=False).astype(bool)] = -1
    elif gene_columns:
        kinds = texts(path, gene_columns[0], batch[gene_columns[0]]).to_numpy()
        gene[~np.isin(kinds, GENE_CATEGORIES)] = -1
    return gene
