"""Smooth random fields, the stain concentrations that they make uneven, and the picture a scanner takes of these."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

#: Optical density of haematoxylin, eosin and haemoglobin in red, green and blue. The first two lie between the
#: vectors of Ruifrok & Johnston 2001 and what a scanner with broad colour filters gives.
BASE_VECTORS = np.array([[0.61, 0.73, 0.30], [0.13, 0.88, 0.40], [0.08, 0.70, 0.66]], np.float32)


def noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian field with correlation length of about `scale` px.

    Parameters
    ----------
    shape
        Rows and columns.
    scale
        Length in px over which the field changes; 1 and less is white noise.
    rng
        Where the numbers come from.

    Returns
    -------
    float32 `shape`, mean 0 and standard deviation 1.
    """
    coarse = tuple(max(4, int(np.ceil(n / max(scale, 1.0))) + 3) for n in shape)
    field: np.ndarray = rng.standard_normal(coarse, dtype=np.float32)
    if scale > 1.0:
        # A crop of the enlarged grid: enlarging exactly to `shape` would stretch one axis more than the other.
        big = cv2.resize(field, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        field = big[: shape[0], : shape[1]]
        if field.shape != shape:
            field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    else:
        field = field[: shape[0], : shape[1]]
    return np.ascontiguousarray((field - field.mean()) / max(float(field.std()), 1e-6))


def fractal(shape: tuple[int, int], scales: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Sum of `noise` fields, every finer one half as strong; float32 `shape`, standard deviation 1."""
    total = np.sum([noise(shape, scale, rng) * 0.5**octave for octave, scale in enumerate(scales)], axis=0)
    return (total / total.std()).astype(np.float32)


def enlarge(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a field (h, w) to `shape` by bicubic interpolation, float32."""
    return cv2.resize(field.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)


def smoothstep(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, and a smooth ramp in between; float32."""
    ramp = np.clip((field - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def orientation(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth field of undirected orientations in radians, float32 `shape`.

    Two noise fields are read as cosine and sine of the double angle, so the field has no seam at pi.
    """
    return 0.5 * np.arctan2(noise(shape, scale, rng), noise(shape, scale, rng)).astype(np.float32)


@dataclass
class Canvas:
    """Concentrations in the making; all fields float32 (H, W) but `um_per_px`."""

    um_per_px: float
    blue: np.ndarray
    pink: np.ndarray
    red: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.blue.shape

    def px(self, um: float) -> float:
        """Length in px of `um`."""
        return um / self.um_per_px

    def lay(self, mask: np.ndarray, blue: float | np.ndarray, pink: float | np.ndarray) -> None:
        """Replace what lies under a soft mask (H, W) in 0..1."""
        self.blue += mask * (blue - self.blue)
        self.pink += mask * (pink - self.pink)
        self.red *= 1 - mask


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
