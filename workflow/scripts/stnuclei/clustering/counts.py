"""Raw counts: checks, totals and log-normalisation, sparse throughout."""

from __future__ import annotations

import anndata
import numpy as np
from scipy import sparse

from stnuclei.errors import UserError

# Values looked at to tell counts from normalised expression: all of a million cells would take seconds.
_SAMPLE = 100_000


def check_counts(adata: anndata.AnnData) -> None:
    """Refuse a table that labels cannot be made from.

    Raises
    ------
    UserError
        If it has no cells or genes, doubled cell or gene names, values that are no counts, or no count at all.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise UserError(f"the table has {adata.n_obs} cells and {adata.n_vars} genes: nothing to label")
    if not adata.obs_names.is_unique:
        double = adata.obs_names[adata.obs_names.duplicated()][0]
        raise UserError(f"the table names cell {double!r} more than once: cell ids must differ")
    if not adata.var_names.is_unique:
        double = adata.var_names[adata.var_names.duplicated()][0]
        raise UserError(f"the table names gene {double!r} more than once: merge or rename it")
    values = adata.X.data if sparse.issparse(adata.X) else np.asarray(adata.X).ravel()
    values = values[:_SAMPLE]
    if values.size and (not np.all(np.isfinite(values)) or values.min() < 0 or np.any(values != np.floor(values))):
        raise UserError("the table's X holds values that are no counts: labels are made from raw counts (0, 1, 2, ...)")
    if adata.X.sum() == 0:
        raise UserError(f"all {adata.n_obs:,} cells of the table are without counts: nothing to label")


def cell_ids(adata: anndata.AnnData) -> np.ndarray:
    """Cell ids as text, ``obs["cell_id"]`` where there is one, else the index; object array (n,)."""
    source = adata.obs["cell_id"] if "cell_id" in adata.obs else adata.obs_names
    return np.asarray(source).astype(str).astype(object)


def totals(adata: anndata.AnnData) -> np.ndarray:
    """Counts of each cell, float64 (n,)."""
    return np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()


def log_normalised(adata: anndata.AnnData) -> sparse.csr_matrix:
    """Log of counts scaled to the median total.

    Parameters
    ----------
    adata
        Cells x genes, raw counts; left as it is.

    Returns
    -------
    float32 CSR, cells x genes: log(1 + count * median total / total of the cell). Cells without a count stay zero.
    Its index arrays are those of the table itself, not copies.
    """
    counts = sparse.csr_matrix(adata.X)
    of_cell = totals(adata)
    filled = of_cell > 0
    target = np.median(of_cell[filled]) if filled.any() else 1.0
    # Divided as scanpy divides: two ways of rounding would break ties of the rank tests differently.
    divisor = (np.where(filled, of_cell, target) / target).astype(np.float32)
    values = counts.data.astype(np.float32)
    values /= np.repeat(divisor, np.diff(counts.indptr))
    np.log1p(values, out=values)
    return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


def detected_genes(adata: anndata.AnnData) -> np.ndarray:
    """Genes with at least one count in each cell, int64 shape (cells,)."""
    return np.asarray((sparse.csr_matrix(adata.X) > 0).sum(axis=1), dtype=np.int64).ravel()
