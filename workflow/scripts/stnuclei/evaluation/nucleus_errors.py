"""Errors of single nuclei: false negatives and positives, split, merged, badly outlined, wrong class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.evaluation.overlap import Overlap
from stnuclei.evaluation.segmentation import match

_TOUCH = 0.1


@dataclass(frozen=True)
class NucleusErrors:
    """Errors by nucleus: bool, (T,) for true and (P,) for predicted nuclei, in the order of an `Overlap`.

    Parameters
    ----------
    false_negative
        True nuclei of which no prediction covers a tenth.
    false_positive
        Predictions of which no true nucleus covers a tenth.
    split
        True nuclei that hold most of two or more predictions.
    merged
        Predictions that hold most of two or more true nuclei.
    outline
        True nuclei that a prediction touches but neither match nor are split or part of a merged one.
    """

    false_negative: np.ndarray
    false_positive: np.ndarray
    split: np.ndarray
    merged: np.ndarray
    outline: np.ndarray


def find_errors(overlap: Overlap, iou: float = 0.5) -> NucleusErrors:
    """Sort the nuclei of a patch by error; nuclei above `iou` match."""
    n_true, n_pred = len(overlap.true_ids), len(overlap.pred_ids)
    of_true = overlap.pixels / overlap.true_area[overlap.true_row]
    of_pred = overlap.pixels / overlap.pred_area[overlap.pred_row]
    touched_true, touched_pred = np.zeros(n_true, bool), np.zeros(n_pred, bool)
    touched_true[overlap.true_row[of_true >= _TOUCH]] = True
    touched_pred[overlap.pred_row[of_pred >= _TOUCH]] = True
    split = np.bincount(overlap.true_row[of_pred > 0.5], minlength=n_true) >= 2
    merged = np.bincount(overlap.pred_row[of_true > 0.5], minlength=n_pred) >= 2
    explained = ~touched_true | split
    explained[overlap.true_row[match(overlap, iou)]] = True
    explained[overlap.true_row[(of_true > 0.5) & merged[overlap.pred_row]]] = True
    return NucleusErrors(~touched_true, ~touched_pred, split, merged, ~explained)


def count_errors(overlap: Overlap, iou: float = 0.5) -> dict[str, int]:
    """Number of nuclei with each error, by name."""
    return {name: int(np.count_nonzero(which)) for name, which in vars(find_errors(overlap, iou)).items()}


def trace_errors(
    overlap: Overlap, classes: tuple[np.ndarray, np.ndarray] | None = None, iou: float = 0.5
) -> tuple[dict[int, str], dict[int, str]]:
    """Error of each nucleus, for pictures: id -> ``correct`` or the error, of truth and of prediction.

    Parameters
    ----------
    classes
        Class id of nucleus k in row k - 1, true and predicted; matched nuclei of two known classes are ``class``.
    """
    errors = find_errors(overlap, iou)
    true = np.full(len(overlap.true_ids), "correct", object)
    pred = np.full(len(overlap.pred_ids), "outline", object)
    pairs = match(overlap, iou)
    rows, columns = overlap.true_row[pairs], overlap.pred_row[pairs]
    pred[columns] = "correct"
    if classes is not None:
        true_class, pred_class = classes[0][overlap.true_ids[rows] - 1], classes[1][overlap.pred_ids[columns] - 1]
        wrong = (true_class > 0) & (true_class != pred_class)
        true[rows[wrong]] = pred[columns[wrong]] = "class"
    true[errors.outline], true[errors.false_negative], true[errors.split] = "outline", "false_negative", "split"
    pred[errors.false_positive], pred[errors.merged] = "false_positive", "merged"
    of_true = overlap.pixels / overlap.true_area[overlap.true_row]
    of_pred = overlap.pixels / overlap.pred_area[overlap.pred_row]
    true[overlap.true_row[(of_true > 0.5) & errors.merged[overlap.pred_row]]] = "merged"
    pred[overlap.pred_row[(of_pred > 0.5) & errors.split[overlap.true_row]]] = "split"
    ids = overlap.true_ids.tolist(), overlap.pred_ids.tolist()
    return dict(zip(ids[0], true, strict=True)), dict(zip(ids[1], pred, strict=True))
