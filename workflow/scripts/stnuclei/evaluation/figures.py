"""Figures 2 and 3 of the paper: the same patches by each label method, and by each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
MOST_COLUMNS = 4  # label sets of figure 2: more are too small on a page
SCALE = 3  # outlines on enlarged patches stay thin at the size of a page


@dataclass(frozen=True)
class ShownPatches:
    """Patches of a figure: those named, or `n` chosen where its columns differ most, equals by the seed."""

    indices: Sequence[int] | None = None
    n: int = 3
    seed: int = 0


def figure_labels(
    path: str | Path,
    patches: TruePatches | str | Path,
    labels: Mapping[str, LabelSet],
    taxonomy: str | Taxonomy = "pannuke",
    *,
    annotation: LabelSet | None = None,
    shown: ShownPatches | None = None,
) -> list[int]:
    """Figure 2: the same patches, nuclei outlined by the manual annotation and by the labels of each method.

    Parameters
    ----------
    path
        Picture to write; the ending chooses the format.
    patches
        Patch store, path or opened.
    labels
        Method -> labels as `patch_classes` takes them; the first `MOST_COLUMNS` are drawn.
    annotation
        Manual labels, drawn before them.
    shown
        Which patches; not named, those on which most (annotated) nuclei are labelled differently.

    Returns
    -------
    The patches shown.
    """
    patches, taxonomy, shown = open_patches(patches), Taxonomy.load(taxonomy), shown or ShownPatches()
    indices = shown.indices
    sets = dict(list(labels.items())[:MOST_COLUMNS])
    classes = {name: patch_classes(patches, label_set, taxonomy) for name, label_set in sets.items()}
    manual = None if annotation is None else patch_classes(patches, annotation, taxonomy)
    if indices is None:
        counts = count_differing(patches.offset, list(classes.values()), manual)
        every = list(classes.values()) + ([] if manual is None else [manual])
        indices = choose_patches(patches, every, shown.n, shown.seed, counts)
    columns = classes if manual is None else {"annotation": manual} | classes
    drawn = {name: [_outlined(patches, i, label_set, taxonomy) for i in indices] for name, label_set in columns.items()}
    _draw_columns(path, patches, indices, drawn, taxonomy)
    return list(indices)


def figure_predictions(
    path: str | Path,
    patches: TruePatches | str | Path,
    predictions: Mapping[str, PredictedPatches | str | Path],
    labels: LabelSet | None = None,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    truth: str = "truth",
    scores: Sequence[pd.DataFrame] = (),
    shown: ShownPatches | None = None,
) -> list[int]:
    """Figure 3: H&E, the truth and each model's nuclei side by side, outlined by class.

    Parameters
    ----------
    predictions
        Model -> prediction store of the same patches, path or opened.
    labels
        Classes of the true nuclei; without them the truth is drawn as Unknown.
    truth
        Heading of the truth's column: where its classes are from.
    scores
        Rows of `score_classification` of the models by one policy: patches are chosen where they differ most.
    path, patches, taxonomy, shown
        As for `figure_labels`.

    Returns
    -------
    The patches shown.
    """
    patches, taxonomy, shown = open_patches(patches), Taxonomy.load(taxonomy), shown or ShownPatches()
    indices = shown.indices
    opened = {name: open_pair(patches, source)[1] for name, source in predictions.items()}
    classes = np.full(patches.offset[-1], -1, np.int8) if labels is None else patch_classes(patches, labels, taxonomy)
    if indices is None:
        counts = count_differing_scores(scores, len(patches), taxonomy) if len(scores) > 1 else None
        indices = choose_patches(patches, [classes], shown.n, shown.seed, counts)
    drawn = {truth: [_outlined(patches, i, classes, taxonomy) for i in indices]}
    for name, source in opened.items():
        drawn[name] = [_outlined_prediction(patches, source, i, taxonomy) for i in indices]
    _draw_columns(path, patches, indices, drawn, taxonomy)
    return list(indices)


def _outlined(patches: TruePatches, i: int, classes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Patch with its true nuclei in the colours of their classes (M,)."""
    colors = class_colors(classes[int(patches.offset[i]) : int(patches.offset[i + 1])], taxonomy)
    return outline_instances(np.asarray(patches.image[i]), np.asarray(patches.instances[i]), colors, SCALE)


def _outlined_prediction(patches: TruePatches, predictions: PredictedPatches, i: int, taxonomy: Taxonomy) -> np.ndarray:
    """Patch with its predicted nuclei in the colours of their classes."""
    colors = class_colors(predictions.nuclei(i)["class"], taxonomy)
    return outline_instances(np.asarray(patches.image[i]), np.asarray(predictions.instances[i]), colors, SCALE)


def _draw_columns(
    path: str | Path,
    patches: TruePatches,
    indices: Sequence[int],
    drawn: Mapping[str, Sequence[np.ndarray]],
    taxonomy: Taxonomy,
) -> None:
    """H&E, then the given columns."""
    plain = [enlarged(np.asarray(patches.image[i])) for i in indices]
    rows = list(zip(plain, *drawn.values(), strict=True))
    draw_patch_grid(path, rows, ["H&E", *drawn], patches.um_per_px, class_entries(taxonomy))


def count_differing(
    offset: np.ndarray, classes: Sequence[np.ndarray], annotation: np.ndarray | None = None
) -> np.ndarray:
    """Nuclei of each patch that the label sets class differently, int64 (N,); with an annotation, of those it has."""
    table = np.stack(classes)
    differ = (table != table[0]).any(0)
    if annotation is not None:
        differ = (table != annotation).any(0) & (annotation > 0)
    return np.diff(np.concatenate([[0], np.cumsum(differ)])[np.asarray(offset[:], np.int64)])


def count_differing_scores(scores: Sequence[pd.DataFrame], n_patches: int, taxonomy: Taxonomy) -> np.ndarray:
    """Differences between models by patch: of their counts of (true, predicted) classes, float64 (N,)."""
    keys = ["patch", "true", "pred"]
    known = [table[table["true"].isin(taxonomy.names)].astype({"true": str, "pred": str}) for table in scores]
    counts = pd.concat([table.groupby(keys)["count"].sum() for table in known], axis=1).fillna(0)
    spread = (counts.max(axis=1) - counts.min(axis=1)).groupby(level="patch").sum()
    return spread.reindex(range(n_patches), fill_value=0).to_numpy(float)


def choose_patches(
    patches: TruePatches,
    classes: Sequence[np.ndarray],
    n: int,
    seed: int = 0,
    differing: np.ndarray | None = None,
) -> list[int]:
    """Choose `n` patches: where `differing` (N,) is largest, then those with many classes and many nuclei.

    Equal ones are drawn at random.

    A patch's score is the number of classes that make up a twentieth of its nuclei or more, summed over the label
    sets, then whether it has as many nuclei as three quarters of the patches.
    """
    offset = np.asarray(patches.offset[:], np.int64)
    counts = np.diff(offset)
    if not counts.size:
        raise UserError("the patch store is empty: there is no patch to draw")
    owner = np.repeat(np.arange(len(counts)), counts)
    score = (counts >= np.quantile(counts, 0.75)).astype(float)
    for class_ids in classes:
        known = class_ids > 0
        table = np.zeros((len(counts), int(class_ids.max(initial=0)) + 1))
        np.add.at(table, (owner[known], class_ids[known]), 1)
        score += (table > np.maximum(counts[:, None] / 20, 0.5)).sum(1)
    chance = np.random.default_rng(seed).random(len(counts))
    first = np.zeros(len(counts)) if differing is None else differing
    return np.lexsort((chance, -score, -first))[:n].tolist()


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
        top = 0.25 + 0.16 * max(title.count("\n") for title in titles)
        figure.subplots_adjust(0.03 if notes else 0.005, 0.3 / height, 0.995, 1 - top / height, 0.02, 0.02)
        legend(figure, entries, line=True, loc="lower center", ncols=len(entries), fontsize=8)
