"""From the network's maps to separate nuclei: HoVer-Net's watershed (Graham 2019) as CellViT runs it, made fast.

Every step is that of the published procedure and gives its values; what differs is how often memory is walked
through. The label maps equal the official ones as partitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numba
import numpy as np

from stnuclei.cellvit.components import Runs, large_runs
from stnuclei.cellvit.flooding import fill_holes, flood_runs, number_labels, overlaps
from stnuclei.cellvit.hv_gradients import sobel
from stnuclei.cellvit.workspace import reused

_MIN_FOREGROUND = 10  # px, at every resolution, as published
_EDGE = 0.4
_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class WatershedSettings:
    """Parameters of the separation.

    Parameters
    ----------
    kernel_px
        Width of the Sobel filter, odd, at most 31.
    min_marker_px
        Markers of fewer pixels are dropped, and with them their nucleus where it has no other.
    """

    kernel_px: int = 21
    min_marker_px: int = 10

    @classmethod
    def at(cls, um_per_px: float) -> WatershedSettings:
        """Scale by resolution: 21 and 10 px at 0.25 um/px and 11 and 3 px at 0.5 um/px are the published values.

        Raises
        ------
        ValueError
            If the resolution is no positive number.
        """
        if not (um_per_px > 0 and math.isfinite(um_per_px)):
            raise ValueError(f"um_per_px must be a positive number, not {um_per_px}")
        scale = 0.25 / um_per_px
        kernel = min(31, max(3, 2 * math.floor(21 * scale / 2) + 1))  # nearest odd number
        return cls(kernel, max(1, math.floor(10 * scale * scale + 0.5)))


class GradientRange(NamedTuple):
    """Smallest and largest gradient of the horizontal map along x, and of the vertical map along y."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float


def gradient_range(hv: np.ndarray, um_per_px: float = 0.25) -> GradientRange:
    """Extremes of the gradients of distance maps (2, H, W), to be given to `separate_nuclei`."""
    kernel_px = WatershedSettings.at(um_per_px).kernel_px
    (_, low_x, high_x), (_, low_y, high_y) = (sobel(_plain(hv[axis]), axis, kernel_px) for axis in (0, 1))
    return GradientRange(low_x, high_x, low_y, high_y)


def separate_nuclei(
    foreground: np.ndarray, hv: np.ndarray, um_per_px: float = 0.25, gradients: GradientRange | None = None
) -> np.ndarray:
    """Cut the foreground into nuclei.

    Parameters
    ----------
    foreground
        (H, W) bool (or 0/1, or a probability cut at 0.5): pixels of nuclei.
    hv
        (2, H, W) float: horizontal and vertical distance maps as predicted.
    um_per_px
        Resolution, scales the parameters.
    gradients
        Range by which gradients are scaled. None: their extremes over this picture, as published, so that a nucleus
        depends on whatever else the picture holds. Given: nuclei depend on their surroundings only, and windows of a
        slide agree on what they share.

    Returns
    -------
    (H, W) int32: 0 background, nuclei 1..n.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    foreground = np.asarray(foreground)
    if foreground.ndim != 2 or hv.shape != (2, *foreground.shape):
        raise ValueError(f"foreground must be (H, W) and hv (2, H, W), not {foreground.shape} and {hv.shape}")
    settings = WatershedSettings.at(um_per_px)
    mask = np.ascontiguousarray(foreground if foreground.dtype == bool else foreground >= 0.5).view(np.uint8)
    runs = large_runs(mask, _MIN_FOREGROUND)
    if not runs.row.size:
        return np.zeros(mask.shape, np.int32)
    inner, core = _inner(*_gradients(hv, settings.kernel_px, gradients), runs, mask.shape)
    fill_holes(core)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, _DISC, reused("opened", core.shape, np.uint8))
    seeds = large_runs(core, settings.min_marker_px)
    pieces = overlaps(runs, seeds, seeds.region)
    number_labels(pieces)
    return flood_runs(mask.shape, runs, pieces, lambda pixels: _heights(inner, pixels))


_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
#: A gradient (H, W) float64 and the values that become 0 and 1.
_Ranged = tuple[np.ndarray, float, float]


def _gradients(hv: np.ndarray, kernel_px: int, gradients: GradientRange | None) -> tuple[_Ranged, _Ranged]:
    """Gradients of the horizontal map along x and of the vertical one along y, in reused memory."""
    scaled = _scaled if gradients is None else _plain
    x, y = (
        sobel(scaled(hv[axis]), axis, kernel_px, reused(f"gradient {axis}", hv.shape[1:], np.float64))
        for axis in (0, 1)
    )
    if gradients is None:
        return x, y
    return (x[0], gradients.low_x, gradients.high_x), (y[0], gradients.low_y, gradients.high_y)


def _plain(distance: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(distance, np.float32)


def _scaled(distance: np.ndarray) -> np.ndarray:
    """A distance map over the range of its values, float32 in [0, 1]."""
    out = reused("scaled", distance.shape, np.float32)
    return cv2.normalize(_plain(distance), out, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


def _inner(along_x: _Ranged, along_y: _Ranged, runs: Runs, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each pixel inside its nucleus, (H + 2, W + 2) float32 up to 1, edges mirrored; the sure core, uint8."""
    inner = reused("inner", (shape[0] + 2, shape[1] + 2), np.float32)
    core = reused("core", shape, np.uint8)
    _fill_inner(along_x, along_y, runs, inner, core)
    return inner, core


@numba.njit(cache=True, nogil=True)
def _fill_inner(along_x: _Ranged, along_y: _Ranged, runs: Runs, inner: np.ndarray, core: np.ndarray) -> None:
    """Gradients are scaled to [0, 1] between their extremes, in float32; nuclei meet where one of them is low."""
    height, width = core.shape
    inner[:] = 0
    core[:] = 0
    (gradient_x, low_x, high_x), (gradient_y, low_y, high_y) = along_x, along_y
    scale_x, shift_x = _unit_scale(low_x, high_x)
    scale_y, shift_y = _unit_scale(low_y, high_y)
    unit = np.float32(1.0)
    for run in range(runs.row.size):
        y = runs.row[run]
        for x in range(runs.start[run], runs.end[run]):
            edge_x = unit - np.float32(gradient_x[y, x] * scale_x + shift_x)
            edge_y = unit - np.float32(gradient_y[y, x] * scale_y + shift_y)
            edge = max(edge_x, edge_y, np.float32(0.0))
            # A difference of 1 and float32 is a multiple of 2**-24: float32 holds the difference of 1 and it, too.
            inner[y + 1, x + 1] = unit - edge
            core[y, x] = np.float64(edge) < _EDGE
    inner[0], inner[height + 1] = inner[min(2, height)], inner[max(height - 1, 1)]
    inner[:, 0], inner[:, width + 1] = inner[:, min(2, width)], inner[:, max(width - 1, 1)]


@numba.njit(cache=True, nogil=True)
def _unit_scale(low: float, high: float) -> tuple[float, float]:
    """Factor and offset that bring values to [0, 1]; (0, 0) where all are equal, as OpenCV has it."""
    scale = 1.0 / (high - low) if high - low > _TINY else 0.0
    return scale, -low * scale


@numba.njit(cache=True, nogil=True)
def _heights(inner: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Minus the 3 x 3 Gaussian mean of `inner`, (n,) float64, at pixels given by their index in it.

    The values are float32 and the weights powers of two: float64 holds the sums exactly, in whatever order.
    """
    heights = np.empty(pixels.size, np.float64)
    flat, stride = inner.ravel(), inner.shape[1]
    for n in range(pixels.size):
        total = 0.0
        for step, weight in ((-stride, 0.25), (0, 0.5), (stride, 0.25)):
            i = pixels[n] + step
            total += weight * (0.25 * flat[i - 1] + 0.5 * flat[i] + 0.25 * flat[i + 1])
        heights[n] = -total
    return heights
