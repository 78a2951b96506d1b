"""From the network's maps to separate nuclei: HoVer-Net's watershed (Graham 2019) as CellViT runs it, made fast.

Every step is that of the published procedure and gives its values; what differs is how often memory is walked
through. The label maps equal the official ones as partitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from stnuclei.cellvit.components import drop_small, label_equal_regions
from stnuclei.cellvit.flooding import fill_holes, flood

_MIN_FOREGROUND = 10  # px, at every resolution, as published
_EDGE = 0.4


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


def separate_nuclei(foreground: np.ndarray, hv: np.ndarray, um_per_px: float = 0.25) -> np.ndarray:
    """Cut the foreground into nuclei.

    Parameters
    ----------
    foreground
        (H, W) bool (or 0/1, or a probability cut at 0.5): pixels of nuclei.
    hv
        (2, H, W) float: horizontal and vertical distance maps as predicted.
    um_per_px
        Resolution, scales the parameters.

    Returns
    -------
    (H, W) int32: 0 background, nuclei 1..n. The maps are scaled by their extremes over the tile, as published, so
    the result depends on what else the tile holds.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    foreground = np.asarray(foreground)
    if foreground.ndim != 2 or hv.shape != (2, *foreground.shape):
        raise ValueError(f"foreground must be (H, W) and hv (2, H, W), not {foreground.shape} and {hv.shape}")
    settings = WatershedSettings.at(um_per_px)
    mask = _clean((foreground >= 0.5).view(np.uint8))
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    edges = [_edge(hv[axis], axis, settings.kernel_px) for axis in (0, 1)]
    inner, core = _inner(edges[0], edges[1], mask)
    fill_holes(core)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, _DISC)
    markers, count = label_equal_regions(core)
    drop_small(markers, count, settings.min_marker_px)
    # binary fractions throughout: the 3 x 3 blur is exact in float64, in whatever order it sums
    return compact_ids(flood(-cv2.GaussianBlur(inner, (3, 3), 0), markers, mask))


_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def _clean(mask: np.ndarray) -> np.ndarray:
    """Foreground (H, W) uint8 without its 4-connected specks."""
    labels, count = label_equal_regions(mask)
    drop_small(labels, count, _MIN_FOREGROUND)
    return (labels > 0).view(np.uint8)


def _edge(distance: np.ndarray, axis: int, kernel_px: int) -> np.ndarray:
    """Slope of a distance map along its axis, scaled to [0, 1] in float32; nuclei meet where it is low."""
    scaled = _scaled(np.ascontiguousarray(distance, np.float32))
    slope = cv2.Sobel(scaled, cv2.CV_64F, 1 - axis, axis, ksize=kernel_px)
    return _scaled(slope)


def _scaled(values: np.ndarray) -> np.ndarray:
    return cv2.normalize(values, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


@numba.njit(cache=True, nogil=True)
def _inner(slope_x: np.ndarray, slope_y: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far inside a nucleus a pixel lies, (H, W) float64 in [0, 1], and the surely inner ones, uint8."""
    inner = np.zeros(mask.shape, np.float64)
    core = np.zeros(mask.shape, np.uint8)
    height, width = mask.shape
    one = np.float32(1.0)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                edge = max(one - slope_x[y, x], one - slope_y[y, x])
                edge = max(edge, np.float32(0.0))
                inner[y, x] = 1.0 - np.float64(edge)
                core[y, x] = np.float64(edge) < _EDGE
    return inner, core


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
