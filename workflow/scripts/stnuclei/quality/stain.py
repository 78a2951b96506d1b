"""Optical density, and how much haematoxylin is in a pixel."""

from __future__ import annotations

import numpy as np

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
