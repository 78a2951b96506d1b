"""Small corrections of an alignment, from the shifts of its tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_FEWEST_TILES = 6
_ROUNDS = 10


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
