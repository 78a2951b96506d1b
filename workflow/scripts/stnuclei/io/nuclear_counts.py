"""Counts over nuclei alone: transcripts of a Xenium run that lie over their cell's nucleus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.io.hest_counts import OVERLAPS, Codes, gene_flags, over_nucleus
from stnuclei.io.tables import batches, column_names
from stnuclei.progress import progress


def with_nuclear_counts(table: AnnData, folder: Path, min_qv: float = 20.0) -> tuple[AnnData, dict[str, int]]:
    """Count the transcripts over nuclei instead of those of whole cells.

    A cell's outline is often a guess around its nucleus and takes in transcripts of neighbours; the nucleus takes in
    fewer of them, at the price of fewer counts. Cells without a nucleus count zero, and are labelled Unknown.

    Parameters
    ----------
    table
        Cells x genes of a Xenium output folder, counts of whole cells.
    folder
        The output folder, with transcripts.parquet.
    min_qv
        Phred-scaled quality; the instrument's own matrix counts 20 and more.

    Returns
    -------
    The same cells and genes with counts (int32, CSR) over nuclei, and the numbers of transcripts read and counted.

    Raises
    ------
    UserError
        If there are no transcripts, they do not say which overlap a nucleus, or none of them does.
    """
    path = folder / "transcripts.parquet"
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; counts over nuclei need it (slides.count_in: nuclei), copy it from the run's "
            "output folder or count in cells"
        )
    names = column_names(path)
    tells_gene = next((name for name in ("is_gene", "codeword_category") if name in names), None)
    columns = ["cell_id", "feature_name", "qv", OVERLAPS, *([tells_gene] if tells_gene else [])]
    cells, genes, keys, read = Codes(), Codes(), [np.empty((0, 2), np.int64)], 0
    for batch in progress(batches(path, columns), label=path.name, unit="batches"):
        read += batch.num_rows
        kept = pc.greater_equal(batch["qv"], min_qv).to_numpy(zero_copy_only=False).astype(bool)
        kept &= gene_flags(path, batch, tells_gene) & over_nucleus(path, batch)
        batch = batch.filter(pa.array(kept))
        pair = [codes.of(path, name, batch[name]) for codes, name in ((cells, "cell_id"), (genes, "feature_name"))]
        keys.append(np.column_stack(pair))
    counts = _summed(np.concatenate(keys), cells, genes, table)
    if not counts.nnz:
        raise UserError(f"{path}: not one of its {read:,} transcripts lies over the nucleus of a cell of the table")
    counted = table.copy()
    counted.X = counts
    return counted, {"read": read, "kept": int(counts.sum())}


def _summed(keys: np.ndarray, cells: Codes, genes: Codes, table: AnnData) -> sp.csr_matrix:
    """Sum pairs (cell, gene) into the rows and columns of a table; unassigned transcripts belong to no row."""
    row = table.obs_names.get_indexer(list(cells.names))[keys[:, 0]]
    column = table.var_names.get_indexer(list(genes.names))[keys[:, 1]]
    inside = (row >= 0) & (column >= 0)
    ones = np.ones(int(inside.sum()), np.int32)
    counts = sp.coo_matrix((ones, (row[inside], column[inside])), shape=table.shape).tocsr()
    return sp.csr_matrix(counts, dtype=np.int32)
