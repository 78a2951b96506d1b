"""Segmentation scores of label maps: panoptic quality (Kirillov 2019), Dice, Jaccard."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from stnuclei.evaluation.overlap import Overlap, joint_histogram
from stnuclei.evaluation.rules import Policy, check_policy

_EPSILON = 1e-6  # the official code adds it to both denominators

__all__ = [
    "Panoptic",
    "dice",
    "jaccard",
    "joint_histogram",
    "match",
    "panoptic_from_counts",
    "panoptic_from_overlap",
    "panoptic_quality",
]


class Panoptic(NamedTuple):
    """Detection quality, segmentation quality and their product."""

    dq: float
    sq: float
    pq: float


def panoptic_quality(true: np.ndarray, pred: np.ndarray, iou: float = 0.5, policy: Policy = "official") -> Panoptic:
    """DQ = TP / (TP + FP/2 + FN/2), SQ = mean IoU of matches, PQ = DQ x SQ.

    Parameters
    ----------
    true, pred
        (H, W) integers, 0 background, any ids.
    iou
        Nuclei match above it (strictly). From 0.5 on a match is unique; below, the assignment with the largest sum
        of IoU is taken.
    policy
        ``official``: 1e-6 added to both denominators, 0 where nothing is there; ``corrected``: exact, NaN where both
        maps are empty.

    Returns
    -------
    (dq, sq, pq)
    """
    return panoptic_from_overlap(joint_histogram(true, pred), iou, policy)


def panoptic_from_overlap(overlap: Overlap, iou: float = 0.5, policy: Policy = "official") -> Panoptic:
    """`panoptic_quality` from a joint histogram."""
    matched = overlap.iou[match(overlap, iou)]
    return panoptic_from_counts(len(matched), matched.sum(), len(overlap.true_ids), len(overlap.pred_ids), policy)


def panoptic_from_counts(
    matched: float, iou_sum: float, n_true: float, n_pred: float, policy: Policy = "official"
) -> Panoptic:
    """`panoptic_quality` from the number of matches, the sum of their IoU and the numbers of nuclei."""
    check_policy(policy)
    nuclei = 0.5 * (n_true + n_pred)  # = TP + FP/2 + FN/2
    if policy == "official":
        dq, sq = matched / (nuclei + _EPSILON), iou_sum / (matched + _EPSILON)
        return Panoptic(float(dq), float(sq), float(dq * sq))
    if nuclei == 0:
        return Panoptic(float("nan"), float("nan"), float("nan"))
    return Panoptic(float(matched / nuclei), float(iou_sum / matched) if matched else 0.0, float(iou_sum / nuclei))


def match(overlap: Overlap, iou: float = 0.5) -> np.ndarray:
    """Overlapping pairs that match: (k,) indices into them."""
    values = overlap.iou
    above = (values > iou).nonzero()[0]
    if iou >= 0.5 or not above.size:
        return above
    table = np.zeros((len(overlap.true_ids), len(overlap.pred_ids)))
    table[overlap.true_row[above], overlap.pred_row[above]] = values[above]
    rows, columns = linear_sum_assignment(table, maximize=True)
    chosen = np.full(len(overlap.true_ids), -1)
    chosen[rows] = columns
    return above[chosen[overlap.true_row[above]] == overlap.pred_row[above]]


def dice(true: np.ndarray, pred: np.ndarray, policy: Policy = "official") -> float:
    """2 |A and B| / (|A| + |B|) of the foreground; both empty: 0 (official) or NaN (corrected).

    Parameters
    ----------
    true, pred
        (H, W) integers or bool, foreground above 0.
    """
    both, either = _foreground(true, pred)
    return dice_from_pixels(both, either, policy)


def jaccard(true: np.ndarray, pred: np.ndarray, policy: Policy = "official") -> float:
    """|A and B| / |A or B| of the foreground; NaN where both are empty, by either policy.

    Parameters
    ----------
    true, pred
        (H, W) integers or bool, foreground above 0.
    """
    check_policy(policy)
    both, either = _foreground(true, pred)
    return both / either if either else float("nan")


def dice_from_pixels(both: int, either: int, policy: Policy = "official") -> float:
    """`dice` from the pixels of intersection and union."""
    check_policy(policy)
    if either == 0:
        return 0.0 if policy == "official" else float("nan")
    return 2 * both / (both + either)


def _foreground(true: np.ndarray, pred: np.ndarray) -> tuple[int, int]:
    true, pred = np.asarray(true) > 0, np.asarray(pred) > 0
    if true.shape != pred.shape:
        raise ValueError(f"maps must have one shape, not {true.shape} and {pred.shape}")
    return int(np.count_nonzero(true & pred)), int(np.count_nonzero(true | pred))
