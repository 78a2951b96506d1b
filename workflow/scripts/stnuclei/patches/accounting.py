"""Accounting of every patch of the grid and every nucleus: kept, or dropped and why."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from stnuclei.errors import UserError
from stnuclei.patches.grid import PatchGrid


class Fate(IntEnum):
    """Reasons, the mildest first: of a nucleus seen in several patches the smallest code counts."""

    KEPT = 0
    CUT = 1
    FEW_NUCLEI = 2
    PEN = 3
    BLURRED = 4
    TISSUE = 5
    REGION = 6
    NO_PIXEL = 7
    OUTSIDE = 8
    NO_OUTLINE = 9


REASONS = {
    Fate.CUT: "cut by a patch's edge",
    Fate.FEW_NUCLEI: "too few nuclei",
    Fate.PEN: "pen or artefact",
    Fate.BLURRED: "blurred",
    Fate.TISSUE: "too little tissue",
    Fate.REGION: "outside the regions",
    Fate.NO_PIXEL: "no pixel of its own",
    Fate.OUTSIDE: "outside the slide",
    Fate.NO_OUTLINE: "no outline",
}


class Accounting:
    """Counts patches and nuclei by fate.

    Parameters
    ----------
    n_nuclei
        Nuclei of the sample.
    grid
        The patches.
    """

    def __init__(self, n_nuclei: int, grid: PatchGrid) -> None:
        self.grid = grid
        self.patches = np.zeros(len(Fate), np.int64)
        self.nuclei = np.full(n_nuclei, Fate.NO_PIXEL, np.uint8)

    def place(self, first: int, bounds: np.ndarray) -> None:
        """Count nuclei `first` to `first` + n that lie outside or have no outline, before any block is added.

        `bounds` (n, 4) are their boxes, patch_px, NaN without outline.
        """
        left, top, right, bottom = bounds.T
        nuclei = self.nuclei[first : first + len(bounds)]
        nuclei[(right <= 0) | (bottom <= 0) | (left >= self.grid.width) | (top >= self.grid.height)] = Fate.OUTSIDE
        nuclei[np.isnan(left)] = Fate.NO_OUTLINE

    def add(self, patches: np.ndarray, nuclei: np.ndarray, fates: np.ndarray) -> None:
        """Count a block: fates of its patches, and nuclei (rows) with their fates there."""
        self.patches += np.bincount(patches, minlength=len(Fate))
        self.nuclei[nuclei] = np.minimum(self.nuclei[nuclei], fates)

    def finished(self, name: str) -> dict[str, Any]:
        """All counts.

        Raises
        ------
        UserError
            If no patch was kept.
        """
        kept = int(self.patches[Fate.KEPT])
        dropped = self._by_reason(self.patches)
        if not kept:
            raise UserError(
                f"sample {name}: none of its {len(self.grid):,} patches is kept ({_listed(dropped)}); lower "
                "patches.min_tissue or patches.min_nuclei, or look at its tissue map and alignment"
            )
        nuclei = np.bincount(self.nuclei, minlength=len(Fate))
        return {
            "grid": len(self.grid),
            "dropped": dropped,
            "nuclei_in": len(self.nuclei),
            "nuclei_placed": int(nuclei[Fate.KEPT]),
            "nuclei_lost": self._by_reason(nuclei),
        }

    @staticmethod
    def _by_reason(counts: np.ndarray) -> dict[str, int]:
        return {words: int(counts[fate]) for fate, words in REASONS.items() if counts[fate]}

    @staticmethod
    def sentence(name: str, counts: dict[str, Any]) -> str:
        """The log's last line on a sample."""
        return (
            f"patches of {name}: {counts['patches']:,} of {counts['grid']:,} kept"
            f" (dropped: {_listed(counts['dropped'])}); {counts['nuclei_placed']:,} of {counts['nuclei_in']:,} nuclei"
            f" placed (lost: {_listed(counts['nuclei_lost'])}), {counts['nuclei']:,} with those in two patches;"
            f" {counts['bytes'] / 1e6:,.0f} MB, {counts['bytes_per_patch'] / 1e3:.1f} kB a patch,"
            f" {counts['patches'] / max(counts['seconds'], 0.01):,.0f} patches/s"
        )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {words}" for words, n in counts.items()) or "none"
