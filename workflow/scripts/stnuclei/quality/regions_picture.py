"""Picture of the regions that a person drew, on the H&E."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from stnuclei.drawing.figure import figure_file, legend, scale_bar, show_pixels
from stnuclei.io.regions import Regions
from stnuclei.slides.slide import Slide
from stnuclei.slides.view import read_view

COLORS = {"tumour": "#D55E00", "normal": "#009E73", "include": "#0072B2", "exclude": "#000000"}
_LONGEST = 1100  # px of the picture's longer side


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
