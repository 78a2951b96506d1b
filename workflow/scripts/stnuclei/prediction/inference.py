"""The network over batches of tiles: on one device or several, turned and averaged where asked for, cropped."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stnuclei.prediction.maps import CellMaps

#: The eight turns and mirrorings of a square: quarter turns against the clock, then whether mirrored left to right.
TURNS = tuple((k, mirrored) for mirrored in (False, True) for k in range(4))


class Network(Protocol):
    """What the engine needs of a model; `stnuclei.prediction.Predictor` is one."""

    metadata: dict[str, Any]
    device: torch.device
    dtype: torch.dtype

    @property
    def classes(self) -> list[str]:
        """Names of the type channels, background first."""

    def tensors(self, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> nucleus probability (B, H, W), hv (B, 2, H, W), types (B, C, H, W), on its device."""


def turned_mean(network: Network, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the maps over the eight turns and mirrorings of square pictures, each brought back.

    The distance maps are components of a vector: a quarter turn against the clock takes (x, y) to (y, -x), a mirroring
    turns the sign of x.
    """
    sums: list[Tensor] | None = None
    for k, mirrored in TURNS:
        turned = np.rot90(images[:, :, ::-1] if mirrored else images, k, (1, 2))
        parts = [p.float() for p in network.tensors(np.ascontiguousarray(turned))]
        parts = [turn_back(p, k, mirrored) for p in parts[:1]] + [
            vector_back(turn_back(parts[1], k, mirrored), k, mirrored),
            turn_back(parts[2], k, mirrored),
        ]
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
    foreground, hv, types = (part / len(TURNS) for part in sums)
    return foreground, hv, types


def turn_back(maps: Tensor, k: int, mirrored: bool) -> Tensor:
    """Undo, in the last two axes, a mirroring followed by `k` quarter turns against the clock."""
    maps = torch.rot90(maps, -k, (-2, -1))
    return maps.flip(-1) if mirrored else maps


def vector_back(hv: Tensor, k: int, mirrored: bool) -> Tensor:
    """Undo what turning did to the components (B, 2, H, W) themselves."""
    x, y = hv[:, 0], hv[:, 1]
    for _ in range(k):
        x, y = -y, x
    return torch.stack([-x if mirrored else x, y], 1)


class Inference:
    """Networks on their devices, each working on one batch at a time; may be called from several threads.

    Parameters
    ----------
    networks
        The same model, once a device.
    augmentation
        Average over turns and mirrorings: eight times the work.
    """

    def __init__(self, networks: Sequence[Network], augmentation: bool = False) -> None:
        self.networks, self.augmentation = list(networks), augmentation
        self._free: queue.SimpleQueue[Network] = queue.SimpleQueue()
        for network in self.networks:
            self._free.put(network)

    @property
    def classes(self) -> list[str]:
        """Names of the type channels, background first."""
        return self.networks[0].classes

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, crop: int = 0) -> list[CellMaps]:
        """Maps of pictures.

        Parameters
        ----------
        images
            (B, H, W, 3) uint8.
        crop
            Pixels left out on every side.

        Returns
        -------
        B maps on the CPU; what is left out never leaves the device.
        """
        network = self._free.get()
        try:
            foreground, hv, types = turned_mean(network, images) if self.augmentation else network.tensors(images)
            middle = (..., slice(crop, images.shape[1] - crop), slice(crop, images.shape[2] - crop))
            parts = (foreground[middle] > 0.5, hv[middle].float(), types[middle].half())
            arrays = [part.contiguous().cpu().numpy() for part in parts]
        finally:
            self._free.put(network)
        return [CellMaps(*maps) for maps in zip(*arrays, strict=True)]
