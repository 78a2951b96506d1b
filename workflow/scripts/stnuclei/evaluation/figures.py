"""Figures 2 and 3 of the paper: the same patches by each label method, and by each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from stnuclei.drawing.figure import PAGE, PRINT_DPI, figure_file, legend, scale_bar, show_pixels
from stnuclei.drawing.pixels import class_colors, outline_instances
from stnuclei.errors import UserError
from stnuclei.evaluation.stores import PredictedPatches, TruePatches, open_pair, open_patches
from stnuclei.patches.classes import patch_classes
from stnuclei.taxonomy import Taxonomy

#: Labels as `patch_classes` takes them.
LabelSet: TypeAlias = str | Path | pd.DataFrame | np.ndarray
SCALE = 3  # outlines on enlarged patches stay thin at the size of a page


def figure_labels(
    path: str | Path,
    patches: TruePatches | str | Path,
    labels: Mapping[str, LabelSet],
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
    patches = open_patches(patches)
    taxonomy = Taxonomy.load(taxonomy)
    classes = {name: patch_classes(patches, one, taxonomy) for name, one in labels.items()}
    if indices is None:
        indices = choose_patches(patches, list(classes.values()), n, seed)
    offset = np.asarray(patches.offset[:], np.int64)
    rows = []
    for i in indices:
        image, instances = np.asarray(patches.image[i]), np.asarray(patches.instances[i])
        own = {name: one[offset[i] : offset[i + 1]] for name, one in classes.items()}
        drawn = [outline_instances(image, instances, class_colors(one, taxonomy)) for one in own.values()]
        rows.append([enlarged(image), *drawn])
    draw_patch_grid(path, rows, ["H&E", *labels], patches.um_per_px, class_entries(taxonomy))
    return list(indices)


def figure_predictions(
    path: str | Path,
    patches: TruePatches | str | Path,
    predictions: Mapping[str, PredictedPatches | str | Path],
    labels: LabelSet | None = None,
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
    patches = open_patches(patches)
    taxonomy = Taxonomy.load(taxonomy)
    opened = {name: open_pair(patches, one)[1] for name, one in predictions.items()}
    offset = np.asarray(patches.offset[:], np.int64)
    truth = np.full(offset[-1], -1, np.int8) if labels is None else patch_classes(patches, labels, taxonomy)
    if indices is None:
        indices = choose_patches(patches, [truth], n, seed)
    rows = []
    for i in indices:
        image = np.asarray(patches.image[i])
        true = outline_instances(
            image, np.asarray(patches.instances[i]), class_colors(truth[offset[i] : offset[i + 1]], taxonomy)
        )
        drawn = [
            outline_instances(image, np.asarray(one.instances[i]), class_colors(one.nuclei(i)["class"], taxonomy))
            for one in opened.values()
        ]
        rows.append([enlarged(image), true, *drawn])
    draw_patch_grid(path, rows, ["H&E", "truth", *opened], patches.um_per_px, class_entries(taxonomy))
    return list(indices)


def choose_patches(patches: TruePatches, classes: Sequence[np.ndarray], n: int, seed: int = 0) -> list[int]:
    """Choose `n` patches with many classes and many nuclei; equal ones at random.

    A patch's score is the number of classes that make up a twentieth of its nuclei or more, summed over the label
    sets, then whether it has as many nuclei as three quarters of the patches.
    """
    offset = np.asarray(patches.offset[:], np.int64)
    counts = np.diff(offset)
    if not counts.size:
        raise UserError("the patch store is empty: there is no patch to draw")
    owner = np.repeat(np.arange(len(counts)), counts)
    score = (counts >= np.quantile(counts, 0.75)).astype(float)
    for one in classes:
        known = one > 0
        table = np.zeros((len(counts), int(one.max(initial=0)) + 1))
        np.add.at(table, (owner[known], one[known]), 1)
        score += (table > np.maximum(counts[:, None] / 20, 0.5)).sum(1)
    chance = np.random.default_rng(seed).random(len(counts))
    return np.lexsort((chance, -score))[:n].tolist()


def class_entries(taxonomy: Taxonomy) -> dict[str, str]:
    """Legend of a taxonomy: name -> colour, Unknown last."""
    return {name: taxonomy.color_of(name) for name in (*taxonomy.names, taxonomy.unknown.name)}


def enlarged(image: np.ndarray) -> np.ndarray:
    """Patch enlarged by `SCALE` without smoothing."""
    return np.kron(image, np.ones((SCALE, SCALE, 1), np.uint8))


def draw_patch_grid(
    path: str | Path,
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    um_per_px: float,
    entries: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Draw patches in rows under column titles, a bar of 20 um in the first, a legend below.

    Parameters
    ----------
    rows
        Pictures enlarged by `SCALE`, (H, W, 3) uint8.
    um_per_px
        Of the patches before that.
    entries
        Of the legend: name -> colour.
    notes
        One a row, beside it.
    """
    if not rows:
        raise UserError(f"{path}: there is no patch to draw")
    columns = len(titles)
    side = PAGE / min(columns, 4)
    height = side * len(rows) + 0.55
    with figure_file(path, side * columns, height, dpi=PRINT_DPI, max_px=None, layout=None) as figure:
        panels = figure.subplots(len(rows), columns, squeeze=False)
        for r, row in enumerate(rows):
            for axes, pixels in zip(panels[r], row, strict=True):
                show_pixels(axes, pixels)
            if notes:
                panels[r, 0].set_ylabel(notes[r], fontsize=8)
        for axes, title in zip(panels[0], titles, strict=True):
            axes.set_title(title, fontsize=10, pad=4)
        scale_bar(panels[0, 0], um_per_px / SCALE, um=20)
        figure.subplots_adjust(0.03 if notes else 0.005, 0.3 / height, 0.995, 1 - 0.25 / height, 0.02, 0.02)
        legend(figure, entries, line=True, loc="lower center", ncols=len(entries), fontsize=8)
