"""Charts that several rooms draw: confusion matrix, calibration curve, cells by class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stnuclei.drawing.figure import QUIET, open_frame
from stnuclei.drawing.pixels import rgb
from stnuclei.taxonomy import Taxonomy

#: Colours of lines that stand for models or methods: Okabe and Ito, told apart by colour-blind readers.
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")


def draw_confusion(axes: Axes, counts: pd.DataFrame, *, rows: str, columns: str, empty: str = "") -> None:
    """Confusion matrix: counts, shaded by their fraction of the row.

    Parameters
    ----------
    counts
        Whole numbers; index and columns are names.
    rows, columns
        What they are, as axis labels.
    empty
        Name of a row and column whose zeros are not written (nuclei without a partner have one side only).
    """
    values = counts.to_numpy(float)
    fraction = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not value and empty in (counts.index[row], counts.columns[column]):
            continue
        text = f"{value:,.0f}\n{100 * fraction[row, column]:.0f} %"
        color = "white" if fraction[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=color)
    axes.set_xticks(range(counts.shape[1]), counts.columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(counts.shape[0]), counts.index, fontsize=8)
    axes.set_xlabel(columns, fontsize=9)
    axes.set_ylabel(rows, fontsize=9)
    axes.tick_params(length=0)


def draw_calibration(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Fraction correct against mean confidence, a line a method, points as large as their bins.

    Parameters
    ----------
    curves
        Legend entry -> table of `stnuclei.metrics.calibration_curve`.
    """
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    for index, (name, curve) in enumerate(curves.items()):
        color = LINE_COLORS[index % len(LINE_COLORS)]
        axes.plot(curve["confidence"], curve["accuracy"], color=color, linewidth=1.2, label=name)
        area = 10 + 90 * curve["count"] / max(curve["count"].sum(), 1)
        axes.scatter(curve["confidence"], curve["accuracy"], s=area, color=color)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_xlabel("confidence", fontsize=9)
    axes.set_ylabel("fraction correct", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    open_frame(axes)


def point_area(n: int, inches: float = 5.0) -> float:
    """Area of a point, square points, such that n points about fill a square of so many inches."""
    return float(np.clip(0.5 * (inches * 72) ** 2 / max(n, 1), 0.15, 60.0))


def scatter_classes(
    axes: Axes, xy: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, area: float | None = None
) -> None:
    """Draw points in the colours of their labels.

    Parameters
    ----------
    xy
        (n, 2).
    labels
        (n,) names of the taxonomy.
    area
        Of a point, square points; None: `point_area`.
    """
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    colors = np.array([rgb(taxonomy.color_of(name)) for name in names]).reshape(-1, 3) / 255
    # Unknown lies below; the rest is shuffled, so that no class covers another by its position in the table.
    order = np.random.default_rng(0).permutation(len(xy))
    order = order[np.argsort(labels[order] != taxonomy.unknown.name, kind="stable")]
    x, y = xy[order].T
    axes.scatter(x, y, s=area or point_area(len(xy)), c=colors[codes][order], linewidths=0, rasterized=True)
