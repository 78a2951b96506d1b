"""Scores from counts, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from stnuclei.metrics import (
    accuracy,
    calibration_curve,
    class_f1,
    cohen_kappa,
    expected_calibration_error,
    f1_precision_recall,
    macro_f1,
)


def test_detection_ratios():
    assert f1_precision_recall(8, 2, 4) == pytest.approx((16 / 22, 0.8, 8 / 12))
    assert np.isnan(f1_precision_recall(0, 0, 0)).all()


def test_scores_of_a_confusion_matrix_equal_scikit_learn():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    pred[:300] = true[:300]
    table = confusion_matrix(true, pred)
    assert macro_f1(table) == pytest.approx(f1_score(true, pred, average="macro"))
    assert class_f1(table) == pytest.approx(f1_score(true, pred, average=None))
    assert accuracy(table) == pytest.approx(accuracy_score(true, pred))
    assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(true, pred))
    stacked = np.stack([table, np.zeros_like(table)])
    assert np.isnan(macro_f1(stacked)[1]) and np.isnan(accuracy(stacked)[1])
    assert np.isnan(cohen_kappa(np.zeros((3, 3))))


def test_calibration_error_is_that_of_guo():
    """Distance of accuracy and mean confidence: 0.9 and always correct in one bin, 0.62 and half in another."""
    confidence = np.array([0.9] * 6 + [0.60, 0.64] * 2)
    correct = np.array([1] * 6 + [1, 0] * 2, bool)
    curve = calibration_curve(correct, confidence)
    assert curve[["low", "confidence", "accuracy", "count"]].to_numpy() == pytest.approx(
        np.array([[0.6, 0.62, 0.5, 4], [0.9, 0.9, 1.0, 6]])
    )
    assert expected_calibration_error(curve) == pytest.approx((4 * 0.12 + 6 * 0.1) / 10)
    grouped = calibration_curve(np.array([0.5, 1.0]), np.array([0.62, 0.9]), np.array([4, 6]))
    assert grouped.to_numpy() == pytest.approx(curve.to_numpy())
    perfect = calibration_curve(np.ones(3, bool), np.ones(3))
    assert expected_calibration_error(perfect) == 0
    assert np.isnan(expected_calibration_error(calibration_curve(np.zeros(0, bool), np.zeros(0))))
