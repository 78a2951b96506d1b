"""Assignment of points of a slide to patches.

A cell or a molecule counts once: for the patch whose centre is nearest among those it lies in. On a grid without
overlap that is the patch that holds it; where patches overlap, each takes what lies nearest to its middle, so that
no count is shared by two patches (shared counts would make neighbours alike, and Moran's I with them).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from stnuclei.errors import UserError
from stnuclei.patches import PatchStore


class PatchAssignment:
    """Assignment of points of a slide to the patches of a store.

    Parameters
    ----------
    store
        The patches, cut by `stnuclei.patches.cut_patches` (its attributes say where they lie on the slide).

    Attributes
    ----------
    centres
        (N, 2) float64, (x, y), patch_px of the slide.

    Raises
    ------
    UserError
        If the store does not say how its patches lie on the slide (PanNuke's).
    """

    def __init__(self, store: PatchStore) -> None:
        if "he_px_per_px" not in store.attrs:
            raise UserError(f"{store.path}: its patches lie on no slide, so no counts belong to them")
        ratio = float(store.attrs["he_px_per_px"])
        correction = store.attrs["settings"].get("correction")
        self._to_patch = np.diag([1 / ratio, 1 / ratio, 1.0]) @ (np.eye(3) if correction is None else correction)
        self.half = store.patch_px / 2
        self.centres = store.origin + self.half
        self._tree = cKDTree(self.centres)

    def of(self, he_px: np.ndarray) -> np.ndarray:
        """Patch of each point.

        Parameters
        ----------
        he_px
            (n, 2) float64, (x, y), he_px of the sample as it was read: the correction of the alignment with which the
            patches were cut is applied here.

        Returns
        -------
        int64 (n,), -1 where the point lies in no patch.
        """
        points = he_px @ self._to_patch[:2, :2].T + self._to_patch[:2, 2]
        patch = np.full(len(points), -1, np.int64)
        finite = np.isfinite(points).all(axis=1)
        patch[finite] = self._nearest(points[finite])
        return patch

    def _nearest(self, points: np.ndarray) -> np.ndarray:
        nearest = self._tree.query(points)[1]
        outside = np.abs(points - self.centres[nearest]).max(axis=1) > self.half
        # Beside a patch that was dropped another, farther one may still hold the point: squares reach as far as the
        # largest of |dx| and |dy| says.
        other = self._tree.query(points[outside], p=np.inf, distance_upper_bound=self.half * (1 + 1e-9))[1]
        nearest[outside] = np.where(other < len(self.centres), other, -1)
        return nearest
