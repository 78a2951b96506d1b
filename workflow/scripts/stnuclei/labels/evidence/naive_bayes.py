"""Naive Bayes over counts: a multinomial component for each cluster and category."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from stnuclei.labels.evidence.profiles import fractions, group_counts, without_zeros

_LEAST_COMPONENT = 10  # cells of a component; fewer give no profile
_CELLS_AT_ONCE = 1_000  # 2 MB of likelihoods of 250 components stay in the cache


def naive_bayes(
    counts: sparse.csr_matrix, clusters: np.ndarray, category: np.ndarray, n_categories: int, overdispersion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of categories by a multinomial mixture with a component for each cluster and category.

    Unmixing compares cells with pure profiles; cells as they are, spillover included, are told apart best by the
    profiles of cells like them.

    Parameters
    ----------
    counts
        (cells, genes) raw counts.
    clusters, category
        (cells,) int: cluster, and first guess of the category.
    n_categories
        Number of categories.
    overdispersion
        Counts vary more than a multinomial says, the more so the more there are: the log-likelihood of a cell of n
        counts is divided by 1 + n x overdispersion (as a Dirichlet-multinomial's would be at most).

    Returns
    -------
    (cells, n_categories) probabilities, and each cell's component, a number of cluster and category.
    """
    names, member, sizes = np.unique(clusters * n_categories + category, return_inverse=True, return_counts=True)
    usable = sizes >= min(_LEAST_COMPONENT, sizes.max())
    profiles = without_zeros(fractions(group_counts(counts, member, len(names))[usable]))
    names = names[usable]
    owner = names % n_categories
    probability = np.zeros((len(clusters), n_categories))
    totals = np.asarray(counts.sum(axis=1)).ravel()
    component = np.empty(len(clusters), dtype=np.int64)
    logs = np.log(profiles).T.astype(np.float32)
    for start in range(0, len(clusters), _CELLS_AT_ONCE):
        rows = slice(start, start + _CELLS_AT_ONCE)
        likelihood = np.asarray(counts[rows] @ logs)
        likelihood -= likelihood.max(axis=1, keepdims=True)
        weights = np.exp(likelihood.astype(np.float64) / (1 + overdispersion * totals[rows, None]))
        weights /= weights.sum(axis=1, keepdims=True)
        probability[rows] = by_category(weights, owner, n_categories)
        component[rows] = clusters[rows] * n_categories + probability[rows].argmax(axis=1)
    return probability, component


def by_category(values: np.ndarray, category: np.ndarray, n_categories: int) -> np.ndarray:
    """Sum the fractions of archetypes over their categories, (rows, n_categories)."""
    member = np.zeros((len(category), n_categories), values.dtype)
    member[np.arange(len(category)), category] = 1
    return values @ member
