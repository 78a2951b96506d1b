"""Null models: marker scores under random pairings of genes and evidence, principal components of shuffled counts."""

from __future__ import annotations

from collections.abc import Iterable

import anndata
import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix
from scipy.stats import norm


def permutation_scores(deviations: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Standard scores of sum_g d_g e_g under random pairing of the deviations d with the evidence e of the genes.

    Over all permutations the sum has mean n mean(d) mean(e) and variance
    sum (d - mean d)^2 sum (e - mean e)^2 / (n - 1) (the permutation test of a correlation; Pitman 1937). A panel rich
    in a category, or a few highly expressed genes, therefore raise the bar by themselves.

    Parameters
    ----------
    deviations
        (rows, genes) expression less the background.
    evidence
        (genes, categories) log-odds.

    Returns
    -------
    float64 (rows, categories), 0 where deviations or evidence are constant.
    """
    n_genes = len(evidence)
    centred = np.asarray(evidence, dtype=np.float64) - np.mean(evidence, axis=0)
    values = np.asarray(deviations, dtype=np.float64)
    spread = np.maximum(np.einsum("ij,ij->i", values, values) - values.sum(axis=1) ** 2 / n_genes, 0)
    scale = np.sqrt(spread[:, None] * np.square(centred).sum(axis=0) / max(n_genes - 1, 1))
    return np.divide(values @ centred, scale, out=np.zeros((len(values), centred.shape[1])), where=scale > 1e-12)


def best_score_chance(scores: np.ndarray) -> np.ndarray:
    """Probability that the best of each row's scores is as high under the null model (Sidak), (rows,)."""
    return -np.expm1(scores.shape[1] * norm.logcdf(scores.max(axis=1)))


def significant(chances: np.ndarray, level: float) -> np.ndarray:
    """Rows that stay significant at a false discovery rate (Benjamini and Hochberg 1995), bool (rows,)."""
    order = np.sort(chances)
    passing = np.flatnonzero(order <= level * np.arange(1, len(order) + 1) / max(len(order), 1))
    return chances <= order[passing[-1]] if len(passing) else np.zeros(len(chances), dtype=bool)


def words(pairs: Iterable[tuple[str, float]]) -> str:
    """Genes and their contributions, as ``EPCAM +0.31, KRT8 +0.12``."""
    return ", ".join(f"{gene} {value:+.2f}" for gene, value in pairs)


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
