"""Map of the agreement between a model and gene expression, with their confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.ndimage import gaussian_filter

from stnuclei.drawing.charts import draw_confusion
from stnuclei.drawing.figure import figure_file, legend, map_bin_um, map_smoothing_um
from stnuclei.evaluation.agreement import PAIRED, Agreement

_DOTS = 60_000  # more only hide each other


def draw_agreement(agreement: Agreement, um_per_px: float, path: str | Path, title: str = "") -> None:
    """Draw the agreement over the tissue.

    Three panels: fraction of nuclei with the class that expression gives, around each point; the nuclei that do not
    agree, in the colour of the class predicted; the confusion.

    Parameters
    ----------
    agreement
        From `compare_slide`.
    um_per_px
        Of the slide.
    path
        The png, at most 1600 px a side.
    title
        First words: slide, model, labels.
    """
    nuclei = agreement.nuclei
    extent = nuclei[["x", "y"]].max().fillna(1.0).to_numpy() * um_per_px / 1000
    aspect = float(np.clip(extent[1] / max(extent[0], 1e-9), 0.4, 1.4))
    whole = agreement.scores().iloc[0]
    with figure_file(path, 16.0, 4.6 * aspect + 2.2) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.15, 1, 1.05])
        _draw_fraction(left, nuclei, um_per_px, extent)
        _draw_disagreeing(middle, agreement, um_per_px, extent)
        draw_confusion(right, agreement.confusion(), rows="label from expression", columns="predicted")
        right.set_title("confusion", fontsize=11, loc="left")
        detected = f"{whole['pairs']:,} of {whole['labelled']:,} labelled nuclei detected"
        words = f"{detected}, {100 * whole['agreement']:.1f} % of them agree, kappa {whole['kappa']:.2f}"
        figure.suptitle(f"{title}: {words}" if title else words, fontsize=12, x=0.01, ha="left")


def agreement_grid(nuclei: pd.DataFrame, um_per_px: float, extent: np.ndarray) -> tuple[np.ndarray, float]:
    """Fraction of compared nuclei that agree around each point.

    Parameters
    ----------
    nuclei
        `Agreement.nuclei`.
    um_per_px
        Of the slide.
    extent
        Width and height to cover, mm.

    Returns
    -------
    (H, W) float64, NaN where hardly any nucleus is near, and the side of a bin, um.
    """
    longest = 1000 * float(max(extent))
    side, sigma = map_bin_um(longest), map_smoothing_um(longest)
    shape = tuple(np.maximum(np.ceil(extent[::-1] * 1000 / side).astype(int), 1))
    compared = nuclei[nuclei["agrees"].notna()]
    row, column = (
        np.minimum((compared[axis] * um_per_px / side).astype(int), n - 1)
        for axis, n in zip(("y", "x"), shape, strict=True)
    )
    counts = np.zeros((2, *shape))
    np.add.at(counts[0], (row, column), 1)
    np.add.at(counts[1], (row, column), compared["agrees"].astype(float))
    total, same = (gaussian_filter(count, sigma / side, mode="constant") for count in counts)
    # Two nuclei within the kernel's reach are too few for a fraction.
    enough = total * 2 * np.pi * (sigma / side) ** 2 >= 2.0
    return np.where(enough, same / np.maximum(total, 1e-12), np.nan), side


def _frame(axes: Axes, extent: np.ndarray, title: str) -> None:
    axes.set(xlim=(0, extent[0]), ylim=(extent[1], 0), aspect="equal", facecolor="#f2f2f2")
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("mm", fontsize=9)
    axes.tick_params(labelsize=8)


def _draw_fraction(axes: Axes, nuclei: pd.DataFrame, um_per_px: float, extent: np.ndarray) -> None:
    fraction, side = agreement_grid(nuclei, um_per_px, extent)
    box = (0, fraction.shape[1] * side / 1000, fraction.shape[0] * side / 1000, 0)
    image = axes.imshow(fraction, extent=box, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    _frame(axes, extent, "fraction that agrees with expression")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85)
    bar.ax.tick_params(labelsize=8)


def _draw_disagreeing(axes: Axes, agreement: Agreement, um_per_px: float, extent: np.ndarray) -> None:
    nuclei, taxonomy = agreement.nuclei, agreement.taxonomy
    pairs = nuclei[(nuclei["status"] == PAIRED) & nuclei["agrees"].notna()]
    agrees = pairs["agrees"].astype(bool)
    rng = np.random.default_rng(0)
    for those, color in ((pairs[agrees], None), (pairs[~agrees], "class")):
        shown = those.iloc[rng.permutation(len(those))[:_DOTS]]
        colors = "#cfcfcf" if color is None else [taxonomy.color_of(name) for name in shown["predicted"]]
        size = float(np.clip(20_000 / max(len(pairs), 1), 0.3, 14))
        x, y = (shown[axis] * um_per_px / 1000 for axis in ("x", "y"))
        axes.scatter(x, y, s=size, c=colors, linewidths=0)
    _frame(axes, extent, "agree (grey) or differ, by predicted class")
    wrong = pairs[~agrees]["predicted"].value_counts()
    entries = {f"{name} {wrong[name]:,}": taxonomy.color_of(name) for name in taxonomy.names if name in wrong}
    legend(axes, entries, ncols=2, fontsize=8.5, columnspacing=0.8, loc="upper center", bbox_to_anchor=(0.5, -0.12))
