"""View of a slide: a part of it shrunk to a picture, read strip by strip."""

from __future__ import annotations

import cv2
import numpy as np

from stnuclei.slides.slide import Slide


def read_view(slide: Slide, box: tuple[float, float, float, float], longest: int) -> tuple[np.ndarray, float]:
    """Read a region of a slide, shrunk so that its longer side has at most `longest` px.

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
    return _read_strips(slide, level, (x0, y0, x1, y1), size), scale


def _read_strips(slide: Slide, level: int, bounds: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Read strip by strip: a slide without a pyramid is never held whole."""
    x0, y0, x1, y1 = bounds
    out = np.empty((size[1], size[0], 3), np.uint8)
    for begin in range(0, size[1], 64):
        end = min(begin + 64, size[1])
        top, bottom = (y0 + round((y1 - y0) * at / size[1]) for at in (begin, end))
        strip = slide.read(level, top, max(bottom, top + 1), x0, x1)
        out[begin:end] = cv2.resize(strip, (size[0], end - begin), interpolation=cv2.INTER_AREA)
    return out
