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

from stnuclei.cellvit.components import label_regions
from stnuclei.cellvit.flooding import drop_specks, fill_holes, flood
from stnuclei.cellvit.hv_gradients import sobel

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
    mask = foreground.astype(np.uint8) if foreground.dtype == bool else (foreground >= 0.5).astype(np.uint8)
    drop_specks(mask, _MIN_FOREGROUND)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    scaled = _scaled if gradients is None else _plain
    gradient_x, gradient_y = (sobel(scaled(hv[axis]), axis, settings.kernel_px) for axis in (0, 1))
    if gradients is not None:
        gradient_x, gradient_y = (
            (gradient_x[0], gradients.low_x, gradients.high_x),
            (gradient_y[0], gradients.low_y, gradients.high_y),
        )
    inner, core = _inner(gradient_x, gradient_y, mask)
    fill_holes(core)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, _DISC)
    markers = label_regions(core, False, settings.min_marker_px)
    return compact_ids(flood(_heights(inner, mask), markers, mask))


_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def _plain(distance: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(distance, np.float32)


def _scaled(distance: np.ndarray) -> np.ndarray:
    """A distance map over the range of its values, float32 in [0, 1]."""
    plain = _plain(distance)
    return cv2.normalize(plain, np.empty_like(plain), alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


@numba.njit(cache=True, nogil=True)
def _inner(
    along_x: tuple[np.ndarray, float, float], along_y: tuple[np.ndarray, float, float], mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each pixel inside its nucleus, (H + 2, W + 2) float64 in [0, 1], edges mirrored; the sure core, uint8.

    Gradients come with their extremes (see `sobel`) and are scaled to [0, 1] over the tile, in float32; nuclei meet
    where one of them is low.
    """
    height, width = mask.shape
    inner = np.zeros((height + 2, width + 2), np.float64)
    core = np.zeros(mask.shape, np.uint8)
    (gradient_x, low_x, high_x), (gradient_y, low_y, high_y) = along_x, along_y
    scale_x, shift_x = _unit_scale(low_x, high_x)
    scale_y, shift_y = _unit_scale(low_y, high_y)
    unit = np.float32(1.0)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                edge_x = unit - np.float32(gradient_x[y, x] * scale_x + shift_x)
                edge_y = unit - np.float32(gradient_y[y, x] * scale_y + shift_y)
                edge = np.float64(max(edge_x, edge_y, np.float32(0.0)))
                inner[y + 1, x + 1] = 1.0 - edge
                core[y, x] = edge < _EDGE
    inner[0], inner[height + 1] = inner[min(2, height)], inner[max(height - 1, 1)]
    inner[:, 0], inner[:, width + 1] = inner[:, min(2, width)], inner[:, max(width - 1, 1)]
    return inner, core


@numba.njit(cache=True, nogil=True)
def _unit_scale(low: float, high: float) -> tuple[float, float]:
    """Factor and offset that bring values to [0, 1]; (0, 0) where all are equal, as OpenCV has it."""
    scale = 1.0 / (high - low) if high - low > _TINY else 0.0
    return scale, -low * scale


@numba.njit(cache=True, nogil=True)
def _heights(inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Minus the 3 x 3 Gaussian mean of `inner`, (H, W) float64, at the mask's pixels.

    The values are float32 and the weights powers of two: float64 holds the sums exactly, in whatever order.
    """
    heights = np.zeros(mask.shape, np.float64)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                total = 0.0
                for dy, weight in ((0, 0.25), (1, 0.5), (2, 0.25)):
                    line = inner[y + dy]
                    total += weight * (0.25 * line[x] + 0.5 * line[x + 1] + 0.25 * line[x + 2])
                heights[y, x] = -total
    return heights


@numba.njit(cache=True, nogil=True)
def compact_ids(labels: np.ndarray) -> np.ndarray:
    """Number the ids present 1..n in their order, in place, and give the map back; (H, W) int32, none negative."""
    flat = labels.ravel()
    present = np.zeros(flat.max() + 1, np.int32)
    for i in range(flat.size):
        present[flat[i]] = 1
    present[0] = 0
    count = 0
    for k in range(1, present.size):
        if present[k]:
            count += 1
            present[k] = count
    for i in range(flat.size):
        flat[i] = present[flat[i]]
    return labels
