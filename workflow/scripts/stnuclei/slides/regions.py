"""Regions of a slide at a pixel size: exact (`read_region`), or near it from the pyramid (`read_um`, `block_mean`).

`read_region` resamples the full resolution, for pixels that a network sees. `read_um` reads the nearest finer level and
averages whole pixels, for measurements that need no exact size and must sweep a slide fast.

`read_region` gives the same pixels wherever the slide is cut into blocks. Output pixel j lies on the slide pixels
[j s, (j + 1) s), s slide pixels wide. For s >= 1 its value is the mean over just that area, border pixels weighed by
the fraction of them that lies inside; for s < 1 there is no area to average and it is Keys' cubic (a = -0.5) at its
centre. Weights depend on j alone, so blocks of any size give the same pixels. (cv2's INTER_AREA does the same for a
whole image whose size divides; it cannot begin between two pixels.)
"""

from __future__ import annotations

import numba
import numpy as np

from stnuclei.slides.slide import WHITE, Slide, SlideOrArray, pad_outside

#: Pixel sizes that differ by less are taken as equal: over a patch of 256 px that is 1.3 px, and no pixel is blurred.
SAME = 0.005


def pixel_ratio(slide_um: float, wanted_um: float) -> float:
    """Slide pixels along a wanted pixel; exactly 1 where the two sizes differ by less than `SAME`."""
    ratio = wanted_um / slide_um
    return 1.0 if abs(ratio - 1) < SAME else ratio


def weights(begin: int, end: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Input pixels of each output pixel, along one axis.

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


def read_region(slide: SlideOrArray, x: int, y: int, width: int, height: int, ratio: float) -> np.ndarray:
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


def resampled_shape(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Height and width of a whole picture at another pixel size; a last pixel that is covered in part counts.

    Parameters
    ----------
    shape
        Of the picture, height and width first.
    ratio
        Its pixels an output pixel is wide.
    """
    height, width = (max(1, int(np.ceil(n / ratio - 1e-6))) for n in shape[:2])
    return height, width


def read_padded(slide: SlideOrArray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Slide pixels of a region (height, width, 3); white outside the slide."""
    bounds = (y, y + height, x, x + width)
    if isinstance(slide, Slide):
        return np.ascontiguousarray(slide.read(0, *bounds))
    rows, columns = slide.shape[:2]
    return np.ascontiguousarray(
        pad_outside(lambda y0, y1, x0, x1: slide[y0:y1, x0:x1], (rows, columns), bounds, fill=WHITE)
    )


def read_um(
    slide: Slide, um_per_px: float, target: float, x: float, y: float, width: int, height: int
) -> tuple[np.ndarray, float]:
    """Read a region near a pixel size from the pyramid, without resampling by fractions.

    Parameters
    ----------
    slide
        The slide.
    um_per_px
        Its pixel size.
    target
        Wanted pixel size, um; the result is between 1/sqrt(2) and sqrt(2) times that where the slide is fine enough.
    x, y
        Top-left corner, he_px.
    width, height
        Size, pixels of the result.

    Returns
    -------
    (height, width, 3) float32, white outside the slide; and he_px along a pixel of it.
    """
    level, n = level_and_block(slide, target / um_per_px)
    scale = slide.downsample(level) * n
    x0, y0 = round(x / slide.downsample(level)), round(y / slide.downsample(level))
    pixels = slide.read(level, y0, y0 + height * n, x0, x0 + width * n)
    return block_mean(pixels, n), scale


def level_and_block(slide: Slide, downsample: float) -> tuple[int, int]:
    """Level to read, and pixels of it to average along each side, for pixels about `downsample` he_px wide."""
    level = slide.level_for(max(downsample, 1.0))
    return level, max(round(downsample / slide.downsample(level)), 1)


def block_mean(pixels: np.ndarray, n: int) -> np.ndarray:
    """Mean over n x n blocks of (y, x, 3), float32."""
    if n == 1:
        return pixels.astype(np.float32)
    height, width = pixels.shape[0] // n, pixels.shape[1] // n
    blocks = pixels[: height * n, : width * n].reshape(height, n, width, n, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


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
    flat = native.reshape(native.shape[0], native.shape[1] * 3)
    line = np.empty(flat.shape[1], np.float32)
    low, high = np.float32(0), np.float32(255)
    for r in range(height):
        line[:] = 0
        for t in range(weight_y.shape[1]):
            w = weight_y[r, t]
            if w != 0:
                row = flat[first_y[r] + t]
                for c in range(len(line)):
                    line[c] += w * row[c]
        for c in range(width):
            # The three colours side by side: each weight and place is looked up once.
            red = green = blue = np.float32(0.5)
            at = 3 * first_x[c]
            for t in range(weight_x.shape[1]):
                w = weight_x[c, t]
                red += w * line[at]
                green += w * line[at + 1]
                blue += w * line[at + 2]
                at += 3
            out[r, c, 0] = np.uint8(min(max(red, low), high))
            out[r, c, 1] = np.uint8(min(max(green, low), high))
            out[r, c, 2] = np.uint8(min(max(blue, low), high))
