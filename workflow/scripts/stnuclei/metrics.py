"""Counts to scores: precision, recall, F1, accuracy, kappa and calibration, defined once for all rooms."""

from __future__ import annotations

import numpy as np
import pandas as pd

CALIBRATION_BINS = 10
#: Class scores over fewer matched nuclei say little and are marked: the standard error of an F1 of 0.5 over 50 is 0.07.
FEW_PAIRS = 50


def ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    """`numerator` / `denominator`, float64; NaN where `denominator` is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def f1_precision_recall(tp: float, fp: float, fn: float) -> tuple[float, float, float]:
    """F1 = 2TP/(2TP+FP+FN), precision and recall from counts; NaN where a denominator is 0."""
    return tuple(float(ratio(*pair)) for pair in ((2 * tp, 2 * tp + fp + fn), (tp, tp + fp), (tp, tp + fn)))  # type: ignore[return-value]


def class_f1(table: np.ndarray) -> np.ndarray:
    """F1 of every class, (C,) or (..., C) float64, from confusion matrices (..., C, C).

    A class that neither truth nor prediction holds is NaN.
    """
    table = np.asarray(table, np.float64)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    return ratio(2 * hits, table.sum(-1) + table.sum(-2))


def macro_f1(table: np.ndarray) -> np.ndarray:
    """Unweighted mean of the classes' F1 (the paper's Table 3), (...,) float64, from matrices (..., C, C).

    Classes absent on both sides are left out; NaN where there is nothing.
    """
    return mean_present(class_f1(table))


def mean_present(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over an axis of what is not NaN; NaN where all is (without numpy's warning)."""
    present = ~np.isnan(values)
    return ratio(np.where(present, values, 0).sum(axis), present.sum(axis))


def accuracy(table: np.ndarray) -> np.ndarray:
    """Fraction on the diagonal, (...,) float64, from confusion matrices (..., C, C); NaN where they are empty."""
    table = np.asarray(table, np.float64)
    return ratio(np.trace(table, axis1=-2, axis2=-1), table.sum((-1, -2)))


def cohen_kappa(table: np.ndarray) -> float:
    """Agreement beyond what the two sides' class frequencies give by chance (Cohen 1960), from a matrix (C, C).

    By hand, not by scikit-learn, which the environment of segmentation does not have; a test holds them together.
    """
    table = np.asarray(table, np.float64)
    if not table.sum():
        return float("nan")
    chance = float(table.sum(0) @ table.sum(1)) / table.sum() ** 2
    return (float(accuracy(table)) - chance) / (1 - chance) if chance < 1 else float("nan")


def calibration_curve(
    correct: np.ndarray, confidence: np.ndarray, weights: np.ndarray | None = None, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    """Accuracy against mean confidence in bins of equal width.

    Parameters
    ----------
    correct
        (n,) bool, or fraction correct of groups.
    confidence
        (n,) in 0..1, or the mean of groups (which must not cross bins).
    weights
        (n,) size of the groups; None: 1 each.

    Returns
    -------
    low, high (edges of the bin), confidence (mean), accuracy, count; bins without members are left out.
    """
    weights = np.ones(len(correct)) if weights is None else np.asarray(weights, np.float64)
    confidence = np.asarray(confidence, np.float64)
    index = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count, hits, total = (
        np.bincount(index, weights=values, minlength=bins)
        for values in (weights, weights * np.asarray(correct, np.float64), weights * confidence)
    )
    low = np.arange(bins) / bins
    table = pd.DataFrame({"low": low, "high": low + 1 / bins, "confidence": ratio(total, count)})
    table = table.assign(accuracy=ratio(hits, count), count=np.rint(count).astype(np.int64))
    return table[table["count"] > 0].reset_index(drop=True)


def expected_calibration_error(curve: pd.DataFrame) -> float:
    """Mean over the bins of |accuracy - mean confidence|, weighted by their members (Guo et al. 2017, eq. 5)."""
    if curve.empty:
        return float("nan")
    return float(np.average((curve["accuracy"] - curve["confidence"]).abs(), weights=curve["count"]))
