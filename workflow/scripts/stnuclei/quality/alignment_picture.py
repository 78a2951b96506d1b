"""The alignment check as a picture: where it looked, and nuclei over pixels at the best, median and worst place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from stnuclei.quality.pictures import new_figure, save_figure, show_overview
from stnuclei.quality.refine import transform
from stnuclei.quality.tiles import SIDE, WORKING_UM, nuclei_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stnuclei.quality.alignment_report import AlignmentReport

_ZOOM_UM = 100.0


def draw_alignment(report: AlignmentReport, picture: dict[str, Any], path: str | Path) -> None:
    """Draw the report's picture, PNG; `picture` holds sample, tissue map and correction."""
    figure = new_figure(13.0, 9.0)
    colour = "#1a7f37" if report.passed else "#b42318"
    figure.suptitle(_wrapped(report.message), fontsize=12, color=colour)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.15, 1.0))
    overview, arrows = top.subplots(1, 2)
    _draw_overview(overview, report, picture)
    _draw_shifts(arrows, report)
    zooms = bottom.subplots(1, 3)
    for axes, (name, row) in zip(zooms, _three(report), strict=False):
        _draw_zoom(axes, name, report, picture, row)
    for axes in zooms[len(_three(report)) :]:
        axes.set_axis_off()
    save_figure(figure, path)


def _wrapped(text: str, width: int = 120) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _three(report: AlignmentReport) -> list[tuple[str, int]]:
    """Best, median and worst tile by the fraction of nuclei darker than their ring."""
    if report.tiles.empty:
        return []
    order = np.argsort(-report.tiles["darker_fraction"].to_numpy(), kind="stable")
    return [("best", int(order[0])), ("median", int(order[len(order) // 2])), ("worst", int(order[-1]))]


def _draw_overview(axes: Axes, report: AlignmentReport, picture: dict[str, Any]) -> None:
    sample, tissue = picture["sample"], picture["tissue"]
    mm = sample.um_per_px / 1000
    height, width = sample.he.shape[:2]
    if tissue is not None:
        show_overview(axes, tissue)
    side = SIDE * WORKING_UM / 1000
    tiles = report.tiles
    from matplotlib.patches import Rectangle

    for x, y in zip(tiles["x"] * mm, tiles["y"] * mm, strict=True):
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, color="#1f4e99", linewidth=0.8))
    for name, row in _three(report):
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
        # A tile at the slide's edge has its middle outside: its name is brought back in.
        at = np.clip((tiles["x"][row], tiles["y"][row]), 0, (0.96 * width, 0.96 * height)) * mm
        axes.annotate(name, at, ha="center", va="center", fontsize=9, color="black", bbox=box)
    axes.set_title(f"{len(tiles)} tiles looked at", fontsize=11)


def _draw_shifts(axes: Axes, report: AlignmentReport) -> None:
    tiles = report.tiles
    sure = tiles[tiles["sure"]] if len(tiles) else tiles
    limit = report.details["max_shift_um"]
    from matplotlib.patches import Circle

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


def _draw_zoom(axes: Axes, name: str, report: AlignmentReport, picture: dict[str, Any], row: int) -> None:
    sample, tile = picture["sample"], report.tiles.iloc[row]
    correction = picture["correction"]
    nuclei = sample.nuclei if np.allclose(correction, np.eye(3)) else transform(sample.nuclei, correction)
    size = round(_ZOOM_UM / sample.um_per_px)
    x0, y0 = _corner(nuclei.geometry.to_numpy(), nuclei_in(nuclei, *_box(tile, sample.um_per_px)), tile, size)
    axes.imshow(sample.he.read(0, y0, y0 + size, x0, x0 + size), extent=(x0, x0 + size, y0 + size, y0))
    for polygon in nuclei.geometry.to_numpy()[nuclei_in(nuclei, np.array([x0, y0]), size)]:
        axes.plot(*shapely.get_coordinates(polygon.exterior).T, color="#00e5ff", linewidth=1.1)
    axes.set(xlim=(x0, x0 + size), ylim=(y0 + size, y0), xticks=[], yticks=[])
    axes.plot(
        [x0 + 0.05 * size, x0 + 0.05 * size + 20 / sample.um_per_px], [y0 + 0.95 * size] * 2, color="black", linewidth=3
    )
    shift = f"shift ({tile['shift_x_um']:.1f}, {tile['shift_y_um']:.1f}) um" if tile["sure"] else "shift not sure"
    axes.set_title(f"{name}: {100 * tile['darker_fraction']:.0f} % darker, {shift}; bar 20 um", fontsize=10)
