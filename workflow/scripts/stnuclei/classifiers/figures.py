"""Figures of a classifier's training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.drawing.charts import draw_confusion
from stnuclei.drawing.figure import figure_file, open_frame, stacked
from stnuclei.taxonomy import Taxonomy


def draw_curves(path: str | Path, history: pd.DataFrame, best: int) -> None:
    """Draw losses and validation scores by epoch; a line marks the epoch whose weights are kept."""
    with figure_file(path, 5.0, 4.6) as figure:
        above, below = (part.subplots() for part in stacked(figure, (1, 1)))
        for name, color, words in (("train_loss", "#999999", "training"), ("val_loss", "#0072B2", "validation")):
            above.plot(history["epoch"], history[name], color=color, label=words)
        for name, color, words in (("val_macro_f1", "#D55E00", "macro F1"), ("val_accuracy", "#009E73", "accuracy")):
            below.plot(history["epoch"], history[name], color=color, label=words)
        for axes, title in ((above, "loss"), (below, "validation scores")):
            axes.axvline(best, color="#cccccc", linewidth=1, zorder=0)
            axes.set_title(title, loc="left", fontsize=9)
            axes.legend(frameon=False, fontsize=8)
            open_frame(axes)
        below.set_xlabel("epoch")


def draw_validation_confusion(path: str | Path, confusion: np.ndarray, taxonomy: Taxonomy) -> None:
    """Draw the confusion matrix (K, K) of the validation nuclei."""
    side = 2.2 + 0.55 * len(taxonomy.names)
    with figure_file(path, side, side) as figure:
        counts = pd.DataFrame(confusion, list(taxonomy.names), list(taxonomy.names))
        draw_confusion(figure.subplots(), counts, rows="label", columns="classifier")
