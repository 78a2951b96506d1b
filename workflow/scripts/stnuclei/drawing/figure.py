"""Figures without global state: made, dressed and written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from stnuclei.files import atomic_write

MAX_PX = 1600  # a page shows no more, and two such pictures still fit a report of 25 MB many times
PRINT_DPI, PAGE = 220, 7.2  # of figures for print; the width between the margins of a page, inch
INK, QUIET = "#222222", "#777777"


@contextmanager
def figure_file(
    path: str | Path,
    width: float,
    height: float,
    *,
    dpi: float = 150,
    max_px: int | None = MAX_PX,
    layout: Literal["constrained", "compressed", "tight"] | None = "constrained",
) -> Iterator[Figure]:
    """Give an empty figure and write it when the block ends without an error.

    No pyplot: its figures are global state that is not safe in threads and outlives the job.

    Parameters
    ----------
    path
        The ending chooses the format (png, pdf, svg).
    width, height
        Inches.
    dpi
        Pixels an inch, fewer where a side would exceed `max_px`.
    max_px
        Most pixels a side; None: no limit (figures for print).
    layout
        Layout engine of matplotlib.
    """
    if max_px is not None:
        dpi = min(dpi, max_px / max(width, height))
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout, facecolor="white")
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(w_pad=0.05, h_pad=0.08)  # inch; with less, titles touch the edge
    yield figure
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, facecolor="white")


def stacked(figure: Figure, heights: Sequence[float]) -> list[SubFigure]:
    """Parts of a figure one below the other, with the given ratios of heights."""
    rows: Any = figure.subfigures(len(heights), 1, height_ratios=list(heights))
    return list(np.atleast_1d(rows))


def bare(axes: Axes, title: str = "") -> None:
    """Remove ticks and frame; title on the left."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10, loc="left", color=INK)


def open_frame(axes: Axes) -> None:
    """Remove the upper and right side of the frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def show_pixels(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    """Show a picture (H, W, 3) without ticks and frame."""
    axes.imshow(pixels, interpolation="antialiased")
    bare(axes)
    axes.set_title(title, fontsize=11, loc="left")


def scale_bar(axes: Axes, um_per_unit: float, um: float | None = None, fraction: float = 0.2) -> None:
    """Draw a scale bar on the lower left of axes whose limits and aspect are set.

    Parameters
    ----------
    axes
        A picture or map; y may point either way.
    um_per_unit
        Micrometres of one unit of its coordinates (a pixel of a picture).
    um
        Length; None: the round length nearest below `fraction` of the width.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = right - left, top - bottom  # height is negative where y points down
    um = um or round_length(width * um_per_unit * fraction * 1.02)
    short = min(width, abs(height))
    pad, up = 0.012 * short, np.sign(height)
    x, y, length = left + 0.03 * width, bottom + up * 0.03 * short, um / um_per_unit
    label = f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} \N{MICRO SIGN}m"
    axes.plot([x - pad, x + length + pad], [y, y], color="white", linewidth=6, solid_capstyle="butt", alpha=0.9)
    axes.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.0}
    axes.text(x + length / 2, y + up * 2 * pad, label, ha="center", va="bottom", fontsize=8, bbox=box)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def legend(
    target: Axes | Figure | SubFigure,
    entries: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    line: bool = False,
    **options: object,
) -> None:
    """Legend of dots (or lines, for outlines) from names and their colours, in the order given.

    Parameters
    ----------
    target
        Axes or figure; of a figure the legend stands below the pictures.
    entries
        Name -> ``#rrggbb``.
    line
        Swatches as lines.
    options
        Of matplotlib's legend.
    """
    pairs = list(entries.items() if isinstance(entries, Mapping) else entries)
    point = {"marker": "o", "linestyle": "", "markersize": 7, "markeredgecolor": INK, "markeredgewidth": 0.4}
    style: dict[str, Any] = {"linewidth": 4} if line else point
    handles = [Line2D([], [], color=color, label=name, **style) for name, color in pairs]
    if isinstance(target, Figure):
        columns = max(1, min(len(pairs), int(target.get_figwidth() / 2.3)))
        options = {"loc": "outside lower center", "ncols": columns} | options
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "handletextpad": 0.6 if line else 0.3} | options
    target.legend(handles=handles, **look)


MAP_BINS = 150  # along the longer side: about one bin a screen pixel of a panel
SMALLEST_BIN_UM = 10.0  # one nucleus
SMALLEST_SMOOTHING_UM = 25.0
_ROUND = (1, 2, 3, 5)


def round_length(um: float) -> float:
    """Largest of 1, 2, 3, 5 times a power of ten that is at most `um`."""
    power = 10.0 ** np.floor(np.log10(max(um, 1e-6)))
    # 1e-9: 3.0 must not become 2 for 2.9999999999
    return float(max(factor * power for factor in _ROUND if factor * power <= um * (1 + 1e-9)))


def map_bin_um(longest_um: float) -> float:
    """Side of a bin, um, of maps of a slide whose longer side is `longest_um`."""
    return max(round_length(longest_um / MAP_BINS), SMALLEST_BIN_UM)


def map_smoothing_um(longest_um: float) -> float:
    """Standard deviation, um, of the Gaussian that such maps are smoothed by: at least 1.5 bins."""
    return max(SMALLEST_SMOOTHING_UM, 1.5 * longest_um / MAP_BINS)
