"""Superpixels (SLIC, Achanta 2012) for a whole batch in tensor operations, and the transform made of them."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
import torch.nn.functional as F

from stnuclei.augmentation.color import rgb_to_lab
from stnuclei.augmentation.shape import pixel_grid

_COMPACTNESS = 10.0
_ROUNDS = 10


def fill_superpixels(
    images: torch.Tensor, fraction: float, count: int, largest: int, generator: torch.Generator
) -> torch.Tensor:
    """Fill some superpixels with their mean colour.

    Parameters
    ----------
    images
        (B, 3, H, W) float32 0..255.
    fraction
        Fraction of the superpixels that are filled.
    count
        About how many superpixels a picture is cut into.
    largest
        Pictures longer than this (px) are reduced to it first and enlarged again after, as the published transform
        does: the whole picture comes out a little softer.
    generator
        On the images' device.
    """
    size = images.shape[-2:]
    scale = min(1.0, largest / max(size))
    small = images if scale == 1 else F.interpolate(images, scale_factor=scale, mode="bilinear", antialias=False)
    labels, n = slic(small, count)
    colour = _means(small, labels, n)
    chosen = torch.rand(len(images), n, generator=generator, device=images.device) < fraction
    flat = labels.flatten(1)
    filled = chosen.gather(1, flat).unsqueeze(1)
    painted = colour.gather(2, flat.unsqueeze(1).expand(-1, 3, -1))
    out = torch.where(filled, painted, small.flatten(2)).view_as(small)
    return out if scale == 1 else F.interpolate(out, size=size, mode="bilinear")


def slic(images: torch.Tensor, count: int) -> tuple[torch.Tensor, int]:
    """Cut pictures into superpixels by local k-means on colour (Lab) and place.

    Each pixel chooses among the nine centres that started around it, so that a round is a few tensor operations.
    Connectivity is not enforced: a superpixel may keep a stray pixel.

    Returns
    -------
    (B, H, W) int64 labels 0..n-1, and n, the grid's number of centres nearest to `count`.
    """
    batch, _, height, width = images.shape
    side = math.sqrt(height * width / count)
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    x, y = (axis.expand(batch, 1, height, width) for axis in pixel_grid(height, width, images.device))
    # place counts as much as colour differences of `compactness` over one superpixel's side
    features = torch.cat([rgb_to_lab(images), x * (_COMPACTNESS / side), y * (_COMPACTNESS / side)], 1)
    home_row = (torch.arange(height, device=images.device) * rows // height).view(-1, 1)
    home_column = (torch.arange(width, device=images.device) * columns // width).view(1, -1)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    candidates = torch.stack(
        [(home_row + dy).clamp(0, rows - 1) * columns + (home_column + dx).clamp(0, columns - 1) for dy, dx in around]
    )
    if images.device.type == "cpu":
        maps = [_slic_compiled(image, candidates.numpy(), rows * columns, _ROUNDS) for image in features.numpy()]
        return torch.from_numpy(np.stack(maps)), rows * columns
    labels = candidates[4].expand(batch, height, width)
    for _ in range(_ROUNDS):
        labels = _nearest(features, _means(features, labels, rows * columns), candidates)
    return labels, rows * columns


@numba.njit(cache=True, nogil=True)
def _slic_compiled(features: np.ndarray, candidates: np.ndarray, n: int, rounds: int) -> np.ndarray:
    """The rounds for one picture in main memory: features (5, H, W), candidates (9, H, W) -> (H, W) int64."""
    channels, height, width = features.shape
    labels = candidates[4].copy()
    for _ in range(rounds):
        centres = np.zeros((n, channels), np.float32)
        pixels = np.zeros(n, np.int64)
        for y in range(height):
            for x in range(width):
                k = labels[y, x]
                pixels[k] += 1
                for c in range(channels):
                    centres[k, c] += features[c, y, x]
        for k in range(n):
            for c in range(channels):
                centres[k, c] /= max(pixels[k], 1)
        for y in range(height):
            for x in range(width):
                best = np.float32(np.inf)
                for i in range(candidates.shape[0]):
                    k = candidates[i, y, x]
                    gap = np.float32(0.0)
                    for c in range(channels):
                        gap += (features[c, y, x] - centres[k, c]) ** 2
                    if gap < best:
                        best = gap
                        labels[y, x] = k
    return labels


def _means(values: torch.Tensor, labels: torch.Tensor, n: int) -> torch.Tensor:
    """Mean of (B, C, H, W) over each label, (B, C, n)."""
    batch, channels = values.shape[:2]
    index = labels.flatten(1).unsqueeze(1)
    pixels = torch.zeros(batch, 1, n, device=values.device).scatter_add_(
        2, index, torch.ones_like(index, dtype=torch.float32)
    )
    total = torch.zeros(batch, channels, n, device=values.device)
    total.scatter_add_(2, index.expand(-1, channels, -1), values.flatten(2))
    return total / pixels.clamp(min=1)


def _nearest(features: torch.Tensor, centres: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """The candidate (9, H, W) whose centre is nearest, (B, H, W)."""
    distances = []
    for candidate in candidates:
        gap = features - centres[:, :, candidate.flatten()].view_as(features)
        distances.append(gap.square_().sum(1))
    choice = torch.stack(distances, 1).argmin(1)
    batch = len(features)
    return candidates.unsqueeze(0).expand(batch, -1, -1, -1).gather(1, choice.unsqueeze(1)).squeeze(1)
