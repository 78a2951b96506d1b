"""Optical density: haematoxylin in a pixel, ink by colours that no stain has, and channels in the wrong order."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from stnuclei.quality.tissue_map import TISSUE, TissueMap
from stnuclei.slides.regions import read_region
from stnuclei.slides.slide import SlideOrArray

#: Absorption of haematoxylin, eosin and what is left, rows of unit length over R, G, B
#: (Ruifrok and Johnston, Anal Quant Cytol Histol 2001, 23:291).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_TO_HAEMATOXYLIN = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True))[:, 0].astype(np.float32)
#: Windows looked at, their side and pixel size, um.
_MOST, _SIDE_UM, _PIXEL_UM = 48, 64.0, 0.5
#: Windows needed for a finding, and the fraction of them in which blue has to vary more.
_FEWEST, _CLEARLY = 8, 0.8
#: Spreads of optical density nearer to each other than this ratio say nothing (grey pictures, glass).
_SAME = 1.05


def optical_density(rgb: np.ndarray, white: np.ndarray | float = 245.0) -> np.ndarray:
    """Optical density, -log10 of transmission.

    Parameters
    ----------
    rgb
        (..., 3), 0 to 255.
    white
        Value of glass, one or one a channel.

    Returns
    -------
    (..., 3) float32, 0 where nothing absorbs.
    """
    shifted = np.asarray(rgb, np.float32) + 1
    return np.maximum(np.log10((np.asarray(white, np.float32) + 1) / shifted), 0)


def haematoxylin(rgb: np.ndarray, white: np.ndarray | float = 245.0) -> np.ndarray:
    """Density of haematoxylin by colour deconvolution, (...) float32, not below 0."""
    return np.maximum(optical_density(rgb, white) @ _TO_HAEMATOXYLIN, 0)


#: Smallest mark, um2: no tissue is blue or green, but pigment is black and blood red in smaller pieces.
_SMALLEST_COLD_UM2 = 1500.0
_SMALLEST_BLACK_UM2 = 10000.0
_SMALLEST_WARM_UM2 = 40000.0


def find_pen(colour: np.ndarray, white: np.ndarray, um_per_px: float) -> np.ndarray:
    """Find pen marks.

    Haematoxylin and eosin both absorb green light most. Green and blue ink absorb red most; black ink absorbs all
    three alike and strongly; red ink absorbs green and blue alike and lets red through.

    Parameters
    ----------
    colour
        (H, W, 3) mean RGB.
    white
        (3,) glass.
    um_per_px
        Pixel size.

    Returns
    -------
    (H, W) bool.
    """
    red, green, blue = np.moveaxis(optical_density(colour, white), 2, 0)
    density = (red + green + blue) / 3
    cold = (red > 1.08 * green) & (density > 0.12)
    black = (density > 0.55) & (blue > 0.8 * green) & (red > 0.8 * green)
    warm = (green > 0.25) & (blue > 0.75 * green) & (red < 0.2 * green)
    kinds = ((cold, _SMALLEST_COLD_UM2), (black, _SMALLEST_BLACK_UM2), (warm, _SMALLEST_WARM_UM2))
    marks = np.logical_or.reduce([_pieces(mask, smallest / um_per_px**2) for mask, smallest in kinds])
    return ndimage.binary_dilation(marks, iterations=2)


def _pieces(mask: np.ndarray, pixels: float) -> np.ndarray:
    """Pieces of a mask, small gaps closed, with at least so many pixels."""
    labels, n = ndimage.label(ndimage.binary_closing(np.pad(mask, 4), iterations=2)[4:-4, 4:-4])
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= pixels
    keep[0] = False
    return keep[labels]


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
