"""Optical density: how much haematoxylin is in a pixel, and ink on the glass by colours that no stain has."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Absorption of haematoxylin, eosin and what is left, rows of unit length over R, G, B
#: (Ruifrok and Johnston, Anal Quant Cytol Histol 2001, 23:291).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_TO_HAEMATOXYLIN = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True))[:, 0].astype(np.float32)


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
