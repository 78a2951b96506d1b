"""Lineage of every cell: marker evidence of clusters, then a count model learned from the slide itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.config.labels import EvidenceSettings
from stnuclei.labels.evidence.naive_bayes import by_category, naive_bayes
from stnuclei.labels.evidence.null_model import best_score_chance, permutation_scores, significant
from stnuclei.labels.evidence.profiles import fractions, group_counts, shrunken_cells
from stnuclei.labels.evidence.unmixing import archetypes, unmix, without_spillover

_MOST_ROUNDS = 10
_MOST_OF_SLIDE = 0.5  # fraction of cells
_CELL_STEPS = 15  # EM steps of cells, which start at their cluster's fractions
_MOST_GENES = 1_000  # genes that cells are unmixed by: those that differ most between clusters
_START_EVEN = 0.1  # part of a cell's first guess that is even, so that no fraction starts at zero


@dataclass(frozen=True)
class Lineages:
    """Lineages of cells and the evidence of their clusters.

    Parameters
    ----------
    names
        Categories; the last is Unknown.
    probability
        (cells, categories) float64.
    component
        (cells,) int64: cells of one cluster and one category, the unit of the malignancy test.
    cluster_profiles
        (clusters, genes) fractions of counts.
    cluster_scores
        (clusters, categories) standard scores of marker evidence.
    reference
        (genes,) background, square roots of fractions.
    fractions
        (clusters, categories) fractions of a cluster's transcripts that come from each category.
    known
        (clusters,) bool: marker evidence exceeds what chance gives.
    """

    names: tuple[str, ...]
    probability: np.ndarray
    component: np.ndarray
    cluster_profiles: np.ndarray
    cluster_scores: np.ndarray
    reference: np.ndarray
    fractions: np.ndarray
    known: np.ndarray


def lineages_of_cells(
    counts: sparse.csr_matrix,
    clusters: np.ndarray,
    evidence: pd.DataFrame,
    settings: EvidenceSettings,
) -> Lineages:
    """Probability of each category for every cell.

    Parameters
    ----------
    counts
        (cells, genes) raw counts.
    clusters
        (cells,) int, 0 to the number of clusters less 1.
    evidence
        From `lineage_evidence`; last column Unknown.
    settings
        ``level``, ``cluster_weight`` and ``overdispersion``.

    Returns
    -------
    Lineages
    """
    n_clusters = int(clusters.max()) + 1
    sums = group_counts(counts, clusters, n_clusters)
    profiles, sizes = fractions(sums), np.bincount(clusters, minlength=n_clusters)
    weights = evidence.to_numpy()
    reference = balanced_reference(np.sqrt(profiles), sizes, weights)
    scores = permutation_scores(np.sqrt(profiles) - reference, weights)
    known = _known_clusters(scores, sizes, settings.level)
    category = np.where(known, scores.argmax(axis=1), weights.shape[1] - 1)
    chosen = archetypes(sums, category, _margin(scores, known))
    pure = without_spillover(profiles[chosen], category[chosen], weights)
    mixture = unmix(profiles, pure)
    first = _unmix_cells(counts, clusters, profiles, pure, mixture, category[chosen], settings.cluster_weight)
    probability, component = naive_bayes(counts, clusters, first, weights.shape[1], settings.overdispersion)
    origin = by_category(mixture, category[chosen], weights.shape[1])
    return Lineages(tuple(evidence.columns), probability, component, profiles, scores, reference, origin, known)


def _known_clusters(scores: np.ndarray, sizes: np.ndarray, level: float) -> np.ndarray:
    """Clusters whose best category is believed, bool (clusters,).

    Those that exceed chance; and where they hold most of the slide's cells, so that names and counts plainly belong
    together, every cluster is believed: clusters of few counts have low scores, but no other lineage either.
    """
    passing = significant(best_score_chance(scores), level)
    if sizes[passing].sum() > _MOST_OF_SLIDE * sizes.sum():
        return scores.max(axis=1) > 0
    return passing


def balanced_reference(means: np.ndarray, sizes: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Background in which each category counts once, whatever its fraction of the slide.

    Against the mean of all cells, the cells of a slide that is nine tenths tumour (or lymphocytes) would not stand out.
    So clusters are given categories, first by their expression alone, and the background is the mean of the
    categories' means; a category that no cluster shows counts as flat (zero: a constant does not change scores).
    Repeated until the clusters keep their categories.

    Parameters
    ----------
    means
        (clusters, genes) square roots of fractions.
    sizes
        (clusters,) cells.
    evidence
        (genes, categories), last Unknown.

    Returns
    -------
    float64 (genes,).
    """
    n_categories = evidence.shape[1] - 1
    reference = np.zeros(means.shape[1])
    before = None
    for _ in range(_MOST_ROUNDS):
        scores = permutation_scores(means - reference, evidence)
        sure = best_score_chance(scores) < 0.01
        best = np.where(sure, scores.argmax(axis=1), -1)
        if before is not None and np.array_equal(best, before):
            break
        before = best
        shown = [best == k for k in range(n_categories) if (best == k).any()]
        reference = sum((np.average(means[k], axis=0, weights=sizes[k]) for k in shown), np.zeros(means.shape[1]))
        reference = reference / n_categories
    return reference


def _margin(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Lead of the best category; clusters without a lineage are clearest where no category scores."""
    ordered = np.sort(scores, axis=1)
    return np.where(known, ordered[:, -1] - ordered[:, -2], -ordered[:, -1])


def _unmix_cells(
    counts: sparse.csr_matrix,
    clusters: np.ndarray,
    profiles: np.ndarray,
    pure: np.ndarray,
    mixture: np.ndarray,
    category: np.ndarray,
    cluster_weight: float,
) -> np.ndarray:
    """Category that most of each cell's transcripts come from, int64 (cells,)."""
    if len(np.unique(category)) == 1:
        return np.full(len(clusters), category[0], dtype=np.int64)
    genes = None
    if counts.shape[1] > _MOST_GENES:
        genes = np.sort(np.argsort(-np.sqrt(profiles).var(axis=0), kind="stable")[:_MOST_GENES])
        pure = fractions(pure[:, genes])
    best = np.empty(len(clusters), dtype=np.int64)
    start = ((1 - _START_EVEN) * mixture + _START_EVEN / mixture.shape[1]).astype(np.float32)
    for rows, values in shrunken_cells(counts, clusters, profiles, cluster_weight, genes):
        weights = unmix(values, pure, start[clusters[rows]], _CELL_STEPS)
        best[rows] = by_category(weights, category, category.max() + 1).argmax(axis=1)
    return best
