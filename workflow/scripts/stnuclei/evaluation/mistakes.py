"""What went wrong with the nuclei of a patch: missed, invented, split, merged, badly outlined."""

from __future__ import annotations

import numpy as np

from stnuclei.evaluation.overlap import Overlap
from stnuclei.evaluation.segmentation import match

KINDS = ("missed", "invented", "split", "merged", "outline")
_TOUCH = 0.1


def count_mistakes(overlap: Overlap, iou: float = 0.5) -> dict[str, int]:
    """Sort the unmatched nuclei of a patch by what happened to them.

    Parameters
    ----------
    overlap
        Joint histogram of truth and prediction.
    iou
        What counts as a match.

    Returns
    -------
    ``missed``: true nuclei of which no prediction covers a tenth; ``invented``: predictions of which no true nucleus
    covers a tenth; ``split``: unmatched or matched true nuclei that hold most of two or more predictions;
    ``merged``: predictions that hold most of two or more true nuclei; ``outline``: true nuclei that were found but
    neither match nor are missed, split or swallowed by a merged one.
    """
    n_true, n_pred = len(overlap.true_ids), len(overlap.pred_ids)
    of_true = overlap.pixels / overlap.true_area[overlap.true_row]
    of_pred = overlap.pixels / overlap.pred_area[overlap.pred_row]
    covered_true, covered_pred = np.zeros(n_true), np.zeros(n_pred)
    np.maximum.at(covered_true, overlap.true_row, of_true)
    np.maximum.at(covered_pred, overlap.pred_row, of_pred)
    split = np.bincount(overlap.true_row[of_pred > 0.5], minlength=n_true) >= 2
    merged = np.bincount(overlap.pred_row[of_true > 0.5], minlength=n_pred) >= 2
    explained = covered_true < _TOUCH
    explained |= split
    explained[overlap.true_row[match(overlap, iou)]] = True
    explained[overlap.true_row[(of_true > 0.5) & merged[overlap.pred_row]]] = True
    return {
        "missed": int(np.count_nonzero(covered_true < _TOUCH)),
        "invented": int(np.count_nonzero(covered_pred < _TOUCH)),
        "split": int(np.count_nonzero(split)),
        "merged": int(np.count_nonzero(merged)),
        "outline": int(np.count_nonzero(~explained)),
    }
