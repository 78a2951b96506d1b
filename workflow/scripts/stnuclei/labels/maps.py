"""Labels on the tissue: one set, and several side by side (the paper's figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle

from stnuclei.drawing.charts import point_area, scatter_classes
from stnuclei.drawing.figure import bare, figure_file, legend, scale_bar, stacked
from stnuclei.errors import UserError
from stnuclei.labels.result import undecided
from stnuclei.taxonomy import Taxonomy

# Cells a close-up shows: few enough that each is seen.
CLOSE_UP_CELLS = 600


def positions(adata: anndata.AnnData) -> np.ndarray:
    """Centres of the cells, float64 (n, 2) (x, y), from ``obsm["spatial"]``.

    Raises
    ------
    UserError
        If the table has none.
    """
    if "spatial" not in adata.obsm:
        raise UserError("the table has no cell positions (obsm 'spatial'): a label map cannot be drawn")
    return np.asarray(adata.obsm["spatial"], dtype=np.float64)[:, :2]


def map_labels(
    axes: Axes,
    xy: np.ndarray,
    labels: np.ndarray,
    taxonomy: Taxonomy,
    title: str = "",
    um_per_px: float | None = None,
) -> None:
    """Draw labels where the cells lie, y downwards as in the slide, both axes to one scale; a bar if it is given."""
    scatter_classes(axes, xy, labels, taxonomy, point_area(len(xy), 2.4))
    axes.set_aspect("equal")
    axes.set_xlim(xy[:, 0].min(), xy[:, 0].max())
    axes.set_ylim(xy[:, 1].max(), xy[:, 1].min())
    bare(axes, title)
    if um_per_px:
        scale_bar(axes, um_per_px)


def close_up(xy: np.ndarray, n_cells: int = CLOSE_UP_CELLS) -> tuple[float, float, float]:
    """Square of about `n_cells` cells where they are densest: left, top, side (the units of `xy`)."""
    extent = np.maximum(np.ptp(xy, axis=0), 1e-9)
    side, inside = float(extent.max()), xy
    for _ in range(24):
        bins = [max(1, round(length / side)) for length in extent]
        counts, x_edges, y_edges = np.histogram2d(xy[:, 0], xy[:, 1], bins=bins)
        column, row = np.unravel_index(np.argmax(counts), counts.shape)
        corner = np.array([x_edges[column], y_edges[row]])
        inside = xy[((xy >= corner) & (xy <= corner + side)).all(axis=1)]
        if len(inside) <= n_cells or side <= 1e-9:
            break
        side *= 0.8
    left, top = (np.median(inside, axis=0) if len(inside) else corner + side / 2) - side / 2
    return float(left), float(top), side


def draw_comparison(
    adata: anndata.AnnData,
    sets: Mapping[str, pd.DataFrame],
    path: str | Path,
    *,
    taxonomy: str | Path | Taxonomy = "pannuke",
    annotation: pd.DataFrame | None = None,
    um_per_px: float | None = None,
) -> None:
    """Draw label sets of one sample side by side: the whole slide above, a close-up below.

    Parameters
    ----------
    adata
        The table the labels are of, with ``obsm["spatial"]``.
    sets
        Method -> cells (`Labels.cells`), rows in the table's order.
    path
        The png, at most 1600 px wide or high.
    taxonomy
        Colours and the order of the legend.
    annotation
        Manual labels (cell_id, label), drawn as a last column.
    um_per_px
        Micrometres of a unit of ``obsm["spatial"]``, for the scale bars; None: no bars.

    Raises
    ------
    UserError
        If the table has no positions or a set has another number of cells.
    """
    taxonomy = Taxonomy.load(taxonomy)
    xy = positions(adata)
    columns = {method: cells["label"].to_numpy().astype(str) for method, cells in sets.items()}
    for method, labels in columns.items():
        if len(labels) != len(xy):
            raise UserError(
                f"labels of {method}: {len(labels)} cells, the table has {len(xy)}: they are of another sample"
            )
    if annotation is not None:
        ids = next(iter(sets.values()))["cell_id"]
        manual = annotation.set_index("cell_id")["label"].reindex(ids).fillna(taxonomy.unknown.name)
        columns["manual annotation"] = manual.to_numpy().astype(str)
    notes = {name: fractions(labels, taxonomy) for name, labels in columns.items()}
    for method, cells in sets.items():
        if undecided(cells).any():
            notes[method] += f", undecided between classes {100 * undecided(cells).mean():.0f} %"
    per_row = min(len(columns), 4)
    layout = _Layout(close_up(xy), notes, taxonomy, per_row, um_per_px)
    bands = -(-len(columns) // per_row)
    present = [name for name in taxonomy.labels if any(name in set(labels) for labels in columns.values())]
    beside = max(3, 2 * per_row)
    with figure_file(path, 4.0 * per_row, _height(xy, bands), dpi=100) as figure:
        lines = 0.4 + 0.4 * -(-len(present) // beside)
        panels = stacked(figure, [10.0] * bands + [lines])
        names = list(columns)
        for band in range(bands):
            chosen = {name: columns[name] for name in names[band * per_row : (band + 1) * per_row]}
            _band(panels[band], xy, chosen, layout)
        legend(panels[-1], {name: taxonomy.color_of(name) for name in present}, loc="center", ncols=beside)


def _height(xy: np.ndarray, bands: int) -> float:
    """Inches that give whole slides of 4 inches' width their own height (within reason) and room for close-ups."""
    extent = np.ptp(xy, axis=0)
    whole = float(np.clip(4.0 * extent[1] / max(extent[0], 1e-9), 2.0, 6.0))
    return bands * (whole + 4.4 + 0.6) + 0.4


@dataclass(frozen=True)
class _Layout:
    """Layout that the bands of a comparison have in common; `square` is the close-up's left, top and side."""

    square: tuple[float, float, float]
    notes: Mapping[str, str]
    taxonomy: Taxonomy
    per_row: int
    um_per_px: float | None


def _band(panel: SubFigure, xy: np.ndarray, columns: Mapping[str, np.ndarray], layout: _Layout) -> None:
    left, top, side = layout.square
    taxonomy, um_per_px = layout.taxonomy, layout.um_per_px
    whole = float(np.clip(np.ptp(xy[:, 1]) / max(np.ptp(xy[:, 0]), 1e-9), 0.5, 1.5))
    grid = panel.subplots(2, layout.per_row, squeeze=False, height_ratios=[whole, 1.1])
    inside = ((xy >= [left, top]) & (xy <= [left + side, top + side])).all(axis=1)
    for column in range(layout.per_row):
        upper, lower = grid[:, column]
        if column >= len(columns):
            upper.axis("off")
            lower.axis("off")
            continue
        name, labels = list(columns.items())[column]
        map_labels(upper, xy, labels, taxonomy, name, um_per_px)
        upper.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="black", linewidth=0.8))
        if inside.any():
            map_labels(lower, xy[inside], labels[inside], taxonomy, "", um_per_px)
        # A title, for titles do not widen their column; always two lines, so that rows stay level.
        note = wrapped(layout.notes[name])
        lower.set_title(note if "\n" in note else note + "\n ", fontsize=8, loc="left")
        bare(lower)
        for spine in lower.spines.values():
            spine.set_visible(True)
            spine.set_linewidth(0.8)


def fractions(labels: np.ndarray, taxonomy: Taxonomy) -> str:
    """Percentage of each label as text, largest first: ``Connective 41 %, Unknown 3 %``."""
    names, counts = np.unique(labels.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    known = [names[i] for i in order if names[i] in taxonomy.labels]
    fraction = dict(zip(names, counts / max(counts.sum(), 1), strict=True))
    return ", ".join(f"{name} {100 * fraction[name]:.0f} %" for name in known)


def wrapped(text: str, width: int = 46) -> str:
    """Break a list at its commas, so that no line is much longer than `width` characters."""
    lines, line = [], ""
    for word in text.split(", "):
        if line and len(line) + len(word) > width:
            lines.append(line + ",")
            line = word
        else:
            line = f"{line}, {word}" if line else word
    return "\n".join([*lines, line])
