"""Verdicts on patches before they are cut: by tissue, and by the regions a sample keeps to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stnuclei.config.inputs import CutSettings
from stnuclei.patches.accounting import Fate
from stnuclei.patches.grid import TissueClasses, TissueFractions

if TYPE_CHECKING:
    from stnuclei.io.regions import Regions

#: Corners of patches (n, 2), patch_px -> their `Fate` codes (n,) uint8, 0 kept.
Verdict = Callable[[np.ndarray], np.ndarray]


def tissue_verdict(tissue_map: TissueClasses | None, size: int, ratio: float, settings: CutSettings) -> Verdict:
    """Verdict by the tissue that patches of `size` px show, each px `ratio` he_px wide; without a map all are kept."""
    if tissue_map is None:
        return lambda corners: np.zeros(len(corners), np.uint8)
    fractions = TissueFractions(tissue_map)

    def verdict(corners: np.ndarray) -> np.ndarray:
        sharp, blurred, pen = fractions.of(corners, size, ratio).T
        tissue = sharp + blurred + pen
        usable = sharp + (0 if settings.exclude_blurred else blurred) + (0 if settings.exclude_pen else pen)
        codes = np.zeros(len(corners), np.uint8)
        codes[usable < settings.min_tissue - 1e-9] = Fate.TISSUE
        most = settings.max_artifacts * tissue + 1e-9
        if settings.exclude_blurred:
            codes[blurred > most] = Fate.BLURRED
        if settings.exclude_pen:
            codes[pen > most] = Fate.PEN
        codes[tissue < settings.min_tissue - 1e-9] = Fate.TISSUE
        return codes

    return verdict


def within_regions(regions: Regions, by_tissue: Verdict, size: int, ratio: float) -> Verdict:
    """Verdict that also drops patches whose centre lies outside the regions, whatever their tissue."""

    def verdict(corners: np.ndarray) -> np.ndarray:
        codes = by_tissue(corners)
        codes[~regions.contains((corners + size / 2) * ratio)] = Fate.REGION
        return codes

    return verdict
