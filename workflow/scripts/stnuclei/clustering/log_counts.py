"""Counts to expression, sparse throughout."""

from __future__ import annotations

import anndata
import numpy as np
from scipy import sparse


def log_normalised(adata: anndata.AnnData) -> sparse.csr_matrix:
    """Log of counts scaled to the median total.

    Parameters
    ----------
    adata
        Cells x genes, raw counts; left as it is.

    Returns
    -------
    float32 CSR, cells x genes: log(1 + count * median total / total of the cell). Cells without a count stay zero.
    """
    counts = sparse.csr_matrix(adata.X, dtype=np.float32, copy=True)
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    filled = totals > 0
    target = np.median(totals[filled]) if filled.any() else 1.0
    # Divided as scanpy divides: two ways of rounding would break ties of the rank tests differently.
    divisor = (np.where(filled, totals, target) / target).astype(np.float32)
    counts.data /= np.repeat(divisor, np.diff(counts.indptr))
    np.log1p(counts.data, out=counts.data)
    return counts


def detected_genes(adata: anndata.AnnData) -> np.ndarray:
    """Genes with at least one count in each cell, int64 shape (cells,)."""
    return np.asarray((sparse.csr_matrix(adata.X) > 0).sum(axis=1), dtype=np.int64).ravel()
