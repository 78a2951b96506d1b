"""Charts of scores: confusion matrix, PQ over patches, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.drawing.charts import LINE_COLORS, draw_calibration, draw_confusion
from stnuclei.drawing.figure import PAGE, PRINT_DPI, figure_file, open_frame
from stnuclei.evaluation.class_scores import UNPAIRED, confusion_table
from stnuclei.metrics import expected_calibration_error
from stnuclei.taxonomy import Taxonomy


def figure_confusion(
    path: str | Path, scores: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke", title: str = ""
) -> None:
    """Confusion matrix from rows of `score_classification`: counts, shaded by the fraction of each true class."""
    taxonomy = Taxonomy.load(taxonomy)
    table = confusion_table(scores)
    order = [*taxonomy.names, taxonomy.unknown.name, "Background", UNPAIRED]
    table = table.reindex(
        index=[c for c in order if c in table.index], columns=[c for c in order if c in table.columns]
    )
    with figure_file(
        path, 1.6 + 0.85 * table.shape[1], 1.4 + 0.5 * table.shape[0], dpi=PRINT_DPI, max_px=None
    ) as figure:
        axes = figure.subplots()
        draw_confusion(axes, table, rows="true", columns="predicted", empty=UNPAIRED)
        axes.set_title(title)


def figure_pq(path: str | Path, scores: Mapping[str, pd.DataFrame]) -> None:
    """Histogram of PQ over patches, a panel a model (rows of `score_segmentation` for one policy)."""
    with figure_file(path, PAGE, 1.1 + 1.3 * len(scores), dpi=PRINT_DPI, max_px=None) as figure:
        panels = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, table) in zip(panels, scores.items(), strict=True):
            pq = table["pq"].dropna()
            axes.hist(pq, bins=np.linspace(0, 1, 41), color=LINE_COLORS[0])
            axes.axvline(pq.mean(), color=LINE_COLORS[1], linewidth=1.5)
            axes.set_title(f"{name}: mean {pq.mean():.3f}, {len(pq):,} patches", fontsize=9, loc="left")
            axes.set_ylabel("patches", fontsize=8)
            open_frame(axes)
        panels[-1].set_xlabel("PQ of a patch")


def figure_calibration(path: str | Path, curves: Mapping[str, pd.DataFrame]) -> None:
    """Fraction of correct classes by predicted probability, a line a model (tables of `calibration`), counts below."""
    named = {f"{name} (ECE {expected_calibration_error(table):.3f})": table for name, table in curves.items()}
    with figure_file(path, 4.2, 4.6, dpi=PRINT_DPI, max_px=None) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        draw_calibration(upper, named)
        upper.set_xlabel("")
        for k, table in enumerate(named.values()):
            fraction = table["count"] / max(table["count"].sum(), 1)
            lower.step(table["confidence"], fraction, color=LINE_COLORS[k % len(LINE_COLORS)], where="mid")
        lower.set(xlabel="predicted probability of the class", ylabel="fraction of nuclei")
        open_frame(lower)
