"""Mixtures of profiles: fractions recovered, archetypes found among mixtures, spillover removed."""

import numpy as np
import pytest
from scipy import sparse

from stnuclei.labels.evidence.naive_bayes import naive_bayes
from stnuclei.labels.evidence.profiles import fractions, group_counts, shrunken_cells
from stnuclei.labels.evidence.unmixing import archetypes, unmix, without_spillover


def _profiles(n_genes=30):
    """Three types, each with ten genes of its own among a common background."""
    base = np.ones((3, n_genes))
    for k in range(3):
        base[k, 10 * k : 10 * k + 10] = 20
    return base / base.sum(axis=1, keepdims=True)


def test_fractions_of_a_mixture_are_recovered():
    profiles = _profiles()
    truth = np.array([[1, 0, 0], [0.7, 0.3, 0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(unmix(1e4 * truth @ profiles, profiles, steps=500), truth, atol=0.02)


def test_more_steps_never_lower_the_likelihood():
    rng = np.random.default_rng(0)
    counts, profiles = rng.poisson(3, (5, 30)).astype(float), _profiles()
    likelihoods = [
        (counts * np.log(unmix(counts, profiles, steps=steps) @ profiles)).sum() for steps in (1, 2, 5, 20, 100)
    ]
    assert all(np.diff(likelihoods) > -1e-2)


def test_archetypes_are_the_pure_clusters():
    pure = _profiles()
    mixed = np.array([[0.5, 0.5, 0], [0.6, 0.2, 0.2], [0, 0.5, 0.5]]) @ pure
    clusters = np.vstack([mixed, pure])
    category, margin = np.array([0, 0, 1, 0, 1, 2]), np.array([1.0, 1, 1, 5, 5, 5])
    assert sorted(archetypes(1e5 * clusters, category, margin)) == [3, 4, 5]


def test_a_type_nobody_named_becomes_an_archetype():
    pure = _profiles()
    chosen = archetypes(1e5 * pure, np.array([0, 1, 1]), np.array([5.0, 5.0, 1.0]))
    assert sorted(chosen) == [0, 1, 2]


def test_small_clusters_of_few_counts_are_no_archetypes():
    """A sample of 20 counts of 30 genes differs from its own type by as much as types differ from each other."""
    pure = _profiles()
    sample = np.random.default_rng(2).multinomial(20, pure[0])
    counts = np.vstack([1e5 * pure, sample])
    chosen = archetypes(counts, np.array([0, 1, 2, 0]), np.array([5.0, 5.0, 5.0, 1.0]))
    assert sorted(chosen) == [0, 1, 2]
    chosen = archetypes(np.vstack([1e5 * pure, 1e5 * sample]), np.array([0, 1, 2, 0]), np.array([5.0, 5.0, 5.0, 1.0]))
    assert sorted(chosen) == [0, 1, 2, 3]


def test_spillover_is_taken_out():
    pure = _profiles()
    dirty = np.array([[0.7, 0.3, 0], [0, 1, 0], [0, 0.2, 0.8]]) @ pure
    evidence = np.full((30, 3), -1.0)
    for k in range(3):
        evidence[10 * k : 10 * k + 10, k] = 1.5
    clean = without_spillover(dirty, np.arange(3), evidence)
    np.testing.assert_allclose(clean.sum(axis=1), 1)
    own = [dirty[0, 10:20].sum(), clean[0, 10:20].sum()]
    assert own[1] < 0.3 * own[0]
    assert clean[0, :10].sum() > pure[0, :10].sum() > dirty[0, :10].sum()
    np.testing.assert_allclose(clean[1], pure[1], atol=0.02)  # nothing had spilled into it


def test_group_sums_and_shrunken_cells():
    counts = sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
    sums = group_counts(counts, np.array([1, -1, 0, 1]), 2)
    np.testing.assert_array_equal(sums, [[6, 7, 8], [9, 11, 13]])
    profiles = fractions(sums)
    rows, values = next(iter(shrunken_cells(counts, np.array([1, -1, 0, 1]), profiles, 10.0)))
    np.testing.assert_allclose(values[1], counts[1].toarray()[0])  # no group: its own counts
    np.testing.assert_allclose(values[2], counts[2].toarray()[0] + 10 * profiles[0], rtol=1e-6)
    assert rows == slice(0, 4)


def test_naive_bayes_moves_cells_to_the_profile_they_have():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 200)
    counts = sparse.csr_matrix(rng.poisson(60 * _profiles()[truth]).astype(np.float32))
    guess = np.where(rng.random(400) < 0.2, 1 - truth, truth)  # a fifth is wrong
    clusters = np.zeros(400, dtype=np.int64)
    probability, component = naive_bayes(counts, clusters, guess, 2, 0.05)
    assert (probability.argmax(axis=1) == truth).mean() > 0.98
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert set(component) == {0, 1}
    sharper = naive_bayes(counts, clusters, guess, 2, 0.0)[0].max(axis=1).mean()
    assert sharper > probability.max(axis=1).mean()  # overdispersion lowers certainty


@pytest.mark.parametrize("n_genes", [2, 5])
def test_cells_without_a_category_stay_whole(n_genes):
    counts = sparse.csr_matrix(np.ones((3, n_genes), np.float32))
    probability, _ = naive_bayes(counts, np.zeros(3, np.int64), np.zeros(3, np.int64), 1, 0.1)
    np.testing.assert_allclose(probability, 1)
