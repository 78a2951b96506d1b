"""Patches with the outlines of their nuclei, in the colours of the taxonomy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stnuclei.files import atomic_write
from stnuclei.taxonomy import Taxonomy

PAGE = 7.2  # inch, the width between the margins of a page
SCALE = 3  # outlines are drawn on enlarged pixels, to stay thin at the size of a page
_THICKNESS = 5
_DPI = 220


def outline(
    image: np.ndarray, instances: np.ndarray, colors: np.ndarray, scale: int = SCALE, thickness: int = _THICKNESS
) -> np.ndarray:
    """Draw every nucleus's outline over the picture.

    Parameters
    ----------
    image
        (H, W, 3) uint8.
    instances
        (H, W) integers, k takes row k - 1 of `colors`.
    colors
        (n, 3) uint8.

    Returns
    -------
    (scale H, scale W, 3) uint8: a coloured line over a thin dark one, which keeps pale colours visible on pale tissue.
    """
    size = (image.shape[1] * scale, image.shape[0] * scale)
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(instances.astype(np.uint16), size, interpolation=cv2.INTER_NEAREST)
    borders = []
    for k in np.unique(instances)[np.unique(instances) > 0]:
        # smoothed at the enlarged size: the pixels' stairs are no part of a nucleus
        mask = cv2.medianBlur((large == k).astype(np.uint8), 5)
        borders.append((k, cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]))
    for _, lines in borders:
        cv2.drawContours(canvas, lines, -1, (30, 30, 30), thickness + 2, cv2.LINE_AA)
    for k, lines in borders:
        cv2.drawContours(canvas, lines, -1, tuple(int(c) for c in colors[k - 1]), thickness, cv2.LINE_AA)
    return canvas


def class_colors(classes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n, 3) uint8 colours of class ids (n,); Unknown's for -1 and for 0, a nucleus without a class."""
    names = [taxonomy.unknown.name, *taxonomy.names]
    table = np.array([rgb(taxonomy.color_of(name)) for name in names], np.uint8)
    return table[np.maximum(np.asarray(classes, int), 0)]


def rgb(color: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers 0..255."""
    red, green, blue = (round(255 * value) for value in to_rgb(color))
    return red, green, blue


def legend(figure: Figure, names: Sequence[str], colors: Sequence[str], **place: object) -> None:
    """A line of swatches below the pictures."""
    handles = [Line2D([], [], color=color, linewidth=4, label=name) for name, color in zip(names, colors, strict=True)]
    options = {"loc": "lower center", "ncols": len(names), "frameon": False, "fontsize": 8} | place
    figure.legend(handles=handles, **options)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure aside and rename it; the ending tells the format."""
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=_DPI, facecolor="white")
