"""Search for a turn or mirror that would make the nuclei fit, on densities of the whole slide."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from scipy import fft, ndimage

from stnuclei.io.sample import Sample
from stnuclei.quality.stain import haematoxylin
from stnuclei.slides.strips import bin_mean, strips

#: Pixel sizes of the density maps, um: the finest whose map is not too large.
_MAP_UM = (8.0, 16.0)
_LARGEST_MAP = 1500
_ANGLES = np.arange(-12.0, 12.1, 1.0)
#: Band of the density that counts, um: what is coarser is the outline of the tissue, which fits in many ways.
_FINE_UM, _COARSE_UM = 4.0, 16.0
#: Nuclei of a square of this side are turned: half a degree moves its rim by no more than a map pixel.
_WINDOW_UM = 2400.0


def search_orientation(sample: Sample, white: np.ndarray | float) -> dict[str, Any]:
    """Find the turn, mirror and shift that bring nucleus density onto haematoxylin density.

    The eight turns by right angles and mirrors, each with further turns of up to 12 degrees, every shift.

    Parameters
    ----------
    sample
        Slide and nuclei.
    white
        Glass colour.

    Returns
    -------
    ``matrix`` (3, 3) that moves the nuclei (he_px -> he_px), ``name`` in words, ``correlation``.
    It is a proposal: whether single nuclei then fit is for the caller to check.
    """
    side_um = max(sample.he.shape[:2]) * sample.um_per_px
    map_um = next((um for um in _MAP_UM if side_um / um <= _LARGEST_MAP), _MAP_UM[-1])
    density = _centred(_haematoxylin_map(sample, map_um, white), map_um)
    pixel = map_um / sample.um_per_px  # he_px along a map pixel
    centres = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
    centres = _densest(centres, _WINDOW_UM / sample.um_per_px)
    middle = centres.mean(axis=0)
    span = int(np.ceil(np.hypot(*np.ptp(centres, axis=0)) / pixel)) + 4
    size = [fft.next_fast_len(length + span, real=True) for length in density.shape]
    spectrum = fft.rfft2(density, s=size)
    best: dict[str, Any] = {"correlation": -1.0}
    for mirrored in (False, True):
        for quarter in range(4):
            for angle in 90.0 * quarter + _ANGLES:
                linear = _linear(angle, mirrored)
                points = (centres - middle) @ linear.T / pixel + span / 2
                nuclei = _centred(_counts(points, span), map_um)
                score, shift = _best_shift(spectrum, nuclei, size)
                score /= float(np.linalg.norm(density) * np.linalg.norm(nuclei) + 1e-9)
                if score > best["correlation"]:
                    offset = (np.array(shift) + span / 2) * pixel - linear @ middle
                    best = {"correlation": score, "matrix": _matrix(linear, offset), "name": _name(angle, mirrored)}
    return best


def _linear(angle: float, mirrored: bool) -> np.ndarray:
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return rotation @ np.diag([-1.0, 1.0]) if mirrored else rotation


def _matrix(linear: np.ndarray, offset: np.ndarray) -> list[list[float]]:
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, offset
    return matrix.tolist()


def _name(angle: float, mirrored: bool) -> str:
    turned = 180 - (180 - angle) % 360
    words = ["mirrored left to right"] if mirrored else []
    words += [f"turned by {turned:.0f} degrees"] if abs(turned) > 0.5 else []
    return " and ".join(words) or "shifted"


def _haematoxylin_map(sample: Sample, map_um: float, white: np.ndarray | float) -> np.ndarray:
    shape = [int(np.ceil(side * sample.um_per_px / map_um)) for side in sample.he.shape[:2]]
    out = np.zeros(shape, np.float32)
    for row, column, pixels, rows, columns in strips(sample.he, sample.um_per_px, map_um / 4, map_um):
        values = bin_mean(haematoxylin(pixels, white), rows, columns)
        out[row : row + values.shape[0], column : column + values.shape[1]] = values
    return out


def _counts(points: np.ndarray, span: int) -> np.ndarray:
    column, row = np.clip(np.floor(points).astype(np.int64), 0, span - 1).T
    return np.bincount(row * span + column, minlength=span * span).reshape(span, span).astype(np.float32)


def _densest(centres: np.ndarray, side: float) -> np.ndarray:
    """Points (n, 2) of the square of a coarse grid, and its neighbours, that holds most of them."""
    cell = np.floor(centres / (side / 2)).astype(np.int64)
    cells, counts = np.unique(cell, axis=0, return_counts=True)
    middle = (cells[counts.argmax()] + 0.5) * side / 2
    return centres[(np.abs(centres - middle) <= side / 2).all(axis=1)]


def _centred(density: np.ndarray, map_um: float) -> np.ndarray:
    """Freed of what is finer than a few um and of what is coarser than a few nuclei."""
    smooth = ndimage.gaussian_filter(density, _FINE_UM / map_um)
    return smooth - ndimage.gaussian_filter(density, _COARSE_UM / map_um)


def _best_shift(spectrum: np.ndarray, nuclei: np.ndarray, size: list[int]) -> tuple[float, tuple[int, int]]:
    """Highest correlation, and the (x, y) by which `nuclei` then lies in the density map."""
    surface = fft.irfft2(spectrum * np.conj(fft.rfft2(nuclei, s=size)), s=size)
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    y, x = (
        at - length if at > length - nuclei.shape[0] else at for at, length in zip((row, column), size, strict=True)
    )
    return float(surface.max()), (int(x), int(y))
