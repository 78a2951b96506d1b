"""One page a label set: on the tissue, by expression, its markers, and the evidence of each cluster."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from scipy import sparse

from stnuclei.clustering.components import principal_components
from stnuclei.clustering.counts import log_normalised
from stnuclei.clustering.ranking import rank_genes
from stnuclei.drawing.charts import point_area, scatter_classes
from stnuclei.drawing.figure import QUIET, bare, figure_file, legend, stacked
from stnuclei.labels.maps import map_labels, positions
from stnuclei.labels.result import Labels, undecided
from stnuclei.taxonomy import Taxonomy

# Cells of an embedding: more only hide each other.
EMBEDDED_CELLS = 20_000
MARKERS_A_LABEL = 5
CLUSTERS_SHOWN = 60
_DPI = 100
_WARNING = "#B00020"


def draw_labels(
    adata: anndata.AnnData,
    labels: Labels,
    path: str | Path,
    *,
    taxonomy: str | Path | Taxonomy = "pannuke",
    um_per_px: float | None = None,
    embedding: Literal["pca", "umap"] = "pca",
    seed: int = 0,
) -> None:
    """Draw one page by which a person can judge a label set.

    Label map on the tissue; cells in expression space by label and by cluster; dot plot of each label's marker genes;
    the evidence of each cluster.

    Parameters
    ----------
    adata
        Cells x genes, raw counts, the table the labels are of.
    labels
        Labels of its cells.
    path
        The png, at most 1600 px a side.
    taxonomy
        Colours and order of labels.
    um_per_px
        Micrometres of a unit of ``obsm["spatial"]``, for the scale bar; None: no bar.
    embedding
        Expression space: two principal components, or UMAP of a sample of cells (slower).
    seed
        Seed of the sample of cells and of UMAP.
    """
    taxonomy = Taxonomy.load(taxonomy)
    names, expression = labels.cells["label"].to_numpy().astype(str), log_normalised(adata)
    with figure_file(path, 16, 14, dpi=_DPI) as figure:
        warnings = [textwrap.shorten(warning, 200) for warning in labels.info.get("warnings", ())]
        *above, upper, lower = stacked(figure, [*([0.25 * len(warnings)] if warnings else []), 6.2, 7.8])
        for panel in above:
            panel.text(0.01, 0.5, "\n".join(warnings), fontsize=9, color=_WARNING, va="center")
        axes = upper.subplots(1, 3, width_ratios=[1.2, 1, 1])
        if "spatial" in adata.obsm:
            map_labels(axes[0], positions(adata), names, taxonomy, _map_title(labels.cells), um_per_px)
        else:
            bare(axes[0], "no positions")
        chosen, points = embed(expression, embedding, seed)
        scatter_classes(axes[1], points, names[chosen], taxonomy, point_area(len(chosen), 3.0))
        bare(axes[1], f"{_SPACE[embedding]}, by label")
        draw_clusters(axes[2], points, labels.cells["cluster"].to_numpy()[chosen])
        axes[2].set_title(f"{_SPACE[embedding]}, by cluster", fontsize=10, loc="left")
        legend(
            axes[0], _legend(names, labels.evidence, taxonomy), loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3
        )
        dots, bars = lower.subplots(1, 2, width_ratios=[1, 1.25])
        draw_markers(dots, expression, adata.var_names.to_numpy(), names, taxonomy)
        draw_evidence(bars, labels.evidence, taxonomy)


def _map_title(cells: pd.DataFrame) -> str:
    """Number of cells, and the fraction that the method left between several classes."""
    title = f"{len(cells):,} cells"
    open_between = undecided(cells).mean() if len(cells) else 0.0
    return f"{title}, {100 * open_between:.0f} % undecided between classes" if open_between else title


def _legend(names: np.ndarray, evidence: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, str]:
    """Percentage and colour of every class on the page, those that only the evidence's bars show included."""
    shown = set(names) | {column.removeprefix("score_") for column in evidence if column.startswith("score_")}
    count = pd.Series(names).value_counts()
    return {
        f"{name} {100 * count.get(name, 0) / max(len(names), 1):.0f} %": taxonomy.color_of(name)
        for name in taxonomy.labels
        if name in shown
    }


_SPACE = {"pca": "principal components", "umap": "UMAP"}


def embed(
    expression: sparse.csr_matrix, method: Literal["pca", "umap"], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Embed at most `EMBEDDED_CELLS` cells in two dimensions.

    Returns
    -------
    Rows chosen, int64 (m,); their coordinates, float32 (m, 2).
    """
    chosen = np.arange(expression.shape[0])
    if len(chosen) > EMBEDDED_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, EMBEDDED_CELLS, replace=False))
    points = principal_components(expression[chosen], 30 if method == "umap" else 2, seed)
    if method == "umap":
        from umap import UMAP

        points = UMAP(n_neighbors=15, min_dist=0.3, random_state=seed, n_jobs=1).fit_transform(points)
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    return chosen, points[:, :2]


def draw_clusters(axes: Axes, points: np.ndarray, clusters: np.ndarray) -> None:
    """Draw cells by cluster, the number at the middle of each; cells in none grey."""
    colors = colormaps["tab20"](np.maximum(clusters, 0) % 20)
    colors[clusters < 0] = (0.6, 0.6, 0.6, 1)
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    axes.scatter(x, y, s=point_area(len(points), 3.0), c=colors[order], linewidths=0, rasterized=True)
    for name in np.unique(clusters[clusters >= 0]):
        x, y = np.median(points[clusters == name], axis=0)
        axes.text(x, y, str(name), fontsize=7, ha="center", va="center", bbox=_TAG)
    bare(axes)


_TAG = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0}


def label_markers(
    expression: sparse.csr_matrix, genes: np.ndarray, labels: np.ndarray, order: list[str], n_genes: int
) -> list[str]:
    """Best genes of each label against the rest (Wilcoxon), label by label, none twice."""
    codes = np.array([order.index(name) if name in order else -1 for name in labels])
    ranked = rank_genes(expression, genes, codes, n_ranked=n_genes * 4)
    chosen: list[str] = []
    for code in range(len(order)):
        raised = ranked.loc[(ranked["cluster"] == code) & (ranked["score"] > 0), "gene"]
        chosen += [gene for gene in raised if gene not in chosen][:n_genes]
    return chosen


def draw_markers(
    axes: Axes, expression: sparse.csr_matrix, genes: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy
) -> None:
    """Dot plot: a row a gene, a column a label; area = cells with a count, shade = mean expression of the gene."""
    order = [name for name in taxonomy.labels if name in set(labels)]
    known = [name for name in order if name != taxonomy.unknown.name]
    chosen = label_markers(expression, np.asarray(genes).astype(str), labels, known, MARKERS_A_LABEL)
    bare(axes, "marker genes of the labels: area = cells that express it, shade = mean")
    if not chosen:
        axes.text(0.5, 0.5, "fewer than two labels", ha="center", transform=axes.transAxes, color=QUIET)
        return
    columns = expression.tocsc()[:, [list(genes).index(gene) for gene in chosen]]
    groups = [labels == name for name in order]
    mean = np.array([np.asarray(columns[group].mean(axis=0)).ravel() for group in groups])
    fraction = np.array([columns[group].getnnz(axis=0) / max(group.sum(), 1) for group in groups])
    shade = mean / np.maximum(mean.max(axis=0, keepdims=True), 1e-9)
    x, y = np.meshgrid(range(len(order)), range(len(chosen)), indexing="ij")
    axes.scatter(x.ravel(), y.ravel(), s=6 + 230 * fraction.ravel(), c=shade.ravel(), cmap="Blues", vmin=-0.15, vmax=1)
    axes.set_xticks(range(len(order)), [f"{n}\n{g.sum():,}" for n, g in zip(order, groups, strict=True)], fontsize=9)
    axes.set_yticks(range(len(chosen)), chosen, fontsize=9, style="italic")
    for tick, name in zip(axes.get_xticklabels(), order, strict=True):
        tick.set_color(taxonomy.color_of(name))
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylim(len(chosen) - 0.4, -0.6)
    axes.tick_params(length=0)


def draw_evidence(axes: Axes, evidence: pd.DataFrame, taxonomy: Taxonomy) -> None:
    """Bars: fraction of each category in the (positive) score of each cluster, with decision and top genes in words."""
    bare(axes, "evidence of each cluster: fraction of its score by category, then its top genes")
    columns = [name for name in evidence.columns if name.startswith("score_")]
    if evidence.empty or not columns:
        axes.text(0.5, 0.5, "no clusters", ha="center", transform=axes.transAxes, color=QUIET)
        return
    order = {name: index for index, name in enumerate(taxonomy.labels)}
    rows = evidence.nlargest(CLUSTERS_SHOWN, "n_cells") if len(evidence) > CLUSTERS_SHOWN else evidence
    rows = rows.assign(place=rows["decision"].map(order)).sort_values(["place", "cluster"], kind="stable")
    scores = rows[columns].clip(lower=0).fillna(0).to_numpy(float)
    fraction = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-9)
    left = np.zeros(len(rows))
    for column, values in zip(columns, fraction.T, strict=True):
        name = column.removeprefix("score_")
        color = taxonomy.color_of(name) if name in taxonomy.labels else QUIET
        axes.barh(range(len(rows)), values, left=left, height=0.8, color=color, linewidth=0)
        left += values
    size = float(np.clip(7.0 * _DPI / (len(rows) + 2) / 1.9, 5.0, 8.5))
    for index, row in enumerate(rows.itertuples()):
        axes.text(1.02, index, _row_text(row), va="center", fontsize=size, color=taxonomy.color_of(row.decision))
    axes.set_yticks(range(len(rows)), [f"{r.cluster} ({r.n_cells:,})" for r in rows.itertuples()], fontsize=size)
    axes.tick_params(length=0, pad=1)
    axes.set_xlim(0, 2.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _row_text(row: object) -> str:
    genes = str(getattr(row, "top_genes", "")).split(",")[:4]
    return f"{row.decision}  {', '.join(genes)}"  # type: ignore[attr-defined]
