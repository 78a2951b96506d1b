"""Error atlas: the worst patches, every nucleus in the colour of its error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.drawing.pixels import outline_instances, rgb
from stnuclei.evaluation.figures import LabelSet, draw_patch_grid, enlarged
from stnuclei.evaluation.nucleus_errors import trace_errors
from stnuclei.evaluation.overlap import joint_histogram
from stnuclei.evaluation.stores import PredictedPatches, TruePatches, open_pair
from stnuclei.patches.classes import patch_classes
from stnuclei.taxonomy import Taxonomy

ERROR_COLORS = {
    "false_negative": "#D55E00",
    "false_positive": "#0072B2",
    "split": "#CC79A7",
    "merged": "#E69F00",
    "outline": "#F0E442",
    "class": "#56B4E9",
    "correct": "#009E73",
}


def error_atlas(
    path: str | Path,
    patches: TruePatches | str | Path,
    predictions: PredictedPatches | str | Path,
    scores: pd.DataFrame,
    labels: LabelSet | None = None,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    n: int = 6,
) -> list[int]:
    """Draw the patches with the lowest PQ: H&E, truth and prediction, every nucleus coloured by its error.

    Parameters
    ----------
    scores
        Rows of `score_segmentation` for one policy (columns ``patch``, ``pq``, ``n_true``).
    labels
        Classes of the true nuclei: matched nuclei of another class are marked, too.

    Returns
    -------
    The patches shown, worst first; patches with fewer than five true nuclei are passed over where there are others.
    """
    patches, predictions = open_pair(patches, predictions)
    taxonomy = Taxonomy.load(taxonomy)
    offset = np.asarray(patches.offset[:], np.int64)
    classes = None if labels is None else patch_classes(patches, labels, taxonomy)
    dense = scores[scores["n_true"] >= 5]
    worst = (dense if len(dense) >= n else scores).dropna(subset="pq").nsmallest(n, "pq")
    rows, notes = [], []
    for i, pq in zip(worst["patch"], worst["pq"], strict=True):
        image, true, pred = patches.image[i], np.asarray(patches.instances[i]), np.asarray(predictions.instances[i])
        both_classes = None if classes is None else (classes[offset[i] : offset[i + 1]], predictions.nuclei(i)["class"])
        marks = trace_errors(joint_histogram(true, pred), both_classes)
        drawn = [
            outline_instances(np.asarray(image), *_error_colors(*pair))
            for pair in zip((true, pred), marks, strict=True)
        ]
        rows.append([enlarged(np.asarray(image)), *drawn])
        notes.append(f"patch {i}, PQ {pq:.2f}")
    colors = ERROR_COLORS if classes is not None else {k: c for k, c in ERROR_COLORS.items() if k != "class"}
    entries = {name.replace("_", " "): color for name, color in colors.items()}
    draw_patch_grid(path, rows, ["H&E", "truth", "prediction"], patches.um_per_px, entries, notes)
    return worst["patch"].tolist()


def _error_colors(instances: np.ndarray, marks: Mapping[int, str]) -> tuple[np.ndarray, np.ndarray]:
    colors = np.zeros((int(instances.max(initial=0)), 3), np.uint8)
    for k, error in marks.items():
        colors[k - 1] = rgb(ERROR_COLORS[error])
    return instances, colors
