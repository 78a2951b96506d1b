"""Confusion of true and predicted classes over the paired nuclei of a patch store, patch by patch."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.cellvit.nuclei import measure
from stnuclei.cellvit.outlines import is_polygon
from stnuclei.evaluation.detection import pair_centroids
from stnuclei.evaluation.rules import Policy, check_policy
from stnuclei.evaluation.stores import PredictedPatches, TruePatches, each_patch, open_pair, patch_tissues
from stnuclei.metrics import CALIBRATION_BINS
from stnuclei.patches.classes import patch_classes
from stnuclei.progress import progress
from stnuclei.taxonomy import Taxonomy

UNPAIRED = "Unpaired"
#: Codes int64 (K,) of pairs and nuclei without a partner, and the predicted probability float (K,), NaN for none.
Codes = tuple[np.ndarray, np.ndarray]


def score_classification(
    patches: TruePatches | str | Path,
    labels: str | Path | pd.DataFrame | np.ndarray,
    predictions: PredictedPatches | str | Path,
    taxonomy: str | Taxonomy = "pannuke",
    policy: Policy = "official",
    *,
    radius_um: float = 3.0,
    threads: int = 1,
) -> pd.DataFrame:
    """Pair the nuclei of every patch by their centroids and count pairs of classes.

    Parameters
    ----------
    patches, predictions
        Stores of the same patches: paths or opened.
    labels
        Classes of the true nuclei: path of a labels parquet, its table, or class ids (M,) of the nucleus rows.
    taxonomy
        Names of the classes.
    policy
        ``official`` or ``corrected`` pairing (see `pair_centroids`); the official one leaves out predictions without
        a class and outlines of under three points.
    radius_um
        um; farther apart is no pair.
    threads
        Threads that read and count.

    Returns
    -------
    One row for each (patch, true, pred, bin) that occurs: patch, tissue, true and pred (class names; ``Unknown`` for
    a true nucleus without a label, ``Background`` for a prediction without a class, ``Unpaired`` for the missing
    side of a nucleus without a partner), bin (tenth of the predicted probability of the class, -1 where there is no
    prediction), probability (float32, mean of those in the row; NaN without a prediction), count.

    Raises
    ------
    UserError
        If the stores or the labels do not belong together, or a label is not in the taxonomy.
    """
    check_policy(policy)
    patches, predictions = open_pair(patches, predictions)
    taxonomy = Taxonomy.load(taxonomy)
    classes = patch_classes(patches, labels, taxonomy)
    offset = np.asarray(patches.offset[:], np.int64)
    radius = radius_um / patches.um_per_px

    def pair(i: int) -> Codes:
        maps = np.asarray(patches.instances[i]), np.asarray(predictions.instances[i])
        rows = predictions.nuclei(i)
        return pair_codes(*maps, classes[offset[i] : offset[i + 1]], rows, taxonomy.n_outputs, radius, policy)

    codes = progress(each_patch(pair, len(patches), threads), len(patches), "classes", "patches")
    return codes_to_table(codes, patch_tissues(patches), taxonomy)


def codes_to_table(codes: Iterable[Codes], tissues: np.ndarray, taxonomy: Taxonomy) -> pd.DataFrame:
    """Count the codes of each patch (see `pair_codes`) and name them; 16 bytes a row while it grows."""
    rows, means = array("i"), array("f")
    for i, (each, probability) in enumerate(codes):
        code, inverse, count = np.unique(each, return_inverse=True, return_counts=True)
        rows.frombytes(np.column_stack([np.full(len(code), i), code, count]).astype(np.int32).tobytes())
        means.frombytes((np.bincount(inverse, probability, len(code)) / count).astype(np.float32).tobytes())
    return _named(np.frombuffer(rows, np.int32).reshape(-1, 3), np.frombuffer(means, np.float32), tissues, taxonomy)


def _shape(taxonomy: Taxonomy) -> tuple[int, int, int]:
    """Codes: true -1 Unknown, 0.. classes, last Unpaired; pred 0.., last Unpaired; bins and none."""
    return taxonomy.n_outputs + 2, taxonomy.n_outputs + 1, CALIBRATION_BINS + 1


def pair_codes(
    true: np.ndarray,
    pred: np.ndarray,
    true_classes: np.ndarray,
    predicted: np.ndarray | Mapping[str, np.ndarray],
    n_outputs: int,
    radius: float,
    policy: Policy,
) -> Codes:
    """One code for each pair and each nucleus without a partner: (true class + 1, predicted class, bin) ravelled."""
    true_shapes, pred_shapes = measure(true), measure(pred)
    true_class = true_classes[true_shapes.id - 1].astype(np.int64)
    pred_class = np.asarray(predicted["class"])[pred_shapes.id - 1].astype(np.int64)
    probability = np.asarray(predicted["class_probability"])[pred_shapes.id - 1]
    keep_true, keep_pred = np.ones(len(true_shapes), bool), np.ones(len(pred_shapes), bool)
    if policy == "official":
        keep_true = is_polygon(true, true_shapes)
        keep_pred = is_polygon(pred, pred_shapes) & (pred_class > 0)
    true_class, pred_class, probability = true_class[keep_true], pred_class[keep_pred], probability[keep_pred]
    xy = true_shapes.centroid[keep_true], pred_shapes.centroid[keep_pred]
    pairs, no_pred, no_true = pair_centroids(*xy, radius, policy)
    bins = np.clip(np.nan_to_num(probability) * CALIBRATION_BINS, 0, CALIBRATION_BINS - 1).astype(np.int64)
    rows = np.concatenate([pairs[:, 0], no_pred])
    none = n_outputs  # one past the last class
    code_true = np.concatenate([true_class[rows], np.full(len(no_true), none)])
    fill = np.full(len(no_pred), none), np.full(len(no_pred), CALIBRATION_BINS)
    code_pred = np.concatenate([pred_class[pairs[:, 1]], fill[0], pred_class[no_true]])
    code_bin = np.concatenate([bins[pairs[:, 1]], fill[1], bins[no_true]])
    shape = n_outputs + 2, n_outputs + 1, CALIBRATION_BINS + 1
    each = np.concatenate([probability[pairs[:, 1]], np.full(len(no_pred), np.nan), probability[no_true]])
    return np.ravel_multi_index((code_true + 1, code_pred, code_bin), shape), each


def _named(rows: np.ndarray, means: np.ndarray, tissues: np.ndarray, taxonomy: Taxonomy) -> pd.DataFrame:
    """The table of `score_classification` from (K, 3) int32 patch, code, count and (K,) mean probabilities."""
    patch, code, count = rows.T
    names = [taxonomy.unknown.name, "Background", *taxonomy.names, UNPAIRED]
    true, pred, bins = (index.astype(np.int8) for index in np.unravel_index(code, _shape(taxonomy)))
    tissue_names, tissue = np.unique(tissues.astype(str), return_inverse=True)
    return pd.DataFrame(
        {
            "patch": patch.copy(),
            "tissue": pd.Categorical.from_codes(tissue.astype(np.int16)[patch], tissue_names),
            "true": pd.Categorical.from_codes(true, names),
            "pred": pd.Categorical.from_codes(pred + np.int8(1), names),
            "bin": np.where(bins == CALIBRATION_BINS, np.int8(-1), bins),
            "probability": means.copy(),
            "count": count.copy(),
        }
    )


def confusion_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Counts, rows true and columns predicted, from the rows of `score_classification`."""
    return scores.pivot_table("count", "true", "pred", "sum", fill_value=0, observed=True)
