"""Pictures of a slide's quality: tissue map, regions drawn by hand, and nuclei over pixels where they were checked."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from stnuclei.drawing.figure import figure_file, legend, scale_bar, show_pixels, stacked
from stnuclei.io.regions import Regions
from stnuclei.io.sample import Sample
from stnuclei.quality.alignment_report import AlignmentReport
from stnuclei.quality.shift import transform
from stnuclei.quality.tiles import SIDE, WORKING_UM, nuclei_in
from stnuclei.quality.tissue_map import COLOURS, NAMES, TISSUE, TissueMap
from stnuclei.slides.slide import Slide
from stnuclei.slides.view import read_view

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_DPI = 110
_ZOOM_UM = 100.0
COLORS = {"tumour": "#D55E00", "normal": "#009E73", "include": "#0072B2", "exclude": "#000000"}
_LONGEST = 1100  # px of the picture's longer side


def draw_tissue(tissue: TissueMap, path: str | Path) -> None:
    """Draw the slide's overview with the outline of each class and its percentage of the area."""
    height, width = tissue.classes.shape
    inches = 9.0 * max(min(height / width, 1.35), 0.35)
    with figure_file(path, 9.0, inches + 0.9, dpi=_DPI) as figure:
        axes = figure.subplots()
        show_overview(axes, tissue)
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=11)


def show_overview(axes: Axes, tissue: TissueMap) -> None:
    """Show a slide's overview with axes in mm, each class outlined, what is excluded also tinted."""
    shade = np.uint8(255) - 60 * (tissue.classes > 0).astype(np.uint8)
    overview = tissue.overview if tissue.overview is not None else shade
    height, width = (side * tissue.um_per_px / 1000 for side in tissue.classes.shape)
    axes.imshow(overview, cmap="gray", vmin=0, vmax=255, extent=(0.0, width, height, 0.0))
    extent = (0.0, width, 0.0, height)  # of contours, whose first row is the lowest y
    for value in (1, 2, 3):
        mask = tissue.classes == value
        if mask.any() and not mask.all():
            if value != TISSUE:
                axes.contourf(mask, levels=[0.5, 1.5], colors=[COLOURS[value]], alpha=0.35, extent=extent)
            axes.contour(mask, levels=[0.5], colors=[COLOURS[value]], linewidths=1.2, extent=extent)
        axes.plot([], [], color=COLOURS[value], linewidth=4, label=f"{NAMES[value]} {100 * mask.mean():.1f} %")
    axes.set(xlabel="x (mm)", ylabel="y (mm)", aspect="equal", xlim=(0.0, width), ylim=(height, 0.0))


def draw_alignment(report: AlignmentReport, sample: Sample, tissue: TissueMap | None, path: str | Path) -> None:
    """Draw the tiles that were measured, their shifts, and nuclei on the best, median and worst tile.

    Parameters
    ----------
    report
        Of `check_alignment` on this sample; its correction is applied to the nuclei drawn.
    sample, tissue
        As given to `check_alignment`.
    path
        PNG.
    """
    nuclei = sample.nuclei
    if not np.allclose(report.correction, np.eye(3)):
        nuclei = transform(nuclei, report.correction)
    with figure_file(path, 13.0, 9.0, dpi=_DPI) as figure:
        colour = "#1a7f37" if report.passed else "#b42318"
        figure.suptitle("\n".join(textwrap.wrap(report.message, 120)), fontsize=12, color=colour)
        top, bottom = stacked(figure, [1.15, 1.0])
        overview, shifts = top.subplots(1, 2)
        _draw_tiles(overview, report, sample, tissue)
        _draw_shifts(shifts, report)
        zooms = bottom.subplots(1, 3)
        tiles = _best_median_worst(report)
        for axes, (name, row) in zip(zooms, tiles, strict=False):
            _draw_zoom(axes, name, report.tiles.iloc[row], sample, nuclei)
        for axes in zooms[len(tiles) :]:
            axes.set_axis_off()


def _best_median_worst(report: AlignmentReport) -> list[tuple[str, int]]:
    """Best, median and worst tile by the fraction of nuclei darker than their ring."""
    if report.tiles.empty:
        return []
    order = np.argsort(-report.tiles["darker_fraction"].to_numpy(), kind="stable")
    return [("best", int(order[0])), ("median", int(order[len(order) // 2])), ("worst", int(order[-1]))]


def _draw_tiles(axes: Axes, report: AlignmentReport, sample: Sample, tissue: TissueMap | None) -> None:
    mm = sample.um_per_px / 1000
    height, width = sample.he.shape[:2]
    if tissue is not None:
        show_overview(axes, tissue)
    side = SIDE * WORKING_UM / 1000
    tiles = report.tiles
    for x, y in zip(tiles["x"] * mm, tiles["y"] * mm, strict=True):
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, color="#1f4e99", linewidth=0.8))
    for name, row in _best_median_worst(report):
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
        # A tile at the slide's edge has its middle outside: its name is brought back in.
        at = np.clip((tiles["x"][row], tiles["y"][row]), 0, (0.96 * width, 0.96 * height)) * mm
        axes.annotate(name, at, ha="center", va="center", fontsize=9, color="black", bbox=box)
    axes.set_title(f"{len(tiles)} tiles measured", fontsize=11)


def _draw_shifts(axes: Axes, report: AlignmentReport) -> None:
    tiles = report.tiles
    sure = tiles[tiles["sure"]] if len(tiles) else tiles
    limit = report.details["max_shift_um"]
    axes.add_patch(Circle((0, 0), limit, fill=False, color="#b42318", linestyle="--", label=f"limit {limit:g} um"))
    axes.scatter(sure["shift_x_um"], sure["shift_y_um"], s=18, color="#1f4e99", alpha=0.6, label=f"{len(sure)} tiles")
    last = report.details.get("after_correction", {"shift_um": report.shift_um})["shift_um"]
    axes.plot(*last, "x", color="black", markersize=11, markeredgewidth=2.5, label="all tiles together")
    reach = 1.2 * max(
        2 * limit,
        float(np.hypot(*last)),
        float(np.percentile(np.hypot(sure["shift_x_um"], sure["shift_y_um"]), 90)) if len(sure) else 0,
    )
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xlabel="shift x (um)", ylabel="shift y (um)")
    axes.axhline(0, color="#dddddd", zorder=0)
    axes.axvline(0, color="#dddddd", zorder=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=9, frameon=False)
    axes.set_title("by how much nuclei would have to move", fontsize=11)


def _box(tile: pd.Series, um_per_px: float) -> tuple[np.ndarray, float]:
    """Corner and side of a tile, he_px."""
    side = SIDE * WORKING_UM / um_per_px
    return np.array([tile["x"], tile["y"]]) - side / 2, side


def _corner(polygons: np.ndarray, rows: np.ndarray, tile: pd.Series, size: int) -> tuple[int, int]:
    """Corner of a window around the nucleus that has most others near it."""
    centres = shapely.get_coordinates(shapely.centroid(polygons[rows]))
    if not len(centres):
        return round(tile["x"] - size / 2), round(tile["y"] - size / 2)
    near = (np.abs(centres[:, None] - centres[None]).max(axis=2) < size / 2).sum(axis=1)
    x, y = centres[near.argmax()] - size / 2
    return round(float(x)), round(float(y))


def _draw_zoom(axes: Axes, name: str, tile: pd.Series, sample: Sample, nuclei: GeoDataFrame) -> None:
    size = round(_ZOOM_UM / sample.um_per_px)
    x0, y0 = _corner(nuclei.geometry.to_numpy(), nuclei_in(nuclei, *_box(tile, sample.um_per_px)), tile, size)
    axes.imshow(sample.he.read(0, y0, y0 + size, x0, x0 + size), extent=(x0, x0 + size, y0 + size, y0))
    for polygon in nuclei.geometry.to_numpy()[nuclei_in(nuclei, np.array([x0, y0]), size)]:
        axes.plot(*shapely.get_coordinates(polygon.exterior).T, color="#00e5ff", linewidth=1.1)
    axes.set(xlim=(x0, x0 + size), ylim=(y0 + size, y0), xticks=[], yticks=[])
    scale_bar(axes, sample.um_per_px)
    shift = f"shift ({tile['shift_x_um']:.1f}, {tile['shift_y_um']:.1f}) um" if tile["sure"] else "shift not sure"
    axes.set_title(f"{name}: {100 * tile['darker_fraction']:.0f} % darker, {shift}", fontsize=10)


def draw_regions(slide: Slide, um_per_px: float, regions: Regions, path: str | Path) -> None:
    """Draw the outline of every region on the slide, in the colour of its role; what is left out is hatched.

    Parameters
    ----------
    slide
        The H&E.
    um_per_px
        Its pixel size.
    regions
        From `stnuclei.io.regions.read_regions`.
    path
        PNG.
    """
    height, width = slide.shape[:2]
    pixels, scale = read_view(slide, (0, 0, width, height), _LONGEST)
    inches = 8.0 / max(pixels.shape[:2]) * np.array(pixels.shape[:2])
    with figure_file(path, max(inches[1], 3.0), inches[0] + 0.7) as figure:
        axes = figure.subplots()
        show_pixels(axes, pixels)
        limits = axes.get_xlim(), axes.get_ylim()
        for role, outline in regions.drawn:
            for part in shapely.get_parts(outline):
                if part.geom_type == "Polygon":
                    ring = shapely.get_coordinates(part.exterior) * scale
                    hatch = "//" if role == "exclude" else None
                    axes.fill(*ring.T, facecolor="none", edgecolor=COLORS[role], linewidth=2, hatch=hatch)
        axes.set(xlim=limits[0], ylim=limits[1])
        scale_bar(axes, um_per_px / scale)
        areas = {role: shapely.union_all([one for name, one in regions.drawn if name == role]).area for role in COLORS}
        mm2 = {role: area * um_per_px**2 / 1e6 for role, area in areas.items() if area}
        legend(figure, [(f"{role}, {area:.3g} mm2", COLORS[role]) for role, area in mm2.items()], line=True)
