"""Scores of two folders of label maps or outlines, paired by file name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.evaluation.class_scores import codes_to_table, pair_codes
from stnuclei.evaluation.folders import extent, paint, pair_files, read_nuclei
from stnuclei.evaluation.patch_scores import score_patch
from stnuclei.evaluation.rules import Policy, ScoringRules
from stnuclei.progress import progress
from stnuclei.taxonomy import Taxonomy


def score_folders(
    truth: Path, pred: Path, um_per_px: float, radius_um: float, policy: Policy, taxonomy: Taxonomy
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score two folders.

    Returns
    -------
    Segmentation, one row an image (as `score_segmentation`, with column ``image``), and pairs of classes (as
    `score_classification`), empty where a side has no classes.

    Raises
    ------
    UserError
        Naming the file that is missing or cannot be scored.
    """
    rules = ScoringRules(policy, radius_um / um_per_px, um_per_px)
    rows, codes, names = [], [], []
    for name, true_path, pred_path in progress(pair_files(truth, pred), None, f"scores ({policy})", "images"):
        true, predicted = read_nuclei(true_path, taxonomy), read_nuclei(pred_path, taxonomy)
        if true.instances is not None and predicted.instances is not None:
            if true.instances.shape != predicted.instances.shape:
                raise UserError(
                    f"{name}: truth is {true.instances.shape} px and prediction {predicted.instances.shape}"
                )
        known = next((n.instances.shape for n in (true, predicted) if n.instances is not None), None)
        height, width = known or np.maximum(extent(true), extent(predicted)).tolist()
        maps = paint(true, (height, width)), paint(predicted, (height, width))
        true_classes, pred_classes = true.classes, predicted.classes
        if true_classes is None or pred_classes is None:  # classes are compared where both sides know them
            true_classes = pred_classes = None
        else:
            pred_classes = np.maximum(pred_classes, 0)
        try:
            rows.append({"image": name} | score_patch(*maps, rules, pred_classes, true_classes, taxonomy.names))
            if true_classes is not None and pred_classes is not None:
                certain = {"class": pred_classes, "class_probability": np.ones(len(pred_classes))}
                codes.append(pair_codes(*maps, true_classes, certain, taxonomy.n_outputs, rules.radius, policy))
                names.append(name)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    return pd.DataFrame(rows), codes_to_table(codes, np.array([""] * len(codes), dtype=object), taxonomy)
