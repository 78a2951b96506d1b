"""Order of a slide's colour channels, by which of red and blue the stain changes more."""

from __future__ import annotations

import numpy as np

from stnuclei.quality.stain import optical_density
from stnuclei.quality.tissue_map import TISSUE, TissueMap
from stnuclei.slides.regions import read_region
from stnuclei.slides.slide import SlideOrArray

#: Windows looked at, their side and pixel size, um.
_MOST, _SIDE_UM, _PIXEL_UM = 48, 64.0, 0.5
#: Windows needed for a finding, and the fraction of them in which blue has to vary more.
_FEWEST, _CLEARLY = 8, 0.8
#: Spreads of optical density nearer to each other than this ratio say nothing (grey pictures, glass).
_SAME = 1.05


def blue_varies_more(slide: SlideOrArray, um_per_px: float, tissue: TissueMap) -> tuple[int, int]:
    """Count windows of tissue in which blue varies more than red.

    Haematoxylin absorbs 2.3 times as much red as blue and eosin hardly either (Ruifrok and Johnston 2001), so from
    nucleus to cytoplasm red varies more, whatever the tissue. Where blue does, the channels are exchanged (BGR, as
    OpenCV writes them), or the stain is not H&E.

    Parameters
    ----------
    slide
        (Y, X, 3) uint8, read by slices.
    um_per_px
        Its pixel size, um.
    tissue
        Windows are spread over its tissue.

    Returns
    -------
    Windows in which blue varies more, and windows that say anything.
    """
    rows, columns = np.nonzero(tissue.classes == TISSUE)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _MOST).astype(int)) if len(rows) else np.zeros(0, int)
    ratio, side = _PIXEL_UM / um_per_px, int(_SIDE_UM / _PIXEL_UM)
    height, width = (int(length / ratio) for length in slide.shape[:2])
    blue = said = 0
    for k in chosen:
        centre = np.array([columns[k], rows[k]]) * tissue.um_per_px / _PIXEL_UM
        x, y = (max(0, min(int(at) - side // 2, most - side)) for at, most in zip(centre, (width, height), strict=True))
        window = read_region(slide, x, y, min(side, width), min(side, height), ratio)
        spread = optical_density(window).reshape(-1, 3).std(axis=0)
        if max(spread[0], spread[2]) > _SAME * min(spread[0], spread[2]):
            said += 1
            blue += int(spread[2] > spread[0])
    return blue, said


def channel_problem(slide: SlideOrArray, um_per_px: float, tissue: TissueMap) -> str:
    """Sentence about channels that look exchanged; empty where they do not. See `blue_varies_more`."""
    blue, said = blue_varies_more(slide, um_per_px, tissue)
    if said < _FEWEST or blue < _CLEARLY * said:
        return ""
    return (
        f"red and blue seem to be exchanged (BGR): haematoxylin darkens red more than blue, here blue varies more in "
        f"{blue} of {said} windows; write the slide as RGB"
    )
