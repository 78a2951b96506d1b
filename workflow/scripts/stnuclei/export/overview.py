"""The whole slide at a glance: every nucleus in the colour of its class, beside the H&E."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from stnuclei.export.canvas import (
    class_legend,
    colour_table,
    draw_outlines,
    fill_shapes,
    picture,
    read_view,
    scale_bar,
    show,
    stamp_points,
)
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.slides.slide import Slide

_LONGEST = 1100  # px of a panel's longer side
_FILLED_PX = 4.0  # nuclei at least so wide are drawn with their outline, smaller ones as points
_TEXT = 0.9  # inches a figure has for title and legend


def draw_overview(nuclei: str | Path | NucleiFile, path: str | Path, slide: Slide | None = None) -> None:
    """Draw all nuclei of a slide.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened; read in pieces.
    path
        The png, at most 1600 px a side.
    slide
        The H&E: shown beside, and paled below the nuclei. None: nuclei on white.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    width, height = _size(nuclei)
    scale = min(1.0, _LONGEST / max(width, height))
    if slide is None:
        paper, plain = np.full((max(1, round(height * scale)), max(1, round(width * scale)), 3), 255, np.uint8), None
    else:
        plain, scale = read_view(slide, (0, 0, width, height), _LONGEST)
        paper = (255 - (255 - plain.astype(np.float32)) * 0.35).astype(np.uint8)
    counts = _draw_nuclei(nuclei, paper, scale)
    panels = [paper] if plain is None else [plain, paper]
    beside = height > 0.8 * width or plain is None
    inches = 7.0 / max(width, height) * np.array([width, height])
    rows, columns = (1, len(panels)) if beside else (len(panels), 1)
    with picture(path, inches[0] * columns + 0.2, inches[1] * rows + _TEXT) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        name = nuclei.metadata["slide"]
        titles = [f"{name}: {sum(counts.values()):,} nuclei"] if plain is None else [name, "nuclei by class"]
        for one, pixels, title in zip(axes, panels, titles, strict=True):
            show(one, pixels, title)
        scale_bar(axes[0], nuclei.um_per_px / scale)
        class_legend(figure, counts, nuclei.taxonomy)


def _size(nuclei: NucleiFile) -> tuple[float, float]:
    """Width and height of the slide, he_px; of the nuclei where there is no slide."""
    if nuclei.metadata.get("width"):
        return float(nuclei.metadata["width"]), float(nuclei.metadata["height"])
    size = np.ones(2)
    for batch in nuclei.arrow_batches(["centroid_x", "centroid_y"]):
        size = np.maximum(size, [np.max(column.to_numpy(), initial=1.0) for column in batch.columns])
    return float(size[0]) * 1.02, float(size[1]) * 1.02


def _draw_nuclei(nuclei: NucleiFile, paper: np.ndarray, scale: float) -> dict[str, int]:
    """Draw onto `paper` in place; number of nuclei of each class that occurs, in the taxonomy's order."""
    columns = ["class_id", "centroid_x", "centroid_y", "area_um2", "geometry"]
    taxonomy, colours, rng = nuclei.taxonomy, colour_table(nuclei.taxonomy), np.random.default_rng(0)
    counts, side = np.zeros(len(colours), np.int64), _point_px(nuclei, paper, scale)
    for batch in nuclei.arrow_batches(columns):
        # Shuffled: no class lies over another because of its place in the file.
        order = rng.permutation(len(batch))
        class_id, x, y, area = (batch[name].to_numpy()[order] for name in columns[:4])
        counts += np.bincount(class_id + 1, minlength=len(colours))
        chosen = colours[class_id + 1]
        wide = np.sqrt(np.median(area)) / nuclei.um_per_px * scale if len(batch) else 0
        if wide >= _FILLED_PX:
            shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False)[order])
            draw_outlines(paper, shapes, chosen, scale, thickness=1)
            fill_shapes(paper, shapes, chosen, scale)
        else:
            stamp_points(paper, np.stack([x, y], 1) * scale, chosen, side)
    names = [taxonomy.unknown.name, taxonomy.unknown.name, *taxonomy.names]
    return {names[row]: int(counts[row]) for row in [*range(2, len(names)), 0] if counts[row]}


def _point_px(nuclei: NucleiFile, paper: np.ndarray, scale: float) -> int:
    """Side of a point, px: as wide as nuclei lie apart on average, 1 to 4."""
    mm2 = nuclei.metadata.get("tissue_mm2")
    area = paper.shape[0] * paper.shape[1] if not mm2 else mm2 * 1e6 * (scale / nuclei.um_per_px) ** 2
    return int(np.clip(round(0.85 * np.sqrt(area / max(len(nuclei), 1))), 1, 4))
