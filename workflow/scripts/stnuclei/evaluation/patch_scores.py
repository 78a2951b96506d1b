"""Segmentation and detection scores of a patch store, one row a patch."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.cellvit.nuclei import measure
from stnuclei.cellvit.outlines import is_polygon
from stnuclei.evaluation.detection import count_detections
from stnuclei.evaluation.nucleus_errors import count_errors
from stnuclei.evaluation.overlap import Overlap, joint_histogram
from stnuclei.evaluation.rules import Policy, ScoringRules, check_policy
from stnuclei.evaluation.segmentation import dice_from_pixels, match, panoptic_from_counts
from stnuclei.evaluation.stores import PredictedPatches, TruePatches, each_patch, open_pair, patch_tissues
from stnuclei.patches.classes import patch_classes
from stnuclei.progress import progress
from stnuclei.taxonomy import Taxonomy

SIZES_UM2 = (0.0, 15.0, 30.0, 60.0, float("inf"))  # small lymphocytes to large tumour nuclei


def score_segmentation(
    patches: TruePatches | str | Path,
    predictions: PredictedPatches | str | Path,
    policy: Policy = "official",
    *,
    radius_um: float = 3.0,
    labels: str | Path | pd.DataFrame | np.ndarray | None = None,
    taxonomy: str | Taxonomy = "pannuke",
    threads: int = 1,
) -> pd.DataFrame:
    """Score predicted nuclei against the nuclei of a patch store; memory does not grow with the store.

    Parameters
    ----------
    patches, predictions
        ``patches.zarr`` and ``predictions.zarr`` of the same patches in the same order: paths or opened stores.
    policy
        ``official``: as the published code. Dice of a patch empty on both sides 0, bPQ without a true nucleus NaN,
        predictions without a class and outlines of under three points left out, dummy points in empty patches,
        distances gated after the assignment. ``corrected``: every nucleus counts; a patch empty on both sides is
        left out (NaN), one empty on one side scores 0; gating before the assignment.
    radius_um
        um; farther apart two centroids are no pair.
    labels
        Classes of the true nuclei (see `patch_classes`): adds ``pq_{class}`` per class.
    taxonomy
        Where `labels` are given.
    threads
        Threads that read and count.

    Returns
    -------
    One row a patch: patch, tissue, n_true, n_pred, true_pixels, pred_pixels, both_pixels, dice, jaccard, matched,
    iou_sum, dq, sq, pq (= bPQ), tp, fp, fn (detection), false_negative, false_positive, split, merged, outline (see
    `count_errors`), true_/matched_{size} (true nuclei and matched ones by area, um2) and pq_{class}.

    Raises
    ------
    UserError
        If the stores or the labels do not belong together.
    """
    check_policy(policy)
    patches, predictions = open_pair(patches, predictions)
    rules = ScoringRules(policy, radius_um / patches.um_per_px, patches.um_per_px)
    taxonomy = Taxonomy.load(taxonomy)
    classes = None if labels is None else patch_classes(patches, labels, taxonomy)
    offset = np.asarray(patches.offset[:], np.int64)

    def score_one(i: int) -> dict[str, float]:
        pred_classes = np.asarray(predictions.nuclei(i)["class"])
        true_classes = None if classes is None else classes[offset[i] : offset[i + 1]]
        maps = np.asarray(patches.instances[i]), np.asarray(predictions.instances[i])
        return score_patch(*maps, rules, pred_classes, true_classes, taxonomy.names)

    rows = progress(each_patch(score_one, len(patches), threads), len(patches), "scores", "patches")
    table = _columns(rows)
    table.insert(0, "patch", np.arange(len(patches)))
    table.insert(1, "tissue", patch_tissues(patches))
    return table


def _columns(rows: Iterable[dict[str, float]]) -> pd.DataFrame:
    """A table from rows of one layout; kept as 8 bytes a value, not as 3 kB of objects a patch, while it grows."""
    names: list[str] = []
    whole: list[bool] = []
    values = array("d")
    for row in rows:
        if not names:
            names, whole = list(row), [isinstance(value, int) for value in row.values()]
        values.extend(row.values())
    table = pd.DataFrame(np.frombuffer(values).reshape(-1, max(len(names), 1)), columns=names or None)
    return table.astype({name: np.int64 for name, count in zip(names, whole, strict=True) if count})


def score_patch(
    true: np.ndarray,
    pred: np.ndarray,
    rules: ScoringRules,
    pred_classes: np.ndarray | None = None,
    true_classes: np.ndarray | None = None,
    class_names: tuple[str, ...] = (),
) -> dict[str, float]:
    """Score one pair of label maps; the keys are the columns of `score_segmentation`.

    Parameters
    ----------
    true, pred
        (H, W) integers, 0 background; ids 1..n where classes are given.
    pred_classes, true_classes
        Class id of nucleus k in row k - 1.
    """
    overlap = joint_histogram(true, pred)
    true_shapes, pred_shapes = measure(true), measure(pred)
    keep_true, keep_pred = np.ones(len(true_shapes), bool), np.ones(len(pred_shapes), bool)
    if rules.policy == "official":
        # bPQ takes all true nuclei; detection, and the predictions of both, only those with outline and class
        keep_true, keep_pred = is_polygon(true, true_shapes), is_polygon(pred, pred_shapes)
        if pred_classes is not None:
            keep_pred &= pred_classes[overlap.pred_ids - 1] > 0
    row = _pixel_scores(true, pred, overlap, rules.policy)
    overlap = overlap.keep(pred=keep_pred)
    row |= _panoptic_scores(overlap, rules)
    xy = true_shapes.centroid[keep_true], pred_shapes.centroid[keep_pred]
    row |= count_detections(*xy, rules.radius, rules.policy)._asdict()
    row |= count_errors(overlap, rules.iou) | _by_size(overlap, rules)
    if true_classes is not None and pred_classes is not None:
        row |= class_panoptic(overlap, true_classes, pred_classes, class_names, rules)
    return row


def _pixel_scores(true: np.ndarray, pred: np.ndarray, overlap: Overlap, policy: Policy) -> dict[str, float]:
    on_true, on_pred, both = int(overlap.true_area.sum()), int(overlap.pred_area.sum()), int(overlap.pixels.sum())
    either = on_true + on_pred - both
    return {
        "n_true": len(overlap.true_ids),
        "n_pred": len(overlap.pred_ids),
        "true_pixels": on_true,
        "pred_pixels": on_pred,
        "both_pixels": both,
        "dice": dice_from_pixels(both, either, policy),
        "jaccard": both / either if either else np.nan,
    }


def _panoptic_scores(overlap: Overlap, rules: ScoringRules) -> dict[str, float]:
    iou = overlap.iou[match(overlap, rules.iou)]
    n_true, n_pred = len(overlap.true_ids), len(overlap.pred_ids)
    scores = panoptic_from_counts(len(iou), iou.sum(), n_true, n_pred, rules.policy)._asdict()
    if rules.policy == "official" and n_true == 0:
        scores = dict.fromkeys(scores, np.nan)
    return {"matched": len(iou), "iou_sum": float(iou.sum())} | scores


def _by_size(overlap: Overlap, rules: ScoringRules) -> dict[str, int]:
    area = overlap.true_area * rules.um_per_px**2
    size = np.searchsorted(SIZES_UM2, area, side="right") - 1
    matched = overlap.true_row[match(overlap, rules.iou)]
    bins = len(SIZES_UM2) - 1
    counts = {"true": np.bincount(size, minlength=bins), "matched": np.bincount(size[matched], minlength=bins)}
    return {f"{side}_{name}": int(n[b]) for side, n in counts.items() for b, name in enumerate(size_names())}


def size_names() -> list[str]:
    """Names of the classes of area, um2: ``0-15um2`` ... ``60um2+``."""
    edges = [f"{edge:g}" for edge in SIZES_UM2]
    return [f"{a}-{b}um2" for a, b in zip(edges[:-2], edges[1:-1], strict=True)] + [f"{edges[-2]}um2+"]


def class_panoptic(
    overlap: Overlap, true_classes: np.ndarray, pred_classes: np.ndarray, names: tuple[str, ...], rules: ScoringRules
) -> dict[str, float]:
    """PQ of every class, ``pq_{name}``; their mean over classes and patches is mPQ.

    Official: NaN where the class has no true nucleus; corrected: where neither side has one. Predictions that match
    a true nucleus of unknown class are left out, which the official code does not know.
    """
    true, pred = true_classes[overlap.true_ids - 1], pred_classes[overlap.pred_ids - 1]
    pairs = match(overlap, rules.iou)
    rows, columns, iou = overlap.true_row[pairs], overlap.pred_row[pairs], overlap.iou[pairs]
    excused = np.zeros(len(pred), bool)
    excused[columns[true[rows] < 0]] = True
    scores = {}
    for class_id, name in enumerate(names, start=1):
        hits = iou[(true[rows] == class_id) & (pred[columns] == class_id)]
        n_true, n_pred = int((true == class_id).sum()), int(((pred == class_id) & ~excused).sum())
        pq = panoptic_from_counts(len(hits), hits.sum(), n_true, n_pred, rules.policy).pq
        scores[f"pq_{name}"] = np.nan if rules.policy == "official" and n_true == 0 else pq
    return scores
