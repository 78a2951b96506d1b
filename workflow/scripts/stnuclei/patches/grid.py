"""Grid of patches on a slide, the blocks they are cut in, and the tissue each shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stnuclei.errors import UserError

#: Side of the region read at once, patch_px: large against a slide's tiles (few are decoded twice), 50 MB of pixels.
BLOCK_PX = 4096


@dataclass(frozen=True)
class PatchGrid:
    """Patches of a slide, rows and columns from its top-left corner.

    Parameters
    ----------
    width, height
        Slide, patch_px.
    size, stride
        Side of a patch and distance of two neighbours, patch_px. The last row and column reach over the slide's edge
        where it does not divide: no tissue is left out.
    """

    width: int
    height: int
    size: int
    stride: int

    def __post_init__(self) -> None:
        if self.size < 16 or self.stride < 1:
            raise UserError(
                f"patches: size must be at least 16 px and stride at least 1 px, not {self.size} and {self.stride}"
            )

    @property
    def columns(self) -> np.ndarray:
        """Left edges, int64."""
        return self._starts(self.width)

    @property
    def rows(self) -> np.ndarray:
        """Top edges, int64."""
        return self._starts(self.height)

    def _starts(self, length: int) -> np.ndarray:
        starts = np.arange(0, max(length, 1), self.stride, dtype=np.int64)
        # A patch is needed where those before it do not reach the slide's edge.
        return starts[(starts == 0) | (starts - self.stride + self.size < length)]

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def bands(self) -> list[list[np.ndarray]]:
        """Rows of blocks; a block is the top-left corners of its patches, int64 (n, 2) (x, y)."""
        step = max(1, (BLOCK_PX - self.size) // self.stride + 1)
        columns, rows = self.columns, self.rows
        return [
            [
                np.array([(x, y) for y in rows[r : r + step] for x in columns[c : c + step]])
                for c in range(0, len(columns), step)
            ]
            for r in range(0, len(rows), step)
        ]

    def blocks(self) -> list[np.ndarray]:
        """Blocks of all bands, row by row."""
        return [block for band in self.bands() for block in band]

    def band_edges(self) -> np.ndarray:
        """Top and bottom of each band (B, 2) int64, patch_px; bands overlap where patches do."""
        return np.array([(band[0][0, 1], band[0][-1, 1] + self.size) for band in self.bands()])


class TissueClasses(Protocol):
    """A tissue map as this package sees it; `stnuclei.quality.TissueMap`, which lies above it, is one."""

    classes: np.ndarray
    he_px_per_px: float


class TissueFractions:
    """Fraction of any rectangle that is of each class of a tissue map, exact to fractions of the map's pixels.

    Parameters
    ----------
    tissue_map
        ``.classes`` (H, W) uint8 (1 tissue, 2 blurred, 3 pen) and ``.he_px_per_px``.
    """

    def __init__(self, tissue_map: TissueClasses) -> None:
        self.he_px_per_px = float(tissue_map.he_px_per_px)
        classes = np.asarray(tissue_map.classes)
        self.sums = np.zeros((3, classes.shape[0] + 1, classes.shape[1] + 1))
        for k in range(3):
            self.sums[k, 1:, 1:] = (classes == k + 1).cumsum(0, dtype=np.float64).cumsum(1)

    def of(self, corners: np.ndarray, size: int, he_px: float) -> np.ndarray:
        """Fractions of squares.

        Parameters
        ----------
        corners
            (n, 2) top-left (x, y), patch_px.
        size
            Side, patch_px.
        he_px
            he_px a patch_px is wide.

        Returns
        -------
        float64 (n, 3): tissue, blurred tissue, pen or artefact; what lies outside the map is none of them.
        """
        scale = he_px / self.he_px_per_px
        x0, y0 = np.asarray(corners, np.float64).T * scale
        x1, y1 = x0 + size * scale, y0 + size * scale
        area = self._sum(x1, y1) - self._sum(x0, y1) - self._sum(x1, y0) + self._sum(x0, y0)
        return area.T / (size * scale) ** 2

    def _sum(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Area of each class left of x and above y, (3, n); linear inside a map pixel."""
        height, width = self.sums.shape[1] - 1, self.sums.shape[2] - 1
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        c, r = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
        u, v = x - c, y - r
        s = self.sums
        upper = s[:, r, c] * (1 - u) + s[:, r, c + 1] * u
        lower = s[:, r + 1, c] * (1 - u) + s[:, r + 1, c + 1] * u
        return upper * (1 - v) + lower * v
