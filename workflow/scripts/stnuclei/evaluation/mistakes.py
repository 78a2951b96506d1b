"""What went wrong with the nuclei of a patch: missed, invented, split, merged, badly outlined, wrong class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.evaluation.overlap import Overlap
from stnuclei.evaluation.segmentation import match

_TOUCH = 0.1


@dataclass(frozen=True)
class Mistakes:
    """Which nuclei suffered what: bool, (T,) for true and (P,) for predicted nuclei, in the order of an `Overlap`.

    Parameters
    ----------
    missed
        True nuclei of which no prediction covers a tenth.
    invented
        Predictions of which no true nucleus covers a tenth.
    split
        True nuclei that hold most of two or more predictions.
    merged
        Predictions that hold most of two or more true nuclei.
    outline
        True nuclei that are found but neither match nor are split or part of a merged one.
    """

    missed: np.ndarray
    invented: np.ndarray
    split: np.ndarray
    merged: np.ndarray
    outline: np.ndarray


def find_mistakes(overlap: Overlap, iou: float = 0.5) -> Mistakes:
    """Sort the nuclei of a patch by what happened to them; `iou` is what counts as a match."""
    n_true, n_pred = len(overlap.true_ids), len(overlap.pred_ids)
    of_true = overlap.pixels / overlap.true_area[overlap.true_row]
    of_pred = overlap.pixels / overlap.pred_area[overlap.pred_row]
    seen_true, seen_pred = np.zeros(n_true, bool), np.zeros(n_pred, bool)
    seen_true[overlap.true_row[of_true >= _TOUCH]] = True
    seen_pred[overlap.pred_row[of_pred >= _TOUCH]] = True
    split = np.bincount(overlap.true_row[of_pred > 0.5], minlength=n_true) >= 2
    merged = np.bincount(overlap.pred_row[of_true > 0.5], minlength=n_pred) >= 2
    explained = ~seen_true | split
    explained[overlap.true_row[match(overlap, iou)]] = True
    explained[overlap.true_row[(of_true > 0.5) & merged[overlap.pred_row]]] = True
    return Mistakes(~seen_true, ~seen_pred, split, merged, ~explained)


def count_mistakes(overlap: Overlap, iou: float = 0.5) -> dict[str, int]:
    """Numbers of nuclei of each kind of mistake, by name."""
    return {name: int(np.count_nonzero(which)) for name, which in vars(find_mistakes(overlap, iou)).items()}


def trace_mistakes(
    overlap: Overlap, classes: tuple[np.ndarray, np.ndarray] | None = None, iou: float = 0.5
) -> tuple[dict[int, str], dict[int, str]]:
    """What happened to each nucleus, for pictures: id -> ``right`` or the mistake, of truth and of prediction.

    Parameters
    ----------
    classes
        Class id of nucleus k in row k - 1, true and predicted; matched nuclei of two known classes are ``class``.
    """
    found = find_mistakes(overlap, iou)
    true = np.full(len(overlap.true_ids), "right", object)
    pred = np.full(len(overlap.pred_ids), "outline", object)
    pairs = match(overlap, iou)
    rows, columns = overlap.true_row[pairs], overlap.pred_row[pairs]
    pred[columns] = "right"
    if classes is not None:
        true_class, pred_class = classes[0][overlap.true_ids[rows] - 1], classes[1][overlap.pred_ids[columns] - 1]
        wrong = (true_class > 0) & (true_class != pred_class)
        true[rows[wrong]] = pred[columns[wrong]] = "class"
    true[found.outline], true[found.missed], true[found.split] = "outline", "missed", "split"
    pred[found.invented], pred[found.merged] = "invented", "merged"
    of_true = overlap.pixels / overlap.true_area[overlap.true_row]
    of_pred = overlap.pixels / overlap.pred_area[overlap.pred_row]
    true[overlap.true_row[(of_true > 0.5) & found.merged[overlap.pred_row]]] = "merged"
    pred[overlap.pred_row[(of_pred > 0.5) & found.split[overlap.true_row]]] = "split"
    ids = overlap.true_ids.tolist(), overlap.pred_ids.tolist()
    return dict(zip(ids[0], true, strict=True)), dict(zip(ids[1], pred, strict=True))
