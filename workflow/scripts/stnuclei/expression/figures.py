"""Figures of the baseline: training curves, predictability against organisation and abundance, maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stnuclei.drawing.figure import PRINT_DPI, figure_file, open_frame
from stnuclei.evaluation.tables import published

_RESULT, _SHUFFLED, _PERMUTED, _CONTROL = "#0072B2", "#D55E00", "#888888", "#E69F00"


def draw_history(path: str | Path, history: pd.DataFrame, title: str, taken: int) -> None:
    """Losses and validation r by epoch; a line at the epoch `taken`, whose weights the model has."""
    with figure_file(path, 8.4, 3.2, dpi=PRINT_DPI, max_px=None) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(history["epoch"], history["train_loss"], color=_RESULT, label="training")
        left.plot(history["epoch"], history["val_loss"], color=_SHUFFLED, label="validation")
        right.plot(history["epoch"], history["val_r"], color=_SHUFFLED)
        for axes, label in ((left, "mean squared error of log(1 + x)"), (right, "validation: mean r of all genes")):
            axes.axvline(taken, color="#aaaaaa", linewidth=1, linestyle="--")
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _plain(axes)
        left.legend(frameon=False, fontsize=8)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")


def draw_predictability(
    path: str | Path,
    genes: pd.DataFrame,
    summary: pd.DataFrame,
    drivers: pd.DataFrame,
    title: str,
    *,
    split: str = "test",
) -> None:
    """r of every gene against its Moran's I and its abundance, and its distribution beside both nulls.

    Parameters
    ----------
    path
        PNG.
    genes, summary, drivers
        Of `stnuclei.expression.report.score_expression`.
    title
        Above.
    split
        ``test`` or ``cross_tissue``.
    """
    scored = genes[genes["split"] == split]
    with figure_file(path, 13.2, 4.3, dpi=PRINT_DPI, max_px=None) as figure:
        first, second, third = figure.subplots(1, 3)
        related = drivers[drivers["split"] == split].set_index("measure")
        _scatter(first, scored, "moran_i", "Moran's I on the patch graph", related.loc["moran_i"], "abundance")
        _scatter(second, scored, "abundance", "abundance: mean log(1 + x)", related.loc["abundance"], "Moran's I")
        second.sharey(first)
        first.legend(frameon=False, fontsize=7.5, loc="best")
        kinds = summary[summary["split"] == split].set_index("kind")
        _distribution(third, scored, kinds)
        patches, slides = kinds.loc["result", ["patches", "slides"]]
        figure.suptitle(
            f"{title}; {patches} {split.replace('_', '-')} patches of {slides} slide(s)", fontsize=10, x=0.01, ha="left"
        )


def _scatter(axes: Axes, genes: pd.DataFrame, column: str, label: str, related: pd.Series, other: str) -> None:
    plain = genes[~genes["control"] & ~genes["highly_expressed"]]
    for table, color, name in (
        (plain, "#9ecae1", "genes"),
        (genes[genes["highly_expressed"]], _RESULT, "highly expressed"),
        (genes[genes["control"]], _CONTROL, "controls: values permuted"),
    ):
        axes.scatter(table[column], table["r"], s=14, color=color, linewidths=0, alpha=0.9, label=name)
    axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    axes.axhline(0.30, color="#aaaaaa", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlabel=label, ylabel="r, held-out patches")
    words = (
        f"Spearman {related['spearman']:.2f} (p {related['spearman_p']:.1g})\ngiven {other} {related['partial']:.2f}"
    )
    axes.set_title(words, fontsize=9, loc="left")
    _plain(axes)


def _distribution(axes: Axes, genes: pd.DataFrame, kinds: pd.DataFrame) -> None:
    genuine = genes[~genes["control"]]
    bins = np.linspace(-1, 1, 51).tolist()
    for column, color, name in (
        ("r_permuted", _PERMUTED, "permuted"),
        ("r_shuffled", _SHUFFLED, "shuffled"),
        ("r", _RESULT, "result"),
    ):
        kind = kinds.loc[name]
        label = f"{name}: {kind['r_highly_expressed']:.3f}; {kind['genes_at_threshold']:.0f} genes"
        axes.hist(genuine[column].dropna(), bins=bins, histtype="stepfilled", alpha=0.55, color=color, label=label)
    paper = next(iter(published()["expression"]["rows"].values()))
    said = f"published (liver): {paper['r_highly_expressed']:.3f}; {paper['genes_at_threshold']} genes"
    axes.axvline(0.30, color="#555555", linewidth=0.9, linestyle="--", label=said)
    axes.set_title("mean r of highly expressed genes; genes with r >= 0.30", fontsize=9, loc="left")
    axes.set(xlabel="r, held-out patches", ylabel="genes", xlim=(-1, 1), xticks=np.linspace(-1, 1, 5))
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, fontsize=7.5, loc="upper left")
    _plain(axes)


def draw_maps(path: str | Path, predictions: AnnData, genes: pd.DataFrame, title: str, *, split: str = "test") -> None:
    """Measured and predicted expression on the tested slide that has most patches: three genes read best, the middle
    one, one read worst, and a control."""
    tested = predictions[(predictions.obs["split"] == split).to_numpy()]
    slide = tested.obs["sample"].value_counts().index[0]
    tested = tested[(tested.obs["sample"] == slide).to_numpy()]
    ranked = genes[(genes["split"] == split) & ~genes["control"]].dropna(subset="r").sort_values("r", ascending=False)
    control = genes[(genes["split"] == split) & genes["control"]].dropna(subset="r")
    chosen = pd.concat([ranked.iloc[[0, 1, 2, len(ranked) // 2, -1]], control.iloc[:1]]).drop_duplicates("gene")
    xy, side = np.asarray(tested.obsm["spatial"]), float(tested.obs["patch_um"].iloc[0])
    width, height = np.ptp(xy, axis=0) + 2 * side
    with figure_file(path, 2.15 * len(chosen), 2 * (2.15 * height / width) + 0.9, dpi=PRINT_DPI, max_px=None) as figure:
        panels = figure.subplots(2, len(chosen), squeeze=False)
        columns = tested.var_names.get_indexer(chosen["gene"])
        for column, (row, k) in enumerate(zip(chosen.itertuples(), columns, strict=True)):
            for line, values in enumerate((tested.layers["measured"][:, k], tested.X[:, k])):
                axes = panels[line, column]
                _tiles(axes, xy, side, np.asarray(values, float))
                axes.set_title(f"{row.gene}\nr {row.r:.2f}" if line == 0 else "", fontsize=8.5)
        panels[0, 0].set_ylabel("measured", fontsize=9)
        panels[1, 0].set_ylabel("predicted", fontsize=9)
        figure.suptitle(f"{title}: {slide}", fontsize=10, x=0.01, ha="left")


def _tiles(axes: Axes, xy: np.ndarray, side: float, values: np.ndarray) -> None:
    """A square a patch, coloured between its map's 2nd and 98th percentile."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    squares = PatchCollection([Rectangle((x - side / 2, y - side / 2), side, side) for x, y in xy], cmap="viridis")
    squares.set_array(values)
    squares.set_clim(*np.nanpercentile(values, (2, 98)))
    axes.add_collection(squares)
    axes.set(xlim=(xy[:, 0].min() - side, xy[:, 0].max() + side), ylim=(xy[:, 1].max() + side, xy[:, 1].min() - side))
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _plain(axes: Axes) -> None:
    open_frame(axes)
    axes.grid(alpha=0.2, linewidth=0.6)
