"""Scores against random pairing of genes and evidence."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from stnuclei.labels.evidence.malignancy import rank_scores
from stnuclei.labels.evidence.null_model import PermutationScore, critical_score, permutation_scores


def test_moments_are_those_of_all_permutations():
    deviations, evidence = np.array([0.5, -1.0, 2.0, 0.3, 0.0]), np.array([1.0, -0.5, 0.7, 0.0, 0.2])
    sums = [deviations @ np.array(order) for order in itertools.permutations(evidence)]
    expected = (deviations @ evidence - np.mean(sums)) / np.std(sums)
    assert permutation_scores(deviations[None], evidence[:, None])[0, 0] == pytest.approx(expected)


def test_blocks_of_genes_add_up():
    rng = np.random.default_rng(0)
    deviations, evidence = rng.normal(size=(7, 30)), rng.normal(size=(30, 3))
    score = PermutationScore(evidence, 7)
    for genes in np.array_split(rng.permutation(30), 4):
        score.add(genes, deviations[:, genes])
    np.testing.assert_allclose(score.scores(), permutation_scores(deviations, evidence))


def test_scores_do_not_know_level_nor_scale_and_constants_say_nothing():
    rng = np.random.default_rng(0)
    deviations, evidence = rng.normal(size=(4, 30)), rng.normal(size=(30, 2))
    np.testing.assert_allclose(
        permutation_scores(3 * deviations + 5, evidence), permutation_scores(deviations, evidence)
    )
    assert not permutation_scores(np.ones((2, 30)), evidence).any()
    assert not permutation_scores(deviations, np.zeros((30, 2))).any()


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_critical_score_is_reached_by_chance_as_often_as_said(level):
    rng = np.random.default_rng(1)
    deviations, evidence = rng.gamma(0.5, size=(4000, 300)), rng.normal(size=(300, 3))
    passed = (permutation_scores(deviations, evidence).max(axis=1) > critical_score(level, 3)).mean()
    assert passed == pytest.approx(level, rel=0.5)


def test_rank_scores_are_spearmans():
    rng = np.random.default_rng(2)
    deviations, evidence = rng.normal(size=40), rng.normal(size=40)
    ranked = np.argsort(np.argsort(evidence)).astype(float)
    expected = spearmanr(deviations, evidence).statistic * np.sqrt(39)
    assert rank_scores(deviations[None], ranked[:, None])[0, 0] == pytest.approx(expected)
