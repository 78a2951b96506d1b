"""Figures 2 and 3 of the paper from our data, and the pictures that show where a model fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stnuclei.errors import UserError
from stnuclei.evaluation.charts import figure_calibration, figure_confusion, figure_pq
from stnuclei.evaluation.drawing import PAGE, SCALE, class_colors, legend, outline, rgb, save_figure
from stnuclei.evaluation.mistakes import trace_mistakes
from stnuclei.evaluation.overlap import joint_histogram
from stnuclei.evaluation.stores import open_pair
from stnuclei.patches.classes import patch_classes
from stnuclei.taxonomy import Taxonomy

__all__ = [
    "choose_patches",
    "error_atlas",
    "figure_calibration",
    "figure_confusion",
    "figure_labels",
    "figure_pq",
    "figure_predictions",
]

MISTAKE_COLORS = {
    "missed": "#D55E00",
    "invented": "#0072B2",
    "split": "#CC79A7",
    "merged": "#E69F00",
    "outline": "#F0E442",
    "class": "#56B4E9",
    "right": "#009E73",
}


def figure_labels(
    path: str | Path,
    patches: Any,
    labels: Mapping[str, Any],
    taxonomy: str | Taxonomy = "pannuke",
    *,
    indices: Sequence[int] | None = None,
    n: int = 3,
    seed: int = 0,
) -> list[int]:
    """Figure 2: the same patches, nuclei outlined by the labels of each method.

    Parameters
    ----------
    path
        Where the picture is written; the ending tells the format.
    patches
        Patch store, path or opened.
    labels
        Method -> labels as `patch_classes` takes them.
    indices
        Patches to show (default: `n` with the most varied labels, see `choose_patches`).

    Returns
    -------
    The patches shown.
    """
    patches = _opened(patches)
    taxonomy = Taxonomy.load(taxonomy)
    classes = {name: patch_classes(patches, one, taxonomy) for name, one in labels.items()}
    if indices is None:
        indices = choose_patches(patches, list(classes.values()), n, seed)
    offset = np.asarray(patches.offset[:], np.int64)
    rows = []
    for i in indices:
        image, instances = np.asarray(patches.image[i]), np.asarray(patches.instances[i])
        own = {name: one[offset[i] : offset[i + 1]] for name, one in classes.items()}
        drawn = [outline(image, instances, class_colors(one, taxonomy)) for one in own.values()]
        rows.append([_plain(image), *drawn])
    _grid(path, rows, ["H&E", *labels], taxonomy, _bar_um(patches))
    return list(indices)


def figure_predictions(
    path: str | Path,
    patches: Any,
    predictions: Mapping[str, Any],
    labels: Any = None,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    indices: Sequence[int] | None = None,
    n: int = 3,
    seed: int = 0,
) -> list[int]:
    """Figure 3: H&E, the truth and each model's nuclei side by side, outlined by class.

    Parameters
    ----------
    predictions
        Model -> prediction store of the same patches, path or opened.
    labels
        Classes of the true nuclei; without them the truth is drawn as Unknown.
    path, patches, taxonomy, indices, n, seed
        As for `figure_labels`.

    Returns
    -------
    The patches shown.
    """
    patches = _opened(patches)
    taxonomy = Taxonomy.load(taxonomy)
    opened = {name: open_pair(patches, one)[1] for name, one in predictions.items()}
    offset = np.asarray(patches.offset[:], np.int64)
    truth = np.full(offset[-1], -1, np.int8) if labels is None else patch_classes(patches, labels, taxonomy)
    if indices is None:
        indices = choose_patches(patches, [truth], n, seed)
    rows = []
    for i in indices:
        image = np.asarray(patches.image[i])
        true = outline(
            image, np.asarray(patches.instances[i]), class_colors(truth[offset[i] : offset[i + 1]], taxonomy)
        )
        drawn = [
            outline(image, np.asarray(one.instances[i]), class_colors(one.nuclei(i)["class"], taxonomy))
            for one in opened.values()
        ]
        rows.append([_plain(image), true, *drawn])
    _grid(path, rows, ["H&E", "truth", *opened], taxonomy, _bar_um(patches))
    return list(indices)


def choose_patches(patches: Any, classes: Sequence[np.ndarray], n: int, seed: int = 0) -> list[int]:
    """`n` patches with many kinds of nuclei and many nuclei; equal ones by chance.

    A patch's mark is the number of classes that make up a twentieth of its nuclei or more, summed over the label
    sets, then whether it has as many nuclei as three quarters of the patches.
    """
    offset = np.asarray(patches.offset[:], np.int64)
    counts = np.diff(offset)
    if not counts.size:
        raise UserError("the patch store is empty: there is no patch to draw")
    owner = np.repeat(np.arange(len(counts)), counts)
    mark = (counts >= np.quantile(counts, 0.75)).astype(float)
    for one in classes:
        known = one > 0
        table = np.zeros((len(counts), int(one.max(initial=0)) + 1))
        np.add.at(table, (owner[known], one[known]), 1)
        mark += (table > np.maximum(counts[:, None] / 20, 0.5)).sum(1)
    chance = np.random.default_rng(seed).random(len(counts))
    return np.lexsort((chance, -mark))[:n].tolist()


def error_atlas(
    path: str | Path,
    patches: Any,
    predictions: Any,
    scores: pd.DataFrame,
    labels: Any = None,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    n: int = 6,
) -> list[int]:
    """The patches with the lowest PQ: H&E, truth and prediction, every nucleus coloured by what happened to it.

    Parameters
    ----------
    scores
        Rows of `score_segmentation` for one policy (columns ``patch``, ``pq``, ``n_true``).
    labels
        Classes of the true nuclei: matched nuclei of another class are marked, too.

    Returns
    -------
    The patches shown, worst first; patches with fewer than five true nuclei are passed over where there are others.
    """
    patches, predictions = open_pair(patches, predictions)
    taxonomy = Taxonomy.load(taxonomy)
    offset = np.asarray(patches.offset[:], np.int64)
    classes = None if labels is None else patch_classes(patches, labels, taxonomy)
    dense = scores[scores["n_true"] >= 5]
    worst = (dense if len(dense) >= n else scores).dropna(subset="pq").nsmallest(n, "pq")
    rows, notes = [], []
    for i, pq in zip(worst["patch"], worst["pq"], strict=True):
        image, true, pred = patches.image[i], np.asarray(patches.instances[i]), np.asarray(predictions.instances[i])
        kinds = None if classes is None else (classes[offset[i] : offset[i + 1]], predictions.nuclei(i)["class"])
        marks = trace_mistakes(joint_histogram(true, pred), kinds)
        drawn = [outline(np.asarray(image), *_by_mistake(*pair)) for pair in zip((true, pred), marks, strict=True)]
        rows.append([_plain(np.asarray(image)), *drawn])
        notes.append(f"patch {i}, PQ {pq:.2f}")
    colors = MISTAKE_COLORS if classes is not None else {k: c for k, c in MISTAKE_COLORS.items() if k != "class"}
    entries = (list(colors), list(colors.values()))
    _grid(path, rows, ["H&E", "truth", "prediction"], taxonomy, _bar_um(patches), notes, entries)
    return worst["patch"].tolist()


def _by_mistake(instances: np.ndarray, marks: Mapping[int, str]) -> tuple[np.ndarray, np.ndarray]:
    colors = np.zeros((int(instances.max(initial=0)), 3), np.uint8)
    for k, kind in marks.items():
        colors[k - 1] = rgb(MISTAKE_COLORS[kind])
    return instances, colors


def _opened(patches: Any) -> Any:
    if isinstance(patches, str | Path):
        from stnuclei.patches import PatchStore

        return PatchStore(patches)
    return patches


def _plain(image: np.ndarray) -> np.ndarray:
    return np.kron(image, np.ones((SCALE, SCALE, 1), np.uint8))


def _bar_um(patches: Any) -> float:
    """um of one enlarged pixel."""
    return float(getattr(patches, "um_per_px", 0.25)) / SCALE


def _grid(
    path: str | Path,
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    taxonomy: Taxonomy,
    um_per_px: float,
    notes: Sequence[str] = (),
    entries: tuple[Sequence[str], Sequence[str]] | None = None,
) -> None:
    """Pictures in rows under column titles, a bar of 20 um in the first, a line of colours below."""
    if not rows:
        raise UserError(f"{path}: there is no patch to draw")
    columns = len(titles)
    side = PAGE / min(columns, 4)
    figure = Figure(figsize=(side * columns, side * len(rows) + 0.55))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for r, row in enumerate(rows):
        for axes, picture in zip(panels[r], row, strict=True):
            axes.imshow(picture, interpolation="antialiased")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        if notes:
            panels[r, 0].set_ylabel(notes[r], fontsize=8)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=10, pad=4)
    _scale_bar(panels[0, 0], um_per_px)
    height = figure.get_figheight()
    figure.subplots_adjust(0.03 if notes else 0.005, 0.3 / height, 0.995, 1 - 0.25 / height, 0.02, 0.02)
    names = [*taxonomy.names, taxonomy.unknown.name]
    legend(figure, *(entries or (names, [taxonomy.color_of(name) for name in names])))
    save_figure(figure, path)


def _scale_bar(axes: Any, um_per_px: float, um: float = 20.0) -> None:
    height = axes.images[0].get_array().shape[0]
    x, y, length = 0.04 * height, 0.94 * height, um / um_per_px
    axes.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    axes.text(x + length / 2, y - 0.02 * height, f"{um:g} \N{MICRO SIGN}m", ha="center", va="bottom", fontsize=7)
