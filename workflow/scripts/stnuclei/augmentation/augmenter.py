"""Augmentation of whole batches on the device, picture and instance map together.

The published list, order and values (CellViT's PanNuke recipe, made with albumentations 1.3.0). Where that library
rounds to 8 bits between two transforms, values stay in floating point here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stnuclei.augmentation import color, shape
from stnuclei.augmentation.draws import Change, Parameters, draw_changes, send
from stnuclei.augmentation.superpixels import fill_superpixels
from stnuclei.config.augmentation import AugmentSettings
from stnuclei.config.encoders import HALF

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
    normalisation
        Mean and standard deviation of RGB in 0..1 by which the network wants its images normalised.
    """

    def __init__(
        self,
        seed: int = 0,
        settings: AugmentSettings | Mapping[str, Any] | str | None = None,
        normalisation: tuple[Sequence[float], Sequence[float]] = HALF,
    ) -> None:
        self.seed = seed
        self.settings = AugmentSettings.of(settings)
        self.normalisation = normalisation
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
        Images (B, 3, H, W) float32, normalised (by default to -1..1), and instances of the type given.
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
        rng = np.random.default_rng([self.seed, self.batches if seed is None else seed])
        self.batches += 1
        generator = noise_generator(images.device, int(rng.integers(2**62)))
        height, width = images.shape[2:]
        changes = send(draw_changes(rng, self.settings, len(images), (height, width)), images.device)
        images = images.float()
        for change in changes:
            images, instances = apply(change, images, instances, generator)
        return self.normalised(images), instances

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels 0..255 (B, 3, H, W) of any type as the network wants them, float32."""
        if self.normalisation == HALF:
            return images.float() / 127.5 - 1
        mean, std = (255 * torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in self.normalisation)
        return (images.float() - mean) / std


def noise_generator(device: torch.device, seed: int) -> torch.Generator:
    """Source of the noise, on the device itself."""
    return torch.Generator(device).manual_seed(seed)


def apply(change: Change, images: torch.Tensor, instances: torch.Tensor, generator: torch.Generator) -> Pair:
    """Apply one transform to the patches it was drawn for."""
    transform = TRANSFORMS[change.name]
    if change.index is None:
        return transform(images, instances, change.parameters, generator)
    images_before, instances_before = images[change.index], instances[change.index]
    changed, moved = transform(images_before, instances_before, change.parameters, generator)
    images.index_copy_(0, change.index, changed)
    if moved is not instances_before:
        instances = instances.index_copy(0, change.index, moved)
    return images, instances


def _rotate90(images: torch.Tensor, instances: torch.Tensor, p: Parameters, generator: torch.Generator) -> Pair:
    out, ids = images.clone(), instances.clone()
    for quarter, index in p["turns"]:
        out[index], ids[index] = shape.turn(images[index], instances[index], quarter)
    return out, ids


def _blur(images: torch.Tensor, instances: torch.Tensor, p: Parameters, generator: torch.Generator) -> Pair:
    out = images.clone()
    for width, index in p["squares"]:
        out[index] = color.blur(images[index], width)
    return out, instances


def _elastic(images: torch.Tensor, instances: torch.Tensor, p: Parameters, generator: torch.Generator) -> Pair:
    return shape.elastic(images, instances, **p, generator=generator)


Transform = Callable[[torch.Tensor, torch.Tensor, Parameters, torch.Generator], Pair]
TRANSFORMS: dict[str, Transform] = {
    "rotate90": _rotate90,
    "flip_x": lambda images, instances, p, generator: shape.mirror(images, instances, -1),
    "flip_y": lambda images, instances, p, generator: shape.mirror(images, instances, -2),
    "downscale": lambda images, instances, p, generator: (color.take(images, **p), instances),
    "blur": _blur,
    "noise": lambda images, instances, p, generator: (color.noise(images, p["spread"], generator), instances),
    "jitter": lambda images, instances, p, generator: (color.jitter(images, p["steps"]), instances),
    "superpixels": lambda images, instances, p, generator: (
        fill_superpixels(images, **p, generator=generator),
        instances,
    ),
    "zoom_blur": lambda images, instances, p, generator: (color.zoom_blur(images, **p), instances),
    "crop": lambda images, instances, p, generator: shape.zoomed_crop(images, instances, **p),
    "elastic": _elastic,
}
