"""Close-ups: H&E, and below it the same with every nucleus outlined in the colour of its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import shapely
from shapely import affinity

from stnuclei.drawing.figure import figure_file, legend, scale_bar, show_pixels
from stnuclei.drawing.pixels import class_colors, outline_polygons
from stnuclei.export.overview import count_entries
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.slides.slide import Slide

WINDOW_UM = 100.0
_SIDE = 520  # px of a close-up
_MARGIN_UM = 20.0  # nuclei whose centroid is so near outside a square still reach into it
Box = tuple[float, float, float, float]


def choose_windows(nuclei: NucleiFile, n: int = 3, um: float = WINDOW_UM) -> list[Box]:
    """Choose squares of the slide with many classes and many nuclei, not side by side.

    Parameters
    ----------
    nuclei
        Of a slide; read in pieces.
    n
        Squares at most; fewer where fewer hold nuclei.
    um
        Side of a square.

    Returns
    -------
    x0, y0, x1, y1 he_px each, the best first.
    """
    side = um / nuclei.um_per_px
    columns = max(1, int(nuclei.metadata["width"] // side))
    rows = max(1, int(nuclei.metadata["height"] // side))
    counts = np.zeros((nuclei.taxonomy.n_outputs, rows, columns))
    for batch in nuclei.arrow_batches(["class_id", "centroid_x", "centroid_y"]):
        class_id, x, y = (column.to_numpy() for column in batch.columns)
        inside = (x < columns * side) & (y < rows * side)
        bins = ((y[inside] / side).astype(int), (x[inside] / side).astype(int))
        np.add.at(counts, (np.maximum(class_id[inside], 0), *bins), 1)
    total = counts.sum(0)
    varied = (counts[1:] >= np.maximum(0.05 * total, 1)).sum(0)
    score = np.where(total > 0, varied + np.minimum(total / max(np.quantile(total, 0.95), 1.0), 1.0), 0)
    boxes: list[Box] = []
    for index in np.argsort(-score.ravel(), kind="stable"):
        row, column = divmod(int(index), columns)
        near = any(abs(row - b[1] / side) + abs(column - b[0] / side) < 1.5 for b in boxes)
        if score[row, column] > 0 and not near:
            # On whole pixels, so that the picture and the outlines have one corner.
            left, top, right, bottom = (float(round(at * side)) for at in (column, row, column + 1, row + 1))
            boxes.append((left, top, right, bottom))
        if len(boxes) == n:
            break
    return boxes


def draw_zooms(
    nuclei: str | Path | NucleiFile,
    slide: Slide,
    path: str | Path,
    boxes: Sequence[Box] | None = None,
    *,
    n: int = 3,
    um: float = WINDOW_UM,
) -> None:
    """Draw close-ups of a slide.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened.
    slide
        The H&E.
    path
        The png, at most 1600 px wide.
    boxes
        Squares to show, he_px; None: `choose_windows`.
    n, um
        How many, and how wide.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    boxes = choose_windows(nuclei, n, um) if boxes is None else list(boxes)
    in_boxes = nuclei_in(nuclei, boxes)
    columns = max(1, len(boxes))
    with figure_file(path, 4.6 * columns, 9.9 if boxes else 1.5) as figure:
        if not boxes:
            figure.text(0.5, 0.5, f"{nuclei.metadata['slide']}: no nucleus found", ha="center", va="center")
            return
        panels = figure.subplots(2, columns, squeeze=False)
        for column, (box, (shapes, class_id)) in enumerate(zip(boxes, in_boxes, strict=True)):
            plain, scale = enlarged(slide, box)
            marked = plain.copy()
            moved = np.array([affinity.translate(shape, -box[0], -box[1]) for shape in shapes], dtype=object)
            outline_polygons(marked, moved, class_colors(class_id, nuclei.taxonomy), scale)
            x, y = (box[0] * nuclei.um_per_px / 1000, box[1] * nuclei.um_per_px / 1000)
            show_pixels(panels[0, column], plain, f"H&E at x {x:.2f}, y {y:.2f} mm")
            show_pixels(panels[1, column], marked, "nuclei by class")
            scale_bar(panels[0, column], nuclei.um_per_px / scale)
        ids = np.concatenate([class_id for _, class_id in in_boxes])
        classes = (*nuclei.taxonomy.classes, nuclei.taxonomy.unknown)
        counts = {entry.name: int((ids == entry.id).sum()) for entry in classes}
        counts[nuclei.taxonomy.unknown.name] += int((ids == 0).sum())
        legend(figure, count_entries({name: n for name, n in counts.items() if n}, nuclei.taxonomy))


def enlarged(slide: Slide, box: Box, side: int = _SIDE) -> tuple[np.ndarray, float]:
    """Pixels of a square at about `side` px, and px of the picture a he_px."""
    x0, y0, x1, y1 = (round(value) for value in box)
    pixels = slide.read(0, y0, y1, x0, x1)
    scale = side / max(x1 - x0, y1 - y0)
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(pixels, size, interpolation=method)), scale


def nuclei_in(nuclei: NucleiFile, boxes: Sequence[Box]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outlines (n,) and class ids (n,) of the nuclei in each box or reaching into it, in one pass over the file."""
    more = _MARGIN_UM / nuclei.um_per_px
    by_box: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in boxes]
    for batch in nuclei.arrow_batches(["class_id", "centroid_x", "centroid_y", "geometry"]):
        class_id, x, y = (batch[name].to_numpy() for name in ("class_id", "centroid_x", "centroid_y"))
        for box, blocks in zip(boxes, by_box, strict=True):
            across, down = (x >= box[0] - more) & (x < box[2] + more), (y >= box[1] - more) & (y < box[3] + more)
            rows = np.flatnonzero(across & down)
            if len(rows):
                outlines = batch["geometry"].take(rows).to_numpy(zero_copy_only=False)
                blocks.append((shapely.from_wkb(outlines), class_id[rows]))
    empty = (np.zeros(0, object), np.zeros(0, np.int8))
    joined = [[np.concatenate(column) for column in zip(empty, *blocks, strict=True)] for blocks in by_box]
    return [(outlines, classes) for outlines, classes in joined]
