"""Transforms that change colours: (B, 3, H, W) float32 in 0..255 in and out, one set of values a picture.

Values may be arrays or tensors; the augmenter gives tensors that are on the device already.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from stnuclei.augmentation.shape import pixel_grid, resample_images

Values = np.ndarray | torch.Tensor


def take(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Pixels by row and column numbers, (H,) and (W,)."""
    return images[:, :, rows][..., columns]


def blur(images: torch.Tensor, width: int) -> torch.Tensor:
    """Mean over a square of odd `width`; edges are mirrored."""
    half = width // 2
    padded = F.pad(images, (half, half, half, half), mode="reflect")
    # two passes over lines: width + width instead of width x width additions
    return F.avg_pool2d(F.avg_pool2d(padded, (1, width), 1), (width, 1), 1)


def noise(images: torch.Tensor, spread: Values, generator: torch.Generator) -> torch.Tensor:
    """Add Gaussian noise of standard deviation `spread` (B,) in 8-bit units, each pixel and channel on its own."""
    drawn = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + each(spread, images) * drawn).clamp_(0, 255)


def jitter(images: torch.Tensor, steps: Sequence[tuple[int, torch.Tensor, Values]]) -> torch.Tensor:
    """Change brightness, contrast, saturation and hue, each picture in its own order.

    Parameters
    ----------
    steps
        In order: number of the operation (0..3, see `JITTER`), the pictures (n,), and its factor for each (n,).
    """
    images = images.clone()
    for number, index, factor in steps:
        images[index] = JITTER[number](images[index], factor)
    return images


def brightness(images: torch.Tensor, factor: Values) -> torch.Tensor:
    """All values times `factor` (B,)."""
    return (images * each(factor, images)).clamp_(0, 255)


def contrast(images: torch.Tensor, factor: Values) -> torch.Tensor:
    """Distance from the picture's mean grey times `factor` (B,)."""
    mean = gray(images).mean((-2, -1), keepdim=True)
    return torch.lerp(mean, images, each(factor, images)).clamp_(0, 255)


def saturation(images: torch.Tensor, factor: Values) -> torch.Tensor:
    """Distance from each pixel's grey times `factor` (B,)."""
    return torch.lerp(gray(images), images, each(factor, images)).clamp_(0, 255)


def hue(images: torch.Tensor, turn: Values) -> torch.Tensor:
    """Hue turned by `turn` (B,) fractions of the circle."""
    angle, saturation, value = rgb_to_hsv(images)
    return hsv_to_rgb(angle + each(turn, images)[:, 0], saturation, value)


JITTER = (brightness, contrast, saturation, hue)


def gray(images: torch.Tensor) -> torch.Tensor:
    """Luma of ITU-R BT.601, (B, 1, H, W)."""
    red, green, blue = images.split(1, 1)  # weights as numbers: a tensor of them would be one more copy
    return 0.299 * red + 0.587 * green + 0.114 * blue


def rgb_to_hsv(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hue in fractions of the circle (0 where grey), saturation 0..1, value as the images have it; each (B, H, W)."""
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    spread = value - least
    divisor = torch.where(spread == 0, 1.0, spread)
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return (sixth / 6) % 1, spread / (value + 1e-8), value


def hsv_to_rgb(angle: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Inverse of `rgb_to_hsv`, (B, 3, H, W); hue of any size."""
    chroma = value * saturation
    channels = []
    for shift in (5.0, 3.0, 1.0):  # the formula without cases, one shift of the colour circle a channel
        k = (shift + 6 * angle) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, 1)


def rgb_to_lab(images: torch.Tensor) -> torch.Tensor:
    """CIE Lab (D65) of sRGB images in 0..255, (B, 3, H, W)."""
    rgb = images / 255
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    red, green, blue = linear.unbind(1)
    f_x = _lab_root((0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.95047)
    f_y = _lab_root(0.212671 * red + 0.715160 * green + 0.072169 * blue)
    f_z = _lab_root((0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.08883)
    return torch.stack([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)], 1)


def _lab_root(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0.008856, x.clamp(min=0.008856) ** (1 / 3), 7.787 * x + 4 / 29)


def zoom_blur(images: torch.Tensor, zooms: Sequence[Values], used: Sequence[Values], count: Values) -> torch.Tensor:
    """Mean over the picture and its enlargements about the centre, see `stnuclei.augmentation.draws.zoom_steps`."""
    height, width = images.shape[-2:]
    x, y = pixel_grid(height, width, images.device)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    total = images.clone()
    for zoom, flags in zip(zooms, used, strict=True):
        scale = each(zoom, images)[:, 0]
        larger = resample_images(images, (x - centre_x) / scale + centre_x, (y - centre_y) / scale + centre_y)
        total += larger * each(flags, images)
    return total / each(count, images)


def each(values: Values, images: torch.Tensor) -> torch.Tensor:
    """(B,) numbers as (B, 1, 1, 1) float32 on the images' device."""
    return torch.as_tensor(values, dtype=torch.float32, device=images.device).view(-1, 1, 1, 1)
