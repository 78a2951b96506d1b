"""Lineage of cells: the slide's background, and every cell's evidence for each category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stnuclei.labels.evidence.null_model import PermutationScore, permutation_scores
from stnuclei.labels.evidence.smoothing import SimilarCells, group_means

_MOST_ROUNDS = 10


@dataclass(frozen=True)
class Lineages:
    """Evidence for lineages.

    Parameters
    ----------
    names
        Categories of the columns of `scores`; the last is Unknown (lineages without a class).
    scores
        Standard scores (cells, categories) against random pairing of genes and evidence.
    reference
        Background of each gene, (genes,), in square roots of shares.
    clusters, cluster_means, cluster_scores
        Numbers of the clusters, their mean expression (clusters, genes) and its scores (clusters, categories).
    """

    names: tuple[str, ...]
    scores: np.ndarray
    reference: np.ndarray
    clusters: np.ndarray
    cluster_means: np.ndarray
    cluster_scores: np.ndarray


def weigh_lineages(cells: SimilarCells, evidence: pd.DataFrame, clusters: np.ndarray, critical: float) -> Lineages:
    """Score every cell for every category.

    Parameters
    ----------
    cells
        Expression.
    evidence
        From `lineage_evidence`.
    clusters
        Cluster of every cell, -1 for none; without any, all cells are one.
    critical
        Score that makes a cluster count for a category's share of the background.
    """
    weights = evidence.to_numpy()
    clusters = clusters if (clusters >= 0).any() else np.zeros(len(clusters), dtype=np.int64)
    names, sizes, means = group_means(cells.shares, clusters)
    reference = balanced_reference(means, sizes, weights, critical)
    score = PermutationScore(weights, cells.shares.shape[0])
    for genes, values in cells.by_genes():
        score.add(genes, values - reference[genes])
    together = permutation_scores(means - reference, weights)
    return Lineages(tuple(evidence.columns), score.scores(), reference, names, means, together)


def balanced_reference(means: np.ndarray, sizes: np.ndarray, evidence: np.ndarray, critical: float) -> np.ndarray:
    """Background in which each category counts once, whatever its share of the slide.

    Against the mean of all cells, the cells of a slide that is nine tenths tumour (or lymphocytes) would stand out by
    nothing. So the clusters are given categories, first by their expression alone, and the background is the mean of
    the categories' means; a category that no cluster shows counts as flat (zero: a constant does not change scores).
    Repeated until the clusters keep their categories.

    Parameters
    ----------
    means, sizes
        Mean expression (clusters, genes) and cells of the clusters.
    evidence
        (genes, categories and last Unknown).
    critical
        Score below which a cluster has no category.

    Returns
    -------
    float64 (genes,).
    """
    n_categories = evidence.shape[1] - 1
    reference = np.zeros(means.shape[1])
    before = None
    for _ in range(_MOST_ROUNDS):
        scores = permutation_scores(means - reference, evidence)
        best = np.where(scores.max(axis=1) > critical, scores.argmax(axis=1), -1)
        if before is not None and np.array_equal(best, before):
            break
        before = best
        shown = [best == k for k in range(n_categories) if (best == k).any()]
        reference = sum((np.average(means[k], axis=0, weights=sizes[k]) for k in shown), np.zeros(means.shape[1]))
        reference = reference / n_categories
    return reference
