"""Random parameters of the augmentation, drawn on the CPU for a whole batch and sent to the device in one copy.

Sent one by one they cost 76 copies a batch, each of which makes the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stnuclei.augmentation.shape import affine_from_points
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings

#: Parameters of a transform by name: arrays, numbers, and lists and tuples of them.
Parameters = dict[str, Any]
_ALIGNED = 16  # bytes: any dtype may begin there


@dataclass(frozen=True)
class Change:
    """One transform of a batch: its name, the patches it is applied to (None: all), its parameters."""

    name: str
    index: Any
    parameters: Parameters


def draw_changes(
    rng: np.random.Generator, settings: AugmentSettings, batch: int, size: tuple[int, int]
) -> list[Change]:
    """The transforms of a batch in the order in which they are applied.

    Parameters
    ----------
    rng
        Source of all choices.
    settings
        Probabilities and strengths.
    batch, size
        Number of patches, their height and width in px.
    """
    changes = []
    for name in PROBABILITIES:
        chosen = np.flatnonzero(rng.random(batch) < getattr(settings, name))
        if chosen.size:
            parameters = DRAWS[name](rng, settings, chosen.size, size)
            changes.append(Change(name, None if chosen.size == batch else chosen, parameters))
    return changes


def send(changes: list[Change], device: torch.device) -> list[Change]:
    """The same changes with tensors on the device in place of arrays, by one copy the host does not wait for."""
    arrays = [array for change in changes for array in _arrays([change.index, change.parameters])]
    tensors = iter(pack(arrays, device))
    return [Change(change.name, *_replaced([change.index, change.parameters], tensors)) for change in changes]


def pack(arrays: list[np.ndarray], device: torch.device) -> list[torch.Tensor]:
    """Arrays as tensors on a device; for other devices than the CPU through one buffer in pinned memory."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)]).tolist()
    host = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
    for start, array in zip(starts, arrays, strict=False):
        host.numpy()[start : start + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
    sent = host.to(device, non_blocking=True)
    return [
        sent[start : start + array.nbytes].view(torch.from_numpy(array[:0]).dtype).view(array.shape)
        for start, array in zip(starts, arrays, strict=False)
    ]


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """All arrays of nested parameters, in a fixed order."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _arrays(inner)


def _replaced(value: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """Nested parameters with the next tensor in the place of each array."""
    if isinstance(value, np.ndarray):
        return next(tensors)
    if isinstance(value, dict):
        return {name: _replaced(inner, tensors) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, tensors) for inner in value]
    return value


def _single(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _nothing(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    return {}


def _rotate90(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    quarters = rng.integers(4, size=n)
    if size[0] != size[1]:
        quarters &= 2  # only half turns keep the shape of an oblong picture
    return {"turns": [(quarter, np.flatnonzero(quarters == quarter)) for quarter in (1, 2, 3) if quarter in quarters]}


def _downscale(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    return dict(zip(("rows", "columns"), (nearest_there_and_back(side, s.downscale_factor) for side in size)))  # noqa: B905


def nearest_there_and_back(size: int, factor: float) -> np.ndarray:
    """Index of the pixel that stands in each pixel's place after reduction by `factor` and back, int64 (size,)."""
    small = max(1, int(size * factor))
    down = np.minimum(np.floor(np.arange(small) * size / small), size - 1)
    up = np.minimum(np.floor(np.arange(size) * small / size), small - 1).astype(int)
    return down[up].astype(np.int64)


def _blur(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    widths = rng.choice(np.arange(3, s.blur_px + 1, 2), n)
    return {"squares": [(int(width), np.flatnonzero(widths == width)) for width in np.unique(widths)]}


def _noise(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    return {"spread": _single(np.sqrt(rng.uniform(0, s.noise_variance, n)))}


def _jitter(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    reach = np.array([s.brightness, s.contrast, s.saturation, s.hue])
    factors = np.array([1, 1, 1, 0]) + reach * rng.uniform(-1, 1, (n, 4))
    order = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
    steps = [(k, np.flatnonzero(order[:, position] == k)) for position in range(4) for k in range(4)]
    return {"steps": [(k, chosen, _single(factors[chosen, k])) for k, chosen in steps if chosen.size]}


def _superpixels(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    return {"fraction": s.superpixel_fraction, "count": s.superpixel_count, "largest": s.superpixel_size}


def _zoom_blur(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    factor = rng.uniform(1, s.zoom_factor, n)
    return zoom_steps(factor, rng.uniform(0.01, 0.03, n))


def zoom_steps(factor: np.ndarray, step: np.ndarray) -> Parameters:
    """Enlargements by 1, 1 + step, ... below `factor`, both (n,); which patches use each, and how many each uses."""
    zooms = [1 + k * step for k in range(int(np.ceil(((factor - 1) / step).max())))]
    used = [zoom < factor for zoom in zooms]
    return {
        "zooms": [_single(zoom) for zoom in zooms],
        "used": [_single(flags) for flags in used],
        "count": _single(np.ones(len(factor)) + np.sum(used, axis=0)),
    }


def _crop(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    fraction = rng.uniform(s.crop_fraction, 1, n)
    return {"fraction": _single(fraction), "position": _single(rng.random((n, 2)))}


def _elastic(rng: np.random.Generator, s: AugmentSettings, n: int, size: tuple[int, int]) -> Parameters:
    shift = rng.uniform(-s.elastic_affine, s.elastic_affine, (n, 3, 2))
    matrix = _single(affine_from_points(shift, *size))
    return {"matrix": matrix, "sigma": s.elastic_sigma, "alpha": s.elastic_alpha}


DRAWS: dict[str, Callable[[np.random.Generator, AugmentSettings, int, tuple[int, int]], Parameters]] = {
    "rotate90": _rotate90,
    "flip_x": _nothing,
    "flip_y": _nothing,
    "downscale": _downscale,
    "blur": _blur,
    "noise": _noise,
    "jitter": _jitter,
    "superpixels": _superpixels,
    "zoom_blur": _zoom_blur,
    "crop": _crop,
    "elastic": _elastic,
}
