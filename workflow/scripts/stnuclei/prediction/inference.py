"""Inference on batches of tiles: one or several devices, test-time augmentation, cropped maps."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stnuclei.cellvit.device import thread_stream, to_host
from stnuclei.prediction.tiles import TileMaps

#: The eight symmetries of a square: quarter turns against the clock, and whether mirrored left to right before.
ORIENTATIONS = tuple((k, mirrored) for mirrored in (False, True) for k in range(4))


class Network(Protocol):
    """Interface of a model; `stnuclei.prediction.Predictor` has it."""

    metadata: dict[str, Any]
    device: torch.device
    dtype: torch.dtype

    @property
    def classes(self) -> list[str]:
        """Names of the type channels, background first."""

    def tensors(self, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> nucleus probability (B, H, W), hv (B, 2, H, W), types (B, C, H, W), on its device."""


def tta_mean(network: Network, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Test-time augmentation: mean of the maps over the eight orientations of square pictures.

    The distance maps are components of a vector: a quarter turn against the clock takes (x, y) to (y, -x), a mirroring
    turns the sign of x.
    """
    sums: list[Tensor] = []
    for k, mirrored in ORIENTATIONS:
        turned = np.rot90(images[:, :, ::-1] if mirrored else images, k, (1, 2))
        maps = [undo_orientation(m.float(), k, mirrored) for m in network.tensors(np.ascontiguousarray(turned))]
        maps[1] = undo_vector_orientation(maps[1], k, mirrored)
        sums = maps if not sums else [a + b for a, b in zip(sums, maps, strict=True)]
    foreground, hv, types = (total / len(ORIENTATIONS) for total in sums)
    return foreground, hv, types


def undo_orientation(maps: Tensor, k: int, mirrored: bool) -> Tensor:
    """Undo, in the last two axes, a mirroring followed by `k` quarter turns against the clock."""
    maps = torch.rot90(maps, -k, (-2, -1))
    return maps.flip(-1) if mirrored else maps


def undo_vector_orientation(hv: Tensor, k: int, mirrored: bool) -> Tensor:
    """Turn the components of a vector field (B, 2, H, W) back."""
    x, y = hv[:, 0], hv[:, 1]
    for _ in range(k):
        x, y = -y, x
    return torch.stack([-x if mirrored else x, y], 1)


class Inference:
    """Networks on their devices; called from as many threads as there are `workers`.

    Parameters
    ----------
    networks
        The same model, once a device.
    tta
        Test-time augmentation: average over eight orientations, at eight times the work.
    """

    def __init__(self, networks: Sequence[Network], tta: bool = False) -> None:
        self.networks, self.tta = list(networks), tta
        self._free: queue.SimpleQueue[Network] = queue.SimpleQueue()
        for network in self.networks * self.workers_per_device:
            self._free.put(network)

    @property
    def workers_per_device(self) -> int:
        """Batches a device works on at a time: two on a GPU, whose copies then overlap with computing."""
        return 2 if self.networks[0].device.type == "cuda" else 1

    @property
    def workers(self) -> int:
        """Number of threads that may call at a time."""
        return len(self.networks) * self.workers_per_device

    @property
    def classes(self) -> list[str]:
        """Names of the type channels, background first."""
        return self.networks[0].classes

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, crop: int = 0) -> list[TileMaps]:
        """Maps of pictures.

        Parameters
        ----------
        images
            (B, H, W, 3) uint8.
        crop
            Pixels left out on every side.

        Returns
        -------
        B maps on the CPU; the cropped margin never leaves the device.
        """
        network = self._free.get()
        try:
            with thread_stream(network.device):
                foreground, hv, types = tta_mean(network, images) if self.tta else network.tensors(images)
                middle = (..., slice(crop, images.shape[1] - crop), slice(crop, images.shape[2] - crop))
                arrays = to_host((foreground[middle] > 0.5, hv[middle].float(), types[middle].half()))
        finally:
            self._free.put(network)
        return [TileMaps(*tile) for tile in zip(*arrays, strict=True)]
