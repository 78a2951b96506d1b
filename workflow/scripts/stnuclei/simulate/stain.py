"""From stain concentrations to the picture a slide scanner takes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stnuclei.simulate.fields import noise

#: Optical density of haematoxylin, eosin and haemoglobin in red, green and blue. The first two lie between the
#: vectors of Ruifrok & Johnston 2001 and what a scanner with broad colour filters gives.
BASE_VECTORS = np.array([[0.61, 0.73, 0.30], [0.13, 0.88, 0.40], [0.08, 0.70, 0.66]], np.float32)


@dataclass(frozen=True)
class Stain:
    """Staining and scanning of one slide.

    Parameters
    ----------
    vectors
        Optical densities (stain, RGB), float32 (3, 3).
    strength
        Multiplies the concentrations, float32 (3,).
    white
        RGB of the empty slide, float32 (3,).
    blur_px
        Standard deviation of the scanner's point spread.
    noise
        Standard deviation of the sensor noise in grey levels.
    """

    vectors: np.ndarray
    strength: np.ndarray
    white: np.ndarray
    blur_px: float
    noise: float


def draw_stain(rng: np.random.Generator, spread: float = 1.0) -> Stain:
    """Draw one laboratory's stain; `spread` multiplies how much slides differ."""
    vectors = BASE_VECTORS + spread * rng.normal(0, 0.025, (3, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(spread * rng.normal(0, 0.10, 3)).astype(np.float32)
    white = np.array([242, 240, 243], np.float32) + spread * rng.normal(0, 1.2, 3).astype(np.float32)
    return Stain(
        vectors, strength, np.minimum(white, 250), float(rng.uniform(0.55, 0.80)), float(rng.uniform(1.0, 2.0))
    )


def expose(concentrations: np.ndarray, stain: Stain, rng: np.random.Generator) -> np.ndarray:
    """Beer-Lambert: light through stained tissue, then lens and sensor.

    Parameters
    ----------
    concentrations
        Haematoxylin, eosin, haemoglobin; float32 (H, W, 3), in units of optical density.
    stain
        The slide's stain and scanner.
    rng
        Source of the sensor noise.

    Returns
    -------
    uint8 (H, W, 3) RGB.
    """
    absorbed = (concentrations * stain.strength) @ stain.vectors
    light = np.exp(-absorbed)
    light = cv2.GaussianBlur(light, (0, 0), stain.blur_px) * stain.white
    # A faint unevenness of the lamp, then grain finer in the light parts than shot noise would make it.
    light *= 1.0 + 0.006 * noise(light.shape[:2], 600, rng)[..., None]
    light += stain.noise * rng.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)
