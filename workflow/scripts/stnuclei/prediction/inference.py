"""Inference on batches of tiles: one or several devices, test-time augmentation, cropped maps."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stnuclei.cellvit.classifier import CellClassifier
from stnuclei.cellvit.device import thread_stream, to_host
from stnuclei.cellvit.nucleus_tokens import TokenGrid
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
        """Names of the classes, background first."""

    @property
    def dim(self) -> int:
        """Length of a token of the encoder."""

    def tensors(self, images: np.ndarray, tokens: bool = False) -> tuple[Tensor, ...]:
        """(B, H, W, 3) uint8 -> nucleus probability (B, H, W), hv (B, 2, H, W), types (B, C, H, W), on its device.

        With `tokens` also the encoder's (B, h, w, D); asked for only where a classifier or embeddings need them.
        """


def classifier_of(network: Network) -> CellClassifier | None:
    """Cell classifier attached to a network, None where its own branch gives the classes."""
    return getattr(network, "classifier", None)


def tta_mean(network: Network, images: np.ndarray, **asked: bool) -> tuple[Tensor, ...]:
    """Test-time augmentation: mean of the maps, and of tokens, over the eight orientations of square pictures.

    The distance maps are components of a vector: a quarter turn against the clock takes (x, y) to (y, -x), a mirroring
    turns the sign of x.
    """
    sums: list[Tensor] = []
    for k, mirrored in ORIENTATIONS:
        turned = np.rot90(images[:, :, ::-1] if mirrored else images, k, (1, 2))
        probability, hv, types, *tokens = network.tensors(np.ascontiguousarray(turned), **asked)
        tokens = [grid.permute(0, 3, 1, 2) for grid in tokens]
        maps = [undo_orientation(m.float(), k, mirrored) for m in (probability, hv, types, *tokens)]
        maps[1] = undo_vector_orientation(maps[1], k, mirrored)
        sums = maps if not sums else [a + b for a, b in zip(sums, maps, strict=True)]
    probability, hv, types, *tokens = (total / len(ORIENTATIONS) for total in sums)
    return probability, hv, types, *(grid.permute(0, 2, 3, 1) for grid in tokens)


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
    tokens
        Also give the encoder's tokens.
    """

    def __init__(self, networks: Sequence[Network], tta: bool = False, tokens: bool = False) -> None:
        self.networks, self.tta, self.tokens = list(networks), tta, tokens
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
        network, asked = self._free.get(), {"tokens": True} if self.tokens else {}
        try:
            with thread_stream(network.device):
                maps = tta_mean(network, images, **asked) if self.tta else network.tensors(images, **asked)
                foreground, hv, types, *tokens = maps
                middle = (..., slice(crop, images.shape[1] - crop), slice(crop, images.shape[2] - crop))
                cut = (foreground[middle] > 0.5, hv[middle].float(), types[middle].half())
                arrays = to_host((*cut, *(grid.half() for grid in tokens)))
        finally:
            self._free.put(network)
        return [_tile_maps(*tile, side=images.shape[2], crop=crop) for tile in zip(*arrays, strict=True)]


def _tile_maps(
    foreground: np.ndarray, hv: np.ndarray, types: np.ndarray, *tokens: np.ndarray, side: int, crop: int
) -> TileMaps:
    """Maps of one picture of width `side`, from which `crop` pixels were cut on every side."""
    grid = TokenGrid(tokens[0], side / tokens[0].shape[1], crop) if tokens else None
    return TileMaps(foreground, hv, types, grid)
