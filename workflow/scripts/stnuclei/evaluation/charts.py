"""Charts of scores: confusion matrix, PQ over patches, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stnuclei.evaluation.classscores import UNPAIRED, confusion_table
from stnuclei.evaluation.drawing import PAGE, save_figure
from stnuclei.taxonomy import Taxonomy

_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def figure_confusion(
    path: str | Path, scores: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke", title: str = ""
) -> None:
    """Confusion matrix from rows of `score_classification`: counts, shaded by the share of each true class."""
    taxonomy = Taxonomy.load(taxonomy)
    table = confusion_table(scores)
    order = [*taxonomy.names, taxonomy.unknown.name, "Background", "Unpaired"]
    table = table.reindex(
        index=[c for c in order if c in table.index], columns=[c for c in order if c in table.columns]
    )
    share = table.to_numpy(float) / np.maximum(table.sum(axis=1).to_numpy(float)[:, None], 1)
    figure = Figure(figsize=(1.6 + 0.85 * table.shape[1], 1.4 + 0.5 * table.shape[0]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if not value and UNPAIRED in (table.index[row], table.columns[column]):
            continue  # a nucleus has at least one side
        dark = share[row, column] > 0.6
        text = f"{value:,}\n{100 * share[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(table.shape[0]), table.index, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    save_figure(figure, path)


def figure_pq(path: str | Path, scores: Mapping[str, pd.DataFrame]) -> None:
    """Histogram of PQ over patches, a panel a model (rows of `score_segmentation` for one policy)."""
    figure = Figure(figsize=(PAGE, 1.1 + 1.3 * len(scores)), layout="constrained")
    panels = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, table) in zip(panels, scores.items(), strict=True):
        pq = table["pq"].dropna()
        axes.hist(pq, bins=np.linspace(0, 1, 41), color="#0072B2")
        axes.axvline(pq.mean(), color="#D55E00", linewidth=1.5)
        axes.set_title(f"{name}: mean {pq.mean():.3f}, {len(pq):,} patches", fontsize=9, loc="left")
        axes.set_ylabel("patches", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("PQ of a patch")
    save_figure(figure, path)


def figure_calibration(path: str | Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Share of right classes by predicted probability, a line a model (tables of `calibration`), numbers below."""
    figure = Figure(figsize=(4.2, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for (name, table), color in zip(tables.items(), _LINES * (len(tables) // len(_LINES) + 1), strict=False):
        middle = (table["low"] + table["high"]) / 2
        upper.plot(middle, table["accuracy"], color=color, marker="o", label=f"{name} (ECE {table.attrs['ece']:.3f})")
        lower.step(middle, table["count"] / max(table["count"].sum(), 1), color=color, where="mid")
    upper.set(ylabel="share of right classes", xlim=(0, 1), ylim=(0, 1))
    upper.legend(fontsize=8, frameon=False)
    lower.set(xlabel="predicted probability of the class", ylabel="share of nuclei")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
