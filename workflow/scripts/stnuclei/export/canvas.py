"""Nuclei drawn on pixels: outlines on a close-up, points on a whole slide, and the frame of such pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stnuclei.evaluation.drawing import rgb
from stnuclei.files import atomic_write
from stnuclei.slides.slide import Slide
from stnuclei.taxonomy import Taxonomy

DPI, MAX_PX = 150, 1600
DARK = (25, 25, 25)
_SHIFT = 4  # cv2 draws at sixteenths of a pixel
_ROUND = (1, 2, 3, 5)


@contextmanager
def picture(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure of `width` x `height` inches (at most 1600 px a side) and write it as png, aside and renamed."""
    dpi = min(DPI, MAX_PX / max(width, height))
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.08)
    yield figure
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", dpi=dpi)


def colour_table(taxonomy: Taxonomy) -> np.ndarray:
    """(n + 2, 3) uint8: row class id + 1, that is Unknown's colour for -1, and for 0, then the classes."""
    unknown = rgb(taxonomy.unknown.color)
    return np.array([unknown, unknown, *(rgb(one.color) for one in taxonomy.classes)], np.uint8)


def draw_outlines(
    pixels: np.ndarray, shapes: np.ndarray, colours: np.ndarray, scale: float, thickness: int = 2
) -> None:
    """Draw polygons on a picture, in place: a coloured line over a wider dark one, which shows on pale tissue.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8, contiguous.
    shapes
        (n,) shapely polygons in coordinates whose origin is the picture's corner, `scale` px a unit.
    colours
        (n, 3) uint8.
    thickness
        px.
    """
    rings = [_ring(shape, scale) for shape in shapes]
    cv2.polylines(pixels, rings, True, DARK, thickness + 2, cv2.LINE_AA, _SHIFT)
    for ring, colour in zip(rings, colours, strict=True):
        cv2.polylines(pixels, [ring], True, colour.tolist(), thickness, cv2.LINE_AA, _SHIFT)


def fill_shapes(pixels: np.ndarray, shapes: np.ndarray, colours: np.ndarray, scale: float) -> None:
    """Fill polygons on a picture, in place; arguments as in `draw_outlines`."""
    for shape, colour in zip(shapes, colours, strict=True):
        cv2.fillPoly(pixels, [_ring(shape, scale)], colour.tolist(), cv2.LINE_AA, _SHIFT)


def _ring(shape: shapely.Polygon, scale: float) -> np.ndarray:
    # cv2 has pixel 0's centre at 0, ours has its corner there.
    points = shapely.get_coordinates(shape)[:-1] * scale - 0.5
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def stamp_points(pixels: np.ndarray, xy: np.ndarray, colours: np.ndarray, side: int) -> None:
    """Set squares of `side` px about points (n, 2), in place; later points lie over earlier ones."""
    height, width = pixels.shape[:2]
    column, row = np.floor(xy - (side - 1) / 2 + 0.5 * (side % 2 == 0)).astype(np.int64).T
    for dy in range(side):
        for dx in range(side):
            y, x = row + dy, column + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            pixels[y[inside], x[inside]] = colours[inside]


def read_view(slide: Slide, box: tuple[float, float, float, float], longest: int) -> tuple[np.ndarray, float]:
    """A region of a slide, shrunk so that its longer side has at most `longest` px.

    Parameters
    ----------
    box
        x0, y0, x1, y1 he_px.

    Returns
    -------
    (H, W, 3) uint8, and px of the picture a he_px.
    """
    scale = min(1.0, longest / max(box[2] - box[0], box[3] - box[1]))
    level = slide.level_for(1 / scale)
    down = slide.downsample(level)
    x0, y0, x1, y1 = (round(value / down) for value in box)
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    return _reduced(slide, level, (x0, y0, x1, y1), size), scale


def _reduced(slide: Slide, level: int, bounds: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Read strip by strip: a slide without a pyramid is never held whole."""
    x0, y0, x1, y1 = bounds
    out = np.empty((size[1], size[0], 3), np.uint8)
    for begin in range(0, size[1], 64):
        end = min(begin + 64, size[1])
        top, bottom = (y0 + round((y1 - y0) * at / size[1]) for at in (begin, end))
        strip = slide.read(level, top, max(bottom, top + 1), x0, x1)
        out[begin:end] = cv2.resize(strip, (size[0], end - begin), interpolation=cv2.INTER_AREA)
    return out


def scale_bar(axes: Axes, um_per_px: float, share: float = 0.2) -> None:
    """Draw a bar of a round length, about `share` of the picture's width, on the picture's lower left."""
    height, width = axes.images[0].get_array().shape[:2]
    um = round_length(width * um_per_px * share * 1.02)
    x, y, length = 0.03 * width, height - 0.03 * min(height, width), um / um_per_px
    label = f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} \N{MICRO SIGN}m"
    pad = 0.012 * min(height, width)
    axes.plot([x - pad, x + length + pad], [y, y], color="white", linewidth=6, solid_capstyle="butt", alpha=0.9)
    axes.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.0}
    axes.text(x + length / 2, y - 2 * pad, label, ha="center", va="bottom", fontsize=9, bbox=box)


def round_length(um: float) -> float:
    """The largest of 1, 2, 3, 5 times a power of ten that is at most `um`."""
    power = 10.0 ** np.floor(np.log10(max(um, 1e-6)))
    return float(max(one * power for one in _ROUND if one * power <= um * (1 + 1e-9)))


def show(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    """Show a picture without ticks, title on the left."""
    axes.imshow(pixels, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=11, loc="left")


def class_legend(figure: Figure, counts: dict[str, int], taxonomy: Taxonomy) -> None:
    """One entry a class that occurs, with its number of nuclei, below the pictures."""
    total = max(1, sum(counts.values()))
    dots = [
        Line2D([], [], marker="o", linestyle="", markersize=8, markeredgecolor="#222222", markeredgewidth=0.6,
               color=taxonomy.color_of(name), label=f"{name} {count:,} ({100 * count / total:.0f} %)")
        for name, count in counts.items()
    ]  # fmt: skip
    columns = max(1, min(len(dots), int(figure.get_figwidth() / 2.3)))
    options = {"ncols": columns, "frameon": False, "fontsize": 10, "handletextpad": 0.3}
    figure.legend(handles=dots, loc="outside lower center", **options)
