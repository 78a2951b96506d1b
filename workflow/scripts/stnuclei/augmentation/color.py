"""Transforms that change colours: (B, 3, H, W) float32 in 0..255 in and out, one set of values a picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from stnuclei.augmentation.shape import pixel_grid, resample_images

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def downscale(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Reduce to `factor` of the size and back, nearest pixel both ways."""
    rows, columns = (_nearest_there_and_back(size, factor, images.device) for size in images.shape[-2:])
    return images[:, :, rows][..., columns]


def _nearest_there_and_back(size: int, factor: float, device: torch.device) -> torch.Tensor:
    small = max(1, int(size * factor))
    down = np.minimum(np.floor(np.arange(small) * size / small), size - 1)
    up = np.minimum(np.floor(np.arange(size) * small / size), small - 1).astype(int)
    return torch.as_tensor(down[up].astype(np.int64)).to(device)


def blur(images: torch.Tensor, width: int) -> torch.Tensor:
    """Mean over a square of odd `width`; edges are mirrored."""
    half = width // 2
    padded = F.pad(images, (half, half, half, half), mode="reflect")
    # two passes over lines: width + width instead of width x width additions
    return F.avg_pool2d(F.avg_pool2d(padded, (1, width), 1), (width, 1), 1)


def noise(images: torch.Tensor, variance: np.ndarray, generator: torch.Generator) -> torch.Tensor:
    """Add Gaussian noise, `variance` (B,) in 8-bit units, each pixel and channel on its own."""
    spread = _each(np.sqrt(variance), images)
    drawn = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + spread * drawn).clamp_(0, 255)


def jitter(images: torch.Tensor, factors: np.ndarray, order: np.ndarray) -> torch.Tensor:
    """Change brightness, contrast, saturation and hue, each picture in its own order.

    Parameters
    ----------
    factors
        (B, 4): factors of the first three (1 = as it is), turn of the hue in shares of the circle.
    order
        (B, 4): the operations' numbers 0..3 in the order in which they are applied.
    """
    images = images.clone()
    steps = (brightness, contrast, saturation, hue)
    for place in range(4):
        for number, step in enumerate(steps):
            chosen = np.flatnonzero(order[:, place] == number)
            if chosen.size:
                index = torch.as_tensor(chosen).to(images.device)
                images[index] = step(images[index], factors[chosen, number])
    return images


def brightness(images: torch.Tensor, factor: np.ndarray) -> torch.Tensor:
    """All values times `factor` (B,)."""
    return (images * _each(factor, images)).clamp_(0, 255)


def contrast(images: torch.Tensor, factor: np.ndarray) -> torch.Tensor:
    """Distance from the picture's mean grey times `factor` (B,)."""
    mean = gray(images).mean((-2, -1), keepdim=True)
    return torch.lerp(mean, images, _each(factor, images)).clamp_(0, 255)


def saturation(images: torch.Tensor, factor: np.ndarray) -> torch.Tensor:
    """Distance from each pixel's grey times `factor` (B,)."""
    return torch.lerp(gray(images), images, _each(factor, images)).clamp_(0, 255)


def hue(images: torch.Tensor, turn: np.ndarray) -> torch.Tensor:
    """Hue turned by `turn` (B,) shares of the circle."""
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # a second of start-up that most jobs do not need

    hsv = rgb_to_hsv(images / 255)
    angle = (hsv[:, :1] + _each(turn, images) * 2 * np.pi) % (2 * np.pi)
    return hsv_to_rgb(torch.cat([angle, hsv[:, 1:]], 1)) * 255


def gray(images: torch.Tensor) -> torch.Tensor:
    """Luma (B, 1, H, W)."""
    weights = torch.tensor(_GRAY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def zoom_blur(images: torch.Tensor, factor: np.ndarray, step: np.ndarray) -> torch.Tensor:
    """Mean over the picture and its enlargements about the centre by 1, 1 + step, ... below `factor`; both (B,)."""
    height, width = images.shape[-2:]
    x, y = pixel_grid(height, width, images.device)
    total, count = images.clone(), np.ones(len(images))
    for k in range(int(np.ceil(((factor - 1) / step).max()))):
        used = 1 + k * step < factor
        zoom = _each(1 + k * step, images)[:, 0]
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        larger = resample_images(images, (x - centre_x) / zoom + centre_x, (y - centre_y) / zoom + centre_y)
        total += larger * _each(used.astype(np.float32), images)
        count += used
    return total / _each(count, images)


def _each(values: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """(B,) numbers as (B, 1, 1, 1) float32 on the images' device."""
    return torch.as_tensor(values, dtype=torch.float32).to(images.device).view(-1, 1, 1, 1)
