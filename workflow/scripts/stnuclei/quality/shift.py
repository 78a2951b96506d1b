"""Shifts between pictures by phase correlation, and the correction of an alignment that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_FEWEST_TILES = 6
_ROUNDS = 10


@dataclass(frozen=True)
class Shift:
    """A peak of a correlation.

    Attributes
    ----------
    x, y
        By how much the first picture must move, px.
    certainty
        Height of the peak over the rest of the surface, in the rest's standard deviations.
    """

    x: float
    y: float
    certainty: float


class Correlator:
    """Adds up cross-power spectra of many pairs of equal size and finds the shift they share.

    Each pair is windowed and freed of what is coarser than `coarse` px, so that dense regions do not pull. The summed
    cross-power is divided by the root of the summed powers: the phase correlation, weighted by how far the pairs agree.

    Parameters
    ----------
    size
        Side of the pictures, px.
    coarse, fine
        Standard deviations of the band that counts, px.
    """

    def __init__(self, size: int, coarse: float, fine: float = 1.0) -> None:
        self.size, self.coarse = size, coarse
        hann = np.hanning(size + 2)[1:-1].astype(np.float32)
        self.window = np.outer(hann, hann)
        frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
        self.low_pass = np.exp(-2 * (np.pi * fine) ** 2 * frequency)
        shape = (size, size // 2 + 1)
        self.cross = np.zeros(shape, np.complex128)
        self.power = [np.zeros(shape), np.zeros(shape)]

    def spectra(self, moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectra of a pair, both brought to unit energy."""
        out = []
        for picture in (moving, fixed):
            detail = (picture - cv2.GaussianBlur(picture, (0, 0), self.coarse)) * self.window
            out.append(np.fft.rfft2(detail / max(float(np.linalg.norm(detail)), 1e-6)))
        return out[0], out[1]

    def add(self, moving: np.ndarray, fixed: np.ndarray) -> Shift:
        """Add a pair, (size, size) float32 each, and tell its own shift."""
        moved, still = self.spectra(moving, fixed)
        cross, power = np.conj(moved) * still, [np.abs(moved) ** 2, np.abs(still) ** 2]
        self.cross += cross
        self.power = [total + added for total, added in zip(self.power, power, strict=True)]
        # One pair alone is only partly whitened: full whitening weighs its noise like its signal.
        return self._peak(cross / np.sqrt(np.sqrt(power[0] * power[1]) + 1e-12), self.size // 4)

    def shift(self, reach: int) -> Shift:
        """Find the shift all pairs share, at most `reach` px along each axis."""
        return self._peak(self.cross / (np.sqrt(self.power[0] * self.power[1]) + 1e-12), reach)

    def _peak(self, spectrum: np.ndarray, reach: int) -> Shift:
        surface = np.fft.irfft2(spectrum * self.low_pass, s=(self.size, self.size))
        surface = np.fft.fftshift(surface)
        middle = self.size // 2
        near = surface[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
        row, column = (int(index) for index in np.unravel_index(int(near.argmax()), near.shape))
        away = np.ones(near.shape, bool)
        away[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 9] = False
        rest = near[away]
        certainty = float((near[row, column] - rest.mean()) / max(float(rest.std()), 1e-12))
        y, x = row + _vertex(near[:, column], row), column + _vertex(near[row], column)
        return Shift(x - reach, y - reach, certainty)


def _vertex(line: np.ndarray, at: int) -> float:
    """Offset of the highest point of a parabola through a peak and its neighbours, -0.5 to 0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    left, top, right = line[at - 1 : at + 2]
    bend = left - 2 * top + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def transform(nuclei: GeoDataFrame, matrix: np.ndarray) -> GeoDataFrame:
    """Move nuclei by an affine (3, 3), he_px -> he_px; a copy."""
    from geopandas import GeoDataFrame  # not for jobs that look at pixels alone

    moved = shapely.transform(nuclei.geometry.to_numpy(), lambda xy: xy @ matrix[:2, :2].T + matrix[:2, 2])
    return GeoDataFrame({"cell_id": nuclei["cell_id"].to_numpy()}, geometry=moved)


def fit_affine(tiles: pd.DataFrame, um_per_px: float) -> dict[str, Any] | None:
    """Fit one affine to the shifts of the tiles that are sure of theirs.

    Iteratively reweighted least squares (Cauchy weights), so that tiles on folds do not pull.

    Parameters
    ----------
    tiles
        Of `stnuclei.quality.alignment_report.AlignmentReport`.
    um_per_px
        H&E pixel size.

    Returns
    -------
    ``matrix`` (3, 3) he_px -> he_px, ``rotation_deg``, ``scale``, ``largest_um`` (displacement at the tiles),
    ``residual_um`` (median), ``n_tiles``; None where fewer than 6 tiles are sure.
    """
    sure = tiles[tiles["sure"]]
    if len(sure) < _FEWEST_TILES or min(np.ptp(sure["x"]), np.ptp(sure["y"])) <= 0:
        return None
    at = sure[["x", "y"]].to_numpy()
    shift = sure[["shift_x_um", "shift_y_um"]].to_numpy() / um_per_px
    middle = at.mean(axis=0)
    spread = float(at.std())
    design = np.column_stack([(at - middle) / spread, np.ones(len(at))])
    weight = np.ones(len(at))
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)[:, None]
        solution, *_ = np.linalg.lstsq(design * root, shift * root, rcond=None)
        residual = np.linalg.norm(design @ solution - shift, axis=1)
        weight = 1 / (1 + (residual / max(np.median(residual), 0.5)) ** 2)
    linear = np.eye(2) + solution[:2].T / spread
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, solution[2] - (linear - np.eye(2)) @ middle
    moved = np.linalg.norm(design @ solution, axis=1) * um_per_px
    return {
        "matrix": matrix.tolist(),
        "rotation_deg": float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))),
        "scale": float(np.sqrt(abs(np.linalg.det(linear)))),
        "largest_um": float(moved.max()),
        "residual_um": float(np.median(residual) * um_per_px),
        "n_tiles": len(sure),
    }
