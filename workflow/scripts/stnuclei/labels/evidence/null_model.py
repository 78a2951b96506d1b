"""How far evidence exceeds what genes drawn at random would give: exact moments of the permutation, no sampling."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import norm


class PermutationScore:
    """Standard scores of sum_g d_g e_g under random pairing of the deviations d with the evidence e of the genes.

    Over all permutations the sum has mean n mean(d) mean(e) and variance
    sum (d - mean d)^2 sum (e - mean e)^2 / (n - 1) (the permutation test of a correlation; Pitman 1937). A panel rich
    in a category, or a few loud genes, therefore raise the bar by themselves. Deviations arrive in blocks of genes.

    Parameters
    ----------
    evidence
        (genes, categories) float64.
    n_rows
        Rows (cells or clusters) to score.
    """

    def __init__(self, evidence: np.ndarray, n_rows: int) -> None:
        self.centred = np.asarray(evidence, dtype=np.float64) - np.mean(evidence, axis=0)
        self.product = np.zeros((n_rows, self.centred.shape[1]))
        self.sum = np.zeros(n_rows)
        self.squares = np.zeros(n_rows)

    def add(self, genes: np.ndarray, deviations: np.ndarray) -> None:
        """Take in `deviations` (rows, len(genes)) of the genes at places `genes` of the evidence."""
        self.product += deviations @ self.centred[genes]
        self.sum += deviations.sum(axis=1, dtype=np.float64)
        self.squares += np.einsum("ij,ij->i", deviations, deviations, dtype=np.float64)

    def scores(self) -> np.ndarray:
        """Standard scores (rows, categories), 0 where deviations or evidence are constant."""
        n = len(self.centred)
        spread = np.maximum(self.squares - self.sum**2 / n, 0)
        scale = np.sqrt(spread[:, None] * np.square(self.centred).sum(axis=0) / max(n - 1, 1))
        return np.divide(self.product, scale, out=np.zeros_like(self.product), where=scale > 1e-12)


def permutation_scores(deviations: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Score all genes at once: `deviations` (rows, genes), `evidence` (genes, categories) -> (rows, categories)."""
    score = PermutationScore(evidence, len(deviations))
    score.add(np.arange(deviations.shape[1]), np.asarray(deviations, dtype=np.float64))
    return score.scores()


def critical_score(level: float, n_tests: int = 1) -> float:
    """Score that the best of `n_tests` random gene lists exceeds with probability `level` (Bonferroni)."""
    return float(norm.isf(level / max(n_tests, 1)))


def words(pairs: Iterable[tuple[str, float]]) -> str:
    """Genes and what they add, as ``EPCAM +0.31, KRT8 +0.12``."""
    return ", ".join(f"{gene} {value:+.2f}" for gene, value in pairs)
