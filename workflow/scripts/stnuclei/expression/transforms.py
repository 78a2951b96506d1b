"""Input of the networks: patches resized, augmented and normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings
from stnuclei.config.expression import ExpressionSettings
from stnuclei.expression.networks import normalisation

#: Flips, right-angle turns and mild colour: shapes, sizes and textures of nuclei stay as they are.
MORPHOLOGY = {
    **dict.fromkeys(PROBABILITIES, 0.0),
    "rotate90": 1.0,
    "flip_x": 0.5,
    "flip_y": 0.5,
    "jitter": 0.5,
    "brightness": 0.1,
    "contrast": 0.1,
    "saturation": 0.1,
    "hue": 0.02,
}


class InputTransform:
    """Transform of a batch of patches into the network's input.

    Parameters
    ----------
    settings
        network (its normalisation), patch_px, augmentation, seed.
    """

    def __init__(self, settings: ExpressionSettings) -> None:
        self.settings = settings
        self.augment = Augmenter(settings.seed, AugmentSettings.of(MORPHOLOGY))
        self.plain = Augmenter(settings.seed, "none")
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in normalisation(settings.network))
        # the augmenter gives 2 v - 1 for v in 0..1
        self.scale, self.shift = 0.5 / deviation, (0.5 - mean) / deviation

    def __call__(self, images: torch.Tensor, seed: int | None = None) -> torch.Tensor:
        """Transform a batch.

        Parameters
        ----------
        images
            (B, 3, P, P) uint8.
        seed
            Of this batch's augmentation; none: no augmentation.

        Returns
        -------
        (B, 3, p, p) float32, p = patch_px where it is set.
        """
        side = self.settings.patch_px
        if side and side != images.shape[-1]:
            images = resize(images, side)
        augmenter = self.augment if seed is not None and self.settings.augmentation == "morphology" else self.plain
        no_nuclei = torch.zeros((len(images), *images.shape[2:]), dtype=torch.uint8, device=images.device)
        pictures, _ = augmenter(images, no_nuclei, seed=seed or 0)
        return pictures * self.scale.to(pictures.device) + self.shift.to(pictures.device)


def resize(images: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, P, P) uint8 -> (B, 3, side, side) uint8, antialiased."""
    small = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.round_().clamp_(0, 255).to(torch.uint8)
