"""Mixtures of expression profiles: fractions of pure profiles in a profile, and spillover taken out of profiles.

Segmentation gives a cell transcripts of its neighbours. A cluster of T cells beside stroma, or of stromal cells beside
T cells, is a mixture of both; its lineage is the one that most of its transcripts come from.
"""

from __future__ import annotations

import numpy as np

from stnuclei.labels.evidence.profiles import fractions, without_zeros

_MOST_ARCHETYPES = 20
# Kullback-Leibler divergence in nats. Clusters below it are taken for mixtures of the archetypes (T cells and B cells
# differ by 0.5). Chosen by benchmarks/label_methods.py, as are the defaults of `EvidenceSettings`.
_UNEXPLAINED = 0.4
_ITERATIONS = 60
_MARKER_LOG_ODDS = 0.8  # of genes that tell spillover: a category's fraction at least twice the panel's
_MOST_SPILLOVER = 0.9
_LEAST_MARKERS = 3


def unmix(counts: np.ndarray, profiles: np.ndarray, start: np.ndarray | None = None, steps: int = 60) -> np.ndarray:
    """Fractions of profiles that explain counts best (maximum likelihood of a multinomial mixture, by EM).

    Parameters
    ----------
    counts
        (rows, genes) counts or fractions.
    profiles
        (profiles, genes), rows sum to 1.
    start
        (rows, profiles) first guess, even by default; a zero stays zero.
    steps
        Steps of the EM algorithm.

    Returns
    -------
    float32 (rows, profiles), rows sum to 1.
    """
    known = without_zeros(profiles).astype(np.float32)
    values = counts.astype(np.float32, copy=False)
    weights = np.full((len(values), len(known)), 1 / len(known), np.float32) if start is None else start.copy()
    turned = np.ascontiguousarray(known.T)
    for _ in range(steps):
        expected = weights @ known
        np.divide(values, expected, out=expected)
        weights *= expected @ turned
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights


def divergence(profiles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of each profile from the matching row of `others`, nats."""
    least = 1e-9
    return (profiles * np.log(np.maximum(profiles, least) / np.maximum(others, least))).sum(axis=1)


def archetypes(counts: np.ndarray, category: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Clusters that all others are mixtures of.

    The clearest cluster of each category comes first; then, one by one, the cluster that mixtures of those chosen
    explain worst, until none is left unexplained. Mixtures lie between their parts and are never the worst explained.
    The divergence of n counts of g genes from their own distribution, (g - 1) / 2n nats on average, is taken off: small
    clusters of few counts are no archetypes.

    Parameters
    ----------
    counts
        (clusters, genes), summed over cells.
    category
        (clusters,) int category of each cluster.
    margin
        (clusters,) lead of the best category over the second.

    Returns
    -------
    int (archetypes,): rows of `counts`.
    """
    profiles = fractions(counts)
    by_chance = ((counts > 0).sum(axis=1) - 1) / (2 * np.maximum(counts.sum(axis=1), 1))
    chosen = [int(np.flatnonzero(category == k)[margin[category == k].argmax()]) for k in np.unique(category)]
    while len(chosen) < min(_MOST_ARCHETYPES, len(profiles)):
        known = profiles[chosen]
        left = divergence(profiles, unmix(profiles, known, steps=_ITERATIONS) @ without_zeros(known)) - by_chance
        left[chosen] = -np.inf
        worst = int(left.argmax())
        if left[worst] < _UNEXPLAINED:
            break
        chosen.append(worst)
    return np.asarray(chosen)


def without_spillover(profiles: np.ndarray, category: np.ndarray, evidence: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Archetypes less what other categories spilled into them.

    The markers of a category that show in an archetype of another one are spillover (the idea of SoupX, Young and
    Behjati 2020): the amount is the lower quartile, over the markers, of their fraction here to their fraction in the
    category itself. That much of the category's mean profile is taken away, markers or not.

    Parameters
    ----------
    profiles
        (archetypes, genes), rows sum to 1.
    category
        (archetypes,) int column of `evidence`.
    evidence
        (genes, categories) log-odds.
    rounds
        Times; the second uses cleaner means.

    Returns
    -------
    float64 (archetypes, genes), rows sum to 1.
    """
    clean = profiles
    for _ in range(rounds):
        present = np.unique(category)
        means = {k: clean[category == k].mean(axis=0) for k in present}
        removed = np.zeros_like(profiles)
        for k in present:
            markers = (evidence[:, k] > _MARKER_LOG_ODDS) & (evidence.argmax(axis=1) == k) & (means[k] > 0)
            if markers.sum() < _LEAST_MARKERS:
                continue
            for row in np.flatnonzero(category != k):
                ratio = profiles[row, markers] / means[k][markers]
                removed[row] += min(_lower_quartile(ratio, means[k][markers]), _MOST_SPILLOVER) * means[k]
        clean = np.maximum(profiles - removed, 1e-3 * profiles)
        clean = clean / clean.sum(axis=1, keepdims=True)
    return clean


def _lower_quartile(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, 0.25 * reached[-1])])
