"""The figure of label scores: confusion matrices, F1 by class, calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from stnuclei.labels.canvas import QUIET, picture
from stnuclei.labels.scores import LabelScores

PER_ROW = 4


def draw_scores(scores: LabelScores, path: str | Path) -> None:
    """Draw every method's confusion matrix (rows of the annotation sum to 1), then F1 by class and calibration.

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
    with picture(path, max(4.0 * per_row, 9.0), 3.9 * bands + 4.2) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=[3.9 * bands, 4.2])
        grid = upper.subplots(bands, per_row, squeeze=False).ravel()
        for axes, method in zip(grid, methods, strict=False):
            row = scores.table.set_index("method").loc[method]
            draw_confusion(axes, scores.confusion[method])
            axes.set_title(
                f"{method}\naccuracy {row.accuracy:.2f}, macro F1 {row.macro_f1:.2f}, Unknown {row.unknown:.0%}",
                fontsize=10,
                loc="left",
            )
        for axes in grid[len(methods) :]:
            axes.axis("off")
        bars, curve = lower.subplots(1, 2, width_ratios=[1.7, 1])
        draw_f1(bars, scores)
        draw_calibration(curve, scores.calibration)


def draw_confusion(axes: Axes, confusion: pd.DataFrame) -> None:
    """One matrix: shade the share of the row, text the cells."""
    counts = confusion.to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(counts):
        color = "white" if share[row, column] > 0.55 else "black"
        text = f"{share[row, column]:.2f}\n{value:,}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    slant = 90 if counts.shape[1] > 6 else 0
    axes.set_xticks(range(counts.shape[1]), confusion.columns, fontsize=7, rotation=slant)
    axes.set_yticks(range(counts.shape[0]), confusion.index, fontsize=7, rotation=90 - slant)
    for tick in axes.get_yticklabels():
        tick.set_va("center")
    axes.set_xlabel("label", fontsize=9)
    axes.set_ylabel("annotation", fontsize=9)
    axes.tick_params(length=0)


def draw_f1(axes: Axes, scores: LabelScores) -> None:
    """Bars of F1 by class, a group a method, in the classes' colours."""
    classes = [column.removeprefix("f1_") for column in scores.table if column.startswith("f1_")]
    methods, width = scores.table["method"].tolist(), 0.8 / max(len(classes), 1)
    for place, name in enumerate(classes):
        values = scores.table[f"f1_{name}"].to_numpy()
        x = np.arange(len(methods)) + (place - (len(classes) - 1) / 2) * width
        axes.bar(x, values, width * 0.95, color=scores.taxonomy.color_of(name), label=name)
        for at, value in zip(x, values, strict=True):
            axes.text(at, value + 0.01, f"{value:.2f}"[1 if value < 1 else 0 :], ha="center", fontsize=7)
    axes.set_xticks(range(len(methods)), [name.replace("_", "\n") for name in methods], fontsize=9)
    axes.set_ylim(0, 1.18)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("F1 by class", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, ncols=len(classes), loc="upper right", borderaxespad=0)
    _open_frame(axes)


def draw_calibration(axes: Axes, calibration: pd.DataFrame) -> None:
    """Share right against confidence, a line a method, points by their cells."""
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    colors = colormaps["tab10"]
    for place, (method, part) in enumerate(calibration.groupby("method", sort=False)):
        part = part.sort_values("confidence")
        color = colors(place % 10)
        axes.plot(part["confidence"], part["accuracy"], color=color, linewidth=1.2, label=method)
        area = 10 + 90 * part["n"] / max(part["n"].sum(), 1)
        axes.scatter(part["confidence"], part["accuracy"], s=area, color=color)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence", fontsize=9)
    axes.set_ylabel("share right", fontsize=9)
    axes.set_title("calibration of decided cells", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _open_frame(axes)


def _open_frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)
