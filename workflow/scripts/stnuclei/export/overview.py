"""Overview of a slide: every nucleus in the colour of its class, beside the H&E."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from stnuclei.drawing.figure import figure_file, legend, scale_bar, show_pixels
from stnuclei.drawing.pixels import class_colors, fill_polygons, outline_polygons, stamp_points
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.slides.slide import Slide
from stnuclei.slides.view import read_view
from stnuclei.taxonomy import Taxonomy

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
    name = nuclei.metadata["slide"]
    if plain is None:
        panels = {f"{name}: {sum(counts.values()):,} nuclei": paper}
    else:
        panels = {name: plain, "nuclei by class": paper}
    beside = height > 0.8 * width or plain is None
    inches = 7.0 / max(width, height) * np.array([width, height])
    rows, columns = (1, len(panels)) if beside else (len(panels), 1)
    with figure_file(path, inches[0] * columns + 0.2, inches[1] * rows + _TEXT) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, pixels) in zip(grid, panels.items(), strict=True):
            show_pixels(axes, pixels, title)
        scale_bar(grid[0], nuclei.um_per_px / scale)
        legend(figure, count_entries(counts, nuclei.taxonomy))


def _size(nuclei: NucleiFile) -> tuple[float, float]:
    """Width and height of the slide, he_px; of the nuclei where there is no slide."""
    if nuclei.metadata.get("width"):
        return float(nuclei.metadata["width"]), float(nuclei.metadata["height"])
    size = np.ones(2)
    for batch in nuclei.arrow_batches(["centroid_x", "centroid_y"]):
        size = np.maximum(size, [np.max(column.to_numpy(), initial=1.0) for column in batch.columns])
    return float(size[0]) * 1.02, float(size[1]) * 1.02


def _draw_nuclei(nuclei: NucleiFile, paper: np.ndarray, scale: float) -> dict[str, int]:
    """Draw onto `paper` in place; number of nuclei of each class that occurs, in the taxonomy's order, Unknown last."""
    taxonomy, rng, side = nuclei.taxonomy, np.random.default_rng(0), _point_px(nuclei, paper, scale)
    counts = np.zeros(taxonomy.n_outputs + 1, np.int64)
    for batch in nuclei.arrow_batches(["class_id", "centroid_x", "centroid_y", "area_um2", "geometry"]):
        # Shuffled: no class covers another by its position in the file.
        batch = batch.take(pa.array(rng.permutation(len(batch))))
        class_id, x, y, area = (column.to_numpy() for column in batch.columns[:4])
        counts += np.bincount(class_id + 1, minlength=len(counts))
        colors = class_colors(class_id, taxonomy)
        wide = np.sqrt(np.median(area)) / nuclei.um_per_px * scale if len(batch) else 0
        if wide >= _FILLED_PX:
            polygons = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
            outline_polygons(paper, polygons, colors, scale, thickness=1)
            fill_polygons(paper, polygons, colors, scale)
        else:
            stamp_points(paper, np.stack([x, y], 1) * scale, colors, side)
    known = dict(zip(taxonomy.names, counts[2:].tolist(), strict=True))
    known[taxonomy.unknown.name] = int(counts[:2].sum())
    return {name: count for name, count in known.items() if count}


def _point_px(nuclei: NucleiFile, paper: np.ndarray, scale: float) -> int:
    """Side of a point, px: as wide as nuclei lie apart on average, 1 to 4."""
    mm2 = nuclei.metadata.get("tissue_mm2")
    area = paper.shape[0] * paper.shape[1] if not mm2 else mm2 * 1e6 * (scale / nuclei.um_per_px) ** 2
    return int(np.clip(round(0.85 * np.sqrt(area / max(len(nuclei), 1))), 1, 4))


def count_entries(counts: dict[str, int], taxonomy: Taxonomy) -> dict[str, str]:
    """Legend of the classes that occur, with their number of nuclei: text -> colour."""
    total = max(1, sum(counts.values()))
    return {
        f"{name} {count:,} ({100 * count / total:.0f} %)": taxonomy.color_of(name) for name, count in counts.items()
    }
