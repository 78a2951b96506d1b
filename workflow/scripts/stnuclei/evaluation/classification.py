"""Classification scores of paired nuclei: the official per-class F1, and macro F1 and accuracy over matches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """F1, precision and recall of one class."""

    f1: float
    precision: float
    recall: float


def confusion(true: np.ndarray, pred: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (n_classes, n_classes) int64, rows true, columns predicted, of class ids 0..n_classes-1."""
    true, pred = np.asarray(true, np.int64), np.asarray(pred, np.int64)
    return np.bincount(true * n_classes + pred, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def official_class_scores(
    paired_true: np.ndarray,
    paired_pred: np.ndarray,
    unpaired_true: np.ndarray,
    unpaired_pred: np.ndarray,
    class_id: int,
) -> ClassScores:
    """Detection and classification of one class in one figure, as HoVer-Net and CellViT count it.

    Over pairs of which either side is of the class: TP both, FP only the prediction, FN only the truth; FPd and FNd
    are unpaired nuclei of the class. P = TP/(TP+2FP+FPd), R = TP/(TP+2FN+FNd), F1 = 2TP/(2TP+2FP+2FN+FPd+FNd).

    Parameters
    ----------
    paired_true, paired_pred
        (K,) class ids of the two sides of each pair.
    unpaired_true, unpaired_pred
        Class ids of nuclei without a partner.
    class_id
        The class.

    Returns
    -------
    F1, precision, recall; NaN where a denominator is 0.
    """
    is_true, is_pred = np.asarray(paired_true) == class_id, np.asarray(paired_pred) == class_id
    tp = np.count_nonzero(is_true & is_pred)
    fp, fn = np.count_nonzero(is_pred) - tp, np.count_nonzero(is_true) - tp
    fpd = np.count_nonzero(np.asarray(unpaired_pred) == class_id)
    fnd = np.count_nonzero(np.asarray(unpaired_true) == class_id)
    return _scores(tp, 2 * fp + fpd, 2 * fn + fnd)


def _scores(tp: float, wrong: float, lost: float) -> ClassScores:
    ratios = [part / whole if whole else float("nan") for part, whole in _fractions(tp, wrong, lost)]
    return ClassScores(*ratios)


def _fractions(tp: float, wrong: float, lost: float) -> list[tuple[float, float]]:
    return [(2 * tp, 2 * tp + wrong + lost), (tp, tp + wrong), (tp, tp + lost)]


def class_f1(table: np.ndarray) -> np.ndarray:
    """F1 of every class, (C,) or (..., C) float64, from confusion tables (..., C, C) of matched nuclei.

    A class that neither truth nor prediction holds is NaN.
    """
    table = np.asarray(table, np.float64)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    whole = table.sum(-1) + table.sum(-2)
    return np.divide(2 * hits, whole, out=np.full(hits.shape, np.nan), where=whole > 0)


def macro_f1(table: np.ndarray) -> np.ndarray:
    """Unweighted mean of the classes' F1 (the paper's Table 3), (...,) float64, from tables (..., C, C).

    Classes absent on both sides are left out; NaN where there is nothing.
    """
    f1 = class_f1(table)
    found = ~np.isnan(f1)
    n = found.sum(-1)
    return np.divide(np.where(found, f1, 0).sum(-1), n, out=np.full(n.shape, np.nan), where=n > 0)


def accuracy(table: np.ndarray) -> np.ndarray:
    """Share of matched nuclei of the right class, (...,) float64, from tables (..., C, C); NaN where there is none."""
    table = np.asarray(table, np.float64)
    whole = table.sum((-1, -2))
    hits = np.trace(table, axis1=-2, axis2=-1)
    return np.divide(hits, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
