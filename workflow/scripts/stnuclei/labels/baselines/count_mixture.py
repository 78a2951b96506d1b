"""Negative binomial mixture of cell categories with marker genes: CellAssign's model, fitted in closed form.

Zhang et al. 2019 (doi:10.1038/s41592-019-0529-1): the count of gene g in a cell of category k and size s has mean
s m_gk; m_gk = base_g for genes that do not mark k, and at least base_g exp(min_excess) for those that do. Differences
from `scvi.external.CellAssign`:

* The smallest excess is 0 by default, not 2. Hand-picked markers may well be e^2 times as high in their category; of
  the 50 to 250 genes that databases list on a panel most are not, and a category pays for each of them in every cell.
  With an excess of 2 the labels of whole slides collapse into one or two categories (benchmarks/baselines.py).
* One dispersion a gene, by moments, where scvi-tools fits a function of the mean.
* Steps of expectation-maximisation over sparse counts instead of gradients: seconds, and the same result each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

# Cells of like size are computed together: within a bin the likelihood is a sparse product.
SIZE_BINS = 16
# Cells by which every mean is drawn to the slide's: a category without cells keeps finite parameters.
PRIOR_CELLS = 1.0
DISPERSION = (0.1, 20.0)
TOLERANCE = 2e-3


@dataclass(frozen=True)
class MixtureFit:
    """Result of one fit.

    Parameters
    ----------
    posterior
        (n, k) float64, rows sum to 1.
    log_likelihood
        Mean over cells, comparable between fits of the same counts.
    iterations
        Until the posteriors changed by less than `TOLERANCE` on average.
    """

    posterior: np.ndarray
    log_likelihood: float
    iterations: int


class CountMixture:
    """The model of one table; `fit` may be called with several starts.

    Parameters
    ----------
    counts
        (n, g) CSR.
    sizes
        (n,) size of each cell, mean about 1.
    marks
        (g, k) bool, True where a gene marks a category.
    min_excess
        Smallest log fold change of a marker in its category.
    """

    def __init__(
        self, counts: sparse.csr_matrix, sizes: np.ndarray, marks: np.ndarray, min_excess: float = 0.0
    ) -> None:
        self.counts, self.sizes, self.marks, self.min_excess = counts, sizes, marks, min_excess
        self._by_gene = counts.T.tocsr()
        total = np.asarray(counts.sum(axis=0)).ravel()
        self._overall = (total + 1e-3) / sizes.sum()
        self._excess_square = np.asarray(counts.multiply(counts).sum(axis=0)).ravel() - total
        self._bins = np.array_split(np.argsort(sizes, kind="stable"), min(SIZE_BINS, len(sizes)))
        self._blocks = [counts[rows] for rows in self._bins]

    def fit(self, start: np.ndarray, n_iterations: int = 50) -> MixtureFit:
        """Fit from a first category of each cell, int (n,)."""
        posterior = np.zeros((len(start), self.marks.shape[1]))
        posterior[np.arange(len(start)), start] = 1
        likelihood, iteration = -np.inf, 0
        while iteration < n_iterations:
            iteration += 1
            means, fractions = self._means(posterior)
            scores = self._log_likelihoods(means, self._dispersion(means, posterior)) + np.log(fractions)
            best = scores.max(axis=1, keepdims=True)
            updated = np.exp(scores - best)
            total = updated.sum(axis=1, keepdims=True)
            updated /= total
            likelihood = float((best + np.log(total)).mean())
            change = np.abs(updated - posterior).sum(axis=1).mean()
            posterior = updated
            if change < TOLERANCE:
                break
        return MixtureFit(posterior, likelihood, iteration)

    def _means(self, posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means m (g, k) at size 1 and fractions of the categories (k,) that fit the posteriors best."""
        marks, prior = self.marks, PRIOR_CELLS * self._overall
        sizes, counts = self.sizes @ posterior, self._by_gene @ posterior
        means = (counts + prior[:, None]) / (sizes + PRIOR_CELLS)
        outside = np.where(marks, 0, counts).sum(axis=1) + prior
        base = outside / (np.where(marks, 0, sizes).sum(axis=1) + PRIOR_CELLS)
        least = base[:, None] * np.exp(self.min_excess)
        # A gene that marks every category has no category to take its base from: its means are free.
        free = marks.all(axis=1, keepdims=True)
        means = np.where(free, means, np.where(marks, np.maximum(means, least), base[:, None]))
        n_cells, n_categories = posterior.shape
        return means, (posterior.sum(axis=0) + 1) / (n_cells + n_categories)

    def _dispersion(self, means: np.ndarray, posterior: np.ndarray) -> np.ndarray:
        """Inverse dispersion phi of each gene, (g,): E[x^2] - E[x] = (s m)^2 (1 + 1 / phi)."""
        expected = means**2 @ (self.sizes**2 @ posterior)
        low, high = DISPERSION
        return 1 / np.clip(self._excess_square / np.maximum(expected, 1e-12) - 1, 1 / high, 1 / low)

    def _log_likelihoods(self, means: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Log-likelihood of each cell in each category, (n, k), but for terms that do not depend on the category.

        x log(mu / (mu + phi)) + phi log(phi / (mu + phi)): the first term needs the nonzero counts only, the second
        none.
        """
        scores = np.empty((len(self.sizes), means.shape[1]))
        phi = phi[:, None]
        for rows, block in zip(self._bins, self._blocks, strict=True):
            mu = self.sizes[rows].mean() * means
            scores[rows] = block @ (np.log(mu) - np.log(mu + phi)) - (phi * np.log1p(mu / phi)).sum(axis=0)
        return scores
