"""Transforms that move pixels: image and instance map go through the same map, ids always whole."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

_COARSE = 8  # the displacement field is drawn on every eighth pixel


def turn(images: torch.Tensor, instances: torch.Tensor, quarter: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn (B, C, H, W) and (B, H, W), H = W where `quarter` is odd, by right angles against the clock."""
    return torch.rot90(images, quarter, (-2, -1)), torch.rot90(instances, quarter, (-2, -1))


def mirror(images: torch.Tensor, instances: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror along x (`axis` -1) or y (-2)."""
    return images.flip(axis), instances.flip(axis)


def random_crop(
    images: torch.Tensor, instances: torch.Tensor, side: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a square at a random position out of each picture.

    Small batches of whole patches lack classes: a Dice term of a class that a batch does not show is noise. The same
    pixels as more and smaller pictures show more slides and classes a step.

    Parameters
    ----------
    images
        (B, 3, H, W).
    instances
        (B, H, W) integers.
    side
        Side of the squares, px; pictures that are smaller stay whole along that axis.
    seed
        Equal seeds cut at equal positions.
    """
    rng = np.random.default_rng([seed, side])
    spare = [max(length - side, 0) + 1 for length in images.shape[-2:]]
    tops, lefts = (rng.integers(room, size=len(images)) for room in spare)
    boxes = [np.s_[..., top : top + side, left : left + side] for top, left in zip(tops, lefts, strict=True)]
    cut = [
        torch.stack([picture[box] for picture, box in zip(batch, boxes, strict=True)]) for batch in (images, instances)
    ]
    return cut[0], cut[1]


def pixel_grid(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of every pixel, (1, H, W) float32."""
    y = torch.arange(height, device=device, dtype=torch.float32).view(1, -1, 1).expand(1, height, width)
    x = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, -1).expand(1, height, width)
    return x, y


def resample(
    images: torch.Tensor, instances: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fetch every output pixel from (x, y) of the input: images bilinear, ids nearest; edges are mirrored.

    Parameters
    ----------
    images
        (B, C, H, W) float.
    instances
        (B, H, W) integers.
    x, y
        (B, H, W) float32 px, pixel 0 having its centre at 0.
    """
    height, width = images.shape[-2:]
    moved = resample_images(images, x, y)
    columns, rows = _reflected(x.round().long(), width), _reflected(y.round().long(), height)
    return moved, instances.flatten(1).gather(1, (rows * width + columns).flatten(1)).view(x.shape)


def resample_images(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Images (B, C, H, W) float at positions (x, y), (B, H, W) px, bilinear; edges are mirrored."""
    height, width = images.shape[-2:]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Indices mirrored at the first and last pixel, as grid_sample's reflection does."""
    if size == 1:
        return torch.zeros_like(index)
    index = index.abs() % (2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


def zoomed_crop(
    images: torch.Tensor,
    instances: torch.Tensor,
    fraction: np.ndarray | torch.Tensor,
    position: np.ndarray | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring a crop of each picture to full size.

    Parameters
    ----------
    fraction
        (B,) side of the crop as a fraction of the picture's.
    position
        (B, 2) x and y of the crop, 0 to 1 of the room there is.
    """
    height, width = images.shape[-2:]
    x, y = pixel_grid(height, width, images.device)
    side, corner = _column(fraction, images), _column(position, images).view(-1, 2, 1, 1)
    left, top = (corner[:, axis] * (1 - side) * size for axis, size in ((0, width), (1, height)))
    # clamped to the crop: half a pixel beyond its edge is not in the picture
    x = torch.maximum(torch.minimum((x + 0.5) * side - 0.5 + left, left + width * side - 1), left)
    y = torch.maximum(torch.minimum((y + 0.5) * side - 0.5 + top, top + height * side - 1), top)
    return resample(images, instances, x, y)


def _column(values: np.ndarray | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=like.device).view(-1, 1, 1)


def affine_from_points(shift: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse (output -> input) of the affine maps that move three points of a centred square by `shift`.

    Parameters
    ----------
    shift
        (B, 3, 2) px.

    Returns
    -------
    (B, 2, 3) float64, acting on (x, y, 1). The square's half side is a third of the shorter side of the picture.
    """
    reach = min(height, width) // 3
    centre = np.array([width // 2, height // 2], np.float64)
    points = centre + reach * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    moved = np.concatenate([points + shift, np.ones((len(shift), 3, 1))], 2)
    return np.linalg.solve(moved, np.broadcast_to(points, (len(shift), 3, 2))).transpose(0, 2, 1)


def elastic(
    images: torch.Tensor,
    instances: torch.Tensor,
    matrix: np.ndarray | torch.Tensor,
    sigma: float,
    alpha: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random affine map, then a smooth random displacement (Simard 2003), in one resampling.

    Parameters
    ----------
    matrix
        (B, 2, 3), see `affine_from_points`.
    sigma, alpha
        px: smoothness of the displacement, and the factor on uniform noise in [-1, 1] after smoothing. At the
        published 25 and 0.5 it stays under a hundredth of a pixel: the affine map is what one sees.
    generator
        On the images' device.
    """
    height, width = images.shape[-2:]
    x, y = pixel_grid(height, width, images.device)
    move = smooth_noise(len(images), height, width, sigma, generator) * alpha
    x, y = x + move[:, 0], y + move[:, 1]
    a = torch.as_tensor(matrix, dtype=torch.float32, device=images.device).reshape(-1, 6, 1, 1).unbind(1)
    return resample(images, instances, a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5])


def smooth_noise(batch: int, height: int, width: int, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Uniform noise in [-1, 1] after a Gaussian of `sigma` px, (B, 2, H, W) float32.

    Drawn and smoothed on a coarse grid where sigma allows, with the spread that the full grid would give:
    noise of n times coarser pixels keeps n times the standard deviation under the same Gaussian.
    """
    step = _COARSE if sigma >= 2 * _COARSE else 1
    rows, columns = -(-height // step) + 1, -(-width // step) + 1
    noise = torch.rand(2 * batch, 1, rows, columns, generator=generator, device=generator.device) * 2 - 1
    radius = math.ceil(4 * sigma / step)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=noise.device) * step / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    noise = F.conv2d(F.pad(noise, (radius, radius, radius, radius), mode="replicate"), kernel)
    noise = F.conv2d(noise, kernel.transpose(2, 3)) / step
    if step > 1:
        noise = F.interpolate(noise, (rows * step, columns * step), mode="bicubic", align_corners=False)
    return noise[..., :height, :width].reshape(batch, 2, height, width)
