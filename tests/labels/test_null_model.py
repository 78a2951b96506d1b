"""Scores against random pairing of genes and evidence."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from stnuclei.labels.evidence.null_model import best_score_chance, permutation_scores, significant


def test_moments_are_those_of_all_permutations():
    deviations, evidence = np.array([0.5, -1.0, 2.0, 0.3, 0.0]), np.array([1.0, -0.5, 0.7, 0.0, 0.2])
    sums = [deviations @ np.array(order) for order in itertools.permutations(evidence)]
    expected = (deviations @ evidence - np.mean(sums)) / np.std(sums)
    assert permutation_scores(deviations[None], evidence[:, None])[0, 0] == pytest.approx(expected)


def test_scores_do_not_know_level_nor_scale_and_constants_say_nothing():
    rng = np.random.default_rng(0)
    deviations, evidence = rng.normal(size=(4, 30)), rng.normal(size=(30, 2))
    np.testing.assert_allclose(
        permutation_scores(3 * deviations + 5, evidence), permutation_scores(deviations, evidence)
    )
    assert not permutation_scores(np.ones((2, 30)), evidence).any()
    assert not permutation_scores(deviations, np.zeros((30, 2))).any()


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_chance_of_the_best_score_is_as_often_as_said(level):
    rng = np.random.default_rng(1)
    deviations, evidence = rng.gamma(0.5, size=(4000, 300)), rng.normal(size=(300, 3))
    chances = best_score_chance(permutation_scores(deviations, evidence))
    assert (chances < level).mean() == pytest.approx(level, rel=0.5)


def test_chance_of_one_score_is_the_normal_tail():
    np.testing.assert_allclose(best_score_chance(np.array([[1.0], [3.0]])), norm.sf([1.0, 3.0]))


def test_false_discovery_rate_worked_by_hand():
    # Benjamini and Hochberg at 0.05: limits 0.0125, 0.025, 0.0375, 0.05; the third smallest passes and takes all below.
    assert significant(np.array([0.030, 0.001, 0.20, 0.026]), 0.05).tolist() == [True, True, False, True]
    assert not significant(np.array([0.04, 0.5, 0.6, 0.9]), 0.05).any()
    assert significant(np.array([]), 0.05).shape == (0,)
