"""Augmentation of whole batches on the device, picture and instance map together.

The published list, order and values (CellViT's PanNuke recipe, made with albumentations 1.3.0). Where that library
rounds to 8 bits between two transforms, values stay in floating point here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from stnuclei.augmentation import color, shape, superpixels
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings

Pair = tuple[torch.Tensor, torch.Tensor]


class Augmenter:
    """Augment batches.

    Parameters
    ----------
    seed
        Batch n (counted from 0) of two augmenters with one seed is changed alike on one kind of device.
    settings
        ``official``, ``flips``, ``none``, a mapping of settings that differ from the official ones, or
        `AugmentSettings`.
    """

    def __init__(self, seed: int = 0, settings: AugmentSettings | Mapping[str, Any] | str | None = None) -> None:
        self.seed = seed
        self.settings = AugmentSettings.of(settings)
        self.batches = 0

    def __call__(self, images: torch.Tensor, instances: torch.Tensor, seed: int | None = None) -> Pair:
        """Change a batch and normalise it.

        Parameters
        ----------
        images
            (B, 3, H, W) uint8 RGB.
        instances
            (B, H, W) integers on the same device.
        seed
            Of this batch, in place of the count of batches.

        Returns
        -------
        Images (B, 3, H, W) float32 of mean and standard deviation 0.5 (-1..1), and instances of the type given.
        Every id lies on the pixels it lay on; one may lie in two pieces or have left the picture.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        if images.ndim != 4 or images.shape[1] != 3 or instances.shape != (len(images), *images.shape[2:]):
            raise ValueError(
                f"images (B, 3, H, W) and instances (B, H, W) do not fit: {images.shape}, {instances.shape}"
            )
        number = self.batches if seed is None else seed
        self.batches += 1
        draw = Draw(np.random.default_rng([self.seed, number]), images.device, self.settings)
        images = images.float()
        for name in PROBABILITIES:
            images, instances = apply(name, images, instances, draw)
        return images.div_(127.5).sub_(1), instances


class Draw:
    """Random choices of one batch: parameters on the CPU (no waiting for the device), noise on the device."""

    def __init__(self, rng: np.random.Generator, device: torch.device, settings: AugmentSettings) -> None:
        self.rng, self.settings = rng, settings
        self.generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))


def apply(name: str, images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    """Apply one transform by name to the pictures that chance gives to it."""
    chosen = np.flatnonzero(draw.rng.random(len(images)) < getattr(draw.settings, name))
    if not chosen.size:
        return images, instances
    transform = TRANSFORMS[name]
    if chosen.size == len(images):
        return transform(images, instances, draw)
    index = torch.as_tensor(chosen).to(images.device)
    part, ids = images[index], instances[index]
    changed, moved = transform(part, ids, draw)
    images.index_copy_(0, index, changed)
    if moved is not ids:
        instances = instances.index_copy(0, index, moved)
    return images, instances


def _rotate90(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    quarters = draw.rng.integers(4, size=len(images))
    if images.shape[-1] != images.shape[-2]:
        quarters &= 2  # only half turns keep the shape of an oblong picture
    out, ids = images.clone(), instances.clone()
    for quarter in (1, 2, 3):
        index = torch.as_tensor(np.flatnonzero(quarters == quarter)).to(images.device)
        if len(index):
            out[index], ids[index] = shape.turn(images[index], instances[index], quarter)
    return out, ids


def _downscale(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    return color.downscale(images, draw.settings.downscale_factor), instances


def _blur(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    widths = draw.rng.choice(np.arange(3, draw.settings.blur_px + 1, 2), len(images))
    out = images.clone()
    for width in np.unique(widths):
        index = torch.as_tensor(np.flatnonzero(widths == width)).to(images.device)
        out[index] = color.blur(images[index], int(width))
    return out, instances


def _noise(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    variance = draw.rng.uniform(0, draw.settings.noise_variance, len(images))
    return color.noise(images, variance, draw.generator), instances


def _jitter(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    s, n = draw.settings, len(images)
    reach = np.array([s.brightness, s.contrast, s.saturation, s.hue])
    factors = np.array([1, 1, 1, 0]) + reach * draw.rng.uniform(-1, 1, (n, 4))
    return color.jitter(images, factors, draw.rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)), instances


def _superpixels(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    s = draw.settings
    filled = superpixels.fill_superpixels(
        images, s.superpixel_fraction, s.superpixel_count, s.superpixel_size, draw.generator
    )
    return filled, instances


def _zoom_blur(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    factor = draw.rng.uniform(1, draw.settings.zoom_factor, len(images))
    return color.zoom_blur(images, factor, draw.rng.uniform(0.01, 0.03, len(images))), instances


def _crop(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    share = draw.rng.uniform(draw.settings.crop_fraction, 1, len(images))
    return shape.zoomed_crop(images, instances, share, draw.rng.random((len(images), 2)))


def _elastic(images: torch.Tensor, instances: torch.Tensor, draw: Draw) -> Pair:
    s = draw.settings
    shift = draw.rng.uniform(-s.elastic_affine, s.elastic_affine, (len(images), 3, 2))
    return shape.elastic(images, instances, shift, s.elastic_sigma, s.elastic_alpha, draw.generator)


TRANSFORMS: dict[str, Callable[[torch.Tensor, torch.Tensor, Draw], Pair]] = {
    "rotate90": _rotate90,
    "flip_x": lambda images, instances, draw: shape.mirror(images, instances, -1),
    "flip_y": lambda images, instances, draw: shape.mirror(images, instances, -2),
    "downscale": _downscale,
    "blur": _blur,
    "noise": _noise,
    "jitter": _jitter,
    "superpixels": _superpixels,
    "zoom_blur": _zoom_blur,
    "crop": _crop,
    "elastic": _elastic,
}
