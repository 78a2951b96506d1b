"""Which augmentations, how often, how strong: the published list with its values as defaults."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from stnuclei.errors import UserError


@dataclass(frozen=True)
class AugmentSettings:
    """Probability (0 to 1) and strength of each transform, in the order in which they are applied.

    Parameters
    ----------
    rotate90, flip_x, flip_y
        Probabilities of a turn by 0 to 3 right angles and of mirroring left-right and up-down.
    downscale, downscale_factor
        Pixels repeated as if the picture had been taken at a fraction of the resolution.
    blur, blur_px
        Mean over a square of odd width 3..`blur_px`.
    noise, noise_variance
        Gaussian noise, each pixel and channel on its own, variance 0..`noise_variance` in 8-bit units.
    jitter, brightness, contrast, saturation, hue
        Factors 1 +- value, hue turned by +- value of the circle; in random order.
    superpixels, superpixel_share, superpixel_count, superpixel_size
        The picture reduced to at most `superpixel_size` px, cut into about `superpixel_count` pieces, a
        `superpixel_share` of them filled with their mean colour, and brought back to size.
    zoom_blur, zoom_factor
        Mean over the picture and its enlargements up to a factor of 1..`zoom_factor` in steps of 0.01..0.03.
    crop, crop_share
        A square of `crop_share`..1 of the height brought to full size.
    elastic, elastic_sigma, elastic_alpha, elastic_affine
        Smooth random displacement (sigma and alpha in px) after a random affine map that moves three points by up
        to `elastic_affine` px.
    """

    rotate90: float = 0.5
    flip_x: float = 0.5
    flip_y: float = 0.5
    downscale: float = 0.15
    downscale_factor: float = 0.5
    blur: float = 0.2
    blur_px: int = 10
    noise: float = 0.25
    noise_variance: float = 50.0
    jitter: float = 0.2
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.1
    hue: float = 0.05
    superpixels: float = 0.1
    superpixel_share: float = 0.1
    superpixel_count: int = 200
    superpixel_size: int = 128
    zoom_blur: float = 0.1
    zoom_factor: float = 1.05
    crop: float = 0.1
    crop_share: float = 0.5
    elastic: float = 0.2
    elastic_sigma: float = 25.0
    elastic_alpha: float = 0.5
    elastic_affine: float = 15.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises
        ------
        UserError
            Naming the setting and what is allowed.
        """
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation.{name} is a probability between 0 and 1, not {getattr(self, name)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise UserError(f"augmentation.{name} must lie between {low} and {high}, not {getattr(self, name)}")

    @classmethod
    def of(cls, settings: AugmentSettings | Mapping[str, Any] | str | None) -> AugmentSettings:
        """Settings from a name (``official``, ``flips``, ``none``), a mapping of changed values, or settings.

        Raises
        ------
        UserError
            For a name or key there is none of.
        """
        if isinstance(settings, cls):
            return settings
        if settings is None or isinstance(settings, str):
            if settings not in (None, "official", "flips", "none"):
                raise UserError(f"augmentation {settings!r} is not one of official, flips, none")
            kept = {"flips": PROBABILITIES[:3], "none": ()}.get(settings or "official", PROBABILITIES)
            return cls(**{name: 0.0 for name in PROBABILITIES if name not in kept})
        known = [field.name for field in fields(cls)]
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise UserError(f"augmentation.{key} is no setting; {hint}")
        return cls(**settings)


PROBABILITIES = (
    "rotate90",
    "flip_x",
    "flip_y",
    "downscale",
    "blur",
    "noise",
    "jitter",
    "superpixels",
    "zoom_blur",
    "crop",
    "elastic",
)
_RANGES = {
    "downscale_factor": (0.05, 1.0),
    "blur_px": (3, 63),
    "noise_variance": (0.0, 65025.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "saturation": (0.0, 1.0),
    "hue": (0.0, 0.5),
    "superpixel_share": (0.0, 1.0),
    "superpixel_count": (4, 10000),
    "superpixel_size": (16, 4096),
    "zoom_factor": (1.0, 2.0),
    "crop_share": (0.05, 1.0),
    "elastic_sigma": (1.0, 1000.0),
    "elastic_alpha": (0.0, 1e6),
    "elastic_affine": (0.0, 1e4),
}
