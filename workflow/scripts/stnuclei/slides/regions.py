"""A slide's pixels at another pixel size, the same wherever the slide is cut into blocks.

Output pixel j lies on the slide pixels [j s, (j + 1) s), s slide pixels wide. For s >= 1 its value is the mean over
just that area, border pixels weighed by the share of them that lies inside; for s < 1 there is no area to average and
it is Keys' cubic (a = -0.5) at its centre. Weights depend on j alone, so blocks of any size give the same pixels.
(cv2's INTER_AREA does the same for a whole image whose size divides; it cannot begin between two pixels.)
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

#: Pixel sizes that differ by less are taken as equal: over a patch of 256 px that is 1.3 px, and no pixel is blurred.
SAME = 0.005
WHITE = 255


def pixel_ratio(slide_um: float, wanted_um: float) -> float:
    """Slide pixels along a wanted pixel; exactly 1 where the two sizes differ by less than `SAME`."""
    ratio = wanted_um / slide_um
    return 1.0 if abs(ratio - 1) < SAME else ratio


def weights(begin: int, end: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """What each output pixel is made of, along one axis.

    Parameters
    ----------
    begin, end
        Output pixels, half-open.
    ratio
        Slide pixels an output pixel is wide.

    Returns
    -------
    first : int64 (n,)
        First slide pixel; may lie outside the slide.
    weight : float32 (n, taps)
        Weight of it and those behind it; each row sums to 1.
    """
    j = np.arange(begin, end, dtype=np.float64)
    if ratio >= 1:
        low, high = j * ratio, (j + 1) * ratio
        first = np.floor(low).astype(np.int64)
        pixel = first[:, None] + np.arange(int(np.ceil(ratio)) + 1)
        weight = np.clip(np.minimum(pixel + 1, high[:, None]) - np.maximum(pixel, low[:, None]), 0, None)
    else:
        centre = (j + 0.5) * ratio - 0.5
        first = np.floor(centre).astype(np.int64) - 1
        weight = _keys(np.abs(centre[:, None] - (first[:, None] + np.arange(4))))
    return first, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _keys(distance: np.ndarray) -> np.ndarray:
    """Cubic convolution kernel, a = -0.5 (Keys 1981)."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def read_region(slide: Any, x: int, y: int, width: int, height: int, ratio: float) -> np.ndarray:
    """Read a region of a slide at another pixel size.

    Parameters
    ----------
    slide
        (Y, X, 3) uint8, read by slices.
    x, y, width, height
        Region in output pixels; what lies outside the slide is white.
    ratio
        Slide pixels an output pixel is wide.

    Returns
    -------
    (height, width, 3) uint8.
    """
    if ratio == 1:
        return read_padded(slide, x, y, width, height)
    first_x, weight_x = weights(x, x + width, ratio)
    first_y, weight_y = weights(y, y + height, ratio)
    x0, y0 = int(first_x[0]), int(first_y[0])
    native = read_padded(
        slide, x0, y0, int(first_x[-1]) + weight_x.shape[1] - x0, int(first_y[-1]) + weight_y.shape[1] - y0
    )
    out = np.empty((height, width, 3), np.uint8)
    _combine(native, first_x - x0, weight_x, first_y - y0, weight_y, out)
    return out


def read_padded(slide: Any, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Slide pixels of a region (height, width, 3); white outside the slide."""
    rows, columns = slide.shape[:2]
    xa, xb = max(x, 0), min(x + width, columns)
    ya, yb = max(y, 0), min(y + height, rows)
    if (xa, ya, xb, yb) == (x, y, x + width, y + height):
        return np.ascontiguousarray(slide[y : y + height, x : x + width])
    out = np.full((height, width, 3), WHITE, np.uint8)
    if xa < xb and ya < yb:
        out[ya - y : yb - y, xa - x : xb - x] = slide[ya:yb, xa:xb]
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def _combine(
    native: np.ndarray,
    first_x: np.ndarray,
    weight_x: np.ndarray,
    first_y: np.ndarray,
    weight_y: np.ndarray,
    out: np.ndarray,
) -> None:
    """Rows first, into one line of float32, then columns: nothing larger than a line is kept."""
    height, width = out.shape[:2]
    columns = native.shape[1]
    line = np.empty((columns, 3), np.float32)
    for r in range(height):
        line[:] = 0
        for t in range(weight_y.shape[1]):
            w = weight_y[r, t]
            if w != 0:
                row = native[first_y[r] + t]
                for c in range(columns):
                    for k in range(3):
                        line[c, k] += w * row[c, k]
        for c in range(width):
            for k in range(3):
                total = np.float32(0.5)
                for t in range(weight_x.shape[1]):
                    total += weight_x[c, t] * line[first_x[c] + t, k]
                out[r, c, k] = np.uint8(min(max(total, np.float32(0)), np.float32(255)))
