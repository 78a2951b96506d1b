"""Scores of predicted nuclei: segmentation, detection, classification; the paper's tables and figures.

Names are imported when they are first asked for, so that a table does not wait for a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "score_segmentation": "patchscores",
    "score_classification": "classscores",
    "confusion_table": "classscores",
    "panoptic_quality": "segmentation",
    "dice": "segmentation",
    "jaccard": "segmentation",
    "joint_histogram": "overlap",
    "pair_centroids": "detection",
    "table1": "tables",
    "table2": "scoretables",
    "table3": "scoretables",
    "describe_store": "tables",
    "write_table": "tables",
    "readable": "tables",
    "annotation_table": "truth",
    "read_scores": "readscores",
    "footnotes": "readscores",
    "by_class": "breakdowns",
    "by_size": "breakdowns",
    "pannuke_table": "pannuke",
    "pannuke_tissues": "pannuke",
    "calibration": "breakdowns",
    "over_runs": "breakdowns",
    "figure_labels": "figures",
    "figure_predictions": "figures",
    "figure_confusion": "charts",
    "figure_pq": "charts",
    "figure_calibration": "charts",
    "error_atlas": "figures",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
