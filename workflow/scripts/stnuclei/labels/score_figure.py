"""Figure of label scores: confusion matrices, F1 by class, calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from stnuclei.drawing.charts import draw_calibration, draw_confusion
from stnuclei.drawing.figure import figure_file, open_frame, stacked
from stnuclei.labels.scores import LabelScores

PER_ROW = 4


def draw_scores(scores: LabelScores, path: str | Path) -> None:
    """Draw every method's confusion matrix, then F1 by class and calibration.

    Parameters
    ----------
    scores
        Scores of a sample.
    path
        The png, at most 1600 px a side.
    """
    methods = list(scores.confusion)
    per_row = min(PER_ROW, max(len(methods), 2))
    bands = -(-len(methods) // per_row)
    with figure_file(path, max(4.0 * per_row, 9.0), 3.9 * bands + 4.2, dpi=100) as figure:
        upper, lower = stacked(figure, [3.9 * bands, 4.2])
        grid = upper.subplots(bands, per_row, squeeze=False).ravel()
        for axes, method in zip(grid, methods, strict=False):
            row = scores.table.set_index("method").loc[method]
            draw_confusion(axes, scores.confusion[method], rows="annotation", columns="label")
            axes.set_title(
                f"{method}\naccuracy {row.accuracy:.2f}, macro F1 {row.macro_f1:.2f}, Unknown {row.unknown:.0%}",
                fontsize=10,
                loc="left",
            )
        for axes in grid[len(methods) :]:
            axes.axis("off")
        bars, curve = lower.subplots(1, 2, width_ratios=[1.7, 1])
        draw_f1(bars, scores)
        draw_calibration(curve, dict(list(scores.calibration.groupby("method", sort=False))))
        curve.set_title("calibration of decided cells", fontsize=10, loc="left")
        curve.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_f1(axes: Axes, scores: LabelScores) -> None:
    """Bars of F1 by class, a group a method, in the classes' colours."""
    classes = [column.removeprefix("f1_") for column in scores.table if column.startswith("f1_")]
    methods, width = scores.table["method"].tolist(), 0.8 / max(len(classes), 1)
    for k, name in enumerate(classes):
        values = scores.table[f"f1_{name}"].to_numpy()
        x = np.arange(len(methods)) + (k - (len(classes) - 1) / 2) * width
        axes.bar(x, values, width * 0.95, color=scores.taxonomy.color_of(name), label=name)
        for at, value in zip(x, values, strict=True):
            axes.text(at, value + 0.01, f"{value:.2f}"[1 if value < 1 else 0 :], ha="center", fontsize=7)
    axes.set_xticks(range(len(methods)), [name.replace("_", "\n") for name in methods], fontsize=9)
    axes.set_ylim(0, 1.18)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("F1 by class", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=len(classes), loc="upper right", borderaxespad=0)
    open_frame(axes)
