"""Parallel analysis: the largest component of a slide's cells against shuffled counts."""

from __future__ import annotations

import anndata
import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix

_SAMPLE = 1_000
_SHUFFLES = 4
NO_STRUCTURE = 1.1  # the largest component must exceed the shuffled ones' by a tenth
_LEAST_CELLS = 20
_STRATUM = 50  # cells of like depth that counts are shuffled among


def shows_structure(adata: anndata.AnnData, seed: int = 0) -> tuple[bool, float]:
    """Test whether genes vary together from cell to cell.

    The largest eigenvalue of the genes' correlation over a sample of cells is compared with that of the same counts
    shuffled, each gene on its own, among cells of like depth (Horn 1965; depth alone makes genes vary together). Where
    counts are noise around one profile there is nothing to label: whatever that profile resembles, every cell would
    get the same label.

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    seed
        Seed of the sample and the shuffles.

    Returns
    -------
    The answer, and the ratio of the eigenvalues (NaN for fewer than 20 cells, which are taken as they are).
    """
    if adata.n_obs < _LEAST_CELLS:
        return True, float("nan")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(adata.n_obs, min(_SAMPLE, adata.n_obs), replace=False))
    counts = csr_matrix(adata.X)[rows].toarray().astype(np.float64)
    counts = counts[np.argsort(counts.sum(axis=1), kind="stable")]
    largest = _largest(counts)
    strata = np.array_split(counts, max(len(counts) // _STRATUM, 1))
    shuffled = max(_largest(np.vstack([rng.permuted(stratum, axis=0) for stratum in strata])) for _ in range(_SHUFFLES))
    ratio = largest / shuffled if shuffled > 0 else float("inf")
    return ratio > NO_STRUCTURE, float(ratio)


def _largest(counts: np.ndarray) -> float:
    """Largest eigenvalue of the correlation of log-normalised genes."""
    totals = counts.sum(axis=1, keepdims=True)
    values = np.log1p(counts / np.maximum(totals, 1) * np.median(totals))
    values -= values.mean(axis=0)
    spread = values.std(axis=0)
    values = values[:, spread > 0] / spread[spread > 0]
    if not values.size:
        return 0.0
    gram = values @ values.T if values.shape[0] < values.shape[1] else values.T @ values
    last = len(gram) - 1
    return float(eigh(gram, eigvals_only=True, subset_by_index=[last, last])[0] / len(values))
