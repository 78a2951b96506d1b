"""Pictures of a slide: what was found on it, and nuclei over pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stnuclei.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stnuclei.quality.tissue_map import TissueMap

_DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of that many inches that no window belongs to."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG, aside and then renamed."""
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png")


def draw_tissue(tissue: TissueMap, path: str | Path) -> None:
    """Draw the slide's overview with the outline of each class and what share it has."""
    height, width = tissue.classes.shape
    inches = 9.0 * max(min(height / width, 1.35), 0.35)
    figure = new_figure(9.0, inches + 0.9)
    axes = figure.subplots()
    show_overview(axes, tissue)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=11)
    save_figure(figure, path)


def show_overview(axes: Axes, tissue: TissueMap) -> None:
    """Show a slide's overview with axes in mm, each class outlined, what is excluded also tinted."""
    from stnuclei.quality.tissue_map import COLOURS, NAMES, TISSUE

    shade = np.uint8(255) - 60 * (tissue.classes > 0).astype(np.uint8)
    picture = tissue.overview if tissue.overview is not None else shade
    extent = _extent(tissue)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(extent[0], extent[1], extent[3], extent[2]))
    for what in (1, 2, 3):
        mask = tissue.classes == what
        if mask.any() and not mask.all():
            if what != TISSUE:
                axes.contourf(mask, levels=[0.5, 1.5], colors=[COLOURS[what]], alpha=0.35, extent=extent)
            axes.contour(mask, levels=[0.5], colors=[COLOURS[what]], linewidths=1.2, extent=extent)
        axes.plot([], [], color=COLOURS[what], linewidth=4, label=f"{NAMES[what]} {100 * mask.mean():.1f} %")
    axes.set(xlabel="x (mm)", ylabel="y (mm)", aspect="equal", xlim=extent[:2], ylim=extent[:1:-1])


def _extent(tissue: TissueMap) -> tuple[float, float, float, float]:
    height, width = tissue.classes.shape
    return 0.0, width * tissue.um_per_px / 1000, 0.0, height * tissue.um_per_px / 1000
