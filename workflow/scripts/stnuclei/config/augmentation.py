"""Settings of the augmentation: which transforms, how often, how strong; defaults are CellViT's published list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field

from stnuclei.config.model import Fraction, Settings
from stnuclei.errors import UserError

#: The transforms in the order in which they are applied; each is also the name of its probability.
PROBABILITIES = (
    *("rotate90", "flip_x", "flip_y", "downscale", "blur", "noise", "jitter", "superpixels", "zoom_blur", "crop"),
    "elastic",
)
#: Named choices -> transforms that stay on.
PRESETS = {"official": PROBABILITIES, "flips": PROBABILITIES[:3], "none": ()}


class AugmentSettings(Settings, block="augmentation"):
    """Probability (0 to 1) and strength of each transform, in the order in which they are applied."""

    rotate90: Fraction = Field(0.5, description="Probability of a turn by 0 to 3 right angles.")
    flip_x: Fraction = Field(0.5, description="Probability of mirroring left and right.")
    flip_y: Fraction = Field(0.5, description="Probability of mirroring up and down.")
    downscale: Fraction = Field(0.15, description="Probability of pixels repeated as at a lower resolution.")
    downscale_factor: Annotated[float, Field(ge=0.05, le=1)] = Field(0.5, description="That resolution's fraction.")
    blur: Fraction = Field(0.2, description="Probability of a mean over a square of odd width 3..blur_px.")
    blur_px: Annotated[int, Field(ge=3, le=63)] = Field(10, description="Largest width of that square, px.")
    noise: Fraction = Field(0.25, description="Probability of Gaussian noise on each pixel and channel.")
    noise_variance: Annotated[float, Field(ge=0, le=65025)] = Field(
        50.0, description="Largest variance of the noise, 8-bit units squared."
    )
    jitter: Fraction = Field(0.2, description="Probability of changed colours, in random order.")
    brightness: Fraction = Field(0.25, description="Factor 1 +- value.")
    contrast: Fraction = Field(0.25, description="Factor 1 +- value.")
    saturation: Fraction = Field(0.1, description="Factor 1 +- value.")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.05, description="Turn by +- value of the colour circle.")
    superpixels: Fraction = Field(0.1, description="Probability of superpixels filled with their mean colour.")
    superpixel_fraction: Fraction = Field(0.1, description="Fraction of the superpixels that is filled.")
    superpixel_count: Annotated[int, Field(ge=4, le=10000)] = Field(200, description="About as many superpixels.")
    superpixel_size: Annotated[int, Field(ge=16, le=4096)] = Field(
        128, description="Side to which the picture is reduced for them, px."
    )
    zoom_blur: Fraction = Field(0.1, description="Probability of the mean over the picture and its enlargements.")
    zoom_factor: Annotated[float, Field(ge=1, le=2)] = Field(1.05, description="Largest enlargement.")
    crop: Fraction = Field(0.1, description="Probability of a square cropped and brought to full size.")
    crop_fraction: Annotated[float, Field(ge=0.05, le=1)] = Field(0.5, description="Smallest side of the square.")
    elastic: Fraction = Field(0.2, description="Probability of an elastic deformation.")
    elastic_sigma: Annotated[float, Field(ge=1, le=1000)] = Field(25.0, description="Smoothness of it, px.")
    elastic_alpha: Annotated[float, Field(ge=0, le=1e6)] = Field(0.5, description="Its strength.")
    elastic_affine: Annotated[float, Field(ge=0, le=1e4)] = Field(
        15.0, description="Largest displacement of the affine map's three points, px."
    )

    @classmethod
    def of(cls, settings: AugmentSettings | Mapping[str, Any] | str | None) -> Self:
        """Settings from a name (``official``, ``flips``, ``none``), a mapping of changed values, or settings.

        Raises
        ------
        UserError
            For a name or key there is none of.
        """
        if isinstance(settings, AugmentSettings):
            return cls(**settings.model_dump())
        if settings is None or isinstance(settings, str):
            name = settings or "official"
            if name not in PRESETS:
                raise UserError(f"augmentation {name!r} is none of {', '.join(PRESETS)}")
            return cls(**{transform: 0.0 for transform in PROBABILITIES if transform not in PRESETS[name]})
        return cls.from_dict(settings)
