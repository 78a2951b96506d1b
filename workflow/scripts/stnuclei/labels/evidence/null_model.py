"""Marker scores against a null model: exact moments of random pairings of genes and evidence, no sampling."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
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
